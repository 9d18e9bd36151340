"""The lesson's first figure: a handful of values, what INT8 keeps of them, and a close-up."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.theme import (
    LIGHT,
    SMALL_SIZE,
    box,
    dots,
    label,
    line,
    new_figure,
    rule,
    strokes,
)
from dashboard.text.language import Language
from dashboard.text.numbers import number
from kernels.int8 import QMAX, QMIN

REACH = 5.4  # of the upper axis, on both sides of 0
HALF_WINDOW = 0.2  # of the close-up, in real units
UPPER, LOWER = (0.6, 0.88), (0.13, 0.46)  # heights of the two panels
UNDER_TICKS = 0.525  # where the lines to the close-up begin, below the names of the ticks
VALUES_AT, RESTORED_AT = 0.72, 0.2  # heights within a panel
NARROW_WIDTH = 330  # px of the figure on a phone, for which labels of ticks are spaced
LABEL_WIDTH = 26  # px


def int8_range(
    scale: float,
    values: np.ndarray,
    codes: np.ndarray,
    restored: np.ndarray,
    saturated: np.ndarray,
    close: int,
    say: Language,
) -> go.Figure:
    """Values above, what comes back below, within the range that the codes span; and a close-up.

    Args:
        scale: real units per code.
        values, codes, restored, saturated: (N,) each: real values, their codes, the codes times the
            scale, and whether the value lies beyond the range.
        close: the index of the value in the close-up.
    """
    low, high = QMIN * scale, QMAX * scale
    words = say("INT8 holds {low} … {high}", low=number(low), high=number(high))
    value = float(values[close])
    window = (value - HALF_WINDOW, value + HALF_WINDOW)
    figure = new_figure(
        350,
        words
        + ". "
        + say(
            "{saturated} of {count} values saturate.",
            saturated=int(saturated.sum()),
            count=len(values),
        ),
        margin={"l": 14, "r": 14},
        xaxis={
            "range": [-REACH, REACH],
            "dtick": 1,
            "showline": True,
            "ticks": "outside",
            "ticklen": 5,
            "anchor": "y",
        },
        yaxis={"range": [0, 1], "domain": UPPER, "visible": False},
        xaxis2={"range": window, "anchor": "y2", **_code_ticks(scale, window)},
        yaxis2={"range": [0, 1], "domain": LOWER, "visible": False},
        shapes=[
            box(
                (max(low, -REACH), min(high, REACH)),
                (0, 1),
                "panel",
                axes=("x", "y domain"),
                layer="below",
            ),
            *(
                rule(
                    (end, end),
                    (0, 1.1),
                    "chosen",
                    2,
                    axes=("x", "y domain"),
                    visible=abs(end) < REACH,
                )
                for end in (low, high)
            ),
            *(
                rule((_across(at), edge), (UNDER_TICKS, LOWER[1]), "line", dash="dot")
                for at, edge in zip(window, (0, 1), strict=True)
            ),
            box((0, 1), LOWER, "page", line={"width": 1, "color": LIGHT["line"]}, layer="below"),
        ],
        annotations=[
            label(
                (max(low, -REACH) + min(high, REACH)) / 2,
                UPPER[1] + 0.035,
                words,
                "text",
                "top center",
                bold=True,
                axes=("x", "paper"),
            ),
            label(0.5, 0, say("close-up: one tick is one code"), anchor="top center"),
            *_close_up(
                value,
                float(restored[close]),
                int(codes[close]),
                window,
                bool(saturated[close]),
                say,
            ),
        ],
    )
    for beyond, concept in ((False, "output"), (True, "saturated")):
        shown = saturated == beyond
        x, back = np.clip(values[shown], -REACH, REACH), np.clip(restored[shown], -REACH, REACH)
        hover_texts = [
            say(
                "{value} → code {code} → {back}", value=number(v), code=number(c), back=number(b, 4)
            )
            for v, c, b in zip(values[shown], codes[shown], restored[shown], strict=True)
        ]
        links = strokes((x, back), (VALUES_AT, RESTORED_AT))
        figure.add_trace(line(*links, concept, 1.6))
        figure.add_trace(
            dots(
                back,
                np.full(len(x), RESTORED_AT),
                concept,
                7,
                customdata=hover_texts,
                hovertemplate="%{customdata}",
            )
        )
        figure.add_trace(
            dots(
                x,
                np.full(len(x), VALUES_AT),
                concept,
                11,
                customdata=hover_texts,
                hovertemplate="%{customdata}",
            )
        )
    axes = {"xaxis": "x2", "yaxis": "y2"}
    first, last = np.ceil(window[0] / scale), np.floor(window[1] / scale)
    ticks = np.arange(first, last + 1)
    for exists, concept in ((True, "muted"), (False, "line")):
        shown = ticks[(np.abs(ticks) <= QMAX) == exists] * scale
        figure.add_trace(line(*strokes((shown, shown), (0, 0.18)), concept, 1, **axes))
    concept = "saturated" if saturated[close] else "output"
    to = float(np.clip(restored[close], *window))
    figure.add_trace(line([value, value, to], [0.8, 0.36, 0.18], concept, 1.8, **axes))
    figure.add_trace(dots([to, value], [0.18, 0.8], concept, 10, **axes))
    return figure


def _across(value: float) -> float:
    """A value on the upper axis as a share of the width."""
    return (value + REACH) / (2 * REACH)


def _code_ticks(scale: float, window: tuple[float, float]) -> dict:
    """Codes named under the close-up, as many as a phone has room for."""
    apart = NARROW_WIDTH * scale / (window[1] - window[0])  # px between two codes
    every = next(n for n in (1, 2, 5, 10, 20, 50) if n * apart >= LABEL_WIDTH)
    inner = 0.04 * (window[1] - window[0])  # a name at the very edge would leave the frame
    codes = [
        code
        for code in range(QMIN, QMAX + 1)
        if code % every == 0 and window[0] + inner < code * scale < window[1] - inner
    ]
    return {"tickvals": [code * scale for code in codes], "ticktext": [number(c) for c in codes]}


def _close_up(
    value: float,
    restored: float,
    code: int,
    window: tuple[float, float],
    saturated: bool,
    say: Language,
) -> list[dict]:
    """The value and, on the other side, where there is more room, what its code stands for."""
    to = float(np.clip(restored, *window))
    right = to > value  # the line bends to the right: there is more room on the left
    words = say("code {code}\nstands for {back}", code=number(code), back=number(restored, 4))
    return [
        label(
            value,
            0.8,
            number(value),
            "text",
            "middle right" if right else "middle left",
            axes=("x2", "y2"),
            bold=True,
            xshift=9 if right else -9,
        ),
        label(
            value,
            0.5,
            words,
            "saturated" if saturated else "output",
            "middle left" if right else "middle right",
            axes=("x2", "y2"),
            bold=True,
            xshift=-12 if right else 12,
            size=SMALL_SIZE + 1.5,
        ),
    ]
