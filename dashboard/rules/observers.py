"""Scale rules: a layer's histograms -> the scale of its INT8 output.

An observer chooses ``amax``, the magnitude that code 127 stands for; the scale is amax / 127:

    percentile      the α-quantile of |y|, over all calibration batches
    percentile-ema  each batch's quantile, folded into a moving average, as Quamba does
                    (arXiv 2410.13229): m ← m + σ·(q − m), seeded by the first batch
    minmax          max |y|
    mse             the amax with the least squared error
    entropy         the threshold with the least KL divergence, as TensorRT's calibrator defines it
    conv-absmax     a baseline: the range of the convolution, before SiLU
    scale-wx        a baseline: the scale at which the integer accumulator arrives

SiLU never goes below -0.2785, so a scale that treats both signs alike strands nearly half of the
codes. *Asymmetric* INT8 spans a range low … high with all 256 codes and moves the code of 0; the
rules that choose a range, and not a magnitude, are defined for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dashboard.calibration.histogram import Histogram
from kernels.int8 import QMAX, QMIN, SCALE_MIN, scale_from_amax

RULES = (
    "percentile", "percentile-ema", "minmax", "mse", "entropy", "conv-absmax", "scale-wx",
)  # fmt: skip
ALPHA_RULES = ("percentile", "percentile-ema")  # these use α
ASYMMETRIC_RULES = ("percentile", "percentile-ema", "minmax", "mse")
DEFAULT_RULE = "percentile"
DEFAULT_ALPHA = 0.9995
DEFAULT_SIGMA = 0.01  # Quamba's

# The two values of α that the published scales were made with.
PUBLISHED_ALPHAS = (0.9995, 0.99999)


@dataclass(frozen=True)
class ScaleRule:
    """A rule with its settings; each setting is used by the rules that have it.

    ``alpha`` in (0, 1] and ``sigma`` in (0, 1] are checked for every rule. ``order`` is the seed
    that shuffles the batches for the moving average; None keeps the order in which they were read.
    """

    observer: str = DEFAULT_RULE
    alpha: float = DEFAULT_ALPHA
    sigma: float = DEFAULT_SIGMA
    order: int | None = None
    symmetric: bool = True

    def __post_init__(self) -> None:
        if self.observer not in RULES:
            raise ValueError(f"observer is {self.observer!r}; allowed are {', '.join(RULES)}")
        if not 0.0 < self.alpha <= 1.0:
            raise ValueError(f"alpha is {self.alpha}; a percentile needs 0 < alpha <= 1")
        if not 0.0 < self.sigma <= 1.0:
            raise ValueError(f"sigma is {self.sigma}; a moving average needs 0 < sigma <= 1")
        if self.order is not None and self.order < 0:
            raise ValueError(f"order is {self.order}; the seed of a shuffle is at least 0")
        if not self.symmetric and self.observer not in ASYMMETRIC_RULES:
            raise ValueError(
                f"{self.observer} is defined for symmetric INT8 alone; asymmetric are "
                f"{', '.join(ASYMMETRIC_RULES)}"
            )


@dataclass(frozen=True)
class OutputScale:
    """x_out_scale, real units per code (a float32), and the code of 0."""

    scale: float
    zero_point: int = 0


class Observed(Protocol):
    """What a rule may know of a slice: see ``calibration.SliceCalibration``."""

    @property
    def silu_input(self) -> Histogram: ...

    @property
    def silu_output(self) -> Histogram: ...

    @property
    def batches(self) -> Sequence[Histogram]: ...

    @property
    def scale_wx(self) -> float: ...


def output_scale(rule: ScaleRule, observed: Observed) -> OutputScale:
    """The scale that a rule gives a slice, at least 1e-6."""
    if not rule.symmetric:
        return _asymmetric_scale(rule, observed)
    if rule.observer == "scale-wx":
        return OutputScale(observed.scale_wx)
    if rule.observer == "conv-absmax":
        return OutputScale(scale_from_amax(observed.silu_input.absmax))
    return OutputScale(scale_from_amax(amax(rule, observed.silu_output, observed.batches)))


def amax(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram] = ()) -> float:
    """The magnitude that code 127 stands for, by a rule that looks at SiLU's output alone.

    Args:
        output: the histogram of y: of a slice, a group of channels or one channel.
        batches: the same for each batch, in the order read; for "percentile-ema" alone.
    """
    if rule.observer == "percentile":
        return output.abs.quantile(rule.alpha)
    if rule.observer == "percentile-ema":
        return moving_average(batches, rule).final
    if rule.observer == "minmax":
        return output.absmax
    if rule.observer == "mse":
        return least_error_amax(output)
    if rule.observer == "entropy":
        return entropy_amax(output)
    raise ValueError(f"{rule.observer} does not look at SiLU's output")


# percentile-ema


@dataclass(frozen=True)
class MovingAverage:
    """What the moving average went through, batch by batch, in the order in which it took them."""

    order: tuple[int, ...]  # the batches' own numbers
    quantiles: tuple[float, ...]
    means: tuple[float, ...]
    weights: tuple[float, ...]  # of each batch in the final mean; they add up to 1

    @property
    def final(self) -> float:
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


# mse


def least_error_amax(output: Histogram) -> float:
    """The amax in (0, max |y|] whose scale makes the least Σ (dequantized − y)².

    The error has many small dips besides the large one, where codes happen to meet frequent values.
    So: 400 amax down to 2⁻¹⁶ of the maximum, evenly in the logarithm; a closer look around each of
    the best eight; and a closer one still around the winner.
    """
    most = output.absmax
    if most == 0:
        return 0.0
    ratio = 2.0 ** (-16 / 399)
    grid = most * ratio ** np.arange(400)
    error = _squared_error(output, grid)
    for candidates, span in ((8, 1.0), (1, 1 / 20)):
        near = ratio ** np.linspace(-span, span, 41)
        closer = (grid[np.argsort(error)[:candidates], None] * near).ravel()
        closer = np.minimum(closer, most)
        grid, error = np.append(grid, closer), np.append(error, _squared_error(output, closer))
    return float(grid[np.argmin(error)])


def _squared_error(output: Histogram, amaxes: np.ndarray) -> np.ndarray:
    scales = np.maximum(amaxes.astype(np.float32) / np.float32(QMAX), np.float32(SCALE_MIN))
    quantized = output.quantize(scales)
    return quantized.rounding_sse + quantized.clipping_sse


# entropy

ENTROPY_BINS, ENTROPY_LEVELS = 2048, 128


def entropy_amax(output: Histogram) -> float:
    """The threshold of |y| that loses the least information, as TensorRT's calibrator defines it.

    Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017. |y| is counted in 2,048 even bins
    up to its maximum. For each i from 128 to 2,047, P is the first i bins, with all beyond added to
    the last; Q is the first i bins, without, merged into 128 levels and spread out again over
    those of its bins that are not empty. The i with the least KL(P‖Q) gives the threshold, (i + ½)
    bins. Bin j of i goes to level ⌊128·j / i⌋. Where Q is empty and P is not, the divergence is
    infinite, and the i out of the question.
    """
    magnitudes = output.abs
    most = magnitudes.max
    if most == 0:
        return 0.0
    bins = magnitudes.rebin(np.linspace(0.0, most, ENTROPY_BINS + 1)).astype(np.float64)
    beyond = np.append(np.cumsum(bins[::-1])[::-1], 0.0)  # beyond[i] = Σ bins[i:]
    divergences = [_divergence(bins[:i], beyond[i]) for i in range(ENTROPY_LEVELS, ENTROPY_BINS)]
    best = ENTROPY_LEVELS + int(np.argmin(divergences))
    if not np.isfinite(min(divergences)):
        return most
    return float((best + 0.5) * most / ENTROPY_BINS)


def _divergence(bins: np.ndarray, outliers: float) -> float:
    """KL(P‖Q) in nats for one number of bins kept."""
    kept = bins.sum()
    if kept == 0:
        return math.inf
    level = np.arange(len(bins)) * ENTROPY_LEVELS // len(bins)
    occupied = bins > 0
    total = np.bincount(level, bins, ENTROPY_LEVELS)
    spread = np.bincount(level, occupied, ENTROPY_LEVELS)
    q = np.where(occupied, (total / np.maximum(spread, 1))[level], 0.0) / kept
    p = bins.copy()
    p[-1] += outliers
    p /= kept + outliers
    present = p > 0
    if (q[present] == 0).any():
        return math.inf
    return float((p[present] * np.log(p[present] / q[present])).sum())


# Asymmetric


def _asymmetric_scale(rule: ScaleRule, observed: Observed) -> OutputScale:
    if rule.observer == "mse":
        return least_error_range(observed.silu_output)
    return range_scale(*_value_range(rule, observed.silu_output, observed.batches))


def _value_range(
    rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]
) -> tuple[float, float]:
    """Low and high by minmax, percentile or its moving average."""
    if rule.observer == "minmax":
        return output.min, output.max
    if rule.observer == "percentile":
        return percentile_range(output, rule.alpha)
    low = moving_average(batches, rule, lambda batch: batch.negated).final
    return -low, moving_average(batches, rule, lambda batch: batch).final


def percentile_range(output: Histogram, alpha: float) -> tuple[float, float]:
    """Low and high that leave out a share 1 − α of the values at each end.

    The high end is the α-quantile of y, the low end that of −y, with its sign turned.
    """
    return -output.negated.quantile(alpha), output.quantile(alpha)


def range_scale(low: float, high: float) -> OutputScale:
    """The scale and zero point that spread 256 codes over low … high, widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(np.float32((high - low) / (QMAX - QMIN)), np.float32(SCALE_MIN))
    zero_point = QMIN + math.floor(-low / float(scale) + 0.5)
    return OutputScale(float(scale), min(max(zero_point, QMIN), QMAX))


