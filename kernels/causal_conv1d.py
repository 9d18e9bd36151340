"""The quantized causal conv1d: what may be asked for, and which kernel computes it.

    kernels.reference   the specification
    kernels.compiled    on an NVIDIA GPU, ordinary scales
    kernels.portable    interpreted on a CPU; compiled for other GPUs and for other scales

All give the same codes. Only ``mode="fast"``, and only on ``kernels.compiled``, may differ: by one
code, in some 2 of 10^6 values (docs/kernel.md).
"""

from __future__ import annotations

import importlib.util
import weakref
from functools import cache

import torch
from torch import Tensor

from kernels import reference

BACKENDS = ("triton", "triton-interpret", "torch")
ACTIVATIONS = ("silu", None)
MODES = ("exact", "fast")
WIDTHS = (2, 3, 4)
FLOAT32_MAX = torch.finfo(torch.float32).max
FLOAT32_TINY = 2.0**-150  # what is no larger becomes 0 in float32

HAS_TRITON = importlib.util.find_spec("triton") is not None  # it has wheels for Linux alone

if HAS_TRITON:
    from kernels import portable

    INTERPRETED = portable.INTERPRETED
    HAS_PTX = not INTERPRETED and torch.version.hip is None
    if HAS_PTX:
        from kernels import compiled, ptx


@cache
def available_backends() -> tuple[str, ...]:
    """Which of "triton", "triton-interpret" and "torch" can run in this process."""
    compiled = HAS_TRITON and not INTERPRETED and torch.cuda.is_available()
    interpreted = HAS_TRITON and INTERPRETED
    runs = {"triton": compiled, "triton-interpret": interpreted, "torch": True}
    return tuple(name for name in BACKENDS if runs[name])


def default_backend(x: Tensor) -> str:
    """The backend that None stands for: the best that can run where ``x`` lies."""
    available = available_backends()
    if x.is_cuda and "triton" in available:
        return "triton"
    return "triton-interpret" if "triton-interpret" in available else "torch"


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
    channels, device = x.shape[1], x.device
    x_bounds = _bounds("scale_x", scale_x, channels, device)
    w_bounds = _bounds("scale_w", scale_w, channels, device)
    b_bounds = _bounds("scale_b", scale_b, channels, device)
    out_bounds = _bounds("scale_out", scale_out, channels, device)
    reach = 4 * 128 * 128 * x_bounds[1] * w_bounds[1] + 128 * b_bounds[1]
    if not reach <= FLOAT32_MAX:
        raise ValueError(
            f"scale_x, scale_w and scale_b are up to {x_bounds[1]}, {w_bounds[1]} and "
            f"{b_bounds[1]}; the convolution's sums must stay within float32"
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; allowed are {ACTIVATIONS}")
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; allowed are {MODES}")
    backend = default_backend(x) if backend is None else backend
    _check_backend(backend, x)
    arguments = {
        "scale_x": scale_x,
        "scale_w": scale_w,
        "scale_b": scale_b,
        "scale_out": scale_out,
        "activation": activation,
    }
    if backend == "torch":
        return reference.quant_causal_conv1d(x, weight, bias, **arguments)
    out = torch.empty_strided(x.shape, _dense_strides(x), dtype=torch.int8, device=device)
    if x.numel() == 0:
        return out
    if (
        backend == "triton"
        and HAS_PTX
        and ptx.is_ordinary(x_bounds[0] * w_bounds[0], b_bounds[0], reach, out_bounds)
    ):
        exact = mode == "exact" or activation is None
        compiled.launch(x, weight, bias, out, exact=exact, **arguments)
    else:
        portable.launch(x, weight, bias, out, **arguments)
    return out


def _check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if name == "bias" and bias is None:
            continue
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.int8:
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name} is {got}; it must be a torch.int8 tensor")
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}; it must be on x's device, {x.device}")
    if x.dim() != 3:
        raise ValueError(f"x has shape {tuple(x.shape)}; it must be (B, D, L)")
    if x.numel() and 1 not in (x.stride(1), x.stride(2)) and x.shape[1] > 1 and x.shape[2] > 1:
        raise ValueError(f"x has strides {x.stride()}; D or L must be contiguous (stride 1)")
    channels = x.shape[1]
    if weight.dim() != 2 or weight.shape[0] != channels or weight.shape[1] not in WIDTHS:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; it must be ({channels}, W) with W in {WIDTHS}"
        )
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ValueError(f"bias has shape {tuple(bias.shape)}; it must be ({channels},)")


# Bounds of scales that are tensors, by identity: (the tensor, its version, least, most). To look at
# a tensor on a GPU is to wait for all that runs there, so an unchanged one is looked at once.
_BOUNDS: dict[int, tuple[weakref.ref, int, float, float]] = {}


def _bounds(
    name: str, scale: float | Tensor, channels: int, device: torch.device
) -> tuple[float, float]:
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
    if scale.device != device:
        raise ValueError(f"{name} is on {scale.device}; it must be on x's device, {device}")
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


def _check_backend(backend: str, x: Tensor) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; allowed are {BACKENDS} and None")
    if backend not in available_backends():
        raise ValueError(f"backend {backend!r} cannot run here: {_why_not(backend)}")
    if backend == "triton" and not x.is_cuda:
        raise ValueError(f"backend 'triton' needs x on CUDA; it is on {x.device}")


def _why_not(backend: str) -> str:
    if not HAS_TRITON:
        return "triton is not installed"
    if backend == "triton-interpret":
        return "TRITON_INTERPRET was not set before triton was first imported"
    if INTERPRETED:
        return "this process interprets Triton (TRITON_INTERPRET)"
    return "torch sees no CUDA device"


def _dense_strides(x: Tensor) -> tuple[int, int, int]:
    """Strides without gaps, in the order of x's: sequence-last or channel-last."""
    _, channels, length = x.shape
    if x.stride(2) == 1 or length == 1:
        return (channels * length, length, 1)
    return (channels * length, 1, channels)
