"""mse: the scale that makes the least squared error, found by trying."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dashboard.calibration.histogram import Histogram
from dashboard.messages import Message
from dashboard.rules.registry import OutputScale, ScaleRule, range_scale, register
from kernels.int8 import QMAX, SCALE_MIN


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


def least_error_scale(
    rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]
) -> OutputScale:
    """The asymmetric scale with the least squared error."""
    return least_error_range(output)


@register(
    "mse",
    help=Message("the one whose scale makes the least squared error"),
    label=Message("mse, least squared error"),
    short="mse",
    asymmetric=least_error_scale,
    grouped=True,
)
def mse_amax(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]) -> float:
    """The amax with the least squared error."""
    return least_error_amax(output)
