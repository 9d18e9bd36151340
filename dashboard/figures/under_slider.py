"""SQNR or predicted cost at every α, small, under the slider of α and on its axis.

The thumb stands over the curve. The axis is logarithmic in 1 − α, or 0.9995 and 0.99999 would be
one point. Two limits explain the curve: what it would be if scales only rounded, and if they only
clipped. All words stand below the curves, in rows, but the numbers of the axis, which stand at
whichever end of a grid line no curve comes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from dashboard.analysis.report import ScaleReport, format_alpha
from dashboard.figures.theme import (
    RAISED,
    SMALL_SIZE,
    SentFigure,
    dots,
    hover,
    label,
    line,
    pick,
    rule,
    text_width,
    whole_figure,
)
from dashboard.rules.landscape import Landscape, Measure
from dashboard.rules.observers import log_alpha
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, signed, small

HEIGHT = 224  # px
WORDS = 58  # px of it, under the curves
INSET = 6  # px by which Streamlit's slider has its track inset, at each side
WIDTH = 300  # px, the least that words are placed for
SHOWN_DB = (20.0, 8.0)  # below and above the best
SHOWN_DECADES = (0.8, 2.0)  # likewise, of a cost
ROUND = (0.9, 1.0, 0.9995, 0.99, 0.99999)  # named on the axis, as long as there is room


@dataclass(frozen=True)
class Merit:
    """What a landscape goes by, as the height of a curve: decibels, or log₁₀ of predicted nats."""

    by: Measure
    low: float
    high: float

    @staticmethod
    def of(landscape: Landscape) -> Merit:
        """An axis around the best, of some decibels or powers of ten."""
        if landscape.by == "sqnr_db":
            best = landscape.best_db if np.isfinite(landscape.best_db) else 40.0
            return Merit("sqnr_db", best - SHOWN_DB[0], best + SHOWN_DB[1])
        nats = landscape.predicted_nats
        assert nats is not None  # a landscape that goes by it has it
        least = float(nats[landscape.best]) or min([n for n in nats if n > 0], default=1e-6)
        middle = float(np.log10(least))
        return Merit("predicted_nats", middle - SHOWN_DECADES[0], middle + SHOWN_DECADES[1])

    def heights(self, values: ArrayLike) -> np.ndarray:
        """Decibels or nats -> heights, of any shape."""
        values = np.asarray(values, dtype=np.float64)
        if self.by == "sqnr_db":
            return values
        with np.errstate(divide="ignore"):
            return np.log10(np.maximum(values, 0.0))

    def of_scale(self, scale: ScaleReport) -> float:
        """What one scale has, in decibels or nats."""
        if self.by == "sqnr_db":
            return float(scale.output.sqnr_db)
        assert scale.predicted_nats is not None
        return scale.predicted_nats

    def clipped(self, value: float) -> float:
        """The height of a mark that stays on the axis."""
        return float(np.clip(self.heights(value), self.low, self.high))

    def words(self, value: float) -> str:
        """A value with its unit."""
        return decibels(value) if self.by == "sqnr_db" else f"{small(value)} nats"

    def text(self, value: float) -> str:
        """A value in few signs: 30.68 dB, 2.9·10⁻⁴; the axis says that the latter are nats."""
        if self.by == "sqnr_db":
            return decibels(value)
        if value == 0 or not 1e-9 < value < 1e-2:
            return f"{value:.2g}"
        exponent = int(np.floor(np.log10(value)))
        return f"{value / 10.0**exponent:.1f}·10{str(exponent).translate(RAISED)}"

    def ticks(self) -> list[tuple[float, str]]:
        """Heights of grid lines, each with its number."""
        if self.by == "sqnr_db":
            tens = np.arange(np.ceil(self.low / 10) * 10, self.high, 10)
            return [(float(ten), f"{signed(ten, 0)} dB") for ten in tens]
        powers = np.arange(np.ceil(self.low), self.high)
        return [(float(power), f"10{str(int(power)).translate(RAISED)} nats") for power in powers]


def landscape_under_slider(
    landscape: Landscape, grid: Sequence[float], chosen: ScaleReport | None, say: Language
) -> go.Figure | SentFigure:
    """The landscape on the slider's own axis: SQNR, or the predicted cost where it goes by that.

    Args:
        grid: the slider's values of α, each a step apart, whatever their distance.
        chosen: the scale on show, where it is a percentile.

    A click answers with the index in ``grid`` of the nearest α.
    """
    axis, merit = SliderAxis(grid), Merit.of(landscape)
    low, high = merit.low, merit.high
    shown = landscape.at_least(grid[0])
    x = axis.across(shown.alphas)
    best = float(x[shown.best])
    values, rounding, clipping = _curves(shown)
    best_value = float(values[shown.best])
    best_words = say(
        "best {alpha}: {sqnr}",
        alpha=format_alpha(landscape.best_alpha),
        sqnr=merit.text(best_value),
    )
    hovers = [
        f"α {format_alpha(float(alpha))}: {merit.words(float(value))}"
        for alpha, value in zip(shown.alphas, values, strict=True)
    ]
    heights = [merit.heights(curve) for curve in (rounding, clipping, values)]
    drawn = [np.where((y >= low) & (y <= high), y, np.nan) for y in heights]
    words = [
        label(1, 0, best_words, "best", "bottom left", bold=True, yshift=-20),
        label(0, 0, say("··· if only rounding"), "output", "bottom right", 11.5, yshift=-38),
        label(1, 0, say("··· if only clipping"), "saturated", "bottom left", 11.5, yshift=-38),
        *_names(axis),
    ]
    foot = merit.clipped(best_value)
    marks = [line([best, best], [low, foot], "best", 1.4), dots([best], [foot], "best", 9)]
    if chosen is not None:
        at = float(axis.across([chosen.rule.alpha])[0])
        value = merit.of_scale(chosen)
        y = merit.clipped(value)
        words.append(
            label(
                0,
                0,
                f"α {format_alpha(chosen.rule.alpha)}: {merit.text(value)}",
                "text",
                "bottom right",
                bold=True,
                yshift=-20,
                name="chosen",
            )
        )
        marks += [
            line([at, at], [y, high], "chosen", 1.2, name="chosen line"),
            dots([at], [y], "chosen", 10, name="chosen dot"),
        ]
    upright = [best] if chosen is None else [best, at]
    ticks, numbers = _grid(merit, x, drawn, upright)
    if merit.by == "sqnr_db":
        alt = say(
            "SQNR over α, under the ceilings of rounding alone and clipping alone; {best}.",
            best=best_words,
        )
    else:
        alt = say(
            "Predicted cost over α, in nats, above what rounding alone and clipping alone cost; "
            "{best}.",
            best=best_words,
        )
    return whole_figure(
        HEIGHT,
        alt,
        [
            line(x, drawn[0], "output", 1.6, "dot"),
            line(x, drawn[1], "saturated", 1.6, "dot"),
            line(x, drawn[2], "chosen", 2.2, **hover(hovers)),
            *marks,
        ],
        margin={"l": INSET, "r": INSET, "t": 2, "b": WORDS},
        hovermode="x",
        xaxis={"range": [0, 1], "showticklabels": False, "showspikes": False},
        yaxis={"range": [low, high], "showticklabels": False},
        shapes=ticks,
        annotations=[*words, *numbers],
        meta={"picks": axis.picks()},
    )


def _curves(shown: Landscape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A,) each: what the landscape goes by, if scales only rounded, if they only clipped."""
    if shown.by == "sqnr_db":
        return shown.sqnr_db, shown.rounding_ceiling_db, shown.clipping_ceiling_db
    assert shown.predicted_nats is not None and shown.clipping_nats is not None
    return shown.predicted_nats, shown.predicted_nats - shown.clipping_nats, shown.clipping_nats


