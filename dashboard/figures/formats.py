"""Number formats: quality against bits, a codebook's ruler under y, every layer under every one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.formats import OPTIMAL, FormatPoint, FormatPoints, SliceFormats
from dashboard.calibration.histogram import Histogram
from dashboard.figures.heatmap import heatmap
from dashboard.figures.theme import (
    area,
    box,
    count_height,
    count_ticks,
    dots,
    hover,
    label,
    line,
    new_figure,
    number_ticks,
    pick,
    plain,
    rule,
    spread,
    steps,
    strokes,
    texts,
)
from dashboard.formats import FormatReport
from dashboard.text.captions.formats import (
    format_label,
    format_layers_caption,
    formats_headline,
    ruler_caption,
)
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, small

HEIGHT, HEIGHT_NARROW = 430, 400  # px
BITS_SHOWN = (1.7, 10.15)
LABEL_GAP = 0.034  # of the axis, between two names
MARKS = {"integer": "circle", "float": "square", "log": "triangle-up", "quantile": "diamond",
         "soft-edge": "cross"}  # fmt: skip
RULER_HEIGHT, RULER_HEIGHT_NARROW = 500, 480
HISTOGRAM, RULERS, DENSITY = (0.54, 1.0), (0.26, 0.51), (0.0, 0.2)  # of the height
BINS, DENSITY_BINS = 240, 48
LEAST_SHARE = 1e-6  # below which a share is not drawn
DARKEST_LOSS_DB = 20.0


def formats_over_bits(
    points: FormatPoints, bits: int, chosen: str, beside: str, say: Language
) -> go.Figure:
    """Every format as a point, the best points there are as the line that none can cross.

    Args:
        bits: the budget; what needs more is greyed.
        chosen, beside: formats that stand out. A click chooses one: its place in ``points``.
    """
    by_loss = points.by == "predicted_nats"
    shown = [*points.points, points.baseline]
    heights = [_height(point, by_loss) for point in shown]
    bound = [_height(point, by_loss) for point in points.frontier]
    finite = [y for y in (*heights, *bound) if np.isfinite(y)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    low, high = low - 0.06 * (high - low + 1), high + 0.06 * (high - low + 1)
    figure = new_figure(
        HEIGHT,
        say(
            "Quality against bits, a point a format. {finding}",
            finding=formats_headline(points, bits, say),
        ),
        uirevision=f"{points.by} {points.slices}",
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        xaxis={
            "range": list(BITS_SHOWN),
            "tickvals": list(range(2, 10)),
            "ticktext": [str(count) for count in range(2, 10)],
            "title": {
                "text": say("bits: log₂ of how many values a code can stand for, signs counted")
            },
            "automargin": True,
        },
        yaxis={
            "range": [low, high],
            **(_power_ticks(low, high) if by_loss else number_ticks(low, high, unit=" dB")),
            "title": {"text": say("predicted_nats, less is higher") if by_loss else ""},
            "showgrid": True,
            "automargin": True,
        },
        shapes=[
            box((bits + 0.02, BITS_SHOWN[1]), (0, 1), "grid", 0.7, ("x", "paper"), layer="below"),
            rule((bits + 0.02,) * 2, (0, 1), "baseline", 1.2, "4px,4px", ("x", "paper")),
        ],
        meta={"narrow": {"height": HEIGHT_NARROW}},
    )
    figure.add_trace(
        line(
            [point.bits for point in points.frontier],
            bound,
            "best",
            2.2,
            mode="lines+markers",
            name=say("best values there are"),
            **hover([_words(point, by_loss, say, optimal=True) for point in points.frontier]),
        )
    )
    _add_points(figure, points, heights, bits, chosen, beside, say)
    figure.add_trace(
        dots(
            [points.baseline.bits],
            heights[-1:],
            "saturated",
            11,
            name=say("symmetric INT8 at α = 0.9995"),
            **hover([_words(points.baseline, by_loss, say)]),
        )
    )
    half = 0.022 * (high - low)
    figure.layout.meta["picks"] = [
        pick(
            i,
            format_label(point.name, say),
            (point.bits - 0.1, point.bits + 0.1),
            (y - half, y + half),
            ("x", "y"),
        )
        for i, (point, y) in enumerate(zip(points.points, heights, strict=False))
        if np.isfinite(y)
    ]
    return figure


def _add_points(
    figure: go.Figure,
    points: FormatPoints,
    heights: Sequence[float],
    bits: int,
    chosen: str,
    beside: str,
    say: Language,
) -> None:
    """A mark a format, and its name beside it where there is room."""
    by_loss = points.by == "predicted_nats"
    stands_out = {chosen: "chosen", beside: "output"}
    for family, mark in MARKS.items():
        own = [i for i, point in enumerate(points.points) if point.family == family]
        concepts = [
            stands_out.get(
                points.points[i].name,
                "muted" if points.points[i].bits_needed <= bits else "line",
            )
            for i in own
        ]
        figure.add_trace(
            dots(
                [points.points[i].bits for i in own],
                [heights[i] for i in own],
                concepts,
                10,
                showlegend=False,
                **hover([_words(points.points[i], by_loss, say) for i in own]),
            )
        )
        figure.data[-1].marker.symbol = mark
    low, high = figure.layout.yaxis.range
    for left in (True, False):  # names of 6 to 8 bits stand on the left, where no line crosses them
        own = [i for i, point in enumerate(points.points) if (5.5 <= point.bits <= 8.3) == left]
        columns: dict[float, list[int]] = {}
        for i in own:
            columns.setdefault(round(points.points[i].bits), []).append(i)
        for column in columns.values():
            y = spread([heights[i] for i in column], LABEL_GAP * (high - low))
            edge = points.points[column[0]].bits
            end = min if left else max
            x = [end(edge, *(points.points[i].bits for i in column))] * len(column)
            shift = -0.07 if left else 0.07
            figure.layout.meta["narrow"][f"data[{len(figure.data)}].visible"] = False
            figure.add_trace(
                texts(
                    np.array(x) + shift,
                    y,
                    [_short(points.points[i]) for i in column],
                    "muted",
                    "middle left" if left else "middle right",
                    showlegend=False,
                )
            )


def _short(point: FormatPoint) -> str:
    """A name on the drawing; of many bits there are soft edges alone."""
    return plain(point.name.removeprefix("soft-edge-") if point.bits > 8 else point.name)


def _height(point: FormatPoint, by_loss: bool) -> float:
    """Better is higher: decibels, or −log₁₀ of the predicted loss."""
    if not by_loss:
        return point.sqnr_db
    nats = point.predicted_nats
    return -np.log10(nats) if nats else np.inf


def _power_ticks(low: float, high: float) -> dict[str, list]:
    """Whole powers of ten, of heights that are −log₁₀."""
    powers = np.arange(np.ceil(low), np.floor(high) + 1)
    return {
        "tickvals": powers.tolist(),
        "ticktext": [f"10<sup>−{power:.0f}</sup>" for power in powers],
    }


def _words(point: FormatPoint, by_loss: bool, say: Language, optimal: bool = False) -> str:
    """What the pointer says."""
    if optimal:
        name = say("best {count} values", count=point.size)
    else:
        name = format_label(point.name, say)
    words = say(
        "{format}\n{size} values, {bits} bits\nsqnr_db {sqnr}",
        format=name,
        size=point.size,
        bits=point.bits_needed,
        sqnr=decibels(point.sqnr_db),
    )
    if point.predicted_nats is None:
        return words
    return f"{words}\npredicted_nats {small(point.predicted_nats)}"


def format_ruler(
    output: Histogram, report: FormatReport, beside: FormatReport, say: Language
) -> go.Figure:
    """y's histogram, below it where the codes of two formats lie, and where those are dense.

    What the chosen format clips is drawn as saturated. The lowest part holds the share of its codes
    in each stretch of y against the share of the values.
    """
    low, high = min(output.min, 0.0), max(output.max, 1e-6)
    pad = 0.02 * (high - low)
    x_range = [low - pad, high + pad]
    edges = np.linspace(low, high, BINS + 1)
    counts = output.rebin(edges)
    tall = count_height(counts, log=True)
    top = float(tall.max()) * 1.06
    ticks = count_ticks(top, log=True)
    first, last = (float(end) for end in report.codebook.thresholds[[0, -1]])
    reports, concepts = (report, beside), ("chosen", "output")
    figure = new_figure(
        RULER_HEIGHT,
        say(
            "The histogram of y, where the codes of two formats lie in it, and how dense they are. "
            "{finding}",
            finding=ruler_caption(report, say),
        ),
        uirevision=f"{low} {high}",
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        xaxis={
            "range": x_range,
            "fixedrange": False,
            **number_ticks(x_range[0], x_range[1]),
            "title": {"text": say("y, SiLU's output")},
            "anchor": "y3",
            "automargin": True,
        },
        yaxis={
            "domain": list(HISTOGRAM),
            "range": [0, top],
            "tickvals": [place for place, _ in ticks],
            "ticktext": [text for _, text in ticks],
            "title": {"text": say("values")},
            "automargin": True,
        },
        yaxis2={"domain": list(RULERS), "range": [-0.1, 2.5], "tickvals": [], "automargin": True},
        yaxis3={
            "domain": list(DENSITY),
            "range": [np.log10(LEAST_SHARE), 0.1],
            "tickvals": [-6, -4, -2, 0],
            "ticktext": [percent(10.0**power) for power in (-6, -4, -2, 0)],
            "title": {"text": say("share")},
            "showgrid": True,
            "automargin": True,
        },
        meta={"narrow": {"height": RULER_HEIGHT_NARROW}},
    )
    x, y = steps(edges, tall, max(first, low), min(last, high))
    figure.add_trace(area(x, y, "output", 0.8))
    for begin, end in ((low, min(first, high)), (max(last, low), high)):
        if begin < end and ((edges[1:] > begin) & (edges[:-1] < end)).any():
            x, y = steps(edges, tall, begin, end)
            figure.add_trace(area(x, y, "saturated", 0.85))
    for trace in figure.data:
        trace.showlegend = False
    for row, (own, concept) in enumerate(zip(reports, concepts, strict=True)):
        points = own.codebook.points
        within = points[(points >= x_range[0]) & (points <= x_range[1])]
        base = 1.25 * (1 - row)
        figure.add_trace(
            line(
                *strokes((within, within), (base, base + 0.6)),
                concept,
                1.0,
                yaxis="y2",
                name=format_label(own.number_format.name, say),
            )
        )
        figure.add_annotation(
            label(
                x_range[1],
                base + 0.9,
                say(
                    "{format}: {shown} of its values",
                    format=format_label(own.number_format.name, say),
                    shown=len(within),
                ),
                concept,
                "middle left",
                axes=("x", "y2"),
            )
        )
    wide = np.linspace(low, high, DENSITY_BINS + 1)
    shares = {
        say("share of the values"): (output.rebin(wide), "output", "solid"),
        say("share of the codes"): (
            np.histogram(report.codebook.points, wide)[0],
            "chosen",
            "4px,3px",
        ),
    }
    for name, (numbers, concept, dash) in shares.items():
        with np.errstate(divide="ignore"):
            share = np.log10(np.maximum(numbers / max(numbers.sum(), 1), LEAST_SHARE / 2))
        figure.add_trace(
            line(
                np.repeat(wide, 2)[1:-1],
                np.repeat(share, 2),
                concept,
                1.8,
                dash,
                yaxis="y3",
                name=name,
            )
        )
    return figure


def format_heatmap(
    studies: Mapping[int, SliceFormats], names: Sequence[str], bits: int, say: Language
) -> go.Figure:
    """SQNR of every layer under some formats; shade is what is lost against the row's best.

    A rim marks the best of a row, but for those that bound all others. A click
    chooses layer and format: row · columns + column.
    """
    sqnr = np.array(
        [[study.reports[name].output.sqnr_db for name in names] for study in studies.values()]
    )
    best = sqnr.max(axis=1, keepdims=True)
    bounds = [
        next(iter(studies.values())).reports[name].number_format.family == OPTIMAL for name in names
    ]
    others = np.where(bounds, -np.inf, sqnr)
    return heatmap(
        say(
            "SQNR of every layer under every format. {finding}",
            finding=format_layers_caption(studies, bits, say),
        ),
        [say("Layer {layer}", layer=layer) for layer in studies],
        list(names),
        np.where(sqnr == best, 0.0, best - sqnr) / DARKEST_LOSS_DB,
        [[decibels(value, 1).removesuffix(" dB") for value in row] for row in sqnr.tolist()],
        [
            [
                say(
                    "Layer {layer}, {format}\nsqnr_db {sqnr}, {size} values",
                    layer=layer,
                    format=format_label(name, say),
                    sqnr=decibels(study.reports[name].output.sqnr_db),
                    size=study.reports[name].codebook.size,
                )
                for name in names
            ]
            for layer, study in studies.items()
        ],
        marked=np.isfinite(others) & (others >= others.max(axis=1, keepdims=True)),
    )
