"""The lesson's third figure: where SiLU sends a bell curve, and which codes that leaves unused."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import SILU_MIN
from dashboard.calibration.histogram import Histogram
from dashboard.figures.theme import area, hatch, label, new_figure, rule, steps
from dashboard.figures.transfer import silu_at
from dashboard.text.language import Language
from dashboard.text.numbers import number, percent, signed
from kernels.int8 import QMAX, QMIN

HEIGHT = 430
REACH = 6.4  # of both axes, on both sides of 0
BINS = 160
UPPER, LOWER = (0.645, 0.93), (0.09, 0.42)  # heights of the two panels
THREADS = 25  # lines from the input's quantiles to where SiLU sends them
CROWDED = 1.6  # real units, in which two labels of lines do not stand side by side


def silu_shape(
    silu_input: Histogram, silu_output: Histogram, scale: float, stranded: int, say: Language
) -> go.Figure:
    """The input's histogram, where SiLU sends it, and the output's, on one axis.

    Args:
        scale: of the output, real units per code.
        stranded: how many codes lie below SiLU's least value.
    """
    edges = np.linspace(-REACH, REACH, BINS + 1)
    before, after = (histogram.rebin(edges) for histogram in (silu_input, silu_output))
    tallest = float(before.max()) * 1.05
    low, cut = max(QMIN * scale, -REACH), min(silu_output.absmax, REACH)
    axis = {"range": [-REACH, REACH], "tickvals": [-6, -4, -2, 0, 2, 4, 6], "showline": True}
    cut_off = float(after.max()) > 1.08 * tallest
    words = say("{count} codes\nstranded", count=stranded)
    inside = SILU_MIN - low > 2.2
    figure = new_figure(
        HEIGHT,
        say(
            "Input up to {input}, output from {least} to {output}: {stranded} codes are stranded.",
            input=number(silu_input.absmax, 2),
            least=number(silu_output.min, 2),
            output=number(silu_output.absmax, 2),
            stranded=stranded,
        ),
        margin={"l": 8, "r": 8},
        xaxis={**axis, "anchor": "y"},
        yaxis={"range": [0, 1], "domain": UPPER, "visible": False},
        xaxis2={**axis, "anchor": "y2", "ticks": "outside", "ticklen": 5},
        yaxis2={"range": [0, 1], "domain": LOWER, "visible": False},
        shapes=[
            *_threads(silu_input),
            rule((SILU_MIN, SILU_MIN), (0, 0.84), "chosen", 1.6, axes=("x2", "y2")),
            rule((cut, cut), (0, 0.84), "chosen", 1.6, axes=("x2", "y2")),
        ],
        annotations=[
            label(0, 1, say("SiLU input v"), "input", "bottom right", bold=True),
            label(0, 0.485, say("SiLU output y"), "output", "bottom right", bold=True),
            label(
                SILU_MIN,
                0.82,
                say("least: {least}", least=signed(SILU_MIN, 4)),
                "text",
                "middle left",
                axes=("x2", "y2"),
                xshift=-5,
            ),
            label(
                cut,
                0.66 if cut < CROWDED else 0.82,
                say("code {code}", code=QMAX),
                "text",
                "middle left" if cut > REACH - 2.6 else "middle right",
                axes=("x2", "y2"),
                halo=True,
                xshift=-6 if cut > REACH - 2.6 else 6,
            ),
            label(
                (low + SILU_MIN) / 2 if inside else low,
                0.33,
                words,
                "text" if inside else "stranded",
                "middle center" if inside else "middle left",
                axes=("x2", "y2"),
                bold=True,
                halo=inside,
                visible=stranded > 0,
                xshift=0 if inside else -5,
            ),
            label(
                1.1,
                1.0,
                say("↑ {share} of all values", share=percent(after.max() / silu_output.total)),
                "output",
                "middle right",
                11.5,
                axes=("x2", "y2"),
                halo=True,
                visible=cut_off,
            ),
        ],
    )
    figure.add_trace(_filled(edges, before, tallest, "input", "x", "y"))
    figure.add_trace(_filled(edges, after, tallest, "output", "x2", "y2"))
    figure.add_trace(
        hatch(
            [low, SILU_MIN, SILU_MIN, low],
            [0, 0, 0.64, 0.64],
            "stranded",
            xaxis="x2",
            yaxis="y2",
            visible=stranded > 0,
        )
    )
    return figure


def _filled(
    edges: np.ndarray, counts: np.ndarray, tallest: float, concept: str, xaxis: str, yaxis: str
) -> dict:
    """A histogram, cut off where it is taller than the input's."""
    x, y = steps(edges, np.minimum(counts / tallest, 1.04), -REACH, REACH)
    return area(x, y, concept, xaxis=xaxis, yaxis=yaxis)


def _threads(silu_input: Histogram) -> list[dict]:
    """From values on the upper axis to SiLU of them on the lower one, evenly over their order."""
    places = np.linspace(0, len(silu_input.values) - 1, THREADS).astype(int)
    values = silu_input.values[places].astype(np.float64)
    ends = [(float(np.clip(v, -REACH, REACH)), float(silu_at(float(v)))) for v in values]
    return [
        rule((_across(above), _across(below)), (0.585, 0.45), "input", 0.8) for above, below in ends
    ]


def _across(value: float) -> float:
    """A value on the axes as a share of the width."""
    return (value + REACH) / (2 * REACH)
