"""The transfer figure: what happens to a value between SiLU's input and its INT8 code.

Three drawings share two axes. The input histogram hangs under SiLU's curve, on the curve's v axis;
the output histogram stands at its right, on the curve's y axis; the ruler of codes beside it is the
same y axis in units of the scale. A cut is one horizontal line, read alike as a value, as an α on
the ladder and as code 127 on the ruler, and one vertical line down to its preimage on the input.

Words stand where no curve can come: over the panels, under them, on the axes, or to the left of
SiLU's curve, which only rises there (``cut_labels``).
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import SILU_MIN, ScaleReport, SliceReport
from dashboard.figures.theme import (
    SentFigure,
    area,
    box,
    count_height,
    count_ticks,
    hatch,
    hover,
    label,
    line,
    nice_ticks,
    sensors,
    steps,
    text_width,
    texts,
    tick_text,
    whole_figure,
    wrapped,
)
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text, signed
from kernels.int8 import QMAX, QMIN

SILU_ARGMIN = -1.2784645427610738  # where SiLU is least

HEIGHT = 620  # px
MARGIN = {"l": 34, "r": 0, "t": 24, "b": 42}
INSIDE = HEIGHT - MARGIN["t"] - MARGIN["b"]  # px, of the panels together
# Of the width between the margins: the curve with the input histogram under it, and the rest.
CURVE, RIGHT = (0.0, 0.69), (0.69, 1.0)
# Of the right part: the ladder of α, the output histogram, the ruler of codes.
OUTPUT, RULER = (0.22, 0.78), 0.78
INPUT_SHARE = 0.33  # of the height: everything under the curve
AXIS = 42  # px between the curve and the input histogram: the numbers of v, and its name
INSET = ((0.0, 0.185), (0.7, 0.9))  # the close-up's x and y, of the whole
WIDTH = 868  # px: the width that labels are placed for; they fit wider figures too, and down to 700
MARGIN_FOR_CUTS = 1.01  # times the greatest value: a cut up to here does not move the axis
BINS = 200

LADDER = (0.999999, 0.99999, 0.9999, 0.999, 0.99, 0.9)
# The close-up: SiLU's bend, or where the values are small, as much of them.
BEND = (-2.7, 0.5)

# How a cut is drawn: colour, width in px, dashes.
CUTS = {
    "chosen": ("chosen", 2.0, "solid"),
    "beside": ("chosen", 1.6, "dot"),
    "best": ("best", 1.6, "solid"),
    "baseline": ("baseline", 1.2, "dash"),
}
LABEL_GAP = 17  # px between the middles of two cuts' names
LABEL_WIDTH = 195  # px, at most
LIST_WIDTH = 345  # px, on a phone


def transfer(
    report: SliceReport,
    others: Sequence[tuple[ScaleReport, str]],
    log_counts: bool,
    say: Language,
) -> go.Figure | SentFigure:
    """SiLU's input histogram, the curve as the kernel clamps it, its output histogram and codes.

    Args:
        report: the slice under the chosen scale.
        others: scales whose cuts are drawn too, each with one of ``CUTS``; one that coincides with
            the chosen scale, or with one before it, is left out.
        log_counts: whether the histograms' counts are drawn logarithmically.
    """
    cuts = [(report.chosen, "chosen"), *others]
    space = Space.of(report, [cut for cut, _ in cuts], log_counts)
    chosen = report.chosen
    traces = [
        *_input(space, chosen, say),
        *_output(space, chosen, say),
        ladder(space, [cut for cut, _ in cuts]),
        *_curve(space, chosen, say),
        *_close_up(space, chosen),
        *ruler(space, chosen),
        *cut_lines(space, cuts, say),
    ]
    words = all_words(space, cuts, say)
    return whole_figure(
        HEIGHT,
        _alt(report, say),
        traces,
        margin=MARGIN,
        uirevision=f"{report.silu_output.total} {report.silu_output.max} {report.silu_input.max}",
        **_axes(space),
        shapes=[
            box(space.window_v, space.window_y, "panel", axes=("x", "y"), layer="below"),
            box(*INSET, "panel", layer="below"),
        ],
        annotations=words,
        meta={
            "linked": {"yaxis3": ["yaxis", INPUT_SHARE / (1 - INPUT_SHARE)]},
            "narrow": _narrow(space, traces, words, cut_labels(space, cuts, say)),
        },
    )


def all_words(
    space: Space, cuts: Sequence[tuple[ScaleReport, str]], say: Language
) -> list[dict[str, Any]]:
    """Every annotation of the figure; the chosen cut is the first."""
    chosen = cuts[0][0]
    return [
        *_headings(space, chosen, say),
        *_close_up_words(space, chosen, say),
        *_input_words(space, chosen, say),
        *_cut_words(space, cuts, say),
    ]


def _coincides(cuts: Sequence[tuple[ScaleReport, str]]) -> list[bool]:
    """Of every cut, whether one before it is at the same value, so that it needs no name."""
    values = [cut.high for cut, _ in cuts]
    return [value in values[:i] for i, value in enumerate(values)]


def silu(v: np.ndarray) -> np.ndarray:
    """SiLU of many values, float64."""
    return v / (1.0 + np.exp(-np.clip(v, -700.0, 700.0)))


def silu_at(v: float) -> float:
    """SiLU of one value: the same in a tenth of the time, for what searches."""
    return v / (1.0 + math.exp(-min(max(v, -700.0), 700.0)))


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
        low, high = (middle, high) if silu_at(middle) < y else (low, middle)
    return high


@dataclass(frozen=True, eq=False)
class Space:
    """Where values lie: the same for every α, so that the axes hold still."""

    report: SliceReport
    v_edges: np.ndarray
    v_heights: np.ndarray
    y_edges: np.ndarray
    y_heights: np.ndarray
    v_range: tuple[float, float]
    y_range: tuple[float, float]  # of the curve; the output's reaches lower
    v_top: float  # the height at which an axis of counts ends
    y_top: float
    window_v: tuple[float, float]  # of the close-up
    window_y: tuple[float, float]
    log_counts: bool

    @staticmethod
    def of(report: SliceReport, cuts: Sequence[ScaleReport], log_counts: bool) -> Space:
        silu_input, silu_output = report.silu_input, report.silu_output
        # A zero point is rounded: an asymmetric cut may lie a step beyond all values.
        beyond = [cut.high for cut in cuts if cut.high > MARGIN_FOR_CUTS * silu_output.absmax]
        top = max(silu_output.absmax, *beyond, 1e-6)
        v_max = max(silu_input.max, preimage(top))
        # SiLU folds what lies far to the left onto 0, and the close-up wants room there.
        v_low = -min(max(-silu_input.min, 0.9 * v_max), 1.5 * v_max) * 1.03
        # float16 may round a value to just below SiLU's minimum.
        y_min = min(silu_at(max(v_low, SILU_ARGMIN)), silu_output.min)
        y_edges = np.linspace(y_min, max(silu_output.max, 1e-3 * top), BINS)
        v_edges = np.linspace(v_low, max(silu_input.max, 1e-3 * v_max), BINS)
        y_heights = count_height(silu_output.rebin(y_edges), log_counts)
        v_heights = count_height(silu_input.rebin(v_edges), log_counts)
        window_v = (max(BEND[0], 0.6 * v_low), min(BEND[1], 0.3 * v_max))
        seen = silu(np.linspace(*window_v, 50))
        rim = 0.08 * float(np.ptp(seen))
        return Space(
            report=report,
            v_edges=v_edges,
            v_heights=v_heights,
            y_edges=y_edges,
            y_heights=y_heights,
            v_range=(v_low, 1.06 * v_max),
            y_range=(y_min - 0.03 * top, 1.055 * top),
            v_top=1.08 * max(float(v_heights.max()), 0.1),
            y_top=1.12 * max(float(y_heights.max()), 0.1),
            window_v=window_v,
            window_y=(float(seen.min()) - rim, float(seen.max()) + rim),
            log_counts=log_counts,
        )

    @property
    def low(self) -> float:
        """Where the output's axis ends, at the bottom of the figure."""
        bottom, top = self.y_range
        return bottom - (top - bottom) * INPUT_SHARE / (1 - INPUT_SHARE)

    def up(self, y: float) -> float:
        """A value's height in px, above the bottom of the panels."""
        return INSIDE * (y - self.low) / (self.y_range[1] - self.low)

    def value_at(self, up: float) -> float:
        """The value at a height in px."""
        return self.low + (self.y_range[1] - self.low) * up / INSIDE

    def along(self, v: float, width: float = WIDTH) -> float:
        """Where a v lies in a figure of some width, in px from the left of the panels."""
        low, high = self.v_range
        return CURVE[1] * (width - MARGIN["l"]) * (v - low) / (high - low)

    def across(self, height: float | np.ndarray) -> float | np.ndarray:
        """A count's height in the output histogram, as a share of what is right of the curve."""
        return OUTPUT[0] + (OUTPUT[1] - OUTPUT[0]) * np.asarray(height) / self.y_top


