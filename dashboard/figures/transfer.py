"""The transfer figure: what happens to a value between SiLU's input and its INT8 code.

Three drawings share two axes. The input histogram hangs under SiLU's curve, on the curve's v axis;
the output histogram stands at its right, on the curve's y axis; the ruler of codes beside it is the
same y axis in units of the scale. A cut is one horizontal line, read alike as a value, as an α on
the ladder and as code 127 on the ruler, and one vertical line down to its preimage on the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from dashboard.analysis.report import SILU_MIN, ScaleReport, SliceReport
from dashboard.figures.style import (
    Panel,
    Sheet,
    count_height,
    count_ticks,
    nice_ticks,
    spread,
    steps,
)
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text, signed
from kernels.int8 import QMAX, QMIN

SILU_ARGMIN = -1.2784645427610738  # where SiLU is least

HEIGHT = 632  # px
TOP, BOTTOM = 0.958, 0.034  # of the height: between the headings and the counts' ticks
CURVE = (0.0, 0.69)  # of the width: the curve, and the input histogram under it
OUTPUT = (0.748, 0.935)  # the output histogram
RULER = (0.935, 1.0)
INPUT_SHARE = 0.33  # of the y axis: everything under the curve
INPUT_GAP = 0.052  # of it, the room of the v axis
INSET = (0.07, 0.315, 0.68, 0.89)
CLOSE_UP = (-2.7, 0.5)  # v: SiLU's bend
CLOSE_UP_Y = (-0.31, 0.42)
LADDER = (0.999999, 0.99999, 0.9999, 0.999, 0.99, 0.9)
BINS = 200


# How a cut is drawn: colour, width in px, dashes.
CUTS = {
    "chosen": ("chosen", 2, ""),
    "beside": ("chosen", 1.6, "1 4"),
    "best": ("best", 1.6, ""),
    "baseline": ("baseline", 1.2, "6 5"),
}


def transfer(
    report: SliceReport,
    others: Sequence[tuple[ScaleReport, str]],
    log_counts: bool,
    say: Language,
) -> Sheet:
    """SiLU's input histogram, the curve as the kernel clamps it, its output histogram and codes.

    Args:
        report: the slice under the chosen scale.
        others: scales whose cuts are drawn too, each with one of ``CUTS``; one that coincides with
            the chosen scale, or with one before it, is left out.
        log_counts: whether the histograms' counts are drawn logarithmically.
    """
    drawing = _Drawing.of(report, log_counts)
    shown: dict[float, tuple[ScaleReport, str]] = {}
    for other, kind in others:
        if other.high != report.chosen.high:
            shown.setdefault(other.high, (other, kind))
    sheet = Sheet(
        HEIGHT, "SiLU's input histogram, its curve, its output histogram, and the INT8 codes"
    )
    _draw_axes(sheet, drawing)
    _draw_input(sheet, drawing)
    _draw_output(sheet, drawing)
    _draw_alpha_ladder(sheet, drawing)
    _draw_curve(sheet, drawing)
    _draw_close_up(sheet, drawing)
    _draw_ruler(sheet, drawing)
    _draw_cuts(sheet, drawing, list(shown.values()))
    return sheet


@overload
def silu(v: float) -> float: ...
@overload
def silu(v: np.ndarray) -> np.ndarray: ...
def silu(v: float | np.ndarray) -> float | np.ndarray:
    return v / (1.0 + np.exp(-np.clip(v, -700.0, 700.0)))


def preimage(y: float) -> float:
    """The v > -1.278 with SiLU(v) = y, for y at SiLU's minimum or above."""
    return _solve(y, SILU_ARGMIN, max(1.0, y + 1.0))


def left_preimage(y: float) -> float:
    """The v < -1.278 with SiLU(v) = y, for y between SiLU's minimum and 0."""
    return _solve(y, SILU_ARGMIN, -60.0)


