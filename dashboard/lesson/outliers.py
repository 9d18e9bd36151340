"""A few large values among many small ones: two scales, and what each costs whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dashboard.calibration.histogram import Histogram, Quantized
from dashboard.rules.observers import least_error_amax
from dashboard.rules.published import OUTLIERS
from kernels.int8 import QMAX, scale_from_amax

VALUES = 20_000
SHARES = (0.0, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01)
SIZES = tuple(round(3.0 + 0.5 * i, 1) for i in range(55))  # 3 … 30


@dataclass(frozen=True)
class Cut:
    """One scale and what it costs: the bulk, the outliers, and all together."""

    scale: float
    code: int  # of OUTLIERS.value
    bulk_error: float  # mean |v̂ − v| of the values in the bulk
    outlier_error: float  # the same of the outliers; 0 where there are none
    mean_error: float
    output: Quantized

    @property
    def mse(self) -> float:
        return float(self.output.rounding_mse + self.output.clipping_mse)


@dataclass(frozen=True)
class Outlying:
    """A bulk spread evenly over [0, 3], a share of the values at one outlier, and two scales."""

    size: float
    share: float
    values: Histogram
    minmax: Cut
    percentile: Cut  # the scale that holds the bulk and no more
    best_amax: float  # with the least squared error

    @cached_property
    def sweep(self) -> tuple[np.ndarray, Quantized]:
        """(amax, what it makes of the values), from half the bulk to a little beyond all."""
        amaxes = np.geomspace(OUTLIERS.bulk / 2, 1.15 * max(self.size, OUTLIERS.bulk), 240)
        return amaxes, self.values.quantize((amaxes / QMAX).astype(np.float32))


def outlying(size: float, share: float) -> Outlying:
    """The published outlier example with another outlier.

    Args:
        size: the outliers' value, at least that of the bulk's end.
        share: how many of the values they are, 0 ... 1.
    """
    if not size >= OUTLIERS.bulk or not 0 <= share < 1:
        raise ValueError(
            f"size is {size} and share {share}; an outlier is at least {OUTLIERS.bulk}, and its "
            "share lies from 0 to below 1"
        )
    count = round(share * VALUES)
    bulk = np.linspace(0.0, OUTLIERS.bulk, VALUES - count).astype(np.float16).astype(np.float32)
    values, counts = np.unique(bulk, return_counts=True)
    inside = Histogram(values, counts.astype(np.int64))
    outside = Histogram(np.full(min(count, 1), size, np.float32), np.full(min(count, 1), count))
    whole = inside + outside

    def cut(amax: float) -> Cut:
        scale = scale_from_amax(amax)
        code = int(np.floor(OUTLIERS.value / scale + 0.5))
        return Cut(
            scale,
            min(code, QMAX),
            mean_error(inside, scale),
            mean_error(outside, scale),
            mean_error(whole, scale),
            whole.quantize(scale),
        )

    return Outlying(
        size, share, whole, cut(whole.absmax), cut(OUTLIERS.bulk), least_error_amax(whole)
    )


def mean_error(values: Histogram, scale: float) -> float:
    """mean |v̂ − v|, the published example's measure; 0 of nothing."""
    if not values.total:
        return 0.0
    codes = np.clip(np.floor(values.values / np.float32(scale) + 0.5), -128, QMAX)
    return float((np.abs(codes * scale - values.values) * values.counts).sum() / values.total)
