"""The Triton kernel of the quantized causal conv1d, and its launcher.

One source runs in two ways: compiled on CUDA, and under Triton's interpreter on a CPU, where every
operation is a numpy pass over a whole block. The specification is ``kernels.reference``; operations
are kept separate (no fused multiply-add) and exp is computed in float64, so both give its codes.

Codes are loaded and stored in *words* of neighbours where x lies on word borders, because loads are
what costs most, compiled or interpreted. Sequence-last, a word holds positions of one channel, and
two loads cover every window in it; channel-last, it holds channels of one position, and there is
one load a tap. Any other x is read in the second way, in words of a single code.
"""

from __future__ import annotations

import importlib.util
import threading

import numpy as np
import torch
from torch import Tensor

from kernels import reference

BACKENDS = ("triton", "triton-interpret", "torch")
ACTIVATIONS = ("silu", None)
WIDTHS = (2, 3, 4)
FLOAT32_MAX = torch.finfo(torch.float32).max

HAS_TRITON = importlib.util.find_spec("triton") is not None  # it has wheels for Linux alone

# The interpreter replaces parts of triton.language while it runs, so it runs once at a time.
_INTERPRETER = threading.Lock()

if HAS_TRITON:
    import triton
    import triton.language as tl

    INTERPRETED = triton.knobs.runtime.interpret

    @triton.jit
    def _causal_conv1d_kernel(
        x,  # words of LANES codes: uint8, uint32 or uint64
        weight,  # int32 (D,): four int8 taps, the oldest in the lowest byte
        bias,  # int8 (D,)
        out,  # as x
        scale_x,  # float32 (D,) where PER_CHANNEL_X, else a float; so are the next three
        scale_w,
        scale_b,
        scale_out,
        rows,  # B · channels
        channels,  # D, or D / LANES words
        length,  # L, or L / LANES words
        stride_xb,  # strides count words
        stride_xd,
        stride_xl,
        stride_ob,
        stride_od,
        stride_ol,
        PER_CHANNEL_X: tl.constexpr,
        PER_CHANNEL_W: tl.constexpr,
        PER_CHANNEL_B: tl.constexpr,
        PER_CHANNEL_OUT: tl.constexpr,
        HAS_BIAS: tl.constexpr,
        SILU: tl.constexpr,
        LANES: tl.constexpr,
        ALONG_L: tl.constexpr,  # a word holds neighbours along L, else along D
        BLOCK_R: tl.constexpr,
        BLOCK_L: tl.constexpr,
    ):
        # One grid axis: the others end at 65,535 programs.
        blocks_r = (rows + (BLOCK_R - 1)) // BLOCK_R
        i_r, i_l = tl.program_id(0) % blocks_r, tl.program_id(0) // blocks_r
        o_r = i_r * BLOCK_R + tl.arange(0, BLOCK_R)
        o_l = i_l * BLOCK_L + tl.arange(0, BLOCK_L)
        m_r, m_l = o_r < rows, o_l < length
        m = m_r[:, None] & m_l[None, :]
        # Offsets are int64: even those within one sequence can pass 2^31.
        o_b, o_d = (o_r // channels).to(tl.int64), (o_r % channels).to(tl.int64)
        o_l = o_l.to(tl.int64)
        p_x = x + (o_b * stride_xb + o_d * stride_xd)[:, None]
        p_out = out + (o_b * stride_ob + o_d * stride_od)[:, None] + (o_l * stride_ol)[None, :]

        # Constants are (1, 1) blocks: the interpreter broadcasts those as views, but would copy a
        # scalar out to a whole block.
        WORD: tl.constexpr = x.dtype.element_ty
        zero = tl.full((1, 1), 0.0, tl.float32)
        one = tl.full((1, 1), 1.0, tl.float32)
        least = tl.full((1, 1), -128.0, tl.float32)
        most = tl.full((1, 1), 127.0, tl.float32)
        sign_bit = tl.full((1, 1), -(2**31), tl.int32)
        below_half = tl.full((1, 1), 0x3EFFFFFF, tl.int32)  # bits of the float32 just below 1/2

        # x0 … x3: the codes from three positions back to the one at hand.
        word = tl.load(p_x + (o_l * stride_xl)[None, :], mask=m, other=0)
        m_1 = m & (o_l > 0)[None, :]
        word_1 = tl.load(p_x + ((o_l - 1) * stride_xl)[None, :], mask=m_1, other=0)
        if ALONG_L:
            x0 = (word_1 >> tl.full((1, 1), 8 * LANES - 24, WORD)).to(tl.int8).to(tl.float32)
            x1 = (word_1 >> tl.full((1, 1), 8 * LANES - 16, WORD)).to(tl.int8).to(tl.float32)
            x2 = (word_1 >> tl.full((1, 1), 8 * LANES - 8, WORD)).to(tl.int8).to(tl.float32)
        else:
            m_2, m_3 = m & (o_l > 1)[None, :], m & (o_l > 2)[None, :]
            word_2 = tl.load(p_x + ((o_l - 2) * stride_xl)[None, :], mask=m_2, other=0)
            word_3 = tl.load(p_x + ((o_l - 3) * stride_xl)[None, :], mask=m_3, other=0)

        packed = tl.full((1, 1), 0, WORD)
        for lane in tl.static_range(LANES):
            # What belongs to a channel, as columns: once along L, else for each lane's channel.
            # Signs are turned, so that exp's argument is at hand: with u = -v,
            # SiLU(v) / scale_out is u / (1 + exp(u)) / -scale_out, to the bit.
            if lane == 0 or not ALONG_L:
                o_c = o_d if ALONG_L else o_d * LANES + lane
                if PER_CHANNEL_X:
                    s_x = tl.load(scale_x + o_c, mask=m_r, other=1.0)[:, None]
                else:
                    s_x = tl.full((1, 1), scale_x, tl.float32)
                if PER_CHANNEL_W:
                    s_w = tl.load(scale_w + o_c, mask=m_r, other=1.0)[:, None]
                else:
                    s_w = tl.full((1, 1), scale_w, tl.float32)
                if PER_CHANNEL_OUT:
                    minus_out = -tl.load(scale_out + o_c, mask=m_r, other=1.0)[:, None]
                else:
                    minus_out = -tl.full((1, 1), scale_out, tl.float32)
                minus_wx = -(s_w * s_x)
                minus_b = zero
                if HAS_BIAS:
                    if PER_CHANNEL_B:
                        s_b = tl.load(scale_b + o_c, mask=m_r, other=1.0)[:, None]
                    else:
                        s_b = tl.full((1, 1), scale_b, tl.float32)
                    b = tl.load(bias + o_c, mask=m_r, other=0).to(tl.float32)[:, None]
                    minus_b = -(b * s_b)
                taps = tl.load(weight + o_c, mask=m_r, other=0)[:, None]
                w0 = taps.to(tl.int8).to(tl.float32)
                w1 = (taps >> 8).to(tl.int8).to(tl.float32)
                w2 = (taps >> 16).to(tl.int8).to(tl.float32)
                w3 = (taps >> 24).to(tl.int8).to(tl.float32)

            shift = tl.full((1, 1), 8 * lane, WORD)
            x3 = (word >> shift).to(tl.int8).to(tl.float32)
            if not ALONG_L:
                x0 = (word_3 >> shift).to(tl.int8).to(tl.float32)
                x1 = (word_2 >> shift).to(tl.int8).to(tl.float32)
                x2 = (word_1 >> shift).to(tl.int8).to(tl.float32)
            acc = w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3  # whole numbers below 2^24: exact
            u = minus_wx * acc + minus_b
            if SILU:
                e = tl.exp(u.to(tl.float64)).to(tl.float32)
                u = tl.div_rn(u, one + e)
            # Clamping to whole bounds first changes no rounded value and keeps the cast in range.
            y = tl.minimum(tl.maximum(tl.div_rn(u, minus_out), least), most)
            # Halves away from zero, by truncation. A half plus the number just below 1/2, with y's
            # sign, rounds to the next whole number; nothing below a half does.
            half = ((y.to(tl.int32, bitcast=True) & sign_bit) | below_half).to(
                tl.float32, bitcast=True
            )
            code = (y + half).to(tl.int8)
            packed |= code.to(tl.uint8, bitcast=True).to(WORD) << shift
            if ALONG_L:
                x0, x1, x2 = x1, x2, x3
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
        scale_x, scale_w, scale_b, scale_out: real units per code, > 0 and finite in float32; a
            float, or float32 (D,), so that per-tensor, per-channel, per-slice (x | B | C) and
            grouped scales are all one kernel.
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
        "scale_x": scale_x,
        "scale_w": scale_w,
        "scale_b": scale_b,
        "scale_out": scale_out,
    }
    most = {name: _greatest(name, scale, channels, x.device) for name, scale in scales.items()}
    reach = 4 * 128 * 128 * most["scale_x"] * most["scale_w"] + 128 * most["scale_b"]
    if not reach <= FLOAT32_MAX:
        raise ValueError(
            f"scale_x, scale_w and scale_b are up to {most['scale_x']}, {most['scale_w']} and "
            f"{most['scale_b']}; the convolution's sums must stay within float32"
        )
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


