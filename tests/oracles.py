"""What the project's numbers have to be, worked out on plain values: nothing here is its code.

Values are arrays, one entry a value, where the project counts; quantiles are torch's, convolutions
torch's or numpy's own, and rounding is written out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

Scale = float | torch.Tensor


def codes_by_hand(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    scale_x: Scale,
    scale_w: Scale,
    scale_b: Scale,
    scale_out: Scale,
    zero_point: int | torch.Tensor = 0,
) -> np.ndarray:
    """int8 (B, D, L): sums as whole numbers, then float32 step by step, exp alone in float64."""
    s = silu_by_hand(x, weight, bias, scale_x=scale_x, scale_w=scale_w, scale_b=scale_b)
    codes = half_away(s / _column(scale_out)) + _column(zero_point).astype(np.float64)
    return codes.clip(-128, 127).astype(np.int8)


def silu_by_hand(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    scale_x: Scale,
    scale_w: Scale,
    scale_b: Scale,
) -> np.ndarray:
    """SiLU's output of a quantized layer, float32 (B, D, L)."""
    codes, taps = (tensor.cpu().numpy().astype(np.int64) for tensor in (x, weight))
    width = taps.shape[1]
    padded = np.pad(codes, ((0, 0), (0, 0), (width - 1, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=2)  # (B, D, L, W)
    sums = np.einsum("bdlw,dw->bdl", windows, taps)
    v = _column(scale_w) * _column(scale_x) * sums.astype(np.float32)
    if bias is not None:
        v = v + bias.cpu().numpy().astype(np.float32)[:, None] * _column(scale_b)
    with np.errstate(over="ignore"):
        return v / (np.float32(1) + np.exp(-v.astype(np.float64)).astype(np.float32))


def _column(scale: Scale) -> np.ndarray:
    column = np.asarray(scale.cpu() if isinstance(scale, torch.Tensor) else scale, np.float32)
    return column[:, None] if column.ndim else column


def half_away(values: ArrayLike) -> np.ndarray:
    """To whole numbers, halves away from zero; exact, since float64 has bits to spare."""
    wide = np.asarray(values, dtype=np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide)


def conv_by_torch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The causal convolution by torch's own function: (N, D, L), (D, W) and (D,) -> (N, D, L)."""
    channels, width = weight.shape
    return F.conv1d(F.pad(x, (width - 1, 0)), weight[:, None], bias, groups=channels)


def values_of(histogram) -> np.ndarray:
    """Each value as often as it was counted, ascending: float32."""
    return np.repeat(histogram.values, histogram.counts).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Requantized:
    """Values, the codes that they get, and what comes back of them (float64 throughout)."""

    values: np.ndarray
    unclamped: np.ndarray
    scale: np.ndarray
    zero_point: int

    @property
    def codes(self) -> np.ndarray:
        return self.unclamped.clip(-128, 127)

    @property
    def inside(self) -> np.ndarray:
        """Which values lie within the range of the codes."""
        return self.codes == self.unclamped

    @property
    def error(self) -> np.ndarray:
        return (self.codes - self.zero_point) * self.scale - self.values

    @property
    def signal(self) -> float:
        return float((self.values**2).sum())

    @property
    def noise(self) -> float:
        """The squared error, summed."""
        return float((self.error**2).sum())

    @property
    def sqnr_db(self) -> float:
        return float(10 * np.log10(self.signal / self.noise))

    @property
    def saturation_rate(self) -> float:
        return float((~self.inside).mean())

    @property
    def code_shares(self) -> np.ndarray:
        """Of each code that occurs, the share of the values that have it."""
        return np.unique(self.codes, return_counts=True)[1] / self.codes.size

    @property
    def effective_bits(self) -> float:
        return float(-(self.code_shares * np.log2(self.code_shares)).sum())


def requantize(values: ArrayLike, scale: ArrayLike, zero_point: int = 0) -> Requantized:
    """Every value to its code and back; the quotient is float32's, as the kernel divides.

    Args:
        scale: one number, or an array of float32 numbers that fits the values.
    """
    plain, step = np.asarray(values, np.float64), np.asarray(scale, np.float32)
    unclamped = half_away(plain.astype(np.float32) / step) + zero_point
    return Requantized(plain, unclamped, step.astype(np.float64), zero_point)


def percentile_scale(values: ArrayLike, alpha: float) -> float:
    """torch's α-quantile of the magnitudes over 127, divided in float32."""
    magnitudes = torch.from_numpy(np.asarray(values, np.float32)).abs()
    return float(torch.quantile(magnitudes, alpha) / torch.tensor(127.0))


def asymmetric_scale(values: ArrayLike, alpha: float) -> tuple[float, int]:
    """The scale and the code of 0 that spread 256 codes between both ends' α-quantiles."""
    plain = torch.from_numpy(np.asarray(values, np.float32))
    high = max(float(torch.quantile(plain, alpha)), 0.0)
    low = min(-float(torch.quantile(-plain, alpha)), 0.0)
    scale = np.float32(max((high - low) / 255, 1e-6))
    return float(scale), int(-128 + np.floor(-low / float(scale) + 0.5))
