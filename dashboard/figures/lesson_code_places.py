"""The lesson's twelfth figure: y's histogram, the codes that were placed, and the best of all."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.calibration.histogram import Histogram
from dashboard.figures.theme import (
    area,
    count_height,
    count_ticks,
    label,
    line,
    new_figure,
    number_ticks,
    steps,
    strokes,
)
from dashboard.formats import Codebook
from dashboard.text.language import Language
from dashboard.text.numbers import decibels

HEIGHT = 430
HISTOGRAM, MINE, BEST = (0.5, 1.0), (0.24, 0.34), (0.02, 0.12)  # heights of the panels
BINS = 200


def code_places(
    output: Histogram,
    mine: Codebook,
    best: Codebook,
    mine_db: float,
    best_db: float,
    say: Language,
) -> go.Figure:
    """The histogram of y, and a stroke a code: those that were placed, and the best."""
    low, high = min(output.min, 0.0), max(output.max, 1e-6)
    pad = 0.02 * (high - low)
    x_range = [low - pad, high + pad]
    edges = np.linspace(low, high, BINS + 1)
    tall = count_height(output.rebin(edges), log=True)
    top = float(tall.max()) * 1.06
    ticks = count_ticks(top, log=True)
    figure = new_figure(
        HEIGHT,
        say(
            "Your {count} codes under the histogram of y have {sqnr}; the best have {best}.",
            count=mine.size,
            sqnr=decibels(mine_db, 1),
            best=decibels(best_db, 1),
        ),
        margin={"l": 44, "r": 12, "t": 8, "b": 34},
        xaxis={"range": x_range, **number_ticks(x_range[0], x_range[1]), "anchor": "free"},
        yaxis={
            "domain": list(HISTOGRAM),
            "range": [0, top],
            "tickvals": [place for place, _ in ticks],
            "ticktext": [text for _, text in ticks],
        },
        yaxis2={"domain": list(MINE), "range": [0, 1], "visible": False},
        yaxis3={"domain": list(BEST), "range": [0, 1], "visible": False},
        annotations=[
            label(0, 0.36, say("yours: {sqnr}", sqnr=decibels(mine_db, 1)), "chosen", "top right"),
            label(
                0,
                0.14,
                say("the best there are: {sqnr}", sqnr=decibels(best_db, 1)),
                "best",
                "top right",
            ),
        ],
    )
    figure.layout.xaxis.position = 0
    x, y = steps(edges, tall, low, high)
    figure.add_trace(area(x, y, "output", 0.8))
    for codebook, axis, concept in ((mine, "y2", "chosen"), (best, "y3", "best")):
        points = codebook.points
        figure.add_trace(line(*strokes((points, points), (0.0, 1.0)), concept, 1.0, yaxis=axis))
    return figure
