"""Which layer costs the model most: each alone, what leaving it in float saves, and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.impact import Estimate
from dashboard.analysis.layer_costs import LayerCosts
from dashboard.analysis.measurements import Unit
from dashboard.figures.nats import around, legend_entry, measured_dots
from dashboard.figures.theme import (
    LIGHT,
    NARROW,
    faded,
    hover,
    label,
    line,
    new_figure,
    number_ticks,
    pick,
    plain,
    tick_step,
)
from dashboard.text.captions.costs import layers_cost_headline
from dashboard.text.language import Language
from dashboard.text.numbers import small, with_error

HEIGHT, HEIGHT_NARROW = 360, 640  # px
SIDES = ((0.0, 0.6), (0.68, 1.0))  # of the two panels, side by side
ROWS = ((0.63, 0.94), (0.0, 0.35))  # of the two panels, one above the other
HEAD = 0.07  # of the height, over a panel: its name
TOP = 0.92
APART = 0.14  # of a layer's width: what stands beside the middle
ROOMS, ROOMS_NARROW = (620, 300), (250, 250)  # px that the panels' axes have at least
MOST_LARGE = 24  # layers; more have smaller marks


def impact_layers(costs: LayerCosts, unit: Unit, say: Language) -> go.Figure:
    """Two panels: every layer by itself, and layers added in the order of their predicted cost.

    Args:
        costs: as far as they are known.
        unit: of what was measured; a prediction is of "kl_nats".

    A click on a layer answers with its place in ``costs.layers``.
    """
    count = len(costs.layers)
    size = 9 if count <= MOST_LARGE else 5
    alone = _known([costs.alone_nats(place, unit) for place in range(count)])
    saved = _known([costs.saved_nats(place, unit) for place in range(count)])
    total = _known([costs.total_nats(k + 1, unit) for k in range(count)])
    predicted = list(costs.predicted_nats) if unit == "kl_nats" else [None] * count
    sums = [costs.predicted_first(k + 1) if unit == "kl_nats" else None for k in range(count)]
    upper = around(_ends([*alone.values(), *saved.values()]) + _numbers(predicted))
    lower = around(_ends(list(total.values())) + _numbers(sums))
    names = [str(layer) for layer in costs.layers]
    ordered = [names[place] for place in costs.order]
    nats = say("nats of KL a token") if unit == "kl_nats" else say("nats of loss a token")
    figure = new_figure(
        HEIGHT,
        say(
            "What each layer costs the model in INT8. {finding}",
            finding=layers_cost_headline(costs, unit, say),
        ),
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        legend={"y": 1.02, "yanchor": "bottom"},
        xaxis=_layer_axis(names, SIDES[0], ROOMS[0], count)
        | {"anchor": "y", "title": {"text": say("layer")}},
        yaxis=_nats_axis(upper, (0.0, TOP)) | {"title": {"text": nats}},
        xaxis2=_layer_axis(ordered, SIDES[1], ROOMS[1], count)
        | {"anchor": "y2", "title": {"text": say("layers added, most predicted cost first")}},
        yaxis2=_nats_axis(lower, (0.0, TOP)) | {"anchor": "x2"},
        annotations=[
            label(SIDES[0][0], 1, say("each layer"), "text", "bottom right", bold=True),
            label(SIDES[1][0], 1, say("one after the other"), "text", "bottom right", bold=True),
        ],
        meta={
            "picks": [
                pick(
                    place,
                    _alone_words(costs, place, unit, say).replace("\n", ", "),
                    (place - 0.5, place + 0.5),
                    upper,
                    ("x", "y"),
                )
                for place in range(count)
            ],
            "under": [
                (
                    NARROW + 200,
                    {
                        "height": HEIGHT_NARROW,
                        **_restacked(),
                        **_ticks("xaxis", names, ROOMS_NARROW[0]),
                        **_ticks("xaxis2", ordered, ROOMS_NARROW[1]),
                    },
                )
            ],
        },
    )
    places = np.arange(count)
    if _numbers(predicted):
        figure.add_trace(_predicted_bars(places, predicted, say))
        figure.add_trace(
            line(
                places,
                [value if value is not None else np.nan for value in sums],
                "input",
                2,
                "5px,4px",
                showlegend=False,
                xaxis="x2",
                yaxis="y2",
            )
        )
    beside = APART if saved else 0.0
    for name, known, concept, symbol, shift, words in (
        (say("measured, alone"), alone, "chosen", "circle", -beside, _alone_words),
        (say("saved where it stays in float"), saved, "output", "diamond", beside, _saved_words),
    ):
        if known:
            figure.add_trace(
                measured_dots(
                    [place + shift for place in known],
                    list(known.values()),
                    concept,
                    [words(costs, place, unit, say) for place in known],
                    size,
                    symbol,
                    showlegend=False,
                )
            )
            figure.add_trace(legend_entry(plain(name), concept, symbol))
    greys: list[bool] = []
    if total:
        steps = [costs.step_nats(k + 1, unit) for k in total]
        greys = [
            own.is_noise or (step is not None and step.is_noise)
            for own, step in zip(total.values(), steps, strict=True)
        ]
        figure.add_trace(
            measured_dots(
                list(total),
                list(total.values()),
                "chosen",
                [_total_words(costs, k + 1, unit, say) for k in total],
                size,
                grey=greys,
                xaxis="x2",
                yaxis="y2",
                showlegend=False,
            )
        )
    shown = [*alone.values(), *saved.values()]
    if any(one.is_noise for one in shown) or True in greys:
        figure.add_trace(legend_entry(plain(say("within its error")), "baseline", "circle", True))
    return figure


def _known(estimates: Sequence[Estimate | None]) -> dict[int, Estimate]:
    return {place: one for place, one in enumerate(estimates) if one is not None}


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _ends(estimates: Sequence[Estimate]) -> list[float]:
    errors = [(one.mean, one.error or 0.0) for one in estimates]
    return [end for mean, error in errors for end in (mean - error, mean + error)]


def _layer_axis(
    names: Sequence[str], domain: tuple[float, float], room: float, count: int
) -> dict[str, Any]:
    return {
        "domain": list(domain),
        "range": [-0.6, count - 0.4],
        **_named(names, room),
        "ticklabelstandoff": 6,
        "automargin": True,
    }


def _named(names: Sequence[str], room: float) -> dict[str, list]:
    step = tick_step(names, room)
    return {"tickvals": list(range(0, len(names), step)), "ticktext": list(names[::step])}


def _ticks(axis: str, names: Sequence[str], room: float) -> dict[str, list]:
    return {f"{axis}.{key}": value for key, value in _named(names, room).items()}


def _nats_axis(span: tuple[float, float], domain: tuple[float, float]) -> dict[str, Any]:
    return {
        "domain": list(domain),
        "range": list(span),
        **number_ticks(*span),
        "showgrid": True,
        "zeroline": True,
        "zerolinecolor": LIGHT["line"],
        "automargin": True,
    }


def _restacked() -> dict[str, Any]:
    """The panels one above the other, where they are too narrow side by side."""
    return {
        "xaxis.domain": [0, 1],
        "xaxis2.domain": [0, 1],
        "yaxis.domain": list(ROWS[0]),
        "yaxis2.domain": list(ROWS[1]),
        "annotations[0].y": ROWS[0][1] + HEAD,
        "annotations[1].x": 0,
        "annotations[1].y": ROWS[1][1] + HEAD,
    }


def _predicted_bars(
    places: np.ndarray, predicted: Sequence[float | None], say: Language
) -> dict[str, Any]:
    return {
        "type": "bar",
        "x": places,
        "y": list(predicted),
        "width": 0.8,
        "name": plain(say("predicted, alone")),
        "marker": {
            "color": faded("input", 0.22),
            "line": {"color": faded("input", 0.6), "width": 1},
        },
        **hover([say("predicted: {nats} nats", nats=small(nats or 0.0)) for nats in predicted]),
    }


def _alone_words(costs: LayerCosts, place: int, unit: Unit, say: Language) -> str:
    layer, known, predicted = (
        costs.layers[place], costs.alone_nats(place, unit), costs.predicted_nats[place],
    )  # fmt: skip
    rows = [say("layer {layer}", layer=layer)]
    if known is not None:
        rows.append(say("alone: {nats} nats", nats=with_error(known.mean, known.error)))
        if known.is_noise:
            rows.append(say("within its error"))
    if predicted is not None and unit == "kl_nats":
        rows.append(say("predicted: {nats} nats", nats=small(predicted)))
    return "\n".join(rows)


def _saved_words(costs: LayerCosts, place: int, unit: Unit, say: Language) -> str:
    known = costs.saved_nats(place, unit)
    assert known is not None  # it is drawn
    rows = [
        say("layer {layer}", layer=costs.layers[place]),
        say("saved in float: {nats} nats", nats=with_error(known.mean, known.error)),
    ]
    return "\n".join([*rows, say("within its error")] if known.is_noise else rows)


def _total_words(costs: LayerCosts, count: int, unit: Unit, say: Language) -> str:
    total, step = costs.total_nats(count, unit), costs.step_nats(count, unit)
    layer = costs.layers[costs.order[count - 1]]
    assert total is not None  # it is drawn
    rows = [
        say("the first {count}: {nats} nats", count=count,
            nats=with_error(total.mean, total.error)),
    ]  # fmt: skip
    if step is not None and count > 1:
        rows.append(
            say("layer {layer} adds {nats}", layer=layer, nats=with_error(step.mean, step.error))
        )
        if step.is_noise:
            rows.append(say("within its error"))
    return "\n".join(rows)
