"""What SiLU makes of a bell curve, at any spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from dashboard.analysis.report import SILU_MIN
from dashboard.calibration.histogram import Histogram, Quantized
from dashboard.rules.observers import range_scale
from kernels.int8 import QMAX, QMIN, scale_from_amax

VALUES = 20_001
SPREADS = tuple(round(0.1 * i, 1) for i in range(2, 31))  # 0.2 … 3
DEFAULT_SPREAD = 1.0


@dataclass(frozen=True)
class Reshaped:
    """A normal distribution before and after SiLU, and MinMax's INT8 of the result."""

    spread: float
    silu_input: Histogram
    silu_output: Histogram
    scale: float
    output: Quantized

    @property
    def input_amax(self) -> float:
        return self.silu_input.absmax

    @property
    def output_amax(self) -> float:
        return self.silu_output.absmax

    @property
    def lowest_code(self) -> int:
        """The code of the least output."""
        return round(max(self.silu_output.min / self.scale, QMIN))

    @property
    def stranded_codes(self) -> int:
        """Negative codes that no output of SiLU can get, at this scale."""
        return stranded_codes(self.scale)

    @property
    def reachable_share(self) -> float:
        """Codes that SiLU can reach at all, over 256."""
        return 1 - self.stranded_codes / (QMAX - QMIN + 1)

    @property
    def asymmetric_gain_db(self) -> float:
        """What a scale with a zero point has over the symmetric one: no code is stranded."""
        moved = range_scale(self.silu_output.min, self.silu_output.max)
        made = self.silu_output.quantize(moved.scale, moved.zero_point)
        return float(made.sqnr_db) - float(self.output.sqnr_db)


def stranded_codes(scale: float) -> int:
    """How many of the 128 negative codes lie below that of SiLU's minimum."""
    return max(0, math.floor(SILU_MIN / scale + 0.5) - QMIN)


def reshape(spread: float) -> Reshaped:
    """Count SiLU's input and output for evenly spaced quantiles of a normal distribution.

    Args:
        spread: its standard deviation, > 0; its mean is 0.
    """
    if not spread > 0:
        raise ValueError(f"spread is {spread}; a standard deviation must be > 0")
    shares = (torch.arange(VALUES, dtype=torch.float64) + 0.5) / VALUES
    v = (torch.special.ndtri(shares) * spread).float()
    silu_input, silu_output = Histogram.of(v), Histogram.of(F.silu(v))
    scale = scale_from_amax(silu_output.absmax)
    return Reshaped(spread, silu_input, silu_output, scale, silu_output.quantize(scale))