def _alt(report: SliceReport, say: Language) -> str:
    output = report.chosen.output
    return say(
        "SiLU's input histogram, its curve, its output histogram, and the INT8 codes. {rule} cuts "
        "at {cut}: {saturated} of {total} values saturate, {codes} of 256 codes are used, "
        "{stranded} can never occur.",
        rule=say(report.chosen.label),
        cut=scale_text(report.chosen.high),
        saturated=f"{int(output.saturated):,}",
        total=f"{int(output.total):,}",
        codes=int(output.codes_used),
        stranded=report.chosen.stranded_codes,
    )


def _axes(space: Space) -> dict[str, Any]:
    v_ticks = nice_ticks(*space.v_range, 8)
    y_ticks = nice_ticks(0, space.y_range[1], 6)
    counts_v = count_ticks(space.v_top, space.log_counts)
    counts_y = count_ticks(space.y_top, space.log_counts)
    return {
        "xaxis": {
            "domain": CURVE,
            "anchor": "y",
            "range": space.v_range,
            "fixedrange": False,
            "showline": True,
            "ticks": "outside",
            "ticklen": 4,
            "tickvals": v_ticks,
            "ticktext": [tick_text(tick) for tick in v_ticks],
        },
        "yaxis": {
            "domain": (INPUT_SHARE, 1.0),
            "anchor": "x",
            "range": space.y_range,
            "fixedrange": False,
            "showgrid": True,
            "tickvals": y_ticks,
            "ticktext": [tick_text(tick) for tick in y_ticks],
        },
        "yaxis2": {
            "domain": (0.0, INPUT_SHARE - AXIS / INSIDE),
            "anchor": "x",
            "side": "right",
            "range": (space.v_top, 0.0),
            "tickfont": {"size": 10.5},
            "tickvals": [height for height, _ in counts_v],
            "ticktext": [name for _, name in counts_v],
        },
        "xaxis3": {
            "domain": RIGHT,
            "anchor": "y3",
            "range": (0.0, 1.0),
            "tickfont": {"size": 10.5},
            "tickvals": [float(space.across(height)) for height, _ in counts_y],
            "ticktext": [name for _, name in counts_y],
        },
        "yaxis3": {
            "domain": (0.0, 1.0),
            "anchor": "x3",
            "range": (space.low, space.y_range[1]),
            "showticklabels": False,
        },
        "xaxis4": {
            "domain": INSET[0],
            "anchor": "y4",
            "range": space.window_v,
            "showticklabels": False,
        },
        "yaxis4": {
            "domain": INSET[1],
            "anchor": "x4",
            "range": space.window_y,
            "showticklabels": False,
        },
    }


