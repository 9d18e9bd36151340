"""entropy: the threshold with the least KL divergence, as TensorRT's calibrator defines it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dashboard.calibration.histogram import Histogram
from dashboard.messages import Message
from dashboard.rules.registry import ScaleRule, register

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


@register(
    "entropy",
    help=Message(
        "TensorRT's: of {bins} bins, as many as lose the least information in {levels} levels",
        bins=f"{ENTROPY_BINS:,}",
        levels=ENTROPY_LEVELS,
    ),
    label=Message("entropy (TensorRT)"),
    short="entropy",
)
def information_amax(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]) -> float:
    """The threshold that loses the least information."""
    return entropy_amax(output)
