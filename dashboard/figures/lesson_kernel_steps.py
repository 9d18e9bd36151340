"""The lesson's second figure: one value on its way through the kernel, in four steps."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.pipeline import ChannelTrace
from dashboard.figures.theme import box, dots, label, line, new_figure, rule, strokes
from dashboard.figures.transfer import silu
from dashboard.text.language import Language
from dashboard.text.numbers import number, scale_text
from kernels.int8 import QMAX, QMIN

HEIGHT = 560
TOPS = (1.0, 0.7, 0.535, 0.235)  # of the four steps
CURVE, RULER = (0.275, 0.5), (0.055, 0.135)  # heights of their panels
AROUND = 3  # codes named on each side of the one that is written


def kernel_steps(trace: ChannelTrace, say: Language) -> go.Figure:
    """The integer sum, the real value, the curve, the code: from top to bottom.

    Args:
        trace: of one position; more are left out.
    """
    acc, code = int(trace.acc[0]), int(trace.code[0])
    v, y, quotient = (float(values[0]) for values in (trace.v, trace.s, trace.quotient))
    bias = trace.bias * trace.scale_b
    reach = max(3.0, 1.15 * abs(v))
    middle = int(np.clip(round(quotient), QMIN, QMAX))
    first, last = middle - AROUND - 0.6, middle + AROUND + 0.6
    codes = [c for c in range(middle - AROUND, middle + AROUND + 1) if QMIN <= c <= QMAX]
    figure = new_figure(
        HEIGHT,
        say(
            "The sum {acc} becomes v = {v}, SiLU makes {y} of it, and the code is {code}.",
            acc=_whole(acc),
            v=number(v, 4),
            y=number(y, 4),
            code=number(code),
        ),
        margin={"l": 2, "r": 14},
        meta={"narrow": {"xaxis.domain": [0.42, 0.98]}},
        xaxis={"range": [-reach, reach], "domain": [0.36, 0.98], "anchor": "y", "visible": False},
        yaxis={"range": [-0.08 * reach - 0.28, 1.04 * reach], "domain": CURVE, "visible": False},
        xaxis2={
            "range": [first, last],
            "domain": [0.02, 0.98],
            "anchor": "y2",
            "tickvals": codes,
            "ticktext": [_stressed(c, code) for c in codes],
        },
        yaxis2={"range": [0, 1], "domain": RULER, "visible": False},
        shapes=[
            *(rule((0, 1), (top, top), "grid", 1.4) for top in TOPS[1:]),
            *_boxes(len(trace.weight)),
            rule((-reach, reach), (0, 0), "line", axes=("x", "y"), layer="below"),
            rule((0, 0), (0, 1), "line", axes=("x", "y domain"), layer="below"),
        ],
        annotations=[
            *_headings(say),
            *_products(trace.window[0], trace.weight, say),
            label(0.98, 0.727, f"acc = {_whole(acc)}", "text", "middle left", 15, bold=True),
            label(0, 0.635, "v = scale_wx · acc + bias", anchor="middle right", size=13),
            label(
                0,
                0.59,
                f"  = {scale_text(trace.scale_wx)} · {_whole(acc)} "
                f"{'−' if bias < 0 else '+'} {number(abs(bias), 4)}",
                anchor="middle right",
                size=13,
            ),
            label(0.98, 0.565, f"v = {number(v, 4)}", "text", "middle left", 15, bold=True),
            label(0, 0.44, "y = v / (1 + e⁻ᵛ)", anchor="middle right", size=13),
            label(0, 0.3, f"y = {number(y, 4)}", "text", "middle right", 15, bold=True),
            label(
                0,
                0.168,
                f"{number(y, 4)} / {scale_text(trace.scale_out)} = {number(quotient, 2)}",
                anchor="middle right",
                size=13,
            ),
            label(
                0.98,
                0.168,
                say("code {code}", code=number(code)),
                "text",
                "middle left",
                15,
                bold=True,
            ),
        ],
    )
    wide = np.linspace(-reach, reach, 160)
    figure.add_trace(line(wide, silu(wide), "output", 2.4))
    figure.add_trace(line([v, v], [0, y], "chosen", 1.2, "dot"))
    hover_text = f"SiLU({number(v, 4)}) = {number(y, 4)}"
    figure.add_trace(dots([v], [y], "chosen", 11, hovertemplate=hover_text))
    axes = {"xaxis": "x2", "yaxis": "y2"}
    figure.add_trace(line(*strokes((codes, codes), (0, 0.5)), "muted", 1, **axes))
    figure.add_trace(line([code, code], [0, 0.5], "chosen", 2.4, **axes))
    beyond = not QMIN - 0.5 < quotient < QMAX + 0.5
    concept = "saturated" if beyond else "output"
    at = float(np.clip(quotient, first, last))
    figure.add_trace(line([at, code], [0.92, 0.54], concept, 1.8, **axes))
    figure.add_trace(dots([at], [0.92], concept, 10, **axes))
    return figure


def _whole(value: int) -> str:
    return f"{value:,}".replace("-", "−")


def _stressed(code: int, chosen: int) -> str:
    return f"<b>{number(code)}</b>" if code == chosen else number(code)


def _headings(say: Language) -> list[dict]:
    words = (
        say("1  multiply and add, in whole numbers"),
        say("2  to real units"),
        say("3  SiLU"),
        say("4  divide by the output scale, round"),
    )
    return [
        label(0, top - 0.012, text, "muted", "bottom right", bold=True)
        for top, text in zip(TOPS, words, strict=True)
    ]


def _centres(width: int) -> np.ndarray:
    return 0.2 + 0.78 * (np.arange(width) + 0.5) / width


def _boxes(width: int) -> list[dict]:
    half = min(0.07, 0.36 / width)
    return [box((x - half, x + half), (0.875, 0.925), "panel") for x in _centres(width)]


def _products(window: np.ndarray, weight: np.ndarray, say: Language) -> list[dict]:
    """The codes of x, those of the weights, and their products with a plus between them."""
    rows = ((say("x codes"), 0.9), (say("weights"), 0.84), (say("products"), 0.78))
    labels = [label(0, y, words, anchor="middle right", size=12) for words, y in rows]
    centres = _centres(len(window))
    for k, x in enumerate(centres):
        labels += [
            label(x, 0.9, number(window[k]), "text", size=14),
            label(x, 0.84, f"× {number(weight[k])}", "text", size=14),
            label(x, 0.78, _whole(int(window[k]) * int(weight[k])), "muted", size=13),
        ]
        if k:
            labels.append(label((centres[k - 1] + x) / 2, 0.78, "+", size=13))
    return labels