def _headings(space: Space, chosen: ScaleReport, say: Language) -> list[dict[str, Any]]:
    saturated = int(chosen.output.saturated)
    words = say("{count} values saturate", count=f"{saturated:,}")
    headings = [
        label(0, 1, say("SiLU output y"), anchor="top right", yshift=4),
        label(RULER_X, 0, say("code"), anchor="bottom right", size=11, yshift=-20, name="under"),
        label(sum(OUTPUT_X) / 2, 0, say("values"), anchor="bottom center", size=11, yshift=-20,
              name="under"),
        label(1, 1, words, "saturated", "top left", yshift=4, name="saturated",
              **shown(saturated > 0)),
    ]  # fmt: skip
    stranded = chosen.stranded_codes
    bottom, top = space.up(max(chosen.low, space.low)), space.up(SILU_MIN)
    words = say(
        "{count} codes stranded:\nSiLU never goes\nbelow {floor}",
        count=stranded,
        floor=signed(SILU_MIN, 4),
    )
    middle = space.value_at((bottom + top) / 2)
    place: dict[str, Any] = {"axes": ("x3", "y3"), "halo": True, "name": "stranded"}
    seen = shown(stranded > 0 and top - bottom > 64)
    return [*headings, label(sum(OUTPUT) / 2, middle, words, "text", **place, **seen)]


def shown(whether: bool) -> dict[str, Any]:
    """For a word that has no place under every scale: it is there all the same, unseen."""
    return {} if whether else {"opacity": 0}


# Of the whole width: the output histogram's ends, and where the ruler begins.
OUTPUT_X = tuple(RIGHT[0] + (RIGHT[1] - RIGHT[0]) * share for share in OUTPUT)
RULER_X = RIGHT[0] + (RIGHT[1] - RIGHT[0]) * RULER