def _greatest(name: str, scale: float | Tensor, channels: int, device: torch.device) -> float:
    """The greatest value of a scale, once every value is known to be a scale in float32."""
    if not isinstance(scale, Tensor):
        if isinstance(scale, bool) or not isinstance(scale, int | float):
            raise ValueError(f"{name} is {scale!r}; it must be a float or a float32 tensor")
        if not (scale <= FLOAT32_MAX and np.float32(scale) > 0):  # 1e-50 becomes 0 in float32
            raise ValueError(f"{name} is {scale}; it must be finite and > 0 in float32")
        return float(scale)
    if scale.dtype != torch.float32 or tuple(scale.shape) != (channels,):
        raise ValueError(
            f"{name} is {scale.dtype} of shape {tuple(scale.shape)}; it must be float32 "
            f"({channels},)"
        )
    if scale.device != device:
        raise ValueError(f"{name} is on {scale.device}; it must be on x's device, {device}")
    if channels == 0:
        return 0.0
    least, most = torch.stack(torch.aminmax(scale)).tolist()
    if not (least > 0 and most <= FLOAT32_MAX):  # a NaN makes both NaN
        raise ValueError(
            f"{name} lies between {least} and {most}; every scale must be finite and > 0"
        )
    return most


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
    out = torch.empty_strided(x.shape, _dense_strides(x), dtype=torch.int8, device=x.device)
    if x.numel() == 0:
        return out
    lanes, packed_dim = _word_layout(x)
    x_words, out_words = (_in_words(codes, lanes, packed_dim) for codes in (x, out))
    batch, channels, length = x_words.shape
    along_l = lanes > 1 and packed_dim == 2
    block_r, block_l = _blocks(batch * channels, length, lanes, x.stride(2) == 1)
    # Narrower kernels get zeros in front, so that there are always four taps, one word a channel.
    taps = weight.new_zeros(weight.shape[0], 4)
    taps[:, 4 - weight.shape[1] :] = weight
    taps = taps.view(torch.int32)
    scales = {
        name: scale.contiguous() if isinstance(scale, Tensor) else float(scale)
        for name, scale in (
            ("scale_x", scale_x),
            ("scale_w", scale_w),
            ("scale_b", scale_b),
            ("scale_out", scale_out),
        )
    }
    arguments = dict(
        x=x_words,
        weight=taps,
        bias=taps if bias is None else bias.contiguous(),
        out=out_words,
        **scales,
        rows=batch * channels,
        channels=channels,
        length=length,
        stride_xb=x_words.stride(0),
        stride_xd=x_words.stride(1),
        stride_xl=x_words.stride(2),
        stride_ob=out_words.stride(0),
        stride_od=out_words.stride(1),
        stride_ol=out_words.stride(2),
        PER_CHANNEL_X=isinstance(scale_x, Tensor),
        PER_CHANNEL_W=isinstance(scale_w, Tensor),
        PER_CHANNEL_B=isinstance(scale_b, Tensor),
        PER_CHANNEL_OUT=isinstance(scale_out, Tensor),
        HAS_BIAS=bias is not None,
        SILU=activation == "silu",
        LANES=lanes,
        ALONG_L=along_l,
        BLOCK_R=block_r,
        BLOCK_L=block_l,
        enable_fp_fusion=False,
    )
    grid = (triton.cdiv(batch * channels, block_r) * triton.cdiv(length, block_l),)
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


