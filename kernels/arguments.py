"""What the kernels' arguments must be: errors that name the argument, what it is, and the rule.

These run before every launch, so they look at a tensor's attributes, and at its values only where
no earlier call has read them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypedDict

import torch
from torch import Tensor

from kernels.int8 import QMAX, QMIN
from kernels.ptx import is_ordinary
from kernels.remembered import recall, remember

ACTIVATIONS = ("silu", None)
MODES = ("exact", "fast")
WIDTHS = (2, 3, 4)
FLOAT32_MAX = torch.finfo(torch.float32).max
FLOAT32_TINY = 2.0**-150  # what is no larger becomes 0 in float32

CODES = (torch.int8,)
FLOATS = (torch.float16, torch.bfloat16, torch.float32)


class ConvArguments(TypedDict):
    """All that ``quant_causal_conv1d`` must have beside x."""

    weight: Tensor
    bias: Tensor | None
    scale_x: float | Tensor
    scale_w: float | Tensor
    scale_b: float | Tensor
    scale_out: float | Tensor


def check_tensor(name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...], x: Tensor) -> None:
    """A tensor of one of the dtypes, on the device of the argument x."""
    if not isinstance(tensor, Tensor) or tensor.dtype not in dtypes:
        got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        allowed = " or ".join(str(dtype) for dtype in dtypes)
        raise ValueError(f"{name} is {got}; it must be a {allowed} tensor")
    if tensor.device != x.device:
        raise ValueError(f"{name} is on {tensor.device}; it must be on x's device, {x.device}")


def check_sequence(
    x: Tensor, weight: Tensor, bias: Tensor | None, dtypes: tuple[torch.dtype, ...]
) -> None:
    """x (B, D, L), weight (D, W) and bias (D,) or None."""
    check_tensor("x", x, dtypes, x)
    check_tensor("weight", weight, dtypes, x)
    if bias is not None:
        check_tensor("bias", bias, dtypes, x)
    shape = x.shape
    if len(shape) != 3:
        raise ValueError(f"x has shape {tuple(shape)}; it must be (B, D, L)")
    check_weight(weight, bias, shape[1])


def check_strides(x: Tensor) -> None:
    """x (B, D, L) with D or L contiguous, where that makes a difference."""
    strides, (_, channels, length) = x.stride(), x.shape
    if 1 not in strides[1:] and channels > 1 and length > 1 and x.numel():
        raise ValueError(f"x has strides {strides}; D or L must be contiguous (stride 1)")


MOST_THRESHOLDS = 255  # between 256 codes


def check_thresholds(x: Tensor, thresholds: Tensor) -> None:
    """float32 (T,), T from 1 to 255, ascending and none NaN, on x's device.

    The values are looked at again when they were written to.
    """
    check_tensor("thresholds", thresholds, (torch.float32,), x)
    shape = tuple(thresholds.shape)
    if len(shape) != 1 or not 1 <= shape[0] <= MOST_THRESHOLDS:
        raise ValueError(
            f"thresholds has shape {shape}; it must be (T,) with T from 1 to {MOST_THRESHOLDS}"
        )
    if recall(thresholds, "ascending"):
        return
    if bool(thresholds.isnan().any()) or not bool((thresholds[1:] >= thresholds[:-1]).all()):
        raise ValueError("thresholds must ascend, and none may be NaN")
    remember(thresholds, "ascending", True)


def check_weight(weight: Tensor, bias: Tensor | None, channels: int) -> None:
    """The shapes of weight and bias."""
    shape = weight.shape
    if len(shape) != 2 or shape[0] != channels or shape[1] not in WIDTHS:
        raise ValueError(
            f"weight has shape {tuple(shape)}; it must be ({channels}, W) with W in {WIDTHS}"
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"bias has shape {tuple(bias.shape)}; it must be ({channels},)")


def check_choice(name: str, value: str | None, allowed: tuple) -> None:
    """Raises ValueError that names the argument, what it is and what is allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed are {allowed}")


def check_scales(
    x: Tensor,
    channels: int,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    scale_out: float | Tensor,
) -> bool:
    """Whether the scales are ordinary (``ptx.is_ordinary``), once all are known to be scales.

    A tensor's values are looked at again when torch has counted a write to it (``_version``), and
    each time where torch counts none (inference mode).
    """
    if type(scale_x) is type(scale_w) is type(scale_b) is type(scale_out) is float:
        return _check_floats(scale_x, scale_w, scale_b, scale_out)
    return _check_bounds(
        _bounds("scale_x", scale_x, channels, x),
        _bounds("scale_w", scale_w, channels, x),
        _bounds("scale_b", scale_b, channels, x),
        _bounds("scale_out", scale_out, channels, x),
    )


