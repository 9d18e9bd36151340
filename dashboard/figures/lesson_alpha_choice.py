"""The lesson's last figure: the SQNR that a reader's α buys in each layer, and the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import format_alpha
from dashboard.figures.theme import (
    LIGHT,
    SMALL_SIZE,
    dots,
    label,
    line,
    new_figure,
    sensors,
    strokes,
)
from dashboard.rules.landscape import NEGLIGIBLE_DB
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, signed

ROW = 46  # px
ABOVE, BELOW = 40, 48  # px


def alpha_choice(
    layers: Sequence[int],
    alphas: Sequence[float],
    sqnr_db: Sequence[float],
    best_db: Sequence[float],
    loss_db: Sequence[float],
    say: Language,
) -> go.Figure:
    """One row a layer: where its α brings it, where the best α would, and what lies between.

    The axis does not begin at 0 dB, so the rows have points and no bars.
    """
    finite = [value for value in (*sqnr_db, *best_db) if np.isfinite(value)] or [0.0]
    low, high = 5 * np.floor((min(finite) - 1) / 5), max(finite) + 1
    reached, best = np.clip(sqnr_db, low, high), np.clip(best_db, low, high)
    rows = -np.arange(len(layers), dtype=float)
    worst = int(np.argmax(loss_db))
    hover_texts = [
        say(
            "layer {layer}: α {alpha}, {sqnr}; best {best}",
            layer=layer,
            alpha=format_alpha(alpha),
            sqnr=decibels(sqnr),
            best=decibels(top),
        )
        for layer, alpha, sqnr, top in zip(layers, alphas, sqnr_db, best_db, strict=True)
    ]
    lost = [loss >= NEGLIGIBLE_DB for loss in loss_db]
    figure = new_figure(
        ABOVE + ROW * len(layers) + BELOW,
        say(
            "Layer {layer} loses most: {loss} dB.",
            layer=layers[worst],
            loss=signed(loss_db[worst], 2),
        ),
        margin={"l": 66, "r": 70, "t": ABOVE, "b": BELOW},
        xaxis={
            "range": [low, high],
            "showgrid": True,
            "dtick": 5,
            "ticksuffix": " dB",
            "tickfont": {"size": SMALL_SIZE},
            "title": {"text": say("SQNR; the axis does not begin at 0")},
        },
        meta={"narrow": {"annotations[0].yshift": 23}},
        yaxis={
            "range": [-len(layers) + 0.4, 0.6],
            "tickvals": rows,
            "ticktext": [say("layer {layer}", layer=layer) for layer in layers],
        },
        annotations=[
            label(0, 1, say("SQNR by your α"), "output", "top right", bold=True, yshift=6),
            label(1, 1, say("best possible"), "best", "top left", bold=True, yshift=6),
            label(1, 1, say("lost"), "saturated", "top left", bold=True, xshift=70, yshift=6),
            *(
                label(
                    1,
                    row,
                    f"{signed(loss, 2)} dB",
                    "saturated" if much else "best",
                    "middle left",
                    13,
                    bold=True,
                    axes=("paper", "y"),
                    xshift=70,
                )
                for row, loss, much in zip(rows, loss_db, lost, strict=True)
            ),
        ],
    )
    lost_spans = strokes((reached, best), (rows, rows))
    figure.add_trace(line(*lost_spans, "saturated", 3, opacity=0.5))
    marks = strokes((best, best), (rows - 0.26, rows + 0.26))
    figure.add_trace(line(*marks, "best", 3))
    figure.add_trace(
        dots(reached, rows, "output", 13)
        | {
            "mode": "markers+text",
            "text": [f"α {format_alpha(alpha)}" for alpha in alphas],
            "textposition": "top center",
            "textfont": {"size": 12, "color": LIGHT["muted"]},
        }
    )
    figure.add_trace(sensors(rows, 0.9, hover_texts, low, high, upright=False))
    return figure