def least_error_range(output: Histogram) -> OutputScale:
    """The asymmetric scale and zero point with the least squared error.

    First a coarse look at pairs of ends; from the best, each end is moved by up to a tenth while
    the other rests, in turns, until neither gains.
    """
    low, high = min(output.min, 0.0), max(output.max, 0.0)
    starts = [
        (low * (1 - inwards / 16), high * 2.0 ** (-octaves / 16))
        for inwards in range(17)
        for octaves in range(16 * 12)
    ]
    least = math.inf
    ends, error = _best_of(output, starts)
    near = [1.0, *np.linspace(0.9, 1.1, 81)]
    while error < least:
        least = error
        ends, error = _best_of(output, [(ends[0], min(ends[1] * f, high)) for f in near])
        ends, error = _best_of(output, [(max(ends[0] * f, low), ends[1]) for f in near])
    return range_scale(*ends)


def _best_of(
    output: Histogram, ends: Sequence[tuple[float, float]]
) -> tuple[tuple[float, float], float]:
    """The pair of ends with the least squared error, and that error."""
    candidates = [range_scale(*pair) for pair in ends]
    quantized = output.quantize(
        np.array([c.scale for c in candidates]), np.array([c.zero_point for c in candidates])
    )
    error = quantized.rounding_sse + quantized.clipping_sse
    index = int(np.argmin(error))
    return ends[index], float(error[index])


# The values of α that can be asked for


def fine_alphas(total: int) -> np.ndarray:
    """Every α whose 1 − α has two digits and leaves out one of ``total`` values at least; and 1.

    (A,) float64, ascending from 0.01: 90 to each factor of ten of 1 − α, and both published values.
    """
    decades = range(2, math.ceil(math.log10(max(total, 10))) + 2)
    left_out = {float(f"{digits}e-{k}") for k in decades for digits in range(10, 100)}
    found = {round(1 - share, 12) for share in left_out if share * total >= 1}
    return np.array(sorted(found | {*PUBLISHED_ALPHAS, 1.0}))


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
