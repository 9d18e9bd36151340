"""The moving average over calibration batches, and what their order decides."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.theme import (
    LIGHT,
    dots,
    faded,
    label,
    line,
    new_figure,
    number_ticks,
    plain,
    tick_step,
)
from dashboard.rules.observers import MovingAverage
from dashboard.text.captions.batches import average_headline, orders_caption
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text

HEIGHT, HEIGHT_NARROW = 440, 480  # px; a narrow one has its legend in several lines
ORDERS, ORDERS_NARROW = 210, 230
WEIGHTS = 0.25  # of the axes' height, for the weights below
QUANTILES = 0.42  # where the quantiles' axis begins; the weights' heading stands between
BAR = 0.76  # of a batch's width
MOST_LARGE = 64  # batches; more have smaller dots
BINS = 60
ROOM, ROOM_NARROW = 480, 230  # px that the numbers under an axis have at least


def moving_average_chart(average: MovingAverage, pooled: float, say: Language) -> go.Figure:
    """Each batch's quantile, the mean after it, and the quantile of all batches together.

    Below, the weight of each batch in the final mean. Batches stand in the order taken, under
    their own numbers.
    """
    count = len(average.order)
    values = (*average.quantiles, *average.means, pooled)
    numbers = [str(batch) for batch in average.order]
    step, step_narrow = (tick_step(numbers, room) for room in (ROOM, ROOM_NARROW))
    most = max(average.weights)
    figure = new_figure(
        HEIGHT,
        say(
            "Each batch's quantile, its moving average, and the pooled quantile. {finding}",
            finding=average_headline(average, pooled, say),
        ),
        uirevision=count,
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        xaxis={
            "range": [-0.6, count - 0.4],
            "fixedrange": count <= MOST_LARGE,
            "anchor": "y2",
            "tickvals": list(range(0, count, step)),
            "ticktext": numbers[::step],
            "title": {"text": say("batch, in the order taken")},
            "ticklabelstandoff": 6,
            "automargin": True,
        },
        yaxis={
            "domain": [QUANTILES, 1],
            "range": _around(values, 0.08),
            **number_ticks(*_around(values, 0.08)),
            "showgrid": True,
            "title": {"text": "amax"},
            "automargin": True,
        },
        yaxis2={
            "domain": [0, WEIGHTS],
            "range": [0, 1.05 * most],
            "tickvals": [0, most],
            "ticktext": [percent(0), percent(most)],
            "zeroline": True,
            "zerolinecolor": LIGHT["line"],
            "automargin": True,
        },
        annotations=[
            label(
                0,
                WEIGHTS + 0.02,
                say(
                    "weight in the final mean;\nthe first batch has {share}",
                    share=percent(average.weights[0]),
                ),
                "text",
                "top right",
                bold=True,
            )
        ],
        meta={
            "narrow": {
                "height": HEIGHT_NARROW,
                "xaxis.tickvals": list(range(0, count, step_narrow)),
                "xaxis.ticktext": numbers[::step_narrow],
            }
        },
    )
    places = np.arange(count)
    steps = [
        [batch, scale_text(quantile), scale_text(mean)]
        for batch, quantile, mean in zip(
            average.order, average.quantiles, average.means, strict=True
        )
    ]
    hover_text = say(
        "batch {batch}: its quantile {quantile}\nmean after it {mean}",
        batch="%{customdata[0]}",
        quantile="%{customdata[1]}",
        mean="%{customdata[2]}",
    )
    figure.add_trace(
        _exact(
            line([-0.6, count - 0.4], [0, 0], "best", 1.8, "6px,4px"),
            y=[pooled, pooled],
            name=say("all batches pooled: {amax}", amax=scale_text(pooled)),
        )
    )
    for trace, y, name in (
        (
            line(places, places, "chosen", 2.2, hovertemplate=plain(hover_text)),
            average.means,
            say("moving average, at its end: {amax}", amax=scale_text(average.final)),
        ),
        (
            dots(
                places,
                places,
                "output",
                8 if count <= MOST_LARGE else 4,
                hovertemplate=plain(hover_text),
            ),
            average.quantiles,
            say("quantile of one batch"),
        ),
    ):
        figure.add_trace(_exact(trace, y=y, name=name, customdata=steps))
    figure.add_trace(
        _bars(
            places,
            average.weights,
            BAR,
            0.9,
            [
                say("batch {batch}: weight {share}", batch=batch, share=percent(weight))
                for batch, weight in zip(average.order, average.weights, strict=True)
            ],
        )
        | {"yaxis": "y2", "showlegend": False}
    )
    return figure


def orders_chart(finals: np.ndarray, chosen: float, pooled: float, say: Language) -> go.Figure:
    """How often each final mean came out, over many orders of the same batches.

    Args:
        finals: (R,) the moving average's end for each order tried.
    """
    low, high = _around((float(finals.min()), float(finals.max()), chosen, pooled), 0.04)
    low = max(low, 0.0)
    edges = np.linspace(low, high, BINS + 1)
    counts = np.histogram(finals, edges)[0]
    seen = np.flatnonzero(counts)
    most = int(counts.max())
    figure = new_figure(
        ORDERS,
        say(
            "The final moving average over many orders of the same batches. {finding}",
            finding=orders_caption(finals, pooled, say),
        ),
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        xaxis={
            "range": [low, high],
            **number_ticks(low, high, ROOM),
            "title": {"text": "amax"},
            "ticklabelstandoff": 6,
            "automargin": True,
            "showline": True,
        },
        yaxis={
            "range": [0, 1.12 * most],
            "tickvals": [0, most],
            "title": {"text": say("orders")},
            "automargin": True,
        },
        meta={
            "narrow": {
                "height": ORDERS_NARROW,
                **{
                    f"xaxis.{key}": ticks
                    for key, ticks in number_ticks(low, high, ROOM_NARROW).items()
                },
            }
        },
    )
    figure.add_trace(
        _bars(
            (edges[seen] + edges[seen + 1]) / 2,
            counts[seen],
            float(edges[1] - edges[0]),
            0.7,
            [
                say(
                    "amax {low} to {high}\n{count} orders",
                    low=scale_text(float(edges[i])),
                    high=scale_text(float(edges[i + 1])),
                    count=int(counts[i]),
                )
                for i in seen
            ],
        )
        | {"showlegend": False}
    )
    for value, name, concept, dash in (
        (chosen, say("this order: {amax}", amax=scale_text(chosen)), "chosen", "solid"),
        (pooled, say("pooled: {amax}", amax=scale_text(pooled)), "best", "6px,4px"),
    ):
        trace = line([0, 0], [0, 1.12 * most], concept, 2, dash, hovertemplate=plain(name))
        figure.add_trace(_exact(trace, x=[value, value], name=name))
    return figure


def _around(values: tuple[float, ...], share: float) -> tuple[float, float]:
    """An axis around all values, with room on both sides where they are all the same."""
    low, high = min(values), max(values)
    room = share * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _exact(trace: dict, **coordinates: object) -> dict:
    """A trace in double precision: values may be nearer to one another than single ones can be."""
    return trace | coordinates


def _bars(
    x: np.ndarray,
    y: np.ndarray | tuple[float, ...],
    width: float,
    opacity: float,
    hover_texts: list[str],
) -> dict:
    """Upright bars, each with a rim, so that the least of them still shows."""
    return {
        "type": "bar",
        "x": x,
        "y": list(y),
        "width": width,
        "marker": {
            "color": faded("output", opacity),
            "line": {"color": LIGHT["output"], "width": 1},
        },
        "customdata": [plain(text) for text in hover_texts],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