def check_zero_point(x: Tensor, channels: int, zero_point: int | Tensor) -> None:
    """An int or an int32 (D,) tensor on x's device, every code of 0 an INT8 code.

    A tensor's values are looked at again when it was written to, as those of scales are.
    """
    if isinstance(zero_point, Tensor):
        _bounds_of("zero_point", zero_point, torch.int32, channels, x, _check_zero_points)
    elif isinstance(zero_point, bool) or not isinstance(zero_point, int):
        raise ValueError(f"zero_point is {zero_point!r}; it must be an int or an int32 tensor")
    else:
        _check_zero_points("zero_point", zero_point, zero_point)


def _check_zero_points(name: str, least: float, most: float) -> None:
    if not (least >= QMIN and most <= QMAX):
        raise ValueError(
            f"{name} lies between {least:g} and {most:g}; it must be a code, {QMIN} … {QMAX}"
        )


@lru_cache(maxsize=4096)  # four for each of a model's layers
def _check_floats(scale_x: float, scale_w: float, scale_b: float, scale_out: float) -> bool:
    return _check_bounds(
        _bounds_of_number("scale_x", scale_x),
        _bounds_of_number("scale_w", scale_w),
        _bounds_of_number("scale_b", scale_b),
        _bounds_of_number("scale_out", scale_out),
    )


def sums_reach(scale_x: float, scale_w: float, scale_b: float) -> float:
    """The largest magnitude that the convolution's sums can have; in float64, perhaps infinite."""
    return 4 * 128 * 128 * scale_x * scale_w + 128 * scale_b


def sums_fit(scale_x: float, scale_w: float, scale_b: float) -> bool:
    """Whether the kernel takes these scales together: its sums must stay within float32."""
    return sums_reach(scale_x, scale_w, scale_b) <= FLOAT32_MAX


def _check_bounds(
    x: tuple[float, float],
    w: tuple[float, float],
    b: tuple[float, float],
    out: tuple[float, float],
) -> bool:
    """From the least and the greatest of each scale."""
    reach = sums_reach(x[1], w[1], b[1])
    if not reach <= FLOAT32_MAX:
        raise ValueError(
            f"scale_x, scale_w and scale_b are up to {x[1]}, {w[1]} and {b[1]}; the convolution's "
            "sums must stay within float32"
        )
    return is_ordinary(x[0] * w[0], b[0], reach, out)


def _bounds_of_number(name: str, scale: float) -> tuple[float, float]:
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise ValueError(f"{name} is {scale!r}; it must be a float or a float32 tensor")
    if not FLOAT32_TINY < scale <= FLOAT32_MAX:  # false for NaN, too
        raise ValueError(f"{name} is {scale}; it must be finite and > 0 in float32")
    return scale, scale


def _bounds(name: str, scale: float | Tensor, channels: int, x: Tensor) -> tuple[float, float]:
    if not isinstance(scale, Tensor):
        return _bounds_of_number(name, scale)
    return _bounds_of(name, scale, torch.float32, channels, x, _check_scales)


def _check_scales(name: str, least: float, most: float) -> None:
    if not (least > 0 and most <= FLOAT32_MAX):  # a NaN makes both NaN
        raise ValueError(
            f"{name} lies between {least} and {most}; every scale must be finite and > 0"
        )


def _bounds_of(
    name: str,
    scale: Tensor,
    dtype: torch.dtype,
    channels: int,
    x: Tensor,
    check: Callable[[str, float, float], None],
) -> tuple[float, float]:
    """The least and the greatest of a tensor's values, once ``check`` has found them right."""
    device = x.device
    known = recall(scale, "bounds")
    if known is not None and known[0] == (channels, device, dtype):
        return known[1]
    if scale.dtype != dtype or tuple(scale.shape) != (channels,):
        raise ValueError(
            f"{name} is {scale.dtype} of shape {tuple(scale.shape)}; it must be "
            f"{str(dtype).removeprefix('torch.')} ({channels},)"
        )
    if scale.device != device:
        raise ValueError(f"{name} is on {scale.device}; it must be on x's device, {device}")
    if channels == 0:
        return 1.0, 1.0
    least, most = torch.stack(torch.aminmax(scale)).tolist()
    check(name, least, most)
    remember(scale, "bounds", ((channels, device, dtype), (least, most)))
    return least, most