class SliderAxis:
    """Where each α stands on a slider whose values are all as far apart: from 0 to 1."""

    def __init__(self, grid: Sequence[float]) -> None:
        self.grid = tuple(grid)
        self._t = np.array([log_alpha(alpha) for alpha in grid])
        self._t[-1] = self._t[-2] + 0.05  # α = 1
        self.places = np.linspace(0.0, 1.0, len(grid))

    def across(self, alphas: Sequence[float] | np.ndarray) -> np.ndarray:
        """(A,) α -> (A,) shares of the slider's length."""
        t = [min(log_alpha(float(alpha)), self._t[-1]) for alpha in alphas]
        return np.interp(t, self._t, self.places)

    def picks(self) -> list[dict]:
        """A stretch around each value, answering with its index; the slider has the keys."""
        ends = [0.0, *((self.places[:-1] + self.places[1:]) / 2), 1.0]
        return [
            pick(i, f"α {format_alpha(alpha)}", (ends[i], ends[i + 1]), by_key=False)
            for i, alpha in enumerate(self.grid)
        ]


def _names(axis: SliderAxis) -> list[dict]:
    """Round values of α under the axis, those left out that would touch one before."""
    names: list[dict] = []
    occupied: list[tuple[float, float]] = []
    for alpha in ROUND:
        if alpha not in axis.grid:
            continue
        name = format_alpha(alpha)
        wide = text_width(name, SMALL_SIZE) + 6
        middle = float(axis.across([alpha])[0]) * WIDTH
        left = min(max(middle - wide / 2, 0), WIDTH - wide)
        if any(left < end and begin < left + wide for begin, end in occupied):
            continue
        occupied.append((left, left + wide))
        share = float(axis.across([alpha])[0])
        side = "center" if left == middle - wide / 2 else "right" if left == 0 else "left"
        edge = {"center": share, "right": 0.0, "left": 1.0}[side]
        names.append(label(edge, 0, name, anchor=f"bottom {side}", size=SMALL_SIZE, yshift=-2))
    return names


def _grid(
    merit: Merit, x: np.ndarray, curves: Sequence[np.ndarray], upright: Sequence[float]
) -> tuple[list[dict], list[dict]]:
    """Grid lines, and their numbers at an end that no curve and no upright line comes near."""
    lines, numbers = [], []
    tall = 15 * (merit.high - merit.low) / (HEIGHT - WORDS)  # of a label, in the axis's unit
    for tick, name in merit.ticks():
        lines.append(rule((0, 1), (tick, tick), "grid", axes=("paper", "y"), layer="below"))
        if tick + tall > merit.high:
            continue
        wide = (text_width(name, SMALL_SIZE) + 6) / WIDTH
        for side, ends in (("right", (0.0, wide)), ("left", (1 - wide, 1.0))):
            near = np.flatnonzero((x >= ends[0]) & (x <= ends[1]))
            around = slice(max(0, near[0] - 1), near[-1] + 2) if len(near) else slice(0)
            clear = all(
                np.nanmax(y[around], initial=-np.inf) < tick
                or np.nanmin(y[around], initial=np.inf) > tick + tall
                for y in curves
            )
            if clear and not any(ends[0] <= at <= ends[1] for at in upright):
                place = 0.0 if side == "right" else 1.0
                numbers.append(
                    label(
                        place,
                        tick,
                        name,
                        anchor=f"top {side}",
                        size=SMALL_SIZE,
                        axes=("paper", "y"),
                    )
                )
                break
    return lines, numbers
