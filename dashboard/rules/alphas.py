"""The values of α that can be asked for, and the two that the published scales were made with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

DEFAULT_ALPHA = 0.9995

# The two values of α that the published scales were made with.
PUBLISHED_ALPHAS = (0.9995, 0.99999)


def fine_alphas(total: int) -> np.ndarray:
    """Every α whose 1 − α has two digits and leaves out one of ``total`` values at least; and 1.

    (A,) float64, ascending from 0.01: 90 to each factor of ten of 1 − α, and both published values.
    """
    decades = range(2, math.ceil(math.log10(max(total, 10))) + 2)
    left_out = {float(f"{digits}e-{k}") for k in decades for digits in range(10, 100)}
    alphas = {round(1 - share, 12) for share in left_out if share * total >= 1}
    return np.array(sorted(alphas | {*PUBLISHED_ALPHAS, 1.0}))


def alpha_grid(total: int, exact: Sequence[float] = ()) -> tuple[float, ...]:
    """The values of α that a slider offers: even steps of t = -log10(1 - α), from 0.9 to 1.

    The steps are 0.05, 1 - α rounded to two digits; the nearest ones give way to exactly 0.9995 and
    0.99999, and to the values ``exact``. Where 1 - α would leave out less than one of ``total``
    values, only 1 remains.
    """
    steps = [round(1 + 0.05 * i, 2) for i in range(round((math.log10(total) - 1) / 0.05) + 1)]
    grid = {round(1 - float(f"{10**-t:.1e}"), 12) for t in steps if 10**t < total} or {0.9}
    kept: set[float] = {1.0}
    for alpha in (*PUBLISHED_ALPHAS, *exact):
        if alpha < 1.0 and (1 - alpha) * total > 1 and alpha not in kept:
            if grid - kept:
                grid.discard(min(grid - kept, key=lambda a: abs(log_alpha(a) - log_alpha(alpha))))
            grid.add(alpha)
            kept.add(alpha)
    return (*sorted(grid), 1.0)


def log_alpha(alpha: float) -> float:
    """t = -log10(1 - α): 1 at 0.9, 3.3 at 0.9995, 5 at 0.99999; infinite at 1."""
    return math.inf if alpha >= 1.0 else -math.log10(1.0 - alpha)
