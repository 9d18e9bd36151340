"""The sweep figure: utilization and saturation at every scale, each rule a mark on the curves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dashboard.analysis.report import ScaleReport
from dashboard.calibration.histogram import Quantized
from dashboard.figures.style import Panel, Sheet
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text

PLOT, LEVEL, FOOT = 250, 19, 46  # px: the curves, a row of labels above them, the axis below
NEAR = 4.0  # scales within this factor could have labels that touch
RIGHT = 3.2  # the axis ends at this many times the last scale: room for the labels


def utilization_sweep(sweep: Quantized, rules: Sequence[ScaleReport], say: Language) -> Sheet:
    """code_utilization, top_code_utilization and saturation_rate over scale_out.

    Args:
        sweep: the measures at ascending scales (S,).
        rules: the chosen scale first; each is marked on the curves and named above them.
    """
    levels = _label_levels(rules)
    height = PLOT + LEVEL * (max(levels) + 1) + FOOT
    low, high = float(sweep.scale[0]), RIGHT * float(sweep.scale[-1])
    panel = Panel(
        0.042, 1.0, FOOT / height, (FOOT + PLOT) / height,
        (np.log10(low), np.log10(high)), (0.0, 1.0),
    )  # fmt: skip
    sheet = Sheet(height, "code_utilization and saturation_rate over scale_out, rules marked")
    _draw_axes(sheet, panel, low, high)
    _draw_curves(sheet, panel, sweep)
    for rule, level in zip(rules, levels, strict=True):
        _draw_rule(sheet, panel, rule, panel.top + LEVEL * (level + 0.6) / height, rule is rules[0])
    for rule in reversed(rules):  # the chosen one on top
        _draw_dots(sheet, panel, rule, 10 if rule is rules[0] else 7)
    return sheet


def _draw_axes(sheet: Sheet, panel: Panel, low: float, high: float) -> None:
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = panel.y(share)
        sheet.line([panel.left, panel.right], [y, y], "grid")
        sheet.text(panel.left - 0.004, y, f"{100 * share:.0f} %", anchor="middle left", size=12)
    for tick in [m * 10.0**e for e in range(-8, 5) for m in (1, 2, 5)]:
        if low <= tick <= high:
            x = panel.x(np.log10(tick))
            sheet.line([x, x], [panel.bottom, panel.bottom - 0.012], "line")
            name = np.format_float_positional(tick, 1, fractional=False, trim="-")
            sheet.text(x, panel.bottom - 0.014, name, anchor="bottom center", size=12)
    sheet.text((panel.left + panel.right) / 2, 0.005, "scale_out, real units per code",
               anchor="top center")  # fmt: skip


def _draw_curves(sheet: Sheet, panel: Panel, sweep: Quantized) -> None:
    """The three measures, named where they have left 100 %."""
    x = panel.x(np.log10(sweep.scale))
    top = panel.y(sweep.top_code_utilization)
    used = panel.y(sweep.code_utilization)
    saturated = panel.y(sweep.saturation_rate)
    sheet.line(x, top, "input", 1.6, "6 4")
    sheet.line(x, used, "output", 2.4)
    sheet.line(x, saturated, "saturated", 2.2)
    low = int(np.argmax(sweep.code_utilization < 0.72))
    half = int(np.argmax(sweep.saturation_rate < 0.5))
    sheet.text(x[low] - 0.006, used[low] - 0.01, "code_utilization: codes used of 256",
               "output", "bottom left")  # fmt: skip
    sheet.text(x[half] + 0.006, saturated[half], "saturation_rate", "saturated",
               "middle right")  # fmt: skip
    sheet.text(x[-1] + 0.006, top[-1], "top_code_utilization", "input", "middle right")
    for i in range(0, len(x), 2):
        told = (
            f"scale_out {scale_text(float(sweep.scale[i]))}\n"
            f"code_utilization {percent(float(sweep.code_utilization[i]))}\n"
            f"saturation_rate {percent(float(sweep.saturation_rate[i]))}"
        )
        sheet.hover(x[i], used[i], told)


def _draw_rule(sheet: Sheet, panel: Panel, rule: ScaleReport, at: float, first: bool) -> None:
    """A line from the axis up to the rule's name."""
    x = float(panel.x(np.log10(rule.x_out_scale)))
    style = ("chosen", 2, "") if first else ("baseline", 1.1, "6 5")
    sheet.line([x, x], [panel.bottom, at + 0.018], *style)
    label = f"{rule.short}  {scale_text(rule.x_out_scale)}"
    ink = "text" if first else "muted"
    sheet.text(x + 0.002, at, label, ink, "middle right", bold=first)


def _draw_dots(sheet: Sheet, panel: Panel, rule: ScaleReport, size: float) -> None:
    """Where the rule's scale lies on both curves."""
    x = float(panel.x(np.log10(rule.x_out_scale)))
    for name, colour in (("saturation_rate", "saturated"), ("code_utilization", "output")):
        share = float(getattr(rule.output, name))
        y = float(panel.y(share))
        sheet.dot(x, y, colour, size)
        told = f"{rule.label}, scale_out {scale_text(rule.x_out_scale)}\n{name} {percent(share)}"
        sheet.hover(x, y, told)


def _label_levels(rules: Sequence[ScaleReport]) -> list[int]:
    """How high each rule's label stands: above those of its neighbours to the right."""
    levels = [0] * len(rules)
    order = sorted(range(len(rules)), key=lambda i: -rules[i].x_out_scale)
    for right, left in pairwise(order):
        if rules[left].x_out_scale * NEAR > rules[right].x_out_scale:
            levels[left] = levels[right] + 1
    return levels
