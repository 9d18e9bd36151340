"""The mean error, the measure in which the published examples speak.

The distance from each value to what its code stands for, averaged. SQNR squares the distances
first: a few clipped outliers count there for much more. Which measure is used can decide which
scale looks better, and the lesson shows both.
"""

from __future__ import annotations

import numpy as np

from dashboard.calibration.histogram import Histogram
from kernels.int8 import QMAX, QMIN


def mean_error(values: Histogram, scale: float) -> float:
    """mean |v̂ − v| in real units, with symmetric INT8; 0 of an empty histogram.

    Args:
        scale: real units per code, > 0; values are divided by it in float32, as the kernel does.
    """
    if not values.total:
        return 0.0
    quotient = values.values / np.float32(scale)
    codes = np.clip(np.sign(quotient) * np.floor(np.abs(quotient) + 0.5), QMIN, QMAX)
    return float((np.abs(codes * scale - values.values) * values.counts).sum() / values.total)
