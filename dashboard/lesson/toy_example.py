"""The published toy example, computed again: conv outputs on a grid, two scales, one straw man."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dashboard.rules.published import TOY
from kernels.int8 import QMAX, QMIN, dequantize, quantize, scale_from_amax
from kernels.reference import silu

FINE = 10_001  # points of the grid on which every conv output is as likely as any other
SCALES = tuple(sorted({round(0.02 + 0.004 * i, 3) for i in range(26)}
                      | {TOY.straightforward.scale, TOY.percentile.scale}))  # fmt: skip


def grid(points: str) -> torch.Tensor:
    """Conv outputs, float32: "step" is the published grid, "six" the six listed, "fine" a fine one.

    Raises ValueError for another name.
    """
    if points == "step":
        count = round((TOY.high - TOY.low) / TOY.step) + 1
        return (TOY.low + TOY.step * torch.arange(count, dtype=torch.float64)).float()
    if points == "six":
        return torch.tensor(TOY.listed)
    if points == "fine":
        return torch.linspace(TOY.low, TOY.high, FINE, dtype=torch.float64).float()
    raise ValueError(f"points is {points!r}; allowed are step, six, fine")


@dataclass(frozen=True, eq=False)
class ToyRun:
    """The toy example at one scale, on one set of points."""

    scale: float
    v: np.ndarray  # (N,) conv outputs
    y: np.ndarray  # (N,) SiLU's outputs
    back: np.ndarray  # (N,) dequantized
    lowest_code: int
    highest_code: int
    codes_used: int

    @property
    def mean_error(self) -> float:
        return float(np.abs(self.back - self.y).mean())

    @property
    def utilization(self) -> float:
        """As published: the largest code over 127."""
        return min(max(self.highest_code, -self.lowest_code), QMAX) / QMAX

    @property
    def reachable_share(self) -> float:
        """Codes from the lowest to the highest, over 256: an even better grid could use no more."""
        return (self.highest_code - self.lowest_code + 1) / (QMAX - QMIN + 1)


def run(scale: float, points: str = "step") -> ToyRun:
    """Quantize SiLU's output on the toy example's points, as the kernel does."""
    v = grid(points)
    y = silu(v)
    codes = quantize(y, scale)
    return ToyRun(
        scale=scale,
        v=v.double().numpy(),
        y=y.double().numpy(),
        back=dequantize(codes, scale).double().numpy(),
        lowest_code=int(codes.min()),
        highest_code=int(codes.max()),
        codes_used=len(codes.unique()),
    )


def conv_absmax_scale() -> float:
    """The plainest choice: the largest magnitude before SiLU, over 127."""
    return scale_from_amax(max(-TOY.low, TOY.high))


def outputs() -> np.ndarray:
    """SiLU's outputs on the published grid."""
    return silu(grid("step")).double().numpy()


COARSE_ALPHA = 0.995  # the α whose quantile the published percentile scale is


def quantile_scale(alpha: float) -> float:
    """The α-quantile of the output's magnitude on the published grid, over 127."""
    return float(np.quantile(np.abs(outputs()), alpha)) / QMAX
