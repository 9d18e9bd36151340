"""Prediction and SQNR against what was measured: every layer alone, under several rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.proxies import RULES, Proxies, ProxyPoint
from dashboard.analysis.report import rule_label
from dashboard.figures.nats import log_range, measured_dots, powers_of_ten
from dashboard.figures.theme import NARROW, label, line, new_figure, number_ticks, plain
from dashboard.text.captions.costs import proxies_caption
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, small, with_error

HEIGHT, HEIGHT_NARROW = 420, 760  # px
SIDES = ((0.0, 0.44), (0.56, 1.0))
ROWS = ((0.6, 0.94), (0.0, 0.35))
HEAD = 0.06  # of the height, over a panel: its name
TOP = 0.94
# Of each of RULES: percentiles have one colour, so that what differs in kind is told from them.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "circle", "square", "diamond")
COLOURS = ("output",) * 4 + ("chosen", "best", "stranded")
FINITE_DB = 80.0  # what stands for no error at all


def impact_proxies(proxies: Proxies, say: Language) -> go.Figure:
    """Two panels over the measured KL: what was predicted, and SQNR. Both are logarithmic in nats.

    Args:
        proxies: one point at least.

    A click on a point is not answered: the table below has the layers.
    """
    points = [point for point in proxies.points if point.measured.mean > 0]
    x_low, x_high = log_range([point.measured.mean for point in points])
    predicted = [point.predicted_nats for point in points]
    y_low, y_high = log_range([nats for nats in predicted if nats is not None])
    sqnr = [_finite(point.sqnr_db) for point in points] or [0.0]
    room = 0.06 * (max(sqnr) - min(sqnr)) or 1.0
    decibel = (min(sqnr) - room, max(sqnr) + room)
    diagonal = (max(x_low, y_low), min(x_high, y_high))
    measured_axis = {
        "type": "log",
        "range": [float(np.log10(x_low)), float(np.log10(x_high))],
        **powers_of_ten(x_low, x_high, 5),
        "showgrid": True,
        "title": {"text": say("measured, nats of KL a token")},
        "automargin": True,
    }
    figure = new_figure(
        HEIGHT,
        say(
            "Prediction and SQNR against the measured KL. {finding}",
            finding=proxies_caption(proxies, say),
        ),
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        legend={"y": 1.02, "yanchor": "bottom"},
        xaxis=measured_axis | {"domain": list(SIDES[0]), "anchor": "y"},
        xaxis2=measured_axis | {"domain": list(SIDES[1]), "anchor": "y2"},
        yaxis={
            "type": "log",
            "domain": [0.0, TOP],
            "range": [float(np.log10(y_low)), float(np.log10(y_high))],
            **powers_of_ten(y_low, y_high),
            "showgrid": True,
            "automargin": True,
        },
        yaxis2={
            "domain": [0.0, TOP],
            "range": [decibel[1], decibel[0]],
            **number_ticks(*decibel, unit=" dB"),
            "showgrid": True,
            "anchor": "x2",
            "automargin": True,
        },
        annotations=[
            label(SIDES[0][0], 1, say("predicted, nats"), "text", "bottom right", bold=True),
            label(SIDES[1][0], 1, say("SQNR, axis upside down"), "text", "bottom right", bold=True),
        ],
        meta={
            "under": [
                (
                    NARROW + 200,
                    {
                        "height": HEIGHT_NARROW,
                        "xaxis.domain": [0, 1],
                        "xaxis2.domain": [0, 1],
                        "yaxis.domain": list(ROWS[0]),
                        "yaxis2.domain": list(ROWS[1]),
                        "annotations[0].y": ROWS[0][1] + HEAD,
                        "annotations[1].x": 0,
                        "annotations[1].y": ROWS[1][1] + HEAD,
                    },
                )
            ],
        },
    )
    if diagonal[0] < diagonal[1]:
        figure.add_trace(
            line(diagonal, diagonal, "baseline", 1.2, "4px,4px",
                 name=plain(say("as measured")), showlegend=True)
        )  # fmt: skip
    for number, rule in enumerate(RULES):
        own = [point for point in points if point.rule == rule]
        if own:
            figure.add_traces(_points(own, SYMBOLS[number], COLOURS[number], say))
    return figure


def _points(
    points: list[ProxyPoint], symbol: str, concept: str, say: Language
) -> list[dict[str, Any]]:
    """One rule's points on both panels; one entry of the legend hides both."""
    name = plain(say(rule_label(points[0].rule)))
    words = [_words(point, say) for point in points]
    estimates = [point.measured for point in points]
    common: dict[str, Any] = {"legendgroup": name, "name": name}
    right = measured_dots(
        [_finite(point.sqnr_db) for point in points], estimates, concept, words, 8, symbol,
        log=True, upright=False, xaxis="x2", yaxis="y2", showlegend=False, **common,
    )  # fmt: skip
    known = [
        (point, text)
        for point, text in zip(points, words, strict=True)
        if point.predicted_nats is not None and point.predicted_nats > 0
    ]
    left = measured_dots(
        [point.predicted_nats or 0.0 for point, _ in known],
        [point.measured for point, _ in known],
        concept,
        [text for _, text in known],
        8,
        symbol,
        log=True,
        upright=False,
        **common,
    )
    return [left | {"showlegend": True}, right]


def _words(point: ProxyPoint, say: Language) -> str:
    rows = [
        say("layer {layer}: {rule}", layer=point.layer, rule=say(rule_label(point.rule))),
        say("measured: {nats} nats", nats=with_error(point.measured.mean, point.measured.error)),
    ]
    if point.predicted_nats is not None:
        rows.append(say("predicted: {nats} nats", nats=small(point.predicted_nats)))
    rows.append(f"sqnr_db {decibels(point.sqnr_db)}")
    return "\n".join(rows)


def _finite(sqnr_db: float) -> float:
    return float(np.clip(sqnr_db, -FINITE_DB, FINITE_DB))
