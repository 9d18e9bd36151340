"""The Triton kernel of the quantized causal conv1d, and its launcher.

One source runs in two ways: compiled on CUDA, and under Triton's interpreter on a CPU, where every
operation is a numpy pass over a whole block. The specification is ``kernels.reference``; operations
are kept separate (no fused multiply-add) and exp is computed in float64, so both give its codes.

Two ways to load. *Words*: where positions are contiguous and everything lies on four-byte borders,
one int32 holds four neighbouring positions, so that two loads and one store serve four outputs;
loads are what costs most, compiled or interpreted. *Bytes*: any strides, one load a tap.
"""

from __future__ import annotations

import importlib.util
import math
import threading

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import reference

BACKENDS = ("triton", "triton-interpret", "torch")
ACTIVATIONS = ("silu", None)
WIDTHS = (2, 3, 4)

HAS_TRITON = importlib.util.find_spec("triton") is not None  # it has wheels for Linux alone

# The interpreter replaces parts of triton.language while it runs, so it runs once at a time.
_INTERPRETER = threading.Lock()

if HAS_TRITON:
    import triton
    import triton.language as tl

    INTERPRETED = triton.knobs.runtime.interpret

    @triton.jit
    def _causal_conv1d_kernel(
        x,  # int8, or int32 words of four positions
        weight,  # int32 (D,): four int8 taps, the oldest in the lowest byte
        bias,  # int8 (D,)
        out,  # as x
        scale_x,  # float32 (D,), or (1,) with stride 0; so are the next three
        scale_w,
        scale_b,
        scale_out,
        rows,  # B·D
        channels,
        length,  # L, or L / 4 words
        stride_xb,
        stride_xd,
        stride_xl,
        stride_ob,
        stride_od,
        stride_ol,
        STRIDE_SX: tl.constexpr,
        STRIDE_SW: tl.constexpr,
        STRIDE_SB: tl.constexpr,
        STRIDE_SO: tl.constexpr,
        HAS_BIAS: tl.constexpr,
        SILU: tl.constexpr,
        WORDS: tl.constexpr,
        BLOCK_R: tl.constexpr,
        BLOCK_L: tl.constexpr,
    ):
        i_r, i_l = tl.program_id(0), tl.program_id(1)
        o_r = i_r * BLOCK_R + tl.arange(0, BLOCK_R)
        o_l = i_l * BLOCK_L + tl.arange(0, BLOCK_L)
        o_b, o_d = (o_r // channels).to(tl.int64), o_r % channels
        m_r, m_l = o_r < rows, o_l < length
        m = m_r[:, None] & m_l[None, :]
        p_x = x + (o_b * stride_xb + o_d * stride_xd)[:, None] + (o_l * stride_xl)[None, :]
        p_out = out + (o_b * stride_ob + o_d * stride_od)[:, None] + (o_l * stride_ol)[None, :]

        # Constants are (1, 1) blocks: the interpreter broadcasts those as views, but would copy a
        # scalar out to a whole block.
        s24 = tl.full((1, 1), 24, tl.int32)
        byte = tl.full((1, 1), 0xFF, tl.int32)
        zero = tl.full((1, 1), 0.0, tl.float32)
        one = tl.full((1, 1), 1.0, tl.float32)
        half = tl.full((1, 1), 0.49999997, tl.float32)  # the float32 just below 1/2
        least = tl.full((1, 1), -128.0, tl.float32)
        most = tl.full((1, 1), 127.0, tl.float32)

        # Columns over the block's rows. Signs are turned, so that exp's argument is at hand: with
        # u = -v, SiLU(v) / scale_out is u / (1 + exp(u)) / -scale_out, to the bit.
        s_x = tl.load(scale_x + o_d * STRIDE_SX, mask=m_r, other=1.0)[:, None]
        s_w = tl.load(scale_w + o_d * STRIDE_SW, mask=m_r, other=1.0)[:, None]
        minus_wx = -(s_w * s_x)
        minus_out = -tl.load(scale_out + o_d * STRIDE_SO, mask=m_r, other=1.0)[:, None]
        if HAS_BIAS:
            s_b = tl.load(scale_b + o_d * STRIDE_SB, mask=m_r, other=1.0)[:, None]
            minus_b = -(tl.load(bias + o_d, mask=m_r, other=0).to(tl.float32)[:, None] * s_b)
        else:
            minus_b = zero
        taps = tl.load(weight + o_d, mask=m_r, other=0)[:, None]
        w0 = ((taps << 24) >> 24).to(tl.float32)
        w1 = ((taps << 16) >> 24).to(tl.float32)
        w2 = ((taps << 8) >> 24).to(tl.float32)
        w3 = (taps >> 24).to(tl.float32)

        # x0, x1, x2: the codes at the three positions before the one at hand.
        if WORDS:
            word = tl.load(p_x, mask=m, other=0)
            before = tl.load(p_x - 1, mask=m & (o_l > 0)[None, :], other=0)
            x0 = ((before << tl.full((1, 1), 16, tl.int32)) >> s24).to(tl.float32)
            x1 = ((before << tl.full((1, 1), 8, tl.int32)) >> s24).to(tl.float32)
            x2 = (before >> s24).to(tl.float32)
            packed = tl.full((1, 1), 0, tl.int32)
        else:
            x0 = tl.load(p_x - 3 * stride_xl, mask=m & (o_l > 2)[None, :], other=0).to(tl.float32)
            x1 = tl.load(p_x - 2 * stride_xl, mask=m & (o_l > 1)[None, :], other=0).to(tl.float32)
            x2 = tl.load(p_x - stride_xl, mask=m & (o_l > 0)[None, :], other=0).to(tl.float32)
            x3 = tl.load(p_x, mask=m, other=0).to(tl.float32)

        for lane in tl.static_range(4 if WORDS else 1):
            if WORDS:
                x3 = ((word << tl.full((1, 1), 24 - 8 * lane, tl.int32)) >> s24).to(tl.float32)
            acc = w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3  # whole numbers below 2^24: exact
            u = minus_wx * acc + minus_b
            if SILU:
                e = tl.exp(u.to(tl.float64)).to(tl.float32)
                u = tl.div_rn(u, one + e)
            # Clamping to whole bounds first changes no rounded value and keeps the cast in range.
            y = tl.minimum(tl.maximum(tl.div_rn(u, minus_out), least), most)
            # Halves away from zero, by truncation. A half plus the number just below 1/2 rounds up
            # to the next whole number; nothing below a half does.
            code = (y + tl.where(y < zero, -half, half)).to(tl.int32)
            if WORDS:
                packed |= (code & byte) << tl.full((1, 1), 8 * lane, tl.int32)
                x0, x1, x2 = x1, x2, x3
            else:
                packed = code.to(tl.int8)
        tl.store(p_out, packed, mask=m)


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
    backend: str | None = None,
) -> Tensor:
    """Causal depthwise conv1d and SiLU from INT8 to INT8: ``kernels.reference`` gives the formulas.

    Args:
        x: int8 (B, D, L), any strides with L or D contiguous.
        weight: int8 (D, W), W from 2 to 4; the last column belongs to the position itself.
        bias: int8 (D,) or None.
        scale_x, scale_w, scale_b, scale_out: real units per code, > 0; a float, or float32 (D,), so
            that per-tensor, per-channel, per-slice (x | B | C) and grouped scales are all one
            kernel.
        activation: "silu" or None.
        backend: "triton" (compiled, CUDA), "triton-interpret" (CPU), "torch" (the reference), or
            None for ``default_backend(x)``.

    Returns:
        int8 (B, D, L), with the memory layout of x.

    Raises ValueError, naming the argument, what it got and the rule.
    """
    _check_tensors(x, weight, bias)
    channels = x.shape[1]
    scales = {
        name: _checked_scale(name, scale, channels, x.device)
        for name, scale in (
            ("scale_x", scale_x),
            ("scale_w", scale_w),
            ("scale_b", scale_b),
            ("scale_out", scale_out),
        )
    }
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; allowed are {ACTIVATIONS}")
    backend = default_backend(x) if backend is None else backend
    _check_backend(backend, x)
    if backend == "torch":
        return reference.quant_causal_conv1d(x, weight, bias, activation=activation, **scales)
    return _launch(x, weight, bias, activation=activation, **scales)


