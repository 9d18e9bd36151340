"""The lesson's fourth figure: SiLU as a staircase of codes, and the error at every conv output."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.theme import (
    LIGHT,
    SMALL_SIZE,
    label,
    line,
    new_figure,
    rule,
    sensors,
    strokes,
)
from dashboard.figures.transfer import silu
from dashboard.text.language import Language
from dashboard.text.numbers import number
from kernels.int8 import QMAX, QMIN

HEIGHT = 470
REACH = 5.2
UPPER, LOWER = (0.54, 0.93), (0.11, 0.365)  # heights of the two panels
MOST_ERROR = 0.062  # drawn; what is larger stands at the edge
FEW = 200  # points up to which each has a stem; more are an outline


def toy_example(
    scale: float,
    v: np.ndarray,
    errors: np.ndarray,
    codes: tuple[int, int],
    beside_scale: float,
    beside_errors: np.ndarray,
    say: Language,
) -> go.Figure:
    """The chosen scale's staircase, and its errors beside another scale's.

    Args:
        scale, beside_scale: real units per code.
        v: (N,) conv outputs.
        errors, beside_errors: (N,) |ŷ − y| by either scale.
        codes: the lowest and the highest that occur.
    """
    mean, beside_mean = float(errors.mean()), float(beside_errors.mean())
    tick = {"size": SMALL_SIZE, "color": LIGHT["muted"]}
    top = QMAX * scale
    figure = new_figure(
        HEIGHT,
        say(
            "Mean error {error} at scale {scale}, {beside_error} at scale {beside_scale}.",
            error=number(mean, 4),
            scale=number(scale, 4),
            beside_error=number(beside_mean, 4),
            beside_scale=number(beside_scale, 4),
        ),
        margin={"l": 44, "r": 10},
        xaxis={"range": [-REACH, REACH], "anchor": "y", "visible": False},
        yaxis={
            "range": [-0.5, 5.4],
            "domain": UPPER,
            "showgrid": True,
            "dtick": 1,
            "tick0": 0,
            "tickfont": tick,
        },
        xaxis2={
            "range": [-REACH, REACH],
            "anchor": "y2",
            "dtick": 1,
            "showline": True,
            "ticks": "outside",
            "ticklen": 5,
            "title": {"text": say("convolution's output v")},
        },
        yaxis2={
            "range": [0, MOST_ERROR],
            "domain": LOWER,
            "showgrid": True,
            "tickvals": [0, 0.02, 0.04, 0.06],
            "tickfont": tick,
        },
        shapes=[
            rule(
                (-REACH, REACH), (top, top), "saturated", 1.4, "dash", ("x", "y"), visible=top < 5
            ),
            *(
                rule(
                    (-REACH, REACH), (min(at, MOST_ERROR),) * 2, concept, 1.4, "dash", ("x2", "y2")
                )
                for at, concept in ((beside_mean, "baseline"), (mean, "output"))
            ),
        ],
        annotations=[
            label(
                0,
                1,
                say("SiLU output y, as codes"),
                "output",
                "bottom right",
                bold=True,
                xshift=-44,
            ),
            label(
                1,
                1,
                say("codes {low} … {high}", low=number(codes[0]), high=number(codes[1])),
                "text",
                "bottom left",
                bold=True,
            ),
            label(
                -REACH,
                min(top, 5.0),
                say("code {code}:\nlarger values saturate", code=QMAX),
                "saturated",
                "bottom right",
                axes=("x", "y"),
                xshift=6,
                yshift=-2,
                visible=top < 5,
            ),
            label(
                0, 0.48, say("error at each value"), "text", "bottom right", bold=True, xshift=-44
            ),
            label(
                1,
                0.38,
                say("{scale}: mean {error}", scale=number(scale, 4), error=number(mean, 4)),
                "output",
                "top left",
                SMALL_SIZE + 0.5,
                bold=True,
            ),
            label(
                0,
                0.38,
                say(
                    "{scale}: mean {error}",
                    scale=number(beside_scale, 4),
                    error=number(beside_mean, 4),
                ),
                "baseline",
                "top right",
                SMALL_SIZE + 0.5,
            ),
        ],
    )
    wide = np.linspace(-5, 5, 400)
    figure.add_trace(line(wide, silu(wide), "muted", 1, "dot"))
    fine = np.linspace(-5, 5, 2000)
    y = silu(fine)
    stairs = np.clip(np.sign(y) * np.floor(np.abs(y) / scale + 0.5), QMIN, QMAX)
    figure.add_trace(line(fine, stairs * scale, "output", 1.8, line_shape="hv"))
    few = len(v) <= FEW
    axes = {"xaxis": "x2", "yaxis": "y2"}
    for sizes, concept, width in ((beside_errors, "baseline", 3.4), (errors, "output", 1.6)):
        cut = np.minimum(sizes, MOST_ERROR)
        if few:  # a stem at each point
            x, y = strokes((v, v), (0.0, cut))
        else:
            x, y, width = v[::4], cut[::4], 0.9
        figure.add_trace(line(x, y, concept, width, **axes))
    hover_texts = [
        say(
            "v = {v}: error {error} at scale {scale}, {beside_error} at scale {beside_scale}",
            v=number(x, 2),
            error=number(own, 4),
            scale=number(scale, 4),
            beside_error=number(other, 4),
            beside_scale=number(beside_scale, 4),
        )
        for x, own, other in zip(v, errors, beside_errors, strict=True)
    ]
    apart = float(np.diff(v).min())
    shown = slice(None) if few else slice(0)
    figure.add_trace(sensors(v[shown], apart, hover_texts[shown], top=MOST_ERROR) | axes)
    return figure
