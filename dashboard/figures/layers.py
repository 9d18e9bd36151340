"""The layer strip: the SiLU output of every layer, cut by the scale that the rule gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import ScaleReport, SliceReport, gain_db, saved_share
from dashboard.figures.theme import (
    SentFigure,
    area,
    box,
    count_height,
    label,
    line,
    pick,
    plain,
    sensors,
    steps,
    whole_figure,
)
from dashboard.rules.landscape import NEGLIGIBLE_DB, NEGLIGIBLE_SHARE, Measure
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, small

HEIGHT = 96  # px
WORDS = 34  # px of it, over the histograms
TOP = HEIGHT / (HEIGHT - WORDS)  # of the axis, on which the tallest histogram is 1
CELL = 0.89  # of a layer's width; the rest is the gap to the next
LEAST = 1.1  # where a bar that stands for a gain begins
BINS = 48
NEGLIGIBLE: dict[Measure, float] = {"sqnr_db": NEGLIGIBLE_DB, "predicted_nats": NEGLIGIBLE_SHARE}
# More layers than these leave no room for text, on a page and on a phone.
MOST_LABELLED, MOST_LABELLED_NARROW = 12, 6


def layer_strip(
    layers: Sequence[int],
    reports: Sequence[SliceReport],
    bests: Sequence[ScaleReport],
    chosen: int,
    say: Language,
    by: Measure = "sqnr_db",
) -> go.Figure | SentFigure:
    """One cell a layer, side by side on a common value range.

    Args:
        layers: their numbers, in order.
        reports: one slice of each layer.
        bests: what each layer's own best α makes of that slice.
        chosen: the layer on show.
        by: what the best has the most, or the least, of; its gain is in decibels, or a share of the
            predicted cost.

    A dark tick is the scale on show, a green one the layer's best; the number is what the best
    would gain. A click on a cell answers with its layer.
    """
    gained = saved_share if by == "predicted_nats" else gain_db
    gains = [gained(r.chosen, best) for r, best in zip(reports, bests, strict=True)]
    cells = Cells.of(reports)
    current = layers.index(chosen)
    hovers = [
        _hover(layer, report.chosen, best, say, by)
        for layer, report, best in zip(layers, reports, bests, strict=True)
    ]
    labels = _labels(layers, gains, current, say, by) if len(layers) <= MOST_LABELLED else []
    unlabelled = len(layers) > MOST_LABELLED_NARROW
    traces: list[dict[str, Any]] = []
    others = [i for i in range(len(layers)) if i != current]
    groups = (("others", others, 0.5, 1.2), ("current", [current], 0.92, 2.0))
    for who, shown, opacity, width in groups:
        for concept, x, y in cells.areas(shown):
            traces.append(area(x, y, concept, opacity, name=f"{concept} {who}"))
        better = [i for i in shown if gains[i] >= NEGLIGIBLE[by]]
        traces.append(line(*cells.ticks(better, [best.high for best in bests]), "best", 2))
        cuts = [report.chosen.high for report in reports]
        traces.append(line(*cells.ticks(shown, cuts), "chosen", width, name=f"cut {who}"))
    if not labels:  # no room for words: a bar as high as the gain
        traces.append(_gain_bars(gains, by))
    middles = np.arange(len(layers)) + CELL / 2
    traces.append(sensors(middles, CELL, hovers))
    return whole_figure(
        HEIGHT,
        _alt(layers, gains, current, say, by),
        traces,
        xaxis={"range": [-0.04, len(layers) - 1 + CELL + 0.04], "visible": False},
        yaxis={"range": [0, TOP], "visible": False},
        shapes=[
            box(
                (current - 0.04, current + CELL + 0.04),
                (0, 1),
                "panel",
                axes=("x", "paper"),
                layer="below",
            ),
        ],
        annotations=labels,
        meta={
            "picks": [
                pick(layer, words, (i, i + CELL), axes=("x", "paper"))
                for i, (layer, words) in enumerate(zip(layers, hovers, strict=True))
            ],
            "narrow": {f"annotations[{i}].visible": False for i in range(len(labels))}
            if unlabelled
            else {},
        },
    )


@dataclass(frozen=True, eq=False)
class Cells:
    """The histograms, each in its cell, on one value range."""

    edges: np.ndarray  # (BINS,) real units
    heights: tuple[np.ndarray, ...]  # (BINS - 1,) each, at most 1
    cuts: tuple[float, ...]

    @staticmethod
    def of(reports: Sequence[SliceReport]) -> Cells:
        high = max(max(r.silu_output.max, r.chosen.high) for r in reports)
        low = min(min(r.silu_output.min for r in reports), 0.0)
        edges = np.linspace(low, high, BINS)
        heights = [count_height(r.silu_output.rebin(edges), log=True) for r in reports]
        tallest = max(height.max() for height in heights)
        return Cells(
            edges,
            tuple(height / tallest for height in heights),
            tuple(report.chosen.high for report in reports),
        )

    def across(self, cell: int, value: float | np.ndarray) -> np.ndarray:
        """Where a value stands: the cell's number is its left edge."""
        low, high = self.edges[0], self.edges[-1]
        return cell + CELL * (np.asarray(value) - low) / (high - low)

    def areas(self, shown: Sequence[int]) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """The shown histograms' outlines below and beyond their cuts: (concept, x, y)."""
        outlines = []
        for concept in ("output", "saturated"):
            x, y = [np.zeros(0)], [np.zeros(0)]
            for i in shown:
                cut = self.cuts[i]
                ends = (-np.inf, cut) if concept == "output" else (cut, np.inf)
                position, height = steps(self.edges, self.heights[i], *ends)
                x += [self.across(i, position), np.full(1, np.nan)]
                y += [height, np.full(1, np.nan)]
            outlines.append((concept, np.concatenate(x), np.concatenate(y)))
        return outlines

    def ticks(self, shown: Sequence[int], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """An upright line at a value of each shown cell, in one polyline with gaps."""
        x = [[float(self.across(i, values[i]))] * 2 + [np.nan] for i in shown]
        return np.ravel(x), np.ravel([[0.0, 1.06, np.nan]] * len(shown))


def _hover(layer: int, chosen: ScaleReport, best: ScaleReport, say: Language, by: Measure) -> str:
    if by == "predicted_nats":
        return say(
            "Layer {layer}: predicted_nats {nats}; {rule} gives {best}",
            layer=layer,
            nats=small(chosen.predicted_nats or 0.0),
            rule=say(best.label),
            best=small(best.predicted_nats or 0.0),
        )
    return say(
        "Layer {layer}: sqnr_db {sqnr}; {rule} gives {best}",
        layer=layer,
        sqnr=decibels(float(chosen.output.sqnr_db)),
        rule=say(best.label),
        best=decibels(float(best.output.sqnr_db)),
    )


def _alt(
    layers: Sequence[int], gains: Sequence[float], current: int, say: Language, by: Measure
) -> str:
    most = max(range(len(gains)), key=lambda i: gains[i])
    where = {"layer": layers[current], "most": layers[most]}
    if by == "predicted_nats":
        return say(
            "The SiLU output of every layer, cut by its scale. The best α would save {gain} of the "
            "predicted cost in layer {layer}, which is on show, and most in layer {most}: "
            "{most_gain}.",
            gain=percent(max(gains[current], 0.0)),
            most_gain=percent(max(gains[most], 0.0)),
            **where,
        )
    return say(
        "The SiLU output of every layer, cut by its scale. The best α would gain "
        "{gain} in layer {layer}, which is on show, and most in layer {most}: {most_gain}.",
        gain=decibels(gains[current], 1),
        most_gain=decibels(gains[most], 1),
        **where,
    )


def gain_words(gain: float, say: Language, by: Measure = "sqnr_db") -> str:
    """What a layer's best α has over the scale on show, as plotly's markup."""
    if gain < NEGLIGIBLE[by]:
        return plain(say("at best"))
    words = (
        say("{share} cost", share=percent(-gain))
        if by == "predicted_nats"
        else (f"+{decibels(gain, 1)}")
    )
    return f"<b>{plain(words)}</b>"


def _labels(
    layers: Sequence[int], gains: Sequence[float], current: int, say: Language, by: Measure
) -> list[dict]:
    """Each layer's name, and under it what its best α would gain."""
    labels = []
    for i, (layer, gain) in enumerate(zip(layers, gains, strict=True)):
        on_show = i == current
        labels += [
            label(
                i,
                1,
                say("Layer {layer}", layer=layer),
                "text" if on_show else "muted",
                bold=on_show,
                size=12,
                anchor="bottom right",
                axes=("x", "paper"),
            ),
            label(
                i,
                1,
                "",
                "best",
                size=12,
                yshift=-15,
                name=f"gain {layer}",
                anchor="bottom right",
                axes=("x", "paper"),
            )
            | {"text": gain_words(gain, say, by)},
        ]
    return labels


def _gain_bars(gains: Sequence[float], by: Measure) -> dict:
    most = max([gain for gain in gains if np.isfinite(gain)], default=NEGLIGIBLE[by])
    x: list[float] = []
    y: list[float] = []
    for i, gain in enumerate(gains):
        if gain >= NEGLIGIBLE[by]:
            top = LEAST + (TOP - LEAST) * min(gain / most, 1.0)
            x += [i, i, i + CELL, i + CELL, np.nan]
            y += [LEAST, top, top, LEAST, np.nan]
    return area(x, y, "best", 0.9, name="gains")
