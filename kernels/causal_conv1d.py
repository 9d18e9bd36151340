"""The quantized causal conv1d: what may be asked for, and which kernel computes it.

    kernels.reference   the specification
    kernels.compiled    on an NVIDIA GPU, ordinary scales
    kernels.portable    interpreted on a CPU; compiled for other GPUs and for other scales

All give the same codes. Only ``mode="fast"``, and only on ``kernels.compiled``, may differ: by one
code, in some 2 of 10^6 values (docs/kernel.md).
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from kernels import reference
from kernels.backends import HAS_TRITON, INTERPRETED, check_backend, default_backend

ACTIVATIONS = ("silu", None)
MODES = ("exact", "fast")
WIDTHS = (2, 3, 4)
FLOAT32_MAX = torch.finfo(torch.float32).max
FLOAT32_TINY = 2.0**-150  # what is no larger becomes 0 in float32
HAS_PTX = HAS_TRITON and not INTERPRETED and torch.version.hip is None

if HAS_TRITON:
    from kernels import portable
if HAS_PTX:
    from kernels import compiled, ptx


def quant_causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    scale_out: float | Tensor,
    activation: str | None = "silu",
    mode: str = "exact",
    backend: str | None = None,
) -> Tensor:
    """Causal depthwise conv1d and SiLU from INT8 to INT8: ``kernels.reference`` gives the formulas.

    Args:
        x: int8 (B, D, L), any strides with L or D contiguous.
        weight: int8 (D, W), W from 2 to 4; the last column belongs to the position itself.
        bias: int8 (D,) or None.
        scale_x, scale_w, scale_b, scale_out: real units per code, > 0 and finite in float32; a
            float, or float32 (D,), so that per-tensor, per-channel, per-slice (x | B | C) and
            grouped scales are all one kernel.
        activation: "silu" or None.
        mode: "exact", the reference's codes; or "fast", where compiled for an NVIDIA GPU some 10 %
            faster, and a value within 10^-5 or so of a rounding tie may get the code beside it.
            Without an activation, and elsewhere, both are the same.
        backend: "triton" (compiled, CUDA), "triton-interpret" (CPU), "torch" (the reference), or
            None for ``default_backend(x)``.

    Returns:
        int8 (B, D, L), with the memory layout of x.

    Raises ValueError, naming the argument, what it got and the rule.
    """
    _check_tensors(x, weight, bias)
    channels = x.shape[1]
    least_x, most_x = _bounds("scale_x", scale_x, channels, x)
    least_w, most_w = _bounds("scale_w", scale_w, channels, x)
    least_b, most_b = _bounds("scale_b", scale_b, channels, x)
    out_bounds = _bounds("scale_out", scale_out, channels, x)
    reach = 4 * 128 * 128 * most_x * most_w + 128 * most_b
    if not reach <= FLOAT32_MAX:
        raise ValueError(
            f"scale_x, scale_w and scale_b are up to {most_x}, {most_w} and {most_b}; the "
            "convolution's sums must stay within float32"
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; allowed are {ACTIVATIONS}")
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; allowed are {MODES}")
    if backend is None:
        backend = default_backend(x)
    else:
        check_backend(backend, "x", x)
    if backend == "torch":
        return reference.quant_causal_conv1d(
            x,
            weight,
            bias,
            scale_x=scale_x,
            scale_w=scale_w,
            scale_b=scale_b,
            scale_out=scale_out,
            activation=activation,
        )
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    scales, silu = (scale_x, scale_w, scale_b, scale_out), activation == "silu"
    if (
        backend == "triton"
        and HAS_PTX
        and ptx.is_ordinary(least_x * least_w, least_b, reach, out_bounds)
    ):
        exact = mode == "exact" or not silu
        compiled.launch(x, weight, bias, out, scales, silu=silu, exact=exact)
    else:
        portable.launch(x, weight, bias, out, scales, silu=silu)
    return out


def _check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    _check_codes("x", x, x)
    _check_codes("weight", weight, x)
    shape = x.shape
    if len(shape) != 3:
        raise ValueError(f"x has shape {tuple(shape)}; it must be (B, D, L)")
    _, channels, length = shape
    strides = x.stride()
    if 1 not in strides[1:] and channels > 1 and length > 1 and x.numel():
        raise ValueError(f"x has strides {strides}; D or L must be contiguous (stride 1)")
    taps = weight.shape
    if len(taps) != 2 or taps[0] != channels or taps[1] not in WIDTHS:
        raise ValueError(
            f"weight has shape {tuple(taps)}; it must be ({channels}, W) with W in {WIDTHS}"
        )
    if bias is not None:
        _check_codes("bias", bias, x)
        if bias.shape != (channels,):
            raise ValueError(f"bias has shape {tuple(bias.shape)}; it must be ({channels},)")


def _check_codes(name: str, tensor: Tensor, x: Tensor) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.int8:
        got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{name} is {got}; it must be a torch.int8 tensor")
    if tensor.device != x.device:
        raise ValueError(f"{name} is on {tensor.device}; it must be on x's device, {x.device}")


# Bounds of scales that are tensors, by identity: (the tensor, its version, least, most). To look at
# a tensor on a GPU is to wait for all that runs there, so an unchanged one is looked at once.
_BOUNDS: dict[int, tuple[weakref.ref, int, float, float]] = {}


def _bounds(name: str, scale: float | Tensor, channels: int, x: Tensor) -> tuple[float, float]:
    """The least and the greatest value of a scale, once every value is known to be one."""
    if not isinstance(scale, Tensor):
        if isinstance(scale, bool) or not isinstance(scale, int | float):
            raise ValueError(f"{name} is {scale!r}; it must be a float or a float32 tensor")
        if not FLOAT32_TINY < scale <= FLOAT32_MAX:  # false for NaN, too
            raise ValueError(f"{name} is {scale}; it must be finite and > 0 in float32")
        return scale, scale
    if scale.dtype != torch.float32 or tuple(scale.shape) != (channels,):
        raise ValueError(
            f"{name} is {scale.dtype} of shape {tuple(scale.shape)}; it must be float32 "
            f"({channels},)"
        )
    if scale.device != x.device:
        raise ValueError(f"{name} is on {scale.device}; it must be on x's device, {x.device}")
    if channels == 0:
        return 1.0, 1.0
    version = None if scale.is_inference() else scale._version  # inference tensors count none
    key = id(scale)
    known = _BOUNDS.get(key)
    if known is not None and version is not None and known[0]() is scale and known[1] == version:
        return known[2], known[3]
    least, most = torch.stack(torch.aminmax(scale)).tolist()
    if not (least > 0 and most <= FLOAT32_MAX):  # a NaN makes both NaN
        raise ValueError(
            f"{name} lies between {least} and {most}; every scale must be finite and > 0"
        )
    if version is not None:
        gone = weakref.ref(scale, lambda _: _BOUNDS.pop(key, None))
        _BOUNDS[key] = gone, version, least, most
    return least, most