def _solve(y: float, low: float, high: float) -> float:
    """v between ``low``, where SiLU is below y, and ``high``, where it is above: by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if silu(middle) < y else (low, middle)
    return high


@dataclass(frozen=True, eq=False)
class _Drawing:
    """The report, and where its values lie: the same for every α, so that the axes hold still."""

    report: SliceReport
    v_edges: np.ndarray
    v_heights: np.ndarray
    y_edges: np.ndarray
    y_heights: np.ndarray
    y_axis: float  # value at which the v axis is drawn
    curve: Panel
    input: Panel
    output: Panel
    ruler: Panel
    inset: Panel
    count_ticks: tuple  # of the input and of the output

    @staticmethod
    def of(report: SliceReport, log_counts: bool) -> _Drawing:
        y_max = max(report.silu_output.max, 1e-3)
        y_min = min(report.silu_output.min, 0.0)
        top = max(y_max, report.chosen.high, 0.1)
        y_high = 1.055 * top
        y_axis = y_min - 0.03 * top
        y_range = ((y_axis - INPUT_SHARE * y_high) / (1 - INPUT_SHARE), y_high)
        v_max = max(report.silu_input.max, preimage(top), 0.5)
        # SiLU folds what lies far to the left onto 0, and the close-up wants room there.
        v_low = -min(max(-report.silu_input.min, 0.9 * v_max), 1.5 * v_max) * 1.03
        v_range = (v_low, 1.06 * v_max)
        y_edges = np.linspace(y_min, y_max, BINS)
        v_edges = np.linspace(v_low, max(report.silu_input.max, 1e-3), BINS)
        y_heights = count_height(report.silu_output.rebin(y_edges), log_counts)
        v_heights = count_height(report.silu_input.rebin(v_edges), log_counts)
        y_top, v_top = 1.12 * max(y_heights.max(), 1e-9), 1.08 * max(v_heights.max(), 1e-9)
        input_top = BOTTOM + (TOP - BOTTOM) * (INPUT_SHARE - INPUT_GAP)
        return _Drawing(
            report=report,
            v_edges=v_edges,
            v_heights=v_heights,
            y_edges=y_edges,
            y_heights=y_heights,
            y_axis=y_axis,
            curve=Panel(*CURVE, BOTTOM, TOP, v_range, y_range),
            input=Panel(*CURVE, BOTTOM, input_top, v_range, (v_top, 0.0)),
            output=Panel(*OUTPUT, BOTTOM, TOP, (0.0, y_top), y_range),
            ruler=Panel(*RULER, BOTTOM, TOP, (0.0, 2.4), y_range),
            inset=Panel(*INSET, CLOSE_UP, CLOSE_UP_Y),
            count_ticks=(count_ticks(v_top, log_counts), count_ticks(y_top, log_counts)),
        )

    @property
    def scale(self) -> float:
        return self.report.chosen.x_out_scale

    @property
    def y_cut(self) -> float:
        return self.report.chosen.high

    @property
    def y_floor(self) -> float:
        return self.report.chosen.low

    @property
    def y_low(self) -> float:
        return self.curve.y_range[0]

    @property
    def pixels(self) -> float:
        """Height of one code."""
        low, high = self.curve.y_range
        return HEIGHT * (TOP - BOTTOM) * self.scale / (high - low)


def _draw_axes(sheet: Sheet, drawing: _Drawing) -> None:
    curve = drawing.curve
    for tick in nice_ticks(0, curve.y_range[1], 6):
        sheet.line(CURVE, curve.y([tick, tick]), "grid")
        if curve.y(tick) < TOP - 0.03:  # below the heading
            sheet.text(0, curve.y(tick), f"{tick:g}", anchor="top right", size=12)
    at = float(curve.y(drawing.y_axis))
    sheet.line(CURVE, [at, at], "line")
    for tick in nice_ticks(*curve.x_range, 8):
        x = curve.x(tick)
        sheet.line([x, x], [at, at - 0.007], "line")
        if 0.01 < x < CURVE[1] - 0.01:
            sheet.text(x, at - 0.008, signed(tick, 0) if tick % 1 == 0 else f"{tick:g}",
                       anchor="bottom center", size=12)  # fmt: skip
    sheet.text(0, TOP + 0.004, "SiLU output y", anchor="top right")
    sheet.text(1, TOP + 0.004, "code", anchor="top left")
    sheet.text(0, drawing.input.bottom + 0.05, "SiLU input v\n(conv output)",
               anchor="middle right")  # fmt: skip
    for count, name in drawing.count_ticks[0]:
        sheet.text(CURVE[1], drawing.input.y(count), name, anchor="middle left", size=10.5)
    for count, name in drawing.count_ticks[1]:
        sheet.text(drawing.output.x(count), BOTTOM, name, anchor="bottom center", size=10.5)


def _draw_input(sheet: Sheet, drawing: _Drawing) -> None:
    """Hanging under the curve; what saturates in its colour, and what each half turns into."""
    panel, report = drawing.input, drawing.report
    v_cut = preimage(drawing.y_cut)
    kept = [(-np.inf, v_cut)]
    lost = [(v_cut, np.inf)]
    if drawing.y_floor > SILU_MIN:  # a tiny scale: SiLU's bend lies below code -128
        left, right = left_preimage(drawing.y_floor), preimage(drawing.y_floor)
        kept = [(-np.inf, left), (right, v_cut)]
        lost.append((left, right))
    for colour, parts in (("input", kept), ("saturated", lost)):
        for low, high in parts:
            position, height = steps(drawing.v_edges, drawing.v_heights, low, high)
            sheet.area(panel.x(position), panel.y(height), colour)
    at_zero = drawing.v_heights[np.searchsorted(drawing.v_edges, 0.0) - 1]
    sheet.line(panel.x([0, 0]), panel.y([0, at_zero]), "on-input")

    negative = report.silu_input.share_within(-np.inf, -1e-12)
    ends = [min(report.silu_output.min, 0.0), max(report.silu_output.max, 0.0)]
    least, most = report.chosen.codes(ends)
    # Unseen on the histogram, the halo keeps the text legible where the histogram is narrow.
    y = panel.bottom + 0.64 * (panel.top - panel.bottom)
    for x, anchor, words in (
        (-0.008, "middle left", f"{percent(negative)} negative\n→ codes {signed(least, 0)} … 0"),
        (0.008, "middle right", f"{percent(1 - negative)} positive\n→ codes 0 … {most}"),
    ):
        sheet.text(panel.x(0) + x, y, words, "on-input", anchor, halo="input")
    folded = report.silu_input.share_within(-np.inf, panel.x_range[0])
    if folded > 0:
        sheet.text(0, panel.top - 0.02, f"← {percent(folded)} further left", anchor="middle right")


def _draw_output(sheet: Sheet, drawing: _Drawing) -> None:
    """Lying along the y axis, over the hatched codes that no output reaches."""
    panel = drawing.output
    for colour, low, high in (
        ("output", drawing.y_floor, drawing.y_cut),
        ("saturated", drawing.y_cut, np.inf),
        ("saturated", -np.inf, drawing.y_floor),
    ):
        position, height = steps(drawing.y_edges, drawing.y_heights, low, high)
        sheet.area(panel.x(height), panel.y(position), colour)
    counts = drawing.report.silu_output.rebin(drawing.y_edges)
    middles = (drawing.y_edges[:-1] + drawing.y_edges[1:]) / 2
    codes = drawing.report.chosen.codes(middles)
    for i in np.flatnonzero(counts):
        told = f"y ≈ {signed(middles[i], 3)}, code {signed(codes[i], 0)}\n{counts[i]:,} values"
        sheet.hover(panel.x([0.0, drawing.y_heights[i]]), panel.y(middles[i]), told)

    saturated = int(drawing.report.chosen.output.saturated)
    if saturated:
        above = max(drawing.report.silu_output.max - drawing.y_cut, 0.06 * panel.y_range[1])
        words = f"{saturated:,} values\nsaturate"
        y = panel.y(drawing.y_cut + 0.6 * above)
        sheet.text(OUTPUT[1] - 0.004, y, words, "saturated", "middle left", halo="page")
    stranded = drawing.report.chosen.stranded_codes
    if not stranded:
        return
    bottom = float(panel.y(max(drawing.y_floor, drawing.y_low)))
    top = float(panel.y(SILU_MIN))
    left, right = OUTPUT
    sheet.hatch([left, right, right, left], [bottom, bottom, top, top], "stranded")
    if top - bottom > 0.12:
        sheet.text((left + right) / 2, (bottom + top) / 2,
                   f"{stranded} codes stranded:\nSiLU never goes\nbelow {signed(SILU_MIN, 4)}",
                   "text", halo="page")  # fmt: skip


def _draw_alpha_ladder(sheet: Sheet, drawing: _Drawing) -> None:
    """Where |y| reaches its α-quantile, for round α; rungs that would touch are left out."""
    output = drawing.report.silu_output
    rungs = [(output.absmax, "α 1")]
    rungs += [
        (output.abs.quantile(alpha), np.format_float_positional(alpha))
        for alpha in LADDER
        if 1 - alpha >= 1 / output.total
    ]
    last = np.inf
    for value, name in rungs:
        at = float(drawing.output.y(value))
        if last - at > 0.026:
            sheet.text(OUTPUT[0], at, f"{name} –", anchor="middle left", size=11, halo="page")
            last = at


def _draw_curve(sheet: Sheet, drawing: _Drawing) -> None:
    """SiLU as the kernel gives it, clamped at the cut, and the ideal above it."""
    panel = drawing.curve
    v = np.linspace(*panel.x_range, 300)
    clamped = np.clip(silu(v), drawing.y_floor, drawing.y_cut)
    sheet.line(panel.x(v), panel.y(clamped), "output", 2.6)
    y_max = drawing.report.silu_output.max
    if drawing.y_cut >= y_max:
        return
    beyond = np.linspace(preimage(drawing.y_cut), drawing.report.silu_input.max, 40)
    ideal = panel.y(silu(beyond))
    cut = np.full(40, float(panel.y(drawing.y_cut)))
    sheet.area(np.concatenate([panel.x(beyond), panel.x(beyond)[::-1]]),
               np.concatenate([ideal, cut]), "saturated", 0.14)  # fmt: skip
    sheet.line(panel.x(beyond), ideal, "muted", 1.4, "1 3")
    if ideal[-1] - cut[-1] > 0.08:
        sheet.text(panel.x(beyond[-1]), cut[-1] + 0.018, "clipped", "saturated",
                   "middle left")  # fmt: skip


def _draw_close_up(sheet: Sheet, drawing: _Drawing) -> None:
    """The staircase itself, too fine to see on the whole curve, tied to its place there."""
    panel, curve = drawing.inset, drawing.curve
    v = np.linspace(*CLOSE_UP, 900)
    y = silu(v)
    codes = drawing.report.chosen.codes(y)
    sheet.line(panel.x(v[::20]), panel.y(y[::20]), "muted", 1, "1 3")
    zero = drawing.report.chosen.zero_point
    sheet.line(panel.x(v), panel.y((codes - zero) * drawing.scale), "output", 1.6)

    left, right, bottom, top = INSET
    sheet.line([left, right, right, left, left], [bottom, bottom, top, top, bottom], "line")
    window = (*curve.x(CLOSE_UP), *curve.y(CLOSE_UP_Y))
    sheet.line([window[0], window[1], window[1], window[0], window[0]],
               [window[2], window[2], window[3], window[3], window[2]], "line")  # fmt: skip
    sheet.line([left, window[0]], [bottom, window[3]], "line")
    sheet.line([right, window[1]], [bottom, window[3]], "line")
    sheet.text(left, top + 0.003, f"Close-up: each step is one code, {scale_text(drawing.scale)}",
               anchor="top right")  # fmt: skip
    share = drawing.report.silu_input.share_within(*CLOSE_UP)
    sheet.text(left + 0.008, top - 0.012, f"{percent(share)} of all values\nfall in this window",
               anchor="bottom right")  # fmt: skip
    step_pixels = HEIGHT * (top - bottom) / np.ptp(CLOSE_UP_Y) * drawing.scale
    step = next((c for c in (8, 16, 32, 64, QMAX) if c * step_pixels >= 13), None)
    for steps_off in (0,) if step is None else (-step, 0, step):
        if abs(steps_off) * drawing.scale < 0.3 and zero + steps_off >= QMIN:
            sheet.text(right + 0.002, panel.y(steps_off * drawing.scale),
                       signed(zero + steps_off, 0), anchor="middle right", size=10.5)  # fmt: skip


def _draw_ruler(sheet: Sheet, drawing: _Drawing) -> None:
    """Codes along the y axis, in real units, so that the ruler grows and shrinks with the scale."""
    panel, pixels = drawing.ruler, drawing.pixels
    fits = drawing.y_floor > drawing.y_low
    step = next((s for s in (1, 2, 4, 8, 16, 32, 64) if s * pixels >= 10), 128)
    ends = [QMAX, QMIN] if fits and (QMAX - QMIN) * pixels > 14 else [QMAX]
    for code in {*range(QMIN, QMAX + 1, step), QMAX}:
        value = (code - drawing.report.chosen.zero_point) * drawing.scale
        if value <= drawing.y_low:
            continue
        at = float(panel.y(value))
        apart = (QMAX - code) * pixels > 12 and (at - BOTTOM) * HEIGHT > 20
        named = code in ends or (code % (2 * step) == 0 and apart)
        sheet.line(panel.x([0.0, 0.5 if named else 0.28]), [at, at], "muted")
        if named:
            label = signed(code, 0)
            sheet.text(panel.x(0.62), at, label, "text" if code in ends else "muted",
                       "middle right", 11, bold=code in ends)  # fmt: skip
    low = max(drawing.y_floor, drawing.y_low)
    sheet.line(panel.x([0, 0]), panel.y([low, drawing.y_cut]), "muted")
    if not fits:
        sheet.text(panel.x(0.1), BOTTOM + 0.004, "↓ −128", anchor="top right", size=11)


def _draw_cuts(sheet: Sheet, drawing: _Drawing, others: Sequence[tuple[ScaleReport, str]]) -> None:
    """From the ruler through the output histogram to the curve, and down to the input.

    Each is named where its line meets the curve, in the empty upper left.
    """
    curve = drawing.curve
    cuts = [*reversed(others), (drawing.report.chosen, "chosen")]  # the chosen one on top
    heights = spread([float(curve.y(cut.high)) for cut, _ in cuts], 17 / HEIGHT)
    for (cut, kind), height in zip(cuts, heights, strict=True):
        x, y = float(curve.x(preimage(cut.high))), float(curve.y(cut.high))
        sheet.line([RULER[0], x, x], [y, y, BOTTOM + 0.07], *CUTS[kind])
        name = f"best {cut.short}" if kind == "best" else cut.short
        ink = {"chosen": "text", "beside": "text", "best": "best"}.get(kind, "muted")
        sheet.text(x - 0.008, height + (0.012 if cut.observer == "scale-wx" else 0),
                   f"{name} cuts at {scale_text(cut.high)}", ink, "middle left",
                   bold=kind in ("chosen", "best"))  # fmt: skip