def _word_layout(x: Tensor) -> tuple[int, int]:
    """(LANES, dim): how many codes a word can hold, and the dimension along which they lie."""
    for lanes in (8, 4) if INTERPRETED else (4,):
        for dim in (2, 1):
            other_strides = [x.stride(i) for i in range(3) if i != dim]
            borders = (x.shape[dim], x.storage_offset(), x.data_ptr(), *other_strides)
            if x.stride(dim) == 1 and all(border % lanes == 0 for border in borders):
                return lanes, dim
    return 1, 2


def _in_words(codes: Tensor, lanes: int, dim: int) -> Tensor:
    """int8 -> a view in words of ``lanes`` codes, neighbours along ``dim``."""
    word = {1: torch.uint8, 4: torch.uint32, 8: torch.uint64}[lanes]
    return codes.transpose(dim, 2).view(word).transpose(dim, 2)


def _blocks(rows: int, length: int, lanes: int, sequence_last: bool) -> tuple[int, int]:
    """Rows and columns of a block of words, both powers of two.

    Compiled, a block is a few thousand codes. Interpreted, a program costs some 7 ms whatever its
    size, and numpy's passes over temporaries slow down beyond the cache: 2^17 words are best.
    """
    if not INTERPRETED and not sequence_last:  # neighbouring threads take neighbouring channels
        return min(triton.next_power_of_2(rows), 128 // lanes), 16
    words = 1 << 17 if INTERPRETED else (256 if lanes > 1 else 1024)
    block_l = min(triton.next_power_of_2(length), words)
    return min(triton.next_power_of_2(rows), words // block_l), block_l