def _close_up_words(space: Space, chosen: ScaleReport, say: Language) -> list[dict[str, Any]]:
    share = space.report.silu_input.share_within(*space.window_v)
    words = say(
        "Close-up: each step is one code, {scale}\n{share} of all values fall in this window",
        scale=scale_text(chosen.x_out_scale),
        share=percent(share),
    )
    (left, right), (_, top) = INSET
    words_above = label(left, top, words, anchor="top right", size=11, name="close-up")
    zero, step = chosen.zero_point, _close_up_step(space, chosen)
    rim = 0.08 * (space.window_y[1] - space.window_y[0])  # half a number's height
    low, high = space.window_y[0] + rim, space.window_y[1] - rim
    numbers = []
    for nth, off in enumerate((0, -(step or 0), step or 0)):
        y = off * chosen.x_out_scale
        seen = low < y < high and zero + off >= QMIN and (off != 0 or nth == 0)
        numbers.append(
            label(
                right,
                y if seen else (low + high) / 2,
                signed(zero + off, 0),
                axes=("paper", "y4"),
                anchor="middle right",
                size=10.5,
                name=f"close-up code {nth}",
                **shown(seen),
            )
        )
    return [words_above, *numbers]


def _close_up_step(space: Space, chosen: ScaleReport) -> int | None:
    """How many codes lie between two that are named beside the close-up."""
    tall = INSIDE * (INSET[1][1] - INSET[1][0])
    pixels = tall * chosen.x_out_scale / (space.window_y[1] - space.window_y[0])
    return next((codes for codes in (1, 2, 4, 8, 16, 32, 64, QMAX) if codes * pixels >= 14), None)


def _input_words(space: Space, chosen: ScaleReport, say: Language) -> list[dict[str, Any]]:
    """Over the input histogram its name, under it what each half turns into."""
    report = space.report
    negative = report.silu_input.share_within(-np.inf, -1e-12)
    ends = [min(report.silu_output.min, 0.0), max(report.silu_output.max, 0.0)]
    least, most = chosen.codes(ends)
    zero = chosen.zero_point
    name = label(
        CURVE[1],
        INPUT_SHARE,
        say("SiLU input v (conv output)"),
        anchor="bottom left",
        size=12,
        yshift=-22,
        name="over",
    )
    words = [name]
    halves = (
        say(
            "{share} negative → codes {low} … {high}",
            share=percent(negative),
            low=signed(least, 0),
            high=signed(zero, 0),
        ),
        say(
            "{share} positive → codes {low} … {high}",
            share=percent(1 - negative),
            low=signed(zero, 0),
            high=signed(most, 0),
        ),
    )
    for side, text in zip(("left", "right"), halves, strict=True):
        words.append(
            label(
                0,
                0,
                text,
                anchor=f"bottom {side}",
                size=12,
                axes=("x", "paper"),
                yshift=-4,
                xshift=-5 if side == "left" else 5,
                name=f"half {side}",
            )
        )
    folded = report.silu_input.share_within(-np.inf, space.v_range[0])
    if folded > 0:
        further = say("← {share} further left", share=percent(folded))
        words.append(
            label(
                0, INPUT_SHARE, further, anchor="bottom right", size=12, yshift=-22, name="further"
            )
        )
    return words


@dataclass(frozen=True)
class CutLabel:
    """A cut's name: its text, and where its right end lies, clear of curve and close-up."""

    text: str
    v: float
    y: float  # of its middle
    listed: str  # its text where it has a line to itself
    bold: bool
    hidden: bool  # another's name stands at its value


def cut_labels(
    space: Space, cuts: Sequence[tuple[ScaleReport, str]], say: Language
) -> list[CutLabel]:
    """The cuts' names, each to the left of the curve at its own height, none upon another.

    SiLU rises there, so that whatever lies left of where the curve passes a label's lower edge is
    clear of it. The least height is that of 0, for to the left the curve runs just under it.
    """
    hidden = _coincides(cuts)
    bold = [kind in ("chosen", "best") for _, kind in cuts]
    names, listed = [], []
    for (cut, kind), heavy in zip(cuts, bold, strict=True):
        short, value = say(cut.short), scale_text(cut.high)
        rule = say("best {rule}", rule=short) if kind == "best" else short
        name = say("{rule} cuts at {value}", rule=rule, value=value)
        fits = text_width(name, bold=heavy) < LIST_WIDTH
        listed.append(name if fits else f"{rule}: {value}")
        if text_width(name, bold=heavy) > LABEL_WIDTH:
            lines = wrapped(rule, LABEL_WIDTH, bold=heavy)
            name = say("{rule}\ncuts at {value}", rule=lines, value=value)
        names.append(name)
    tall = [
        0 if unseen else LABEL_GAP * (1 + name.count("\n"))
        for name, unseen in zip(names, hidden, strict=True)
    ]
    order = sorted(range(len(cuts)), key=lambda i: -cuts[i][0].high)
    middle = [space.up(cut.high) for cut, _ in cuts]
    ceiling = INSIDE - 2.0
    for i in order:
        middle[i] = min(middle[i], ceiling - tall[i] / 2)
        ceiling = middle[i] - tall[i] / 2
    floor = space.up(0.0) + 3
    for i in reversed(order):
        middle[i] = max(middle[i], floor + tall[i] / 2)
        floor = middle[i] + tall[i] / 2
    return [
        CutLabel(
            names[i],
            preimage(max(space.value_at(middle[i] - tall[i] / 2), 0.0)),
            space.value_at(middle[i]),
            listed[i],
            bold[i],
            hidden[i],
        )
        for i in range(len(cuts))
    ]


