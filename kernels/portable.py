"""The portable kernel: one Triton source, interpreted on a CPU or compiled for any GPU.

The specification is ``kernels.reference``; operations are kept separate (no fused multiply-add) and
exp is computed in float64, so it gives the reference's codes. It is what runs under Triton's
interpreter; compiled, it takes the scales that the faster ``kernels.compiled`` cannot.

Codes are loaded and stored in *words* of neighbours where x lies on word borders, because loads are
what costs most under the interpreter. Sequence-last, a word holds positions of one channel, and
two loads cover every window in it; channel-last, it holds channels of one position, and there is
one load a tap. Any other x is read in the second way, in words of a single code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.backends import INTERPRETED, launching_on
from kernels.lookup import padded


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
    zero_point,  # int32 (D,) where PER_CHANNEL_ZERO, else an int
    thresholds,  # float32 (2^SEARCH_STEPS - 1,), ascending, where SEARCH_STEPS is not 0
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
    PER_CHANNEL_ZERO: tl.constexpr,
    HAS_ZERO: tl.constexpr,
    SEARCH_STEPS: tl.constexpr,  # a code is looked up in so many steps; 0: rounded
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
    one = tl.full((1, 1), 1.0, tl.float32)
    least = tl.full((1, 1), -128.0, tl.float32)
    most = tl.full((1, 1), 127.0, tl.float32)
    sign_bit = tl.full((1, 1), -(2**31), tl.int32)
    below_half = tl.full((1, 1), 0x3EFFFFFF, tl.int32)  # bits of the float32 just below 1/2

    # x0 … x3: the codes from three positions back to the current one.
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
        # A channel's operands, as columns: one along L, else one for each lane's channel.
        # Signs are flipped, so that exp's argument needs no negation: with u = -v,
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
            if HAS_ZERO:
                if PER_CHANNEL_ZERO:
                    zero = tl.load(zero_point + o_c, mask=m_r, other=0).to(tl.float32)[:, None]
                else:
                    zero = tl.full((1, 1), zero_point, tl.float32)
                least = tl.full((1, 1), -128.0, tl.float32) - zero
                most = tl.full((1, 1), 127.0, tl.float32) - zero
            minus_wx = -(s_w * s_x)
            minus_b = tl.full((1, 1), 0.0, tl.float32)
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
        if SEARCH_STEPS:
            # How many thresholds are not above the value -u: halving what is left of them.
            index = tl.full((BLOCK_R, BLOCK_L), 0, tl.int32)
            for step in tl.static_range(SEARCH_STEPS):
                half_left = 1 << (SEARCH_STEPS - 1 - step)
                threshold = tl.load(thresholds + (index + (half_left - 1)))
                index += tl.where(-u >= threshold, half_left, 0)
            code = (index - 128).to(tl.int8)
        else:
            # Clamping to whole bounds first changes no rounded value and keeps the cast in range.
            y = tl.minimum(tl.maximum(tl.div_rn(u, minus_out), least), most)
            # Halves away from zero, by truncation. A half plus the number just below 1/2, with y's
            # sign, rounds to the next whole number; nothing below a half does.
            signed = (y.to(tl.int32, bitcast=True) & sign_bit) | below_half
            y += signed.to(tl.float32, bitcast=True)
            if HAS_ZERO:
                y = y.to(tl.int32).to(tl.float32) + zero
            code = y.to(tl.int8)
        packed |= code.to(tl.uint8, bitcast=True).to(WORD) << shift
        if ALONG_L:
            x0, x1, x2 = x1, x2, x3
    tl.store(p_out, packed, mask=m)


def launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor,
    scales: Sequence[float | Tensor],
    zero_point: int | Tensor = 0,
    *,
    silu: bool,
    thresholds: Tensor | None = None,
) -> None:
    """Write the codes of x into ``out``; arguments as ``kernels.quant_causal_conv1d`` checked them.

    Args:
        out: int8 (B, D, L), with x's order of strides.
        scales: scale_x, scale_w, scale_b and scale_out.
        zero_point: an int, or int32 (D,).
        thresholds: float32 (T,), in place of scale_out and zero_point; a code is -128 and as many
            more as there are thresholds that are not above the value.
    """
    steps, table = 0, bias if bias is not None else weight  # never read without steps
    if thresholds is not None:
        steps, table = len(thresholds).bit_length(), padded(thresholds)
    lanes, packed_dim = _word_layout(x)
    x_words, out_words = (_in_words(codes, lanes, packed_dim) for codes in (x, out))
    batch, channels, length = x_words.shape
    along_l = lanes > 1 and packed_dim == 2
    block_r, block_l = _blocks(batch * channels, length, lanes, x.stride(2) == 1)
    # Narrower kernels get zeros in front, so that there are always four taps, one word a channel.
    taps = weight.new_zeros(weight.shape[0], 4)
    taps[:, 4 - weight.shape[1] :] = weight
    taps = taps.view(torch.int32)
    scale_x, scale_w, scale_b, scale_out = (
        scale.contiguous() if isinstance(scale, Tensor) else float(scale) for scale in scales
    )
    arguments = dict(
        x=x_words,
        weight=taps,
        bias=taps if bias is None else bias.contiguous(),
        out=out_words,
        scale_x=scale_x,
        scale_w=scale_w,
        scale_b=scale_b,
        scale_out=scale_out,
        zero_point=zero_point.contiguous() if isinstance(zero_point, Tensor) else zero_point,
        thresholds=table,
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
        PER_CHANNEL_ZERO=isinstance(zero_point, Tensor),
        HAS_ZERO=isinstance(zero_point, Tensor) or zero_point != 0,
        SEARCH_STEPS=steps,
        HAS_BIAS=bias is not None,
        SILU=silu,
        LANES=lanes,
        ALONG_L=along_l,
        BLOCK_R=block_r,
        BLOCK_L=block_l,
        enable_fp_fusion=False,
    )
    grid = (triton.cdiv(batch * channels, block_r) * triton.cdiv(length, block_l),)
    with launching_on(x):
        _causal_conv1d_kernel[grid](**arguments)


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

    Compiled, a block is a few thousand codes. Interpreted, a program costs some 10 ms whatever its
    size, and numpy's passes over temporaries slow down beyond the cache: 2^17 words are best
    (2^18 in the main thread, but in each new thread, as a server has them, they are slower).
    """
    if not INTERPRETED and not sequence_last:  # neighbouring threads take neighbouring channels
        return min(triton.next_power_of_2(rows), 128 // lanes), 16
    words = 1 << 17 if INTERPRETED else (256 if lanes > 1 else 1024)
    block_l = min(triton.next_power_of_2(length), words)
    return min(triton.next_power_of_2(rows), words // block_l), block_l
