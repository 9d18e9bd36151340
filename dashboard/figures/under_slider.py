"""SQNR at every α, small, under the slider of α and on its axis: the thumb stands over the curve.

The axis is logarithmic in 1 − α, or 0.9995 and 0.99999 would be one point. Two ceilings explain the
curve: what it would be if scales only rounded, and if they only clipped. All words stand below the
curves, in rows, but the decibels, which stand at whichever end of a grid line no curve comes by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import ScaleReport, format_alpha
from dashboard.figures.theme import (
    SMALL_SIZE,
    dots,
    hover,
    label,
    line,
    new_figure,
    pick,
    rule,
    text_width,
)
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import log_alpha
from dashboard.text.language import Language
from dashboard.text.numbers import decibels

HEIGHT = 224  # px
WORDS = 58  # px of it, under the curves
INSET = 6  # px by which Streamlit's slider has its track inset, at each side
WIDTH = 300  # px, the least that words are placed for
SHOWN_DB = (20.0, 8.0)  # below and above the best
ROUND = (0.9, 1.0, 0.9995, 0.99, 0.99999)  # named on the axis, as long as there is room


def landscape_under_slider(
    landscape: Landscape, grid: Sequence[float], chosen: ScaleReport | None, say: Language
) -> go.Figure:
    """The landscape on the slider's own axis.

    Args:
        grid: the slider's values of α, each a step apart, whatever their distance.
        chosen: the scale on show, where it is a percentile.

    A click answers with the index in ``grid`` of the nearest α.
    """
    axis = SliderAxis(grid)
    low, high = decibel_range(landscape)
    shown = landscape.at_least(grid[0])
    x = axis.across(shown.alphas)
    best = float(x[shown.best])
    best_db = float(np.clip(landscape.best_db, low, high))
    best_words = say(
        "best {alpha}: {sqnr}",
        alpha=format_alpha(landscape.best_alpha),
        sqnr=decibels(landscape.best_db),
    )
    hovers = [
        f"α {format_alpha(float(alpha))}: {decibels(float(sqnr))}"
        for alpha, sqnr in zip(shown.alphas, shown.sqnr_db, strict=True)
    ]
    curves = (
        (shown.rounding_ceiling_db, "output"),
        (shown.clipping_ceiling_db, "saturated"),
        (shown.sqnr_db, "chosen"),
    )
    drawn = [np.where((y >= low) & (y <= high), y, np.nan) for y, _ in curves]
    words = [
        label(1, 0, best_words, "best", "bottom left", bold=True, yshift=-20),
        label(0, 0, say("··· if only rounding"), "output", "bottom right", 11.5, yshift=-38),
        label(1, 0, say("··· if only clipping"), "saturated", "bottom left", 11.5, yshift=-38),
        *_names(axis),
    ]
    marks = [line([best, best], [low, best_db], "best", 1.4), dots([best], [best_db], "best", 9)]
    if chosen is not None:
        at = float(axis.across([chosen.rule.alpha])[0])
        sqnr = float(chosen.output.sqnr_db)
        y = float(np.clip(sqnr, low, high))
        words.append(
            label(
                0,
                0,
                f"α {format_alpha(chosen.rule.alpha)}: {decibels(sqnr)}",
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
    ticks, numbers = _decibels(low, high, x, drawn, upright)
    return new_figure(
        HEIGHT,
        say(
            "SQNR over α, under the ceilings of rounding alone and clipping alone; {best}.",
            best=best_words,
        ),
        [
            *(
                line(x, y, concept, 1.6, "dot")
                for y, (_, concept) in zip(drawn[:2], curves, strict=False)
            ),
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


def decibel_range(landscape: Landscape) -> tuple[float, float]:
    """The decibels that an axis of SQNR shows: around the best."""
    best = landscape.best_db if np.isfinite(landscape.best_db) else 40.0
    return best - SHOWN_DB[0], best + SHOWN_DB[1]


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


def _decibels(
    low: float,
    high: float,
    x: np.ndarray,
    curves: Sequence[np.ndarray],
    upright: Sequence[float],
) -> tuple[list[dict], list[dict]]:
    """Grid lines, and their decibels at an end that no curve and no upright line comes near."""
    lines, numbers = [], []
    tall = 15 * (high - low) / (HEIGHT - WORDS)  # of a label, in dB
    for tick in np.arange(np.ceil(low / 10) * 10, high, 10):
        lines.append(rule((0, 1), (tick, tick), "grid", axes=("paper", "y"), layer="below"))
        if tick + tall > high:
            continue
        name = f"{tick:.0f} dB".replace("-", "−")
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