def _cut_words(
    space: Space, cuts: Sequence[tuple[ScaleReport, str]], say: Language
) -> list[dict[str, Any]]:
    words = []
    for place, (cut, kind) in zip(cut_labels(space, cuts, say), cuts, strict=True):
        concept = {"chosen": "text", "beside": "text", "best": "best"}.get(kind, "muted")
        name = "cut chosen" if kind == "chosen" else f"cut {kind} {cut.observer}"
        words.append(
            label(
                place.v,
                place.y,
                place.text,
                concept,
                "middle left",
                axes=("x", "y"),
                bold=place.bold,
                xshift=-6,
                borderpad=0,
                name=name,
                **shown(not place.hidden),
            )
        )
    room = _clipped_place(space, [cut.high for cut, _ in cuts])
    v, y = room or (0.0, 0.0)
    clipped = label(v, y, say("clipped"), "saturated", "middle left", axes=("x", "y"), xshift=-3,
                    name="clipped", **shown(room is not None))  # fmt: skip
    return [*words, clipped]


def _clipped_place(space: Space, cuts: Sequence[float]) -> tuple[float, float] | None:
    """Where "clipped" has room in the wedge above the chosen cut, between the others' lines."""
    chosen = cuts[0]
    top = space.report.silu_output.max
    higher = sorted(cut for cut in cuts if chosen < cut < top)
    ceiling = space.up(min([top, *higher]))
    bottom = space.up(chosen)
    if ceiling - bottom < 22:
        return None
    # The word's upper edge has to lie under the curve, its sides between two cuts' lines.
    middle = min((bottom + ceiling) / 2, bottom + 14)
    left_end = preimage(space.value_at(middle + 9))
    sides = [preimage(cut) for cut in (*higher, top)]
    need = text_width("clipped") + 8
    for right, left in zip(sides[::-1], [*sides[-2::-1], left_end], strict=True):
        begin = max(left, left_end)
        if space.along(right, 700) - space.along(begin, 700) > need:
            return right, space.value_at(middle)
    return None


