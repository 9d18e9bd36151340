"""The table figure: what each scale makes of the same outputs, a row a scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.report import ScaleReport
from dashboard.calibration.histogram import CODES
from dashboard.figures.style import Panel, Sheet, count_height
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, signed
from kernels.int8 import QMAX, QMIN

ROW, HEAD = 50, 30  # px
# Of the width: where the codes and the error bars lie, and where the columns end.
CODES_X = (0.165, 0.55)
USED, BITS, SATURATED = 0.605, 0.66, 0.755
ERROR_X = (0.775, 0.9)

# A noise of more than a tenth of the signal would leave the others' bars a pixel wide: such bars
# are cut and say how many times the least error they are.
SHOWN_NOISE = 0.1


def scale_table(rows: Sequence[ScaleReport], beside: bool, say: Language) -> Sheet:
    """256 codes, codes used, bits, saturation, error split in two, and SQNR of each scale.

    The first row is the chosen scale, the second stands out too where it was asked for ``beside``
    it. The row with the most signal is in the colour of the best. A click on a row answers with
    its number.
    """
    height = HEAD + ROW * len(rows)
    sheet = Sheet(height, "A row a scale: its 256 codes, codes used, bits, saturation, error, SQNR")
    ends = [1 - (HEAD + ROW * i) / height for i in range(len(rows) + 1)]
    _draw_headings(sheet, ends[0])
    most = max(rows, key=lambda row: float(row.output.sqnr_db))
    tallest = max(count_height(row.output.code_counts, log=True).max() for row in rows)
    for row, top, bottom in zip(rows, ends, ends[1:], strict=False):
        codes = Panel(*CODES_X, bottom, top, (QMIN - 0.5, QMAX + 0.5), (-0.13, 1.25))
        first = row is rows[0] or (beside and row is rows[1])
        _draw_codes(sheet, codes, row, tallest, first)
        _draw_numbers(sheet, row, top, bottom, first, best=row is most)
    _draw_errors(sheet, rows, ends)
    for i, row in enumerate(rows[1:], start=1):
        sheet.pick((0.0, ERROR_X[0]), i, f"Choose {row.label}", (ends[i + 1], ends[i]))
    return sheet


def _draw_headings(sheet: Sheet, y: float) -> None:
    sheet.text(0, y, "scale_out", anchor="top right")
    for code in (QMIN, -64, 0, 64, QMAX):
        share = (code - QMIN + 0.5) / 256
        x = CODES_X[0] + share * (CODES_X[1] - CODES_X[0])
        sheet.text(x, y, signed(code, 0), anchor="top center")
    for x, name in ((USED, "used"), (BITS, "bits"), (SATURATED, "saturated"), (1, "SQNR")):
        sheet.text(x, y, name, anchor="top left")
    sheet.text(ERROR_X[0], y, "rounding", "output", "top right")
    sheet.text(ERROR_X[1], y, "clipping", "saturated", "top left")


def _draw_codes(sheet: Sheet, panel: Panel, row: ScaleReport, tallest: float, first: bool) -> None:
    """Log counts of the codes; hatched where no output can reach, spikes where values saturate."""
    height = count_height(row.output.code_counts, log=True) / tallest
    ends = [QMIN] * bool(row.output.saturated_low) + [QMAX] * bool(row.output.saturated_high)
    outline = np.where(np.isin(CODES, ends), 0.0, height)
    edges = np.column_stack([CODES - 0.5, CODES + 0.5]).ravel()
    sheet.area(
        panel.x([edges[0], *edges, edges[-1]]),
        panel.y([0.0, *np.repeat(outline, 2), 0.0]),
        "output",
        0.92 if first else 0.6,
    )
    for code in ends:
        left = code - 1.5 if code > 0 else code - 0.5  # two codes wide, or it would vanish
        top = height[code - QMIN]
        sheet.area(panel.x([left, left, left + 2, left + 2]), panel.y([0, top, top, 0]),
                   "saturated", 0.95)  # fmt: skip
    stranded = row.stranded_codes
    if stranded:
        left, right = QMIN - 0.5, QMIN + stranded - 0.5
        sheet.hatch(panel.x([left, left, right, right]), panel.y([0, 0.36, 0.36, 0]),
                    "stranded")  # fmt: skip


def _draw_numbers(
    sheet: Sheet, row: ScaleReport, top: float, bottom: float, first: bool, best: bool
) -> None:
    output = row.output
    middle = (top + bottom) / 2
    up = (top - bottom) * 0.16
    ink = "text" if first else "muted"
    sheet.text(0, middle + up, row.label, ink, "middle right", 13, bold=first)
    sheet.text(0, middle - up, scale_text(row.x_out_scale), anchor="middle right", size=11.5)
    saturated = "saturated" if output.saturated else "muted"
    for x, value, colour in (
        (USED, str(int(output.codes_used)), "text"),
        (BITS, f"{float(output.effective_bits):.2f}", "text"),
        (SATURATED, percent(float(output.saturation_rate)), saturated),
    ):
        sheet.text(x, middle, value, colour, "middle left", 13)
    noise = decibels(float(output.sqnr_db))
    sheet.text(1, middle, noise, "best" if best else "text", "middle left", 13, bold=True)


def _draw_errors(sheet: Sheet, rows: Sequence[ScaleReport], ends: Sequence[float]) -> None:
    """Rounding and clipping error end to end, on one scale for all rows."""
    rounding = np.array([float(row.output.rounding_sse) for row in rows])
    clipping = np.array([float(row.output.clipping_sse) for row in rows])
    error = rounding + clipping
    fits = error <= max(SHOWN_NOISE * rows[0].output.signal, error.min())
    most, least = max(error[fits].max(), 1e-300), max(error.min(), 1e-300)
    for i, row in enumerate(rows):
        panel = Panel(*ERROR_X, ends[i + 1], ends[i], (0.0, most), (0.0, 1.0))
        shrink = 1.0 if fits[i] else 0.62 * most / error[i]
        inner, outer = rounding[i] * shrink, error[i] * shrink
        for colour, left, right in (
            ("output", 0.0, inner),
            ("saturated", inner, outer),
        ):
            sheet.area(panel.x([left, left, right, right]), panel.y([0.36, 0.64, 0.64, 0.36]),
                       colour, 1.0)  # fmt: skip
        if not fits[i]:
            sheet.text(panel.x(0.66 * most), panel.y(0.5), f"× {error[i] / least:,.0f}",
                       "saturated", "middle right")  # fmt: skip
        told = (
            f"{row.label}\nrounding_mse {float(row.output.rounding_mse):.3g}\n"
            f"clipping_mse {float(row.output.clipping_mse):.3g}"
        )
        sheet.hover(panel.x([0.0, outer]), panel.y(0.5), told)
