"""What a moving average of quantiles keeps of its batches, and what it owes to their order.

Quamba's observer folds each batch's α-quantile into a mean that the first batch seeds: m ← m +
σ·(q − m). The same batches in another order give another end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.calibration.histogram import Histogram
from dashboard.rules.observers import MovingAverage, averaged

ORDERS = 500  # random ones


@dataclass(frozen=True, eq=False)
class AverageStudy:
    """One moving average, what it is held to, and where other orders would have ended."""

    average: MovingAverage
    pooled: float  # the quantile over the values of all batches
    finals: np.ndarray  # (ORDERS,) the last mean of each random order


def study_average(
    batches: Sequence[Histogram], alpha: float, sigma: float, order: int | None
) -> AverageStudy:
    """Average the batches' α-quantiles of |y|.

    Args:
        batches: the histogram of y of each batch, in the order read.
        sigma: weight of a new batch, in (0, 1].
        order: the seed of a shuffle, at least 1; None keeps the order read.
    """
    quantiles = [batch.abs.quantile(alpha) for batch in batches]
    return AverageStudy(
        averaged(quantiles, sigma, order),
        Histogram.sum(batches).abs.quantile(alpha),
        np.array([averaged(quantiles, sigma, seed).final for seed in range(1, ORDERS + 1)]),
    )