def _check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    named = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name, tensor in named.items():
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


def _checked_scale(
    name: str, scale: float | Tensor, channels: int, device: torch.device
) -> float | Tensor:
    if not isinstance(scale, Tensor):
        if isinstance(scale, bool) or not isinstance(scale, int | float):
            raise ValueError(f"{name} is {scale!r}; it must be a float or a float32 tensor")
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"{name} is {scale}; it must be finite and > 0")
        return float(scale)
    if scale.dtype != torch.float32 or tuple(scale.shape) != (channels,):
        raise ValueError(
            f"{name} is {scale.dtype} of shape {tuple(scale.shape)}; it must be float32 "
            f"({channels},)"
        )
    if scale.device != device:
        raise ValueError(f"{name} is on {scale.device}; it must be on x's device, {device}")
    if channels and not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise ValueError(
            f"{name} lies between {float(scale.min())} and {float(scale.max())}; every scale must "
            "be finite and > 0"
        )
    return scale.contiguous()


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


def _launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    scale_x: float | Tensor,
    scale_w: float | Tensor,
    scale_b: float | Tensor,
    scale_out: float | Tensor,
    activation: str | None,
) -> Tensor:
    batch, channels, _ = x.shape
    out = torch.empty_strided(x.shape, _dense_strides(x), dtype=torch.int8, device=x.device)
    if x.numel() == 0:
        return out
    words = _in_words(x) and _in_words(out)
    x_in, x_out = (x.view(torch.int32), out.view(torch.int32)) if words else (x, out)
    block_r, block_l = _blocks(batch * channels, x_in.shape[2], words, x.stride(2) == 1)
    grid = (triton.cdiv(batch * channels, block_r), triton.cdiv(x_in.shape[2], block_l))
    # Narrower kernels get zeros in front, so that there are always four taps, one word a channel.
    taps = F.pad(weight, (4 - weight.shape[1], 0)).contiguous().view(torch.int32)
    scales = [
        torch.as_tensor(scale, dtype=torch.float32, device=x.device).reshape(-1)
        for scale in (scale_x, scale_w, scale_b, scale_out)
    ]
    strides = [int(scale.numel() > 1) for scale in scales]
    arguments = dict(
        x=x_in,
        weight=taps,
        bias=taps if bias is None else bias.contiguous(),
        out=x_out,
        scale_x=scales[0],
        scale_w=scales[1],
        scale_b=scales[2],
        scale_out=scales[3],
        rows=batch * channels,
        channels=channels,
        length=x_in.shape[2],
        stride_xb=x_in.stride(0),
        stride_xd=x_in.stride(1),
        stride_xl=x_in.stride(2),
        stride_ob=x_out.stride(0),
        stride_od=x_out.stride(1),
        stride_ol=x_out.stride(2),
        STRIDE_SX=strides[0],
        STRIDE_SW=strides[1],
        STRIDE_SB=strides[2],
        STRIDE_SO=strides[3],
        HAS_BIAS=bias is not None,
        SILU=activation == "silu",
        WORDS=words,
        BLOCK_R=block_r,
        BLOCK_L=block_l,
        enable_fp_fusion=False,
    )
    if not INTERPRETED:
        with torch.cuda.device(x.device):
            _causal_conv1d_kernel[grid](**arguments)
        return out
    # exp overflows where it may: SiLU of a very negative value is 0.
    with _INTERPRETER, np.errstate(over="ignore"):
        _causal_conv1d_kernel[grid](**arguments)
    return out


