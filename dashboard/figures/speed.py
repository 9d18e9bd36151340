"""How fast the kernel is: shares of a copy's time, and the ceilings of the chip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.recorded import Roofline, Timing
from dashboard.figures.style import Panel, Sheet, spread
from dashboard.text.language import Language
from dashboard.text.numbers import percent

BAR, GROUP_GAP, HEAD = 21, 16, 24  # px
LEFT = 0.25  # of the width, for names
COLOURS = {"exact": "output", "fast": "best"}
ROOFLINE_HEIGHT = 320


def copy_shares(shape: tuple[int, int, int], rows: Sequence[Timing], say: Language) -> Sheet:
    """A bar a row: how near to a copy of the same bytes, which is the whole width.

    Args:
        rows: of one shape; kernels and peers, in the order to show.
    """
    height = HEAD + BAR * len(rows)
    title = " × ".join(map(str, shape))
    sheet = Sheet(height, f"{title}: each variant's speed as a share of a copy of the same bytes")
    panel = Panel(LEFT, 0.9, 0.0, 1 - HEAD / height, (0.0, 1.0), (len(rows), 0))
    for share in (0.25, 0.5, 0.75, 1.0):
        x = float(panel.x(share))
        sheet.line([x, x], [0, panel.top], "line" if share == 1 else "grid", 1,
                   "" if share < 1 else "4 3")  # fmt: skip
        name = "a copy" if share == 1 else f"{share:g}"
        sheet.text(x, panel.top + 11 / height, name, size=12)
    for i, row in enumerate(rows):
        y_high, y_low = float(panel.y(i + 0.14)), float(panel.y(i + 0.86))
        end = float(panel.x(row.share_of_copy))
        kernel = row.kind == "kernel"
        colour = COLOURS.get(row.mode, "baseline")
        sheet.area([LEFT, LEFT, end, end], [y_low, y_high, y_high, y_low], colour,
                   0.9 if kernel else 0.6)  # fmt: skip
        middle = (y_low + y_high) / 2
        name = f"{row.mode}, {row.layout}" if kernel else row.mode
        name += ", vectors" if row.scales == "vector" else ""
        sheet.text(LEFT - 0.008, middle, name, "text" if kernel else "muted", "middle left",
                   size=12)  # fmt: skip
        sheet.text(end + 0.006, middle, f"{row.share_of_copy:.2f}", "text", "middle right",
                   size=12, bold=kernel)  # fmt: skip
        told = f"{name}: {row.time_us:,.1f} µs, {row.tb_per_s:.2f} TB/s"
        if row.differing is not None:
            told += f"\n{row.differing:,} of {row.compared:,} codes differ from the reference"
            if row.differing:
                told += f" ({percent(row.differing / row.compared)})"
        sheet.hover([LEFT, end], middle, told)
    return sheet


def roofline(found: Roofline, say: Language) -> Sheet:
    """TB/s over instructions a byte, under the ceilings of memory, issue and special functions."""
    height = ROOFLINE_HEIGHT
    sheet = Sheet(height, "Roofline: TB/s over instructions a byte, under three ceilings")
    top = 1.15 * max(found.copy_tb_per_s, found.special_tb_per_s)
    panel = Panel(0.06, 0.8, 44 / height, 0.97, (4.0, 12.0), (0.0, top))
    for tick in range(int(top) + 1):
        y = float(panel.y(tick))
        sheet.line([panel.left, panel.right], [y, y], "grid")
        sheet.text(panel.left - 0.006, y, f"{tick} TB/s", anchor="middle left", size=12)
    for tick in range(4, 13, 2):
        sheet.text(float(panel.x(tick)), panel.bottom - 0.02, str(tick), anchor="bottom center",
                   size=12)  # fmt: skip
    middle = (panel.left + panel.right) / 2
    sheet.text(middle, 0.0, "instructions a byte", anchor="top center", size=12)
    x = np.linspace(4.0, 12.0, 200)
    issue = np.array([found.issue_tb_per_s(value) for value in x])
    below = issue <= top
    ceilings = [
        ("memory: a copy", x, np.full(len(x), found.copy_tb_per_s), "chosen", ""),
        ("special functions", x, np.full(len(x), found.special_tb_per_s), "stranded", "6 3"),
        ("issue", x[below], issue[below], "saturated", ""),
    ]
    roof = np.minimum(np.minimum(issue, found.copy_tb_per_s), found.special_tb_per_s)
    sheet.area(panel.x(np.r_[x[0], x, x[-1]]), panel.y(np.r_[0, roof, 0]), "panel", 0.8)
    ends = spread([float(panel.y(y[-1])) for _, _, y, _, _ in ceilings], 18 / height)
    for (name, line_x, line_y, colour, dash), label in zip(ceilings, ends, strict=True):
        sheet.line(panel.x(line_x), panel.y(line_y), colour, 2, dash)
        sheet.text(panel.right + 0.008, label, name, colour, "middle right")
    for name, per_byte, speed in found.points:
        point_x, point_y = float(panel.x(per_byte)), float(panel.y(speed))
        sheet.dot(point_x, point_y, COLOURS[name.split(",")[0]], 10)
        roof_here = min(found.issue_tb_per_s(per_byte), found.copy_tb_per_s, found.special_tb_per_s)
        above = "sequence" in name  # the two layouts of a mode lie near each other
        sheet.text(point_x, point_y + (12 if above else -12) / height, name, "text",
                   f"{'top' if above else 'bottom'} center", size=12)  # fmt: skip
        told = f"{name}: {per_byte:.2f} instructions a byte, {speed:.2f} TB/s"
        sheet.hover(point_x, point_y, f"{told}\n{percent(speed / roof_here)} of the roof there")
    return sheet
