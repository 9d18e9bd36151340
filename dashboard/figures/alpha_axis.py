"""The axis of α, and what stands over it: where its numbers go, and flags that mark places on it.

The axis is logarithmic in 1 − α, or 0.9995 and 0.99999 would be one point. α = 1, which has no
place on such an axis, stands a little beyond the last α that leaves a value out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.report import format_alpha
from dashboard.figures.theme import text_width
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import log_alpha

SHOWN_DB = (20.0, 8.0)  # below and above the best
TICKS = (0.9, 0.999, 0.99999, 0.99, 0.9999, 0.5, 0.999999, 0.9999999)  # the first ones first
END = 0.25  # how far beyond the last α 1 stands, in powers of ten
LEAST_DB = 40.0  # what stands for the best where there is no error at all


def places(landscape: Landscape) -> np.ndarray:
    """Where each of the landscape's α stands, −log10(1 − α): (A,)."""
    t = np.array([log_alpha(float(alpha)) for alpha in landscape.alphas])
    t[-1] = (t[-2] if len(t) > 1 else 1.0) + END
    return t


def decibel_range(landscape: Landscape) -> tuple[float, float]:
    """SQNR worth looking at: around the best."""
    best = landscape.best_db if np.isfinite(landscape.best_db) else LEAST_DB
    return best - SHOWN_DB[0], best + SHOWN_DB[1]


def alpha_ticks(end: float, x_range: tuple[float, float], room: float) -> dict[str, list]:
    """Round α below the end, which is 1: as many as fit side by side into ``room`` px."""
    scale = room / (x_range[1] - x_range[0])
    taken = [(end, "1")]
    for alpha in TICKS:
        place, text = log_alpha(alpha), format_alpha(alpha)
        fits = all(
            abs(place - other) * scale >= (text_width(text, 12) + text_width(name, 12)) / 2 + 8
            for other, name in taken
        )
        if fits and x_range[0] <= place < end:
            taken.append((place, text))
    taken.sort()
    return {"tickvals": [place for place, _ in taken], "ticktext": [text for _, text in taken]}


@dataclass(frozen=True)
class Flag:
    """A label over a place on an axis, and the pole that it stands on."""

    left: float  # px from the axis' begin
    row: int  # 0 is the lowest
    pole: int  # the row that its pole reaches: its own, or a lower one that a label closes to it


def flags(at: Sequence[float], widths: Sequence[float], room: float) -> list[Flag]:
    """Rows of labels over places, so that no label lies on another, nor on another's pole.

    Args:
        at, widths: px; a place lies in 0 … room.
        room: px of the axis. A wider axis leaves the same rows legible.

    A label stands to the right of its pole, to the left where there is no room, and over it where
    there is none either. One that reaches over other poles stands higher than their labels. Where
    two reach over each other's poles, the higher one's pole ends under the lower one.
    """
    count = len(at)
    leftward = [x + width > room for x, width in zip(at, widths, strict=True)]

    def span(i: int) -> tuple[float, float]:
        left = at[i] - widths[i] if leftward[i] else at[i]
        left = min(max(left, 0.0), max(room - widths[i], 0.0))
        return left, left + widths[i]

    def covers(i: int, j: int) -> bool:
        low, high = span(i)
        if at[i] == at[j] and at[i] in (low, high):
            return i > j
        return low - POLE * (low < at[i]) < at[j] < high + POLE * (high > at[i])

    for i in np.argsort(at)[::-1]:
        if not leftward[i] and any(
            leftward[j] and covers(i, j) and covers(j, i) for j in range(count) if j != i
        ):
            leftward[i] = at[i] >= widths[i]
    rows: dict[int, int] = {}
    while len(rows) < count:
        left = [i for i in range(count) if i not in rows]
        below = {i: [j for j in range(count) if j != i and covers(i, j)] for i in left}
        i = min(left, key=lambda i: (sum(j not in rows for j in below[i]), i))
        low, high = span(i)
        row = max((rows[j] + 1 for j in below[i] if j in rows), default=0)
        while any(
            rows[j] == row and low < span(j)[1] + POLE and span(j)[0] - POLE < high for j in rows
        ):
            row += 1
        rows[i] = row
    return [
        Flag(
            span(i)[0],
            rows[i],
            min([rows[i], *(rows[j] for j in range(count) if j != i and covers(j, i))]),
        )
        for i in range(count)
    ]


POLE = 3  # px that a pole takes, with what is left free beside it
