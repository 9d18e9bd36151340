"""The pipeline: one channel's numbers at every step of the kernel, a lane a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.pipeline import ChannelTrace
from dashboard.figures.theme import (
    LIGHT,
    box,
    faded,
    label,
    new_figure,
    pick,
    rule,
    sensors,
    tick_step,
)
from dashboard.text.captions.kernel import pipeline_headline
from dashboard.text.language import Language
from dashboard.text.numbers import signed
from kernels.int8 import QMAX, QMIN

HEAD, LANE, FOOT = 27, 58, 44  # px: a lane's heading, the lane, and what stands under the last
BAR = 0.76  # of a position's width
ROOM, ROOM_NARROW = 520, 280  # px that the positions' numbers have at least


@dataclass(frozen=True, eq=False)
class _Lane:
    """A step's numbers, (n,) one a position."""

    name: str
    what: str
    concept: str
    digits: int
    values: np.ndarray

    def text(self, place: int) -> str:
        return signed(float(self.values[place]), self.digits)


def pipeline(trace: ChannelTrace, at: int, say: Language) -> go.Figure:
    """Every step over the window, with a cursor.

    Args:
        at: the position on show, counted from the window's first.

    A click answers with a position, counted likewise.
    """
    lanes = (
        _Lane("x_q", say("INT8 input"), "input", 0, trace.window[:, -1]),
        _Lane("acc", say("integer sum"), "input", 0, trace.acc),
        _Lane("v", say("dequantized"), "input", 3, trace.v),
        _Lane("s", "SiLU", "output", 3, trace.s),
        _Lane("s / scale_out", say("in codes"), "output", 2, trace.quotient),
        _Lane("y_q", say("INT8 output"), "output", 0, trace.code),
    )
    count, height = len(trace.code), len(lanes) * (HEAD + LANE) + FOOT
    inner = height - FOOT
    tops = [1 - (i * (HEAD + LANE) + HEAD) / inner for i in range(len(lanes))]
    domains = [(max(top - LANE / inner, 0.0), top) for top in tops]
    positions = [str(position) for position in trace.positions]
    axes: dict[str, Any] = {
        _axis(i): {
            "domain": domain,
            "range": _range(lane.values),
            "showticklabels": False,
            "zeroline": True,
            "zerolinecolor": LIGHT["line"],
        }
        for i, (lane, domain) in enumerate(zip(lanes, domains, strict=True))
    }
    figure = new_figure(
        height,
        say(
            "Channel {channel}, the six steps from INT8 input to INT8 output. {finding}",
            channel=trace.channel,
            finding=pipeline_headline(trace, at, say),
        ),
        margin={"l": 2, "r": 2, "t": 0, "b": FOOT},
        barmode="overlay",
        xaxis={
            "range": [-0.5, count - 0.5],
            "anchor": f"y{len(lanes)}",
            **_numbers(positions, ROOM),
            "title": {"text": say("position in the batch"), "standoff": 4},
        },
        **axes,
        shapes=[
            *(box((0, 1), domain, "panel", 0.6, layer="below") for domain in domains),
            *(
                rule((at, at), domain, "chosen", 1, "2px,3px", axes=("x", "paper"))
                for domain in domains
            ),
            _window(at, len(trace.weight), domains[0]),
        ],
        annotations=_headings(lanes, tops, at),
        meta={
            "picks": [
                pick(
                    place,
                    say(
                        "position {position}: code {code}",
                        position=position,
                        code=signed(float(trace.code[place]), 0),
                    ),
                    (place - 0.5, place + 0.5),
                    axes=("x", "paper"),
                    by_key=False,
                )
                for place, position in enumerate(positions)
            ],
            "narrow": {
                f"xaxis.{key}": ticks for key, ticks in _numbers(positions, ROOM_NARROW).items()
            },
        },
    )
    for i, lane in enumerate(lanes):
        figure.add_trace(_bars(lane, at, i, clips=lane.values is trace.quotient))
        hover_texts = [
            say(
                "position {position}\n{step} {value}",
                position=position,
                step=lane.name,
                value=lane.text(place),
            )
            for place, position in enumerate(positions)
        ]
        low, high = _range(lane.values)
        figure.add_trace(
            sensors(np.arange(count), 1.0, hover_texts, low, high, yaxis=f"y{i + 1}" if i else "y")
        )
    return figure


def _axis(lane: int) -> str:
    return f"yaxis{lane + 1}" if lane else "yaxis"


def _range(values: np.ndarray) -> tuple[float, float]:
    """Around all values and 0."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    margin = 0.12 * (high - low) or 1.0
    return low - margin, high + margin


def _numbers(positions: Sequence[str], room: float) -> dict[str, list]:
    step = tick_step(positions, room)
    return {
        "tickvals": list(range(0, len(positions), step)),
        "ticktext": list(positions[::step]),
    }


def _headings(lanes: Sequence[_Lane], tops: Sequence[float], at: int) -> list[dict]:
    """Over each lane: what it is, and its value at the position on show."""
    labels = []
    for lane, top in zip(lanes, tops, strict=True):
        name = label(0, top, "", "text", "top right", yshift=1)
        what = f"<span style='color:{LIGHT['muted']}'>{lane.what}</span>"
        labels += [
            name | {"text": f"<b>{lane.name}</b>  {what}"},
            label(1, top, lane.text(at), "text", "top left", 14, bold=True),
        ]
    return labels


def _window(at: int, width: int, domain: tuple[float, float]) -> dict:
    """A frame around the codes that the position sees."""
    first = max(at - width + 1, 0)
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": first - 0.5,
        "x1": at + 0.5,
        "y0": domain[0],
        "y1": domain[1],
        "line": {"color": LIGHT["chosen"], "width": 1.5},
    }


def _bars(lane: _Lane, at: int, number: int, clips: bool) -> dict:
    """A bar a position, strong at the one on show; what is clamped in the clipping's colour."""
    values = lane.values.astype(np.float64)
    beyond = clips & ~((values > QMIN - 0.5) & (values < QMAX + 0.5))
    return {
        "type": "bar",
        "x": np.arange(len(values)),
        "y": values,
        "width": BAR,
        "yaxis": f"y{number + 1}" if number else "y",
        "marker": {
            "color": [
                faded("saturated" if clipped else lane.concept, 1.0 if place == at else 0.55)
                for place, clipped in enumerate(beyond.tolist())
            ]
        },
        "hoverinfo": "skip",
    }