def _dense_strides(x: Tensor) -> tuple[int, int, int]:
    """Strides without gaps, in the order of x's: sequence-last or channel-last."""
    _, channels, length = x.shape
    if x.stride(2) == 1 or length == 1:
        return (channels * length, length, 1)
    return (channels * length, 1, channels)


def _in_words(x: Tensor) -> bool:
    """Whether positions can be read four at a time, as aligned int32."""
    return (
        x.stride(2) == 1
        and x.shape[2] % 4 == 0
        and x.stride(0) % 4 == 0
        and x.stride(1) % 4 == 0
        and x.data_ptr() % 4 == 0
    )


def _blocks(rows: int, length: int, words: bool, sequence_last: bool) -> tuple[int, int]:
    """Rows and positions (or words) of a block, both powers of two.

    Compiled, a block is a few thousand codes. Interpreted, a program costs milliseconds whatever
    its size, so blocks are as large as Triton comfortably permits: 2^19 elements.
    """
    if INTERPRETED:
        budget = 1 << 19
        block_l = min(triton.next_power_of_2(length), budget)
        return min(triton.next_power_of_2(rows), max(1, budget // block_l)), block_l
    if not sequence_last:  # neighbouring threads take neighbouring channels
        return min(triton.next_power_of_2(rows), 128), 16
    block_l = min(triton.next_power_of_2(length), 256 if words else 1024)
    return min(triton.next_power_of_2(rows), max(1, (256 if words else 1024) // block_l)), block_l