def kept_and_lost(
    space: Space, chosen: ScaleReport
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The stretches of v that have a code of their own, and those that saturate."""
    v_cut = preimage(chosen.high)
    if chosen.low <= SILU_MIN:
        return [(-np.inf, v_cut)], [(v_cut, np.inf)]
    # A tiny scale: SiLU's bend lies below code -128.
    left = left_preimage(chosen.low) if chosen.low < 0 else -np.inf
    right = preimage(chosen.low)
    return [(-np.inf, left), (right, v_cut)], [(left, right), (v_cut, np.inf)]


def _pieces(
    edges: np.ndarray, heights: np.ndarray, stretches: Sequence[tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """The histogram's outline over some stretches, parted by gaps."""
    places, tops = [np.zeros(0)], [np.zeros(0)]
    for low, high in stretches:
        place, top = steps(edges, heights, low, high)
        if len(place):
            places += [place, np.full(1, np.nan)]
            tops += [top, np.full(1, np.nan)]
    return np.concatenate(places)[:-1], np.concatenate(tops)[:-1]


def _input(space: Space, chosen: ScaleReport, say: Language) -> list[dict[str, Any]]:
    """Hanging under the curve; what saturates in its colour."""
    axes: dict[str, Any] = {"xaxis": "x", "yaxis": "y2"}
    kept, lost = kept_and_lost(space, chosen)
    traces = [
        area(*_pieces(space.v_edges, space.v_heights, stretches), concept, 0.9, name=name, **axes)
        for stretches, concept, name in (
            (kept, "input", "input kept"),
            (lost, "saturated", "input lost"),
        )
    ]
    at_zero = float(space.v_heights[np.searchsorted(space.v_edges, 0.0) - 1])
    traces.append(line([0, 0], [0, at_zero], "on-input", 1, **axes))
    counts = space.report.silu_input.rebin(space.v_edges)
    middles = (space.v_edges[:-1] + space.v_edges[1:]) / 2
    y = silu(middles)
    codes = chosen.codes(y)
    seen = np.flatnonzero(counts)
    gaps = {name: f"{{{name}}}" for name in ("v", "y", "code", "count")}
    words = say("v ≈ {v}, SiLU(v) {y}, code {code}\n{count} values", **gaps)
    v_digits, y_digits = _digits(space.v_edges), _digits(space.y_edges)
    hovers = [
        words.format(
            v=signed(middles[i], v_digits),
            y=signed(y[i], y_digits),
            code=signed(codes[i], 0),
            count=f"{counts[i]:,}",
        )
        for i in seen
    ]
    wide = float(space.v_edges[1] - space.v_edges[0])
    traces.append(
        sensors(middles[seen], wide, hovers, 0.0, np.maximum(space.v_heights[seen], 0.1), **axes)
    )
    return traces


def _digits(edges: np.ndarray) -> int:
    """As many digits as tell two bins apart."""
    digits = max(0, 1 - int(np.floor(np.log10(float(edges[1] - edges[0])))))
    return min(digits, 9)


def _output(space: Space, chosen: ScaleReport, say: Language) -> list[dict[str, Any]]:
    """Lying along the y axis, over the hatched codes that no output reaches."""
    axes: dict[str, Any] = {"xaxis": "x3", "yaxis": "y3"}
    traces = []
    for concept, stretches, name in (
        ("output", [(chosen.low, chosen.high)], "output kept"),
        ("saturated", [(-np.inf, chosen.low), (chosen.high, np.inf)], "output lost"),
    ):
        y, height = _pieces(space.y_edges, space.y_heights, stretches)
        traces.append(area(space.across(height), y, concept, name=name, **axes))
    left, right = OUTPUT
    traces.append(
        hatch(
            [left, right, right, left],
            stranded_heights(space, chosen),
            "stranded",
            name="stranded",
            **axes,
        )
    )
    counts = space.report.silu_output.rebin(space.y_edges)
    middles = (space.y_edges[:-1] + space.y_edges[1:]) / 2
    codes = chosen.codes(middles)
    seen = np.flatnonzero(counts)
    gaps = {name: f"{{{name}}}" for name in ("y", "code", "count")}
    words = say("y ≈ {y}, code {code}\n{count} values", **gaps)
    digits = _digits(space.y_edges)
    hovers = [
        words.format(
            y=signed(middles[i], digits),
            code=signed(codes[i], 0),
            count=f"{counts[i]:,}",
        )
        for i in seen
    ]
    tall = float(space.y_edges[1] - space.y_edges[0])
    ends = np.maximum(space.across(space.y_heights[seen]), left + 0.05)
    traces.append(sensors(middles[seen], tall, hovers, left, ends, upright=False, **axes))
    return traces


def stranded_heights(space: Space, chosen: ScaleReport) -> list[float]:
    """The corners of the hatched area, counter-clockwise from the bottom left."""
    bottom = max(chosen.low, space.low)
    top = SILU_MIN if chosen.stranded_codes else bottom
    return [bottom, bottom, top, top]


def ladder(space: Space, cuts: Sequence[ScaleReport]) -> dict[str, Any]:
    """Where |y| reaches its α-quantile, for round α; a rung at a cut or at another is left out."""
    output = space.report.silu_output
    rungs = [(output.absmax, "α 1")]
    rungs += [
        (output.abs.quantile(alpha), np.format_float_positional(alpha))
        for alpha in LADDER
        if 1 - alpha >= 1 / output.total
    ]
    lines = [space.up(cut.high) for cut in cuts]
    last = np.inf
    shown: list[tuple[float, str]] = []
    for value, name in rungs:
        up = space.up(value)
        if last - up > 16 and up > INSIDE * INPUT_SHARE and all(abs(up - cut) > 9 for cut in lines):
            shown.append((value, f"{name} –"))
            last = up
    return texts(
        [OUTPUT[0]] * len(shown),
        [value for value, _ in shown],
        [name for _, name in shown],
        position="middle left",
        xaxis="x3",
        yaxis="y3",
        name="ladder",
    )


def _curve(space: Space, chosen: ScaleReport, say: Language) -> list[dict[str, Any]]:
    """SiLU as the kernel gives it, clamped at the cut, and the ideal above it."""
    v = np.linspace(*space.v_range, 300)
    v_cut = preimage(chosen.high)
    most = max(space.report.silu_input.max, v_cut)
    beyond = np.linspace(v_cut, most, 40)
    ideal = silu(beyond)
    gaps = {name: f"{{{name}}}" for name in ("v", "y", "code", "back")}
    words = say("v {v}: SiLU(v) {y}, code {code}, which stands for {back}", **gaps)
    v_digits, y_digits = _digits(space.v_edges), _digits(space.y_edges)
    y = silu(v)
    codes = chosen.codes(y)
    back = (codes - chosen.zero_point) * chosen.x_out_scale
    hovers = [
        words.format(
            v=signed(v[i], v_digits),
            y=signed(y[i], y_digits),
            code=signed(codes[i], 0),
            back=signed(back[i], y_digits),
        )
        for i in range(len(v))
    ]
    return [
        area([*beyond, most], [*ideal, chosen.high], "saturated", 0.14, name="wedge"),
        line(beyond, ideal, "muted", 1.4, "dot", name="ideal"),
        line(
            v,
            np.clip(y, chosen.low, chosen.high),
            "output",
            2.6,
            name="curve",
            **hover(hovers),
        ),
    ]


def _close_up(space: Space, chosen: ScaleReport) -> list[dict[str, Any]]:
    """The staircase itself, too fine to see on the whole curve."""
    v = np.linspace(*space.window_v, 900)
    y = silu(v)
    axes: dict[str, Any] = {"xaxis": "x4", "yaxis": "y4"}
    stairs = (chosen.codes(y) - chosen.zero_point) * chosen.x_out_scale
    return [
        line(v[::20], y[::20], "muted", 1, "dot", **axes),
        line(v, stairs, "output", 1.6, name="stairs", **axes),
    ]


def ruler_marks(space: Space, chosen: ScaleReport) -> tuple[list[int], list[int]]:
    """The codes that have a mark on the ruler, and those of them that have a number."""
    pixels = space.up(chosen.x_out_scale) - space.up(0.0)
    step = next((s for s in (1, 2, 4, 8, 16, 32, 64) if s * pixels >= 10), 128)
    least = 0 if chosen.low >= space.low else 18  # px: below stands that −128 lies lower still
    marked, named = [], []
    for code in sorted({*range(QMIN, QMAX + 1, step), QMAX}):
        up = space.up((code - chosen.zero_point) * chosen.x_out_scale)
        if not least <= up <= INSIDE + 1:
            continue
        marked.append(code)
        apart = (QMAX - code) * pixels > 14
        clear = (code - QMIN) * pixels > 14 or chosen.low < space.low
        ends = code == QMAX or (code == QMIN and (QMAX - QMIN) * pixels > 14)
        if ends or (code % (2 * step) == 0 and apart and clear and up > 8 + least):
            named.append(code)
    return marked, named


def ruler(space: Space, chosen: ScaleReport) -> list[dict[str, Any]]:
    """Codes along the y axis, in real units, so that the ruler grows and shrinks with the scale."""
    axes: dict[str, Any] = {"xaxis": "x3", "yaxis": "y3"}
    marked, named = ruler_marks(space, chosen)
    values = {code: (code - chosen.zero_point) * chosen.x_out_scale for code in marked}
    low = max(chosen.low, space.low)
    x, y = [RULER, RULER, np.nan], [low, chosen.high, np.nan]
    for code in marked:
        x += [RULER, RULER + (0.06 if code in named else 0.035), np.nan]
        y += [values[code], values[code], np.nan]
    ends = [code for code in named if code in (QMIN, QMAX)]
    between = [code for code in named if code not in ends]
    traces = [line(x, y, "muted", 1, name="ruler", cliponaxis=False, **axes)]
    for codes, concept, name in (
        (between, "muted", "ruler numbers"),
        (ends, "text", "ruler ends"),
    ):
        words = [signed(code, 0) for code in codes]
        if concept == "text":
            words = [f"<b>{word}</b>" for word in words]
        traces.append(
            texts(
                [RULER + 0.065] * len(codes),
                [values[code] for code in codes],
                words,
                concept,
                name=name,
                **axes,
            )
        )
    if chosen.low < space.low:
        traces.append(
            texts(
                [RULER + 0.02],
                [space.low],
                ["↓ −128"],
                position="top right",
                name="ruler below",
                **axes,
            )
        )
    return traces


def cut_lines(
    space: Space, cuts: Sequence[tuple[ScaleReport, str]], say: Language
) -> list[dict[str, Any]]:
    """From the ruler through the output histogram to the curve, and down to the input.

    The lines are interrupted where the numbers of the v axis stand.
    """
    traces = []
    for cut, kind in reversed(cuts):  # the chosen one on top
        style = CUTS[kind]
        v = preimage(cut.high)
        words = say("{rule} cuts at {value}", rule=say(cut.label), value=scale_text(cut.high))
        rest: dict[str, Any] = {"hovertemplate": words, "name": f"line {kind}"}
        bottom = space.y_range[0]
        traces += [
            line([v, v, space.v_range[1]], [bottom, cut.high, cut.high], *style, **rest),
            line([v, v], [0, space.v_top], *style, xaxis="x", yaxis="y2", **rest),
            line([0, RULER], [cut.high] * 2, *style, xaxis="x3", yaxis="y3", **rest),
        ]
    return traces


# On a phone the close-up has a row of its own, at the bottom, and the cuts' names have a list.
NARROW_BLOCK = 210  # px
NARROW_ENDS = (0.66, 1.0)


def _narrow(
    space: Space,
    traces: Sequence[dict[str, Any]],
    words: Sequence[dict[str, Any]],
    labels: Sequence[CutLabel],
) -> dict[str, Any]:
    """What is different where there is no room for words beside the curve."""
    places = [i for i, word in enumerate(words) if str(word.get("name")).startswith("cut ")]
    shown = [(i, place) for i, place in zip(places, labels, strict=True) if not place.hidden]
    inside = INSIDE + NARROW_BLOCK
    bottom = NARROW_BLOCK / inside
    left, right = NARROW_ENDS
    v_ticks = nice_ticks(*space.v_range, 3)

    def up(share: float) -> float:
        return bottom + (1 - bottom) * share

    top = MARGIN["t"] + LABEL_GAP * len(shown)
    close_up = (0.02, bottom - 0.115)
    narrow: dict[str, Any] = {
        "height": inside + top + 8,
        "margin.t": top,
        "margin.b": 8,
        "margin.r": 12,
        "xaxis.domain": [0.0, left],
        "xaxis.tickvals": v_ticks.tolist(),
        "xaxis.ticktext": [tick_text(tick) for tick in v_ticks],
        "xaxis3.domain": [left, right],
        "yaxis.domain": [up(INPUT_SHARE), 1.0],
        "yaxis2.domain": [bottom, up(INPUT_SHARE - AXIS / INSIDE)],
        "yaxis3.domain": [bottom, 1.0],
        "xaxis4.domain": [0.0, left],
        "yaxis4.domain": list(close_up),
        "shapes[1].x0": 0.0,
        "shapes[1].x1": left,
        "shapes[1].y0": close_up[0],
        "shapes[1].y1": close_up[1],
    }
    for row, (i, place) in enumerate(shown):
        line = html.escape(place.listed, quote=False)
        narrow |= {
            f"annotations[{i}].{key}": value
            for key, value in {
                "text": f"<b>{line}</b>" if place.bold else line,
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": 1,
                "xshift": 0,
                "xanchor": "left",
                "yanchor": "bottom",
                "yshift": 22 + LABEL_GAP * (len(shown) - 1 - row),
            }.items()
        }
    halves = 0
    for i, word in enumerate(words):
        moved: dict[str, Any] = {}
        if str(word.get("name")).startswith("half"):
            moved = {
                "xref": "paper",
                "x": 0,
                "xanchor": "left",
                "xshift": 0,
                "y": bottom,
                "yshift": -4 - LABEL_GAP * halves,
            }
            halves += 1
        elif word.get("name") == "under":
            across = (word["x"] - RIGHT[0]) / (RIGHT[1] - RIGHT[0])
            moved = {"y": bottom, "x": left + (right - left) * across}
        elif word.get("name") == "over":
            moved = {"y": up(INPUT_SHARE), "x": left}
        elif word.get("name") == "further":
            moved = {"y": bottom, "yshift": -4 - 2 * LABEL_GAP}
        elif word.get("name") == "close-up":
            moved = {"x": 0, "y": close_up[1]}
        elif str(word.get("name")).startswith("close-up code"):
            moved = {"x": left}
        elif word.get("name") in ("clipped", "stranded"):
            moved = {"visible": False}
        narrow |= {f"annotations[{i}].{key}": value for key, value in moved.items()}
    unseen = ("ladder", "ruler below")
    hidden = [i for i, trace in enumerate(traces) if trace.get("name") in unseen]
    return narrow | {f"data[{i}].visible": False for i in hidden}
