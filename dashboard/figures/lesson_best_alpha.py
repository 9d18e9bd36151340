"""The lesson's sixth figure: every layer's SQNR over α, and where α cuts one layer's values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import format_alpha
from dashboard.calibration.histogram import Histogram
from dashboard.figures.theme import (
    SMALL_SIZE,
    area,
    count_height,
    dots,
    label,
    line,
    new_figure,
    nice_ticks,
    rule,
    sensors,
    steps,
)
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import PUBLISHED_ALPHAS, log_alpha
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, number
from kernels.int8 import QMAX

HEIGHT = 500
UPPER, LOWER = (0.48, 0.9), (0.07, 0.34)  # heights of the two panels
FIRST = 2.0  # -log10(1 − α) at the left edge: α = 0.99
BELOW_DB = 14  # shown of the curves, below the least of their tops
ROOM = 0.25  # between the last α below 1 and 1 itself, in decades
BINS = 160
TICKS = (0.99, 0.999, 0.9999, 0.99999, 0.999999)


def best_alpha(
    landscapes: Mapping[int, Landscape],
    chosen: int,
    alpha: float,
    output: Histogram,
    say: Language,
) -> go.Figure:
    """SQNR over α of every layer, each with its best; and the chosen layer's values with the cut.

    Args:
        landscapes: of each layer, by its number.
        alpha: one that the chosen layer's landscape tried.
        output: the chosen layer's SiLU output.
    """
    own = landscapes[chosen]
    last = max(log_alpha(float(curve.alphas[-2])) for curve in landscapes.values()) + ROOM
    bests = [curve.best_db for curve in landscapes.values()]
    finite = [best for best in bests if np.isfinite(best)] or [60.0]
    low, high = min(finite) - BELOW_DB, max(finite) + 2
    index = own.index(alpha)
    sqnr_db, cut = float(own.sqnr_db[index]), float(own.scales[index]) * QMAX
    at, height = min(log_alpha(alpha), last), float(np.clip(sqnr_db, low, high))
    ticks = [t for t in TICKS if log_alpha(t) < last - 0.6]
    decibel_ticks = np.arange(np.ceil(low / 5) * 5, high, 5)
    top = max(1.04 * output.max, 1.02 * cut)
    figure = new_figure(
        HEIGHT,
        say(
            "Layer {layer} at α {alpha}: {sqnr}; its best α {best} gives {best_sqnr}.",
            layer=chosen,
            alpha=format_alpha(alpha),
            sqnr=decibels(sqnr_db, 1),
            best=format_alpha(own.best_alpha),
            best_sqnr=decibels(own.best_db, 1),
        ),
        margin={"l": 48, "r": 12},
        meta={"narrow": {"annotations[1].yshift": -17}},
        xaxis={
            "range": [FIRST, last + 0.05],
            "anchor": "y",
            "tickvals": [*map(log_alpha, ticks), last],
            "ticktext": [*map(format_alpha, ticks), "1"],
            "tickfont": {"size": SMALL_SIZE},
        },
        yaxis={
            "range": [low, high],
            "domain": UPPER,
            "showgrid": True,
            "tickvals": decibel_ticks,
            "ticktext": [f"{tick:.0f} dB" for tick in decibel_ticks],
            "tickfont": {"size": SMALL_SIZE},
        },
        xaxis2={
            "range": [min(output.min, 0.0), top],
            "anchor": "y2",
            "showline": True,
            "ticks": "outside",
            "ticklen": 5,
            "tickvals": nice_ticks(0, top, 6),
        },
        yaxis2={"range": [0, 1], "domain": LOWER, "visible": False},
        shapes=[
            *(
                rule(
                    (log_alpha(a),) * 2,
                    (0, 1),
                    "baseline",
                    1.1,
                    "dash",
                    ("x", "y domain"),
                    layer="below",
                )
                for a in PUBLISHED_ALPHAS
            ),
            rule((at, at), (low, height), "chosen", 1.8, axes=("x", "y")),
            rule((cut, cut), (0, 1), "chosen", 2, axes=("x2", "y2 domain")),
        ],
        annotations=[
            label(
                0,
                1,
                say(
                    "SQNR, α {alpha}: {sqnr}",
                    alpha=format_alpha(alpha),
                    sqnr=decibels(sqnr_db, 1),
                ),
                "text",
                "bottom right",
                bold=True,
                xshift=-48,
            ),
            label(1, 1, say("each layer's best α"), "best", "bottom left", bold=True),
            *(
                label(
                    log_alpha(a),
                    UPPER[1],
                    format_alpha(a),
                    "muted",
                    "top center",
                    11.5,
                    axes=("x", "paper"),
                )
                for a in PUBLISHED_ALPHAS
            ),
            label(
                0,
                0.405,
                say("layer {layer}: SiLU output, log counts", layer=chosen),
                "output",
                "bottom right",
                bold=True,
                xshift=-48,
            ),
            label(
                cut,
                LOWER[1],
                say("code {code}", code=QMAX),
                "text",
                "bottom left" if cut > 0.75 * top else "bottom right",
                bold=True,
                axes=("x2", "paper"),
                xshift=-6 if cut > 0.75 * top else 6,
                halo=True,
            ),
        ],
    )
    for layer in sorted(landscapes, key=lambda number: number == chosen):
        figure.add_traces(_curve(layer, landscapes[layer], last, low, layer == chosen, say))
    figure.add_trace(dots([at], [height], "chosen", 11))
    figure.add_traces(_histogram(output, cut, say))
    return figure


def _curve(
    layer: int, curve: Landscape, last: float, low: float, current: bool, say: Language
) -> list[dict]:
    """One layer's SQNR, with its α and decibels on hover, and the point of its best."""
    t = np.array([log_alpha(float(a)) for a in curve.alphas])
    t[-1] = last
    shown = (t >= FIRST - 0.1) & (curve.sqnr_db >= low) & np.isfinite(curve.sqnr_db)
    hover_texts = [
        say(
            "layer {layer}: α {alpha}, {sqnr}",
            layer=layer,
            alpha=format_alpha(float(a)),
            sqnr=decibels(float(sqnr)),
        )
        for a, sqnr in zip(curve.alphas[shown], curve.sqnr_db[shown], strict=True)
    ]
    best = say(
        "layer {layer}: best α {alpha}, {sqnr}",
        layer=layer,
        alpha=format_alpha(curve.best_alpha),
        sqnr=decibels(curve.best_db),
    )
    finite = np.isfinite(curve.best_db)
    return [
        line(
            t[shown],
            curve.sqnr_db[shown],
            "chosen" if current else "baseline",
            2.4 if current else 1.2,
            customdata=hover_texts,
            hovertemplate="%{customdata}",
        ),
        dots(
            [t[curve.best]] if finite else [],
            [curve.best_db] if finite else [],
            "best",
            11 if current else 8,
            customdata=[best],
            hovertemplate="%{customdata}",
        ),
    ]


def _histogram(output: Histogram, cut: float, say: Language) -> list[dict]:
    """The layer's values, up to the cut and beyond it, with their counts on hover."""
    edges = np.linspace(output.min, output.max, BINS)
    counts = output.rebin(edges)
    heights = count_height(counts, log=True)
    heights = heights / (1.08 * max(float(heights.max()), 1e-9))
    axes = {"xaxis": "x2", "yaxis": "y2"}
    traces = []
    for concept, low, high in (("output", -np.inf, cut), ("saturated", cut, np.inf)):
        x, y = steps(edges, heights, low, high)
        traces.append(area(x, y, concept) | axes)
    hover_texts = [
        say(
            "{low} … {high}: {count} values",
            low=number(low, 2),
            high=number(high, 2),
            count=f"{count:,}",
        )
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    middles = (edges[1:] + edges[:-1]) / 2
    traces.append(sensors(middles, edges[1] - edges[0], hover_texts) | axes)
    return traces
