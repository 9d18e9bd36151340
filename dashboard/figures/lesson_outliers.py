"""The lesson's fifth figure: two rulers of codes under the same values, and the error over amax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dashboard.calibration.histogram import Quantized
from dashboard.figures.theme import (
    LIGHT,
    SMALL_SIZE,
    box,
    dots,
    label,
    line,
    new_figure,
    nice_ticks,
    rule,
    strokes,
)
from dashboard.rules.published import OUTLIERS
from dashboard.text.language import Language
from dashboard.text.numbers import number, percent, scale_text
from kernels.int8 import QMAX

HEIGHT = 480
VALUES, RULERS, ERRORS = (0.84, 0.93), (0.52, 0.72), (0.115, 0.385)  # heights of the panels
UNDER_TICKS = 0.785  # where the line through both rulers begins, below the names of the ticks
EVERY = 4  # codes from tick to tick of a ruler
FLOOR = 1e-5  # mean squared error at the foot of the lower panel


@dataclass(frozen=True)
class Ruler:
    """One scale, the code that it gives OUTLIERS.value, and its mean squared error."""

    name: str
    scale: float
    code: int
    mse: float


def outliers(
    share: float,
    size: float,
    rulers: tuple[Ruler, Ruler],
    amaxes: np.ndarray,
    sweep: Quantized,
    best_amax: float,
    say: Language,
) -> go.Figure:
    """The values, each scale's ruler under them, and rounding and clipping error over the range.

    Args:
        share, size: how many of the values are outliers, and where they lie.
        rulers: MinMax's and the percentile's, the finer one last.
        amaxes: (A,) ends of the range; ``sweep`` is what each makes of the values.
        best_amax: the one with the least squared error.
    """
    reach = max(size, OUTLIERS.bulk) * 1.06
    error = sweep.rounding_mse + sweep.clipping_mse
    ceiling = max(1.0, 1.4 * float(sweep.clipping_mse.max()))
    decades = range(-5, int(np.floor(np.log10(ceiling))) + 1)
    value = number(OUTLIERS.value)
    better = min(rulers, key=lambda ruler: ruler.mse)
    figure = new_figure(
        HEIGHT,
        say(
            "The code of {value} is {first_code} by {first} and {second_code} by {second}; "
            "{better} has the smaller mean squared error.",
            value=value,
            first_code=rulers[0].code,
            first=rulers[0].name,
            second_code=rulers[1].code,
            second=rulers[1].name,
            better=better.name,
        ),
        margin={"l": 50, "r": 16},
        xaxis={
            "range": [0, reach],
            "anchor": "y",
            "showline": True,
            "tickvals": nice_ticks(0, reach, 6),
        },
        yaxis={"range": [0, 1], "domain": VALUES, "visible": False},
        xaxis2={"range": [0, reach], "anchor": "y2", "visible": False},
        yaxis2={"range": [0, 1], "domain": RULERS, "visible": False},
        xaxis3={
            "range": [amaxes[0], amaxes[-1]],
            "anchor": "y3",
            "showline": True,
            "tickvals": nice_ticks(amaxes[0], amaxes[-1], 6),
            "ticks": "outside",
            "ticklen": 5,
            "title": {"text": say("amax, the end of the range")},
        },
        yaxis3={
            "range": [np.log10(FLOOR), np.log10(ceiling)],
            "domain": ERRORS,
            "showgrid": True,
            "tickvals": list(decades),
            "ticktext": [_power(e) if e % 2 or e == 0 else "" for e in decades],
            "tickfont": {"size": SMALL_SIZE},
            "ticklabelstandoff": 5,
        },
        shapes=[
            box((0, OUTLIERS.bulk), (0, 0.9), "output", 0.85, axes=("x", "y")),
            rule((size, size), (0, 0.9), "saturated", 4, axes=("x", "y"), visible=share > 0),
            rule(
                (OUTLIERS.value,) * 2,
                (RULERS[0] + 0.03, UNDER_TICKS),
                "best",
                1.2,
                "dot",
                axes=("x", "paper"),
                layer="below",
            ),
        ],
        annotations=[
            label(
                0,
                1,
                say("{share} of the values", share=percent(1 - share)),
                "output",
                "bottom right",
                bold=True,
            ),
            label(
                1,
                1,
                say("{share} at {size}", share=percent(share), size=number(size)),
                "saturated",
                "bottom left",
                bold=True,
                visible=share > 0,
            ),
            label(
                OUTLIERS.value,
                0.76,
                say("code of {value}", value=value),
                "best",
                "middle right",
                11.5,
                axes=("x", "paper"),
                xshift=6,
            ),
            *_ruler_labels(rulers, reach, say),
            label(
                0, 0.455, say("mean squared error"), "text", "bottom right", bold=True, xshift=-50
            ),
            _key((say("clipping"), "saturated"), (say("rounding"), "output")),
        ],
    )
    for ruler, y in zip(rulers, (0.72, 0.12), strict=True):
        ticks = np.arange(0, QMAX + 1, EVERY) * ruler.scale
        end = QMAX * ruler.scale
        axes = {"xaxis": "x2", "yaxis": "y2"}
        figure.add_trace(line(*strokes((ticks, ticks), (y, y + 0.12)), "muted", 0.8, **axes))
        figure.add_trace(
            line(
                [0, end, np.nan, end, end], [y, y, np.nan, y - 0.06, y + 0.18], "chosen", 2, **axes
            )
        )
        hover_text = say("{value} becomes code {code}", value=value, code=ruler.code)
        figure.add_trace(
            dots(
                [OUTLIERS.value],
                [y + 0.05],
                "best",
                10,
                customdata=[hover_text],
                hovertemplate="%{customdata}",
                **axes,
            )
        )
    for mse, concept, width in (
        (sweep.rounding_mse, "output", 1.8),
        (sweep.clipping_mse, "saturated", 1.8),
        (error, "chosen", 2.4),
    ):
        height = np.where(mse > FLOOR, np.log10(np.maximum(mse, FLOOR)), np.nan)
        figure.add_trace(line(amaxes, height, concept, width, xaxis="x3", yaxis="y3"))
    figure.add_trace(_marks(rulers, say))
    least = np.log10(max(float(error.min()), FLOOR))
    figure.add_trace(
        dots(
            [best_amax],
            [least],
            "best",
            9,
            xaxis="x3",
            yaxis="y3",
            customdata=[say("least mean squared error: amax {amax}", amax=number(best_amax, 2))],
            hovertemplate="%{customdata}",
        )
    )
    for ruler in rulers:
        figure.add_shape(
            rule(
                (QMAX * ruler.scale,) * 2,
                (np.log10(FLOOR), _height(ruler.mse)),
                "chosen",
                1.2,
                "dot",
                ("x3", "y3"),
            )
        )
    return figure


def _key(*names: tuple[str, str]) -> dict:
    """Names of curves in their colours, in one line at the right: (name, concept)."""
    spans = [f'<span style="color:{LIGHT[concept]}">{name}</span>' for name, concept in names]
    return label(1, 0.455, "", anchor="bottom left") | {"text": f"<b>{'   '.join(spans)}</b>"}


def _power(exponent: int) -> str:
    return (
        "1" if exponent == 0 else f"10{str(exponent).translate(str.maketrans('-12345', '⁻¹²³⁴⁵'))}"
    )


def _height(mse: float) -> float:
    return float(np.log10(max(mse, FLOOR)))


def _marks(rulers: tuple[Ruler, Ruler], say: Language) -> dict:
    hover_texts = [
        say("{name}: mean squared error {mse}", name=ruler.name, mse=scale_text(ruler.mse))
        for ruler in rulers
    ]
    return dots(
        [QMAX * ruler.scale for ruler in rulers],
        [_height(r.mse) for r in rulers],
        "chosen",
        10,
        xaxis="x3",
        yaxis="y3",
        customdata=hover_texts,
        hovertemplate="%{customdata}",
    )


def _ruler_labels(rulers: tuple[Ruler, Ruler], reach: float, say: Language) -> list[dict]:
    """Each ruler's name and scale, beside a short one, else under it at the right; and the code."""
    labels = []
    for ruler, y in zip(rulers, (0.72, 0.12), strict=True):
        words = say("{name}: scale {scale}", name=ruler.name, scale=scale_text(ruler.scale))
        end = QMAX * ruler.scale
        short = end < 0.35 * reach
        labels += [
            label(
                end if short else reach,
                y,
                words,
                "text",
                "middle right" if short else "bottom left",
                axes=("x2", "y2"),
                bold=True,
                xshift=14 if short else 0,
                yshift=4 if short else -5,
            ),
            label(
                OUTLIERS.value,
                y,
                str(ruler.code),
                "best",
                "bottom left",
                13,
                bold=True,
                axes=("x2", "y2"),
                xshift=-3,
                yshift=-4,
            ),
        ]
    return labels
