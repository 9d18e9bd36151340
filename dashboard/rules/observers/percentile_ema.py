"""percentile-ema: each batch's quantile, folded into a moving average.

As Quamba does (arXiv 2410.13229): m ← m + σ·(q − m), seeded by the first batch. So the order of
the batches matters, and the first may weigh more than all others together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.calibration.histogram import Histogram
from dashboard.messages import Message
from dashboard.rules.registry import DEFAULT_SIGMA, OutputScale, ScaleRule, range_scale, register


@dataclass(frozen=True)
class MovingAverage:
    """What the moving average went through, batch by batch, in the order in which it took them."""

    order: tuple[int, ...]  # the batches' own numbers
    quantiles: tuple[float, ...]
    means: tuple[float, ...]
    weights: tuple[float, ...]  # of each batch in the final mean; they add up to 1

    @property
    def final(self) -> float:
        """The mean after the last batch, which the rule gives."""
        return self.means[-1]


def moving_average(
    batches: Sequence[Histogram],
    rule: ScaleRule,
    side: Callable[[Histogram], Histogram] = lambda batch: batch.abs,
) -> MovingAverage:
    """m ← m + σ·(q − m) over the batches' α-quantiles of |y|, m seeded by the first.

    ``side`` gives the histogram whose quantile is taken, in place of |y|. Raises ValueError without
    batches.
    """
    quantiles = [side(batch).quantile(rule.alpha) for batch in batches]
    return averaged(quantiles, rule.sigma, rule.order)


def averaged(quantiles: Sequence[float], sigma: float, order: int | None = None) -> MovingAverage:
    """The moving average of the batches' own quantiles, which no order changes.

    Args:
        quantiles: of each batch, in the order read.
        sigma: the weight of a new batch.
        order: the seed that shuffles them; None takes them as read.

    Raises ValueError without quantiles.
    """
    if not quantiles:
        raise ValueError("percentile-ema needs the histogram of each batch, and there is none")
    taken = batch_order(len(quantiles), order)
    means = [quantiles[taken[0]]]
    for i in taken[1:]:
        means.append(means[-1] + sigma * (quantiles[i] - means[-1]))
    last = len(quantiles) - 1
    weights = [(1 - sigma) ** (last - i) * (sigma if i else 1.0) for i in range(last + 1)]
    return MovingAverage(taken, tuple(quantiles[i] for i in taken), tuple(means), tuple(weights))


def batch_order(batches: int, seed: int | None) -> tuple[int, ...]:
    """The order in which the batches are taken: as read, or shuffled by a seed."""
    if seed is None:
        return tuple(range(batches))
    return tuple(int(i) for i in np.random.default_rng(seed).permutation(batches))


def average_scale(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]) -> OutputScale:
    """The asymmetric scale between the moving averages of y's α-quantiles and of −y's."""
    low = moving_average(batches, rule, lambda batch: batch.negated).final
    return range_scale(-low, moving_average(batches, rule, lambda batch: batch).final)


@register(
    "percentile-ema",
    help=Message(
        "each batch's quantile in a moving average, m ← m + σ·(q − m), seeded by the first; "
        "Quamba's, σ = {sigma}",
        sigma=DEFAULT_SIGMA,
    ),
    label=Message("α {alpha}, average σ {sigma}"),
    asymmetric=average_scale,
    uses_alpha=True,
    averages=True,
    snippet="batches = [np.quantile(batch.numpy(), np.float32({alpha!r})) for batch in y]\n"
    "mean = batches[0]\n"
    "for batch in batches[1:]: mean += {sigma!r} * (batch - mean)\n"
    "mean",
)
def average_amax(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]) -> float:
    """The moving average of the batches' α-quantiles of |y|."""
    return moving_average(batches, rule).final
