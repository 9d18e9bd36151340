"""INT8: the code range, rounding, and the way between real values and codes.

A scale is real units per code. A value is divided by it in float32, rounded half away from zero and
clamped; a code times the scale is the dequantized value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

QMIN, QMAX = -128, 127
SCALE_MIN = 1e-6  # of an all-zero tensor, so that no scale is ever 0


def scale_from_amax(amax: float) -> float:
    """amax / 127 in float32, at least 1e-6.

    Args:
        amax: the magnitude that code 127 stands for, in real units, >= 0, finite in float32.

    Returns:
        real units per code; a Python float that float32 holds exactly.

    Raises ValueError for a negative, NaN or infinite amax.
    """
    if not 0 <= amax <= torch.finfo(torch.float32).max:  # false for NaN, too
        raise ValueError(f"amax is {amax}; a scale needs an amax >= 0 that is finite in float32")
    return float(max(np.float32(amax) / np.float32(QMAX), np.float32(SCALE_MIN)))


def round_half_away(values: Tensor) -> Tensor:
    """Round finite float values to whole ones, halves away from zero: 0.5 -> 1, -2.5 -> -3.

    A value and its fraction once more, cut off: 2.5 + 0.5 -> 3, 2.49 + 0.49 -> 2. The sum has no
    rounding error: below 1 it is twice the value, and above, a multiple of twice the value's last
    place, below twice the next power of two. |v| + 0.5 has one, and makes 1 of 0.49999997.
    """
    doubled = values + torch.frac(values)
    return doubled - torch.frac(doubled)  # torch.trunc, in a tenth of the time on a CPU


def quantize(values: Tensor, scale: float | Tensor, zero_point: int | Tensor = 0) -> Tensor:
    """Real values -> INT8 codes.

    Args:
        values: any shape, floating, finite; computed in float32.
        scale: real units per code, > 0; a float, or a tensor that broadcasts against ``values``
            (for (B, D, L) values and a scale per channel: (D, 1)).
        zero_point: the code of 0, whole, -128 ... 127: 0 for symmetric INT8; an int, or a tensor
            that broadcasts as ``scale`` does. It is added to the rounded quotient.

    Returns:
        int8, -128 ... 127, the shape of ``values``.

    Raises ValueError where a value is NaN or infinite, or the scale is not finite and > 0.
    """
    values = values.to(torch.float32)
    # A tensor on the values' device: torch on CUDA divides by a Python number, or by a tensor on
    # the CPU, as a product with its reciprocal, which is not the same float32.
    scale = torch.as_tensor(scale, dtype=torch.float32, device=values.device)
    if not bool(((scale > 0) & torch.isfinite(scale)).all()):
        raise ValueError(
            f"scale lies between {float(scale.min())} and {float(scale.max())}; it must be finite "
            "and > 0 in float32"
        )
    if values.numel():
        least, most = (float(end) for end in torch.aminmax(values))
        if not (math.isfinite(least) and math.isfinite(most)):  # a NaN makes both NaN
            raise ValueError(
                f"the values to quantize lie between {least} and {most}; they must be finite"
            )
    if isinstance(zero_point, Tensor):
        zero_point = zero_point.to(values.device, torch.float32)
    ends: tuple[Any, Any] = (QMIN - zero_point, QMAX - zero_point)  # numbers clamp fastest
    # Clamped before it is rounded: the ends are whole, so the codes are the same.
    quotient = torch.clamp(values / scale, *ends)
    return (round_half_away(quotient) + zero_point).to(torch.int8)


def dequantize(codes: Tensor, scale: float | Tensor, zero_point: int | Tensor = 0) -> Tensor:
    """INT8 codes -> real values (float32); ``scale`` and ``zero_point`` as in ``quantize``."""
    return (codes.to(torch.float32) - zero_point) * scale
