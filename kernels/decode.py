"""The decode step: one position of the quantized causal conv1d, with the last codes as its state.

A model that generates has one new position at a time. It keeps, for every sequence and channel, the
last W codes of x; a step drops the oldest, appends the new one, and convolves what is there. Steps
from a state of zeros give, position by position, what ``quant_causal_conv1d`` gives at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import reference
from kernels.arguments import (
    ACTIVATIONS,
    CODES,
    check_choice,
    check_scales,
    check_tensor,
    check_thresholds,
    check_weight,
    check_zero_point,
)
from kernels.backends import HAS_TRITON, INTERPRETED, launching_on, resolve_backend
from kernels.lookup import padded

if HAS_TRITON:
    import triton
    import triton.language as tl

    @triton.jit
    def _update_kernel(
        x,  # int8 (B, D)
        state,  # int8 (B, D, WIDTH)
        weight,  # int8 (D, WIDTH), contiguous
        bias,  # int8 (D,), contiguous
        out,  # int8 (B, D), contiguous
        scale_x,  # float32 (D,) where PER_CHANNEL_X, else a float; so are the next three
        scale_w,
        scale_b,
        scale_out,
        zero_point,  # int32 (D,) where PER_CHANNEL_ZERO, else an int
        thresholds,  # float32 (2^SEARCH_STEPS - 1,), ascending, where SEARCH_STEPS is not 0
        batch,
        channels,
        stride_xb,
        stride_xd,
        stride_sb,
        stride_sd,
        stride_sk,
        PER_CHANNEL_X: tl.constexpr,
        PER_CHANNEL_W: tl.constexpr,
        PER_CHANNEL_B: tl.constexpr,
        PER_CHANNEL_OUT: tl.constexpr,
        PER_CHANNEL_ZERO: tl.constexpr,
        SEARCH_STEPS: tl.constexpr,
        HAS_BIAS: tl.constexpr,
        SILU: tl.constexpr,
        WIDTH: tl.constexpr,
        BLOCK_B: tl.constexpr,
        BLOCK_D: tl.constexpr,
    ):
        blocks_d = (channels + (BLOCK_D - 1)) // BLOCK_D
        i_d, i_b = tl.program_id(0) % blocks_d, tl.program_id(0) // blocks_d
        o_b = (i_b * BLOCK_B + tl.arange(0, BLOCK_B)).to(tl.int64)[:, None]
        o_d = (i_d * BLOCK_D + tl.arange(0, BLOCK_D)).to(tl.int64)[None, :]
        m_d = o_d < channels
        m = (o_b < batch) & m_d
        p_state = state + o_b * stride_sb + o_d * stride_sd
        # The state is shifted by one code while it is convolved.
        acc = tl.zeros((BLOCK_B, BLOCK_D), tl.int32)
        for k in tl.static_range(WIDTH):
            if k + 1 < WIDTH:
                code = tl.load(p_state + (k + 1) * stride_sk, mask=m, other=0)
            else:
                code = tl.load(x + o_b * stride_xb + o_d * stride_xd, mask=m, other=0)
            tl.store(p_state + k * stride_sk, code, mask=m)
            tap = tl.load(weight + o_d * WIDTH + k, mask=m_d, other=0)
            acc += tap.to(tl.int32) * code.to(tl.int32)
        one = tl.full((1, BLOCK_D), 1.0, tl.float32)
        s_x = tl.load(scale_x + o_d, mask=m_d, other=1.0) if PER_CHANNEL_X else one * scale_x
        s_w = tl.load(scale_w + o_d, mask=m_d, other=1.0) if PER_CHANNEL_W else one * scale_w
        s_out = (
            tl.load(scale_out + o_d, mask=m_d, other=1.0) if PER_CHANNEL_OUT else one * scale_out
        )
        u = -(s_w * s_x) * acc.to(tl.float32)
        if HAS_BIAS:
            s_b = tl.load(scale_b + o_d, mask=m_d, other=1.0) if PER_CHANNEL_B else one * scale_b
            u = u - tl.load(bias + o_d, mask=m_d, other=0).to(tl.float32) * s_b
        if SILU:
            u = tl.div_rn(u, 1.0 + tl.exp(u.to(tl.float64)).to(tl.float32))
        if SEARCH_STEPS:  # sought as in kernels.portable
            code = tl.full((BLOCK_B, BLOCK_D), 0, tl.int32)
            for step in tl.static_range(SEARCH_STEPS):
                half_left = 1 << (SEARCH_STEPS - 1 - step)
                threshold = tl.load(thresholds + (code + (half_left - 1)))
                code += tl.where(-u >= threshold, half_left, 0)
            code -= 128
        else:  # rounded as there: halves away from zero
            if PER_CHANNEL_ZERO:
                zero = tl.load(zero_point + o_d, mask=m_d, other=0)
            else:
                zero = tl.full((1, BLOCK_D), zero_point, tl.int32)
            ends = zero.to(tl.float32)
            y = tl.minimum(tl.maximum(tl.div_rn(u, -s_out), -128.0 - ends), 127.0 - ends)
            half = (y.to(tl.int32, bitcast=True) & -(2**31)) | 0x3EFFFFFF
            code = (y + half.to(tl.float32, bitcast=True)).to(tl.int32) + zero
        tl.store(out + o_b * channels + o_d, code.to(tl.int8), mask=m)


def quant_causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    scale_out: float | Tensor,
    zero_point: int | Tensor = 0,
    activation: str | None = "silu",
    backend: str | None = None,
) -> Tensor:
    """One position of ``quant_causal_conv1d``.

    Args:
        x: int8 (B, D), any strides: the new position.
        conv_state: int8 (B, D, W), any strides without overlap. Entry [b, d, k] is the code of x at
            k - W + 1 positions from the newest: the newest is last, zeros stand for positions
            before the first. Updated in place; afterwards [..., -1] is x.
        weight, bias, scale_x, scale_w, scale_b, scale_out, zero_point, activation, backend: as for
            ``quant_causal_conv1d``.

    Returns:
        int8 (B, D), contiguous.

    Raises ValueError, naming the argument, what it got and the rule; the state is then unchanged.
    """
    _check(x, conv_state, weight, bias)
    scales = {"scale_x": scale_x, "scale_w": scale_w, "scale_b": scale_b, "scale_out": scale_out}
    check_scales(x, x.shape[1], **scales)
    check_zero_point(x, x.shape[1], zero_point)
    check_choice("activation", activation, ACTIVATIONS)
    if resolve_backend(backend, x) == "torch":
        return reference.quant_causal_conv1d_update(
            x, conv_state, weight, bias, **scales, zero_point=zero_point, activation=activation
        )
    silu = activation == "silu"
    return _launch(x, conv_state, weight, bias, scales, zero_point, None, silu=silu)


def quant_causal_conv1d_lookup_update(
    x: Tensor,
    conv_state: Tensor,
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
    """One position of ``quant_causal_conv1d_lookup``.

    Args:
        x, conv_state: as for ``quant_causal_conv1d_update``.
        weight, bias, scale_x, scale_w, scale_b, thresholds, activation, backend: as for
            ``quant_causal_conv1d_lookup``.

    Returns:
        int8 (B, D), contiguous.

    Raises ValueError, naming the argument, what it got and the rule; the state is then unchanged.
    """
    _check(x, conv_state, weight, bias)
    scales = {"scale_x": scale_x, "scale_w": scale_w, "scale_b": scale_b}
    check_scales(x, x.shape[1], **scales, scale_out=1.0)
    check_thresholds(x, thresholds)
    check_choice("activation", activation, ACTIVATIONS)
    if resolve_backend(backend, x) == "torch":
        return reference.quant_causal_conv1d_lookup_update(
            x, conv_state, weight, bias, **scales, thresholds=thresholds, activation=activation
        )
    silu = activation == "silu"
    scales["scale_out"] = 1.0
    return _launch(x, conv_state, weight, bias, scales, 0, thresholds, silu=silu)


def _launch(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scales: dict[str, float | Tensor],
    zero_point: int | Tensor,
    thresholds: Tensor | None,
    *,
    silu: bool,
) -> Tensor:
    out = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    if x.numel() == 0:
        return out
    batch, channels = x.shape
    block_d = min(triton.next_power_of_2(channels), 2**14 if INTERPRETED else 256)
    block_b = min(triton.next_power_of_2(batch), 2**17 // block_d if INTERPRETED else 1)
    grid = (triton.cdiv(channels, block_d) * triton.cdiv(batch, block_b),)
    with launching_on(x):
        _update_kernel[grid](
            x=x,
            state=conv_state,
            weight=weight.contiguous(),
            bias=weight if bias is None else bias.contiguous(),
            out=out,
            **{
                name: scale.contiguous() if isinstance(scale, Tensor) else float(scale)
                for name, scale in scales.items()
            },
            zero_point=zero_point.contiguous() if isinstance(zero_point, Tensor) else zero_point,
            thresholds=weight if thresholds is None else padded(thresholds),
            batch=batch,
            channels=channels,
            stride_xb=x.stride(0),
            stride_xd=x.stride(1),
            stride_sb=conv_state.stride(0),
            stride_sd=conv_state.stride(1),
            stride_sk=conv_state.stride(2),
            PER_CHANNEL_X=isinstance(scales["scale_x"], Tensor),
            PER_CHANNEL_W=isinstance(scales["scale_w"], Tensor),
            PER_CHANNEL_B=isinstance(scales["scale_b"], Tensor),
            PER_CHANNEL_OUT=isinstance(scales["scale_out"], Tensor),
            PER_CHANNEL_ZERO=isinstance(zero_point, Tensor),
            SEARCH_STEPS=0 if thresholds is None else len(thresholds).bit_length(),
            HAS_BIAS=bias is not None,
            SILU=silu,
            WIDTH=weight.shape[1],
            BLOCK_B=block_b,
            BLOCK_D=block_d,
            enable_fp_fusion=False,
        )
    return out


def _check(x: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    named = {"x": x, "conv_state": conv_state, "weight": weight}
    for name, tensor in (named if bias is None else named | {"bias": bias}).items():
        check_tensor(name, tensor, CODES, x)
    if x.dim() != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}; it must be (B, D)")
    check_weight(weight, bias, x.shape[1])
    expected = (*x.shape, weight.shape[1])
    if conv_state.shape != expected:
        raise ValueError(
            f"conv_state has shape {tuple(conv_state.shape)}; it must be {expected}: x's, and the "
            "weight's width"
        )
    if any(s == 0 and n > 1 for s, n in zip(conv_state.stride(), expected, strict=True)):
        raise ValueError(
            f"conv_state has strides {conv_state.stride()}; each code needs memory of its own"
        )
