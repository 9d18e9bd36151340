"""One quantity of every layer, a line a column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.compare import Column, layer_numbers
from dashboard.figures.theme import (
    LIGHT,
    NARROW,
    label,
    line,
    new_figure,
    plain,
    text_width,
    tick_step,
    wrapped,
)
from dashboard.text.captions.compare import column_names, compare_headline
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, scale_text

PLOT, FOOT = 240, 40  # px
ENTRY = 20  # px a line of the legend
COLOURS = ("chosen", "output", "saturated", "best", "stranded", "baseline")
DASHES = ("solid", "solid", "dash", "dot", "longdash", "dashdot")  # lines may lie on one another
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
MOST_LARGE = 24  # layers; more have smaller marks
NAMES, NAMES_NARROW = 540, 270  # px of a name in the legend
SIGN = 50  # px before a name, for the sign of its line, and behind it
ROOM, ROOM_NARROW = 500, 250  # px that the layers' numbers have at least


def compared_lines(columns: Sequence[Column], quantity: str, say: Language) -> go.Figure:
    """A quantity over the layers; scales and ratios on a logarithmic axis, decibels on an even one.

    A layer that a column does not know is left out of its line; a click on a name in the legend
    takes its line away or brings it back.
    """
    layers = layer_numbers(columns)
    log = quantity != "sqnr_db"
    lines = [_known(column, layers, quantity, log) for column in columns]
    values = [value for known in lines for _, value in known]
    whole = column_names(columns, say)
    names, names_narrow = (
        [wrapped(name, room, bold=i == 0) for i, name in enumerate(whole)]
        for room in (NAMES, NAMES_NARROW)
    )
    beside = max(0.3, 0.03 * len(layers))
    widest = max(text_width(name, bold=i == 0) for i, name in enumerate(names))
    side_by_side = 2 if 2 * (widest + SIGN) <= NARROW else 1  # of the legend, where it is narrowest
    wide = ENTRY * -(-sum(name.count("\n") + 1 for name in names) // side_by_side)
    narrow = ENTRY * sum(name.count("\n") + 1 for name in names_narrow)
    known_at_all = bool(values)
    figure = new_figure(
        PLOT + FOOT + wide,
        say(
            "{quantity} of every layer, a line a column. {finding}",
            quantity=quantity,
            finding=compare_headline(columns, quantity, say),
        ),
        uirevision="\n".join(whole),  # another quantity leaves hidden lines hidden
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=known_at_all,
        xaxis={
            **_layer_axis(layers, ROOM),
            "range": [-beside, len(layers) - 1 + beside],
            "title": {"text": say("layer")},
            "automargin": True,
            "visible": known_at_all,
        },
        yaxis={
            "type": "log" if log else "linear",
            "range": _range(values, log),
            "showgrid": True,
            "automargin": True,
            "ticksuffix": "" if log else " dB",
            "exponentformat": "power",
            "visible": known_at_all,
        },
        meta={
            "narrow": {
                "height": PLOT + FOOT + narrow,
                **{
                    f"xaxis.{key}": ticks for key, ticks in _layer_axis(layers, ROOM_NARROW).items()
                },
            }
        },
    )
    if not values:
        figure.add_annotation(
            label(0.5, 0.5, say("No column knows {quantity}.", quantity=quantity))
        )
        return figure
    size = 8 if len(layers) <= MOST_LARGE else 4
    for i, known in enumerate(lines):
        if not known:
            continue
        figure.layout.meta["narrow"][f"data[{len(figure.data)}].name"] = _entry(names_narrow[i], i)
        places = [place for place, _ in known]
        figure.add_trace(
            line(
                places,
                [value for _, value in known],
                COLOURS[i],
                2 if i else 3.5,
                DASHES[i],
                mode="lines+markers",
                marker={
                    "symbol": SYMBOLS[i],
                    "size": size if i else 1.3 * size,
                    "color": LIGHT[COLOURS[i]],
                    "opacity": 1,
                    "line": {"color": LIGHT["page"], "width": 1.5 if size == 8 else 0},
                },
                cliponaxis=False,
                name=_entry(names[i], i),
                customdata=[
                    [plain(whole[i]), layers[place], scale_text(value) if log else decibels(value)]
                    for place, value in known
                ],
                hovertemplate="%{customdata[0]}<br>"
                + say(
                    "layer {layer}: {quantity} {value}",
                    layer="%{customdata[1]}",
                    quantity=quantity,
                    value="%{customdata[2]}",
                ),
            )
        )
    return figure


def _entry(name: str, column: int) -> str:
    """A name in the legend; the first, with which the others are compared, in bold."""
    return plain(name) if column else f"<b>{plain(name)}</b>"


def _known(
    column: Column, layers: Sequence[int], quantity: str, log: bool
) -> list[tuple[int, float]]:
    """The places among the layers that a column has a number for, and those numbers."""
    values = [(place, column.value(layer, quantity)) for place, layer in enumerate(layers)]
    return [
        (place, value)
        for place, value in values
        if value is not None and np.isfinite(value) and (value > 0 or not log)
    ]


def _layer_axis(layers: Sequence[int], room: float) -> dict[str, list]:
    """As many of the layers' numbers as there is room for."""
    step = tick_step([str(layer) for layer in layers], room)
    return {
        "tickvals": list(range(0, len(layers), step)),
        "ticktext": [str(layer) for layer in layers[::step]],
    }


def _range(values: Sequence[float], log: bool) -> list[float]:
    """The axis around all values: a logarithmic one is told their exponents."""
    if not values:
        return [0.0, 1.0]
    low, high = (float(np.log10(end) if log else end) for end in (min(values), max(values)))
    margin = 0.08 * (high - low) or (0.02 if log else 0.5)
    return [low - margin, high + margin]
