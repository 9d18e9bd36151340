"""The quantized causal conv1d: what may be asked for, and which kernel computes it.

    kernels.reference   the specification
    kernels.compiled    on an NVIDIA GPU, ordinary scales
    kernels.portable    interpreted on a CPU; compiled for other GPUs and for other scales

The compiled kernel looks codes up in a table of ``kernels.lookup``. All give the same codes. Only
``mode="fast"``, and only on ``kernels.compiled``, may differ: by one code, in some 2 of 10^6 values
(docs/kernel.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import reference
from kernels.arguments import (
    ACTIVATIONS,
    CODES,
    MODES,
    check_choice,
    check_scales,
    check_sequence,
    check_strides,
    check_thresholds,
    check_zero_point,
)
from kernels.backends import HAS_PTX, HAS_TRITON, resolve_backend
from kernels.lookup import table_for

if HAS_TRITON:
    from kernels import portable
if HAS_PTX:
    from kernels import compiled


def quant_causal_conv1d_lookup(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    thresholds: Tensor,
    activation: str | None = "silu",
    backend: str | None = None,
) -> Tensor:
    """The same convolution, with y written in any number format of up to 256 values.

    Args:
        thresholds: float32 (T,), T from 1 to 255, ascending, none NaN, on x's device: each the
            least value that gets the higher of two codes. A value's code is -128 and one more for
            each threshold that is not above it, so the values that the codes stand for have to
            ascend with them.
        x, weight, bias, scale_x, scale_w, scale_b, activation, backend: as for
            ``quant_causal_conv1d``.

    Returns:
        int8 (B, D, L), with the memory layout of x: T + 1 codes from -128 on.

    Raises ValueError, naming the argument, what it got and the rule.
    """
    scales = (scale_x, scale_w, scale_b, 1.0)
    ordinary = _check(x, weight, bias, scales, activation)
    check_thresholds(x, thresholds)
    backend = resolve_backend(backend, x)
    if backend == "torch":
        return reference.quant_causal_conv1d_lookup(
            x,
            weight,
            bias,
            scale_x=scale_x,
            scale_w=scale_w,
            scale_b=scale_b,
            thresholds=thresholds,
            activation=activation,
        )
    out = torch.empty_like(x)
    if x.numel():
        silu = activation == "silu"
        if backend == "triton" and HAS_PTX and ordinary:
            table = table_for(thresholds, silu=silu)
            compiled.launch(x, weight, bias, out, scales, table=table, silu=silu, exact=True)
        else:
            portable.launch(x, weight, bias, out, scales, silu=silu, thresholds=thresholds)
    return out


def quant_causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    scale_out: float | Tensor,
    zero_point: int | Tensor = 0,
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
        zero_point: the output's code of 0: 0 for symmetric INT8, else -128 ... 127; an int, or
            int32 (D,).
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
    scales = (scale_x, scale_w, scale_b, scale_out)
    ordinary = _check(x, weight, bias, scales, activation)
    check_zero_point(x, x.shape[1], zero_point)
    check_choice("mode", mode, MODES)
    backend = resolve_backend(backend, x)
    if backend == "torch":
        return reference.quant_causal_conv1d(
            x,
            weight,
            bias,
            scale_x=scale_x,
            scale_w=scale_w,
            scale_b=scale_b,
            scale_out=scale_out,
            zero_point=zero_point,
            activation=activation,
        )
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    silu = activation == "silu"
    if backend == "triton" and HAS_PTX and ordinary:
        exact = mode == "exact" or not silu
        compiled.launch(x, weight, bias, out, scales, zero_point, silu=silu, exact=exact)
    else:
        portable.launch(x, weight, bias, out, scales, zero_point, silu=silu)
    return out


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scales: tuple[float | Tensor, float | Tensor, float | Tensor, float | Tensor],
    activation: str | None,
) -> bool:
    """What both ways to code have in common; whether the scales are ordinary."""
    check_sequence(x, weight, bias, CODES)
    check_strides(x)
    check_choice("activation", activation, ACTIVATIONS)
    return check_scales(x, x.shape[1], *scales)
