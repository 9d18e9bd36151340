"""The compiled kernel: which thread takes which sixteen codes, and how it is launched.

Sequence-last, a thread takes sixteen positions of one channel. A program stays with its channel and
walks over batches or along L, so that what belongs to a channel is fetched once. Channel-last, a
thread takes four channels and walks along L, four positions a step, keeping the last four in
registers: each code is read once, and nothing is transposed in memory. ``kernels.ptx`` has the
arithmetic.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import ptx


@triton.jit
def _per_channel(o_d, m_d, weight, bias, scale_x, scale_w, scale_b, scale_out,
                 stride_wd, stride_wk, stride_b, stride_sx, stride_sw, stride_sb, stride_so,
                 WIDTH: tl.constexpr, HAS_BIAS: tl.constexpr,
                 VECTOR_X: tl.constexpr, VECTOR_W: tl.constexpr, VECTOR_B: tl.constexpr,
                 VECTOR_OUT: tl.constexpr, V_SHIFT: tl.constexpr, DIVISOR_SHIFT: tl.constexpr,
                 ):  # fmt: skip
    """taps, scale_w · scale_x, bias · scale_b and scale_out of channels o_d, as the PTX wants them."""
    taps = tl.zeros_like(o_d)
    for k in tl.static_range(WIDTH):
        w = tl.load(weight + o_d * stride_wd + k * stride_wk, mask=m_d, other=0)
        taps |= (w.to(tl.int32) & 0xFF) << (8 * (4 - WIDTH + k))
    one = tl.zeros_like(o_d).to(tl.float32) + 1.0
    s_x = tl.load(scale_x + o_d * stride_sx, mask=m_d, other=1.0) if VECTOR_X else one * scale_x
    s_w = tl.load(scale_w + o_d * stride_sw, mask=m_d, other=1.0) if VECTOR_W else one * scale_w
    s_out = (
        tl.load(scale_out + o_d * stride_so, mask=m_d, other=1.0) if VECTOR_OUT else one * scale_out
    )
    b = one * 0.0
    if HAS_BIAS:
        s_b = tl.load(scale_b + o_d * stride_sb, mask=m_d, other=1.0) if VECTOR_B else scale_b
        b = tl.load(bias + o_d * stride_b, mask=m_d, other=0).to(tl.float32) * s_b
    return taps, s_w * s_x * V_SHIFT, b * V_SHIFT, s_out * DIVISOR_SHIFT


# One compiled kernel for all numbers: what depends on them is decided by the launcher.
_NUMBERS = (
    "x", "weight", "bias", "out", "scale_x", "scale_w", "scale_b", "scale_out",
    "batch", "channels", "length", "stride_xb", "stride_xd", "stride_xl",
    "stride_ob", "stride_od", "stride_ol", "stride_wd", "stride_wk", "stride_b",
    "stride_sx", "stride_sw", "stride_sb", "stride_so",
    "tiles", "span_b", "span_c", "step_b", "step_c", "steps",
)  # fmt: skip


@triton.jit(do_not_specialize=_NUMBERS)
def _along_l_kernel(
    x, weight, bias, out, scale_x, scale_w, scale_b, scale_out,
    batch, length,
    stride_xb: tl.int64, stride_xd: tl.int64, stride_ob: tl.int64, stride_od: tl.int64,
    stride_wd, stride_wk, stride_b, stride_sx, stride_sw, stride_sb, stride_so,
    tiles,  # a program's
    span_b, span_c,  # what a program covers: batches, chunks of 16 positions
    step_b, step_c,  # from one of its tiles to the next; one of the two is 0
    WIDTH: tl.constexpr, HAS_BIAS: tl.constexpr,
    VECTOR_X: tl.constexpr, VECTOR_W: tl.constexpr, VECTOR_B: tl.constexpr,
    VECTOR_OUT: tl.constexpr, V_SHIFT: tl.constexpr, DIVISOR_SHIFT: tl.constexpr,
    LOAD: tl.constexpr, LOAD_OPERANDS: tl.constexpr,
    CODE: tl.constexpr, CODE_OPERANDS: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    i_d, i_b, i_c = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    o_b = (i_b * span_b + tl.arange(0, BLOCK_B))[:, None]
    o_c = (i_c * span_c + tl.arange(0, BLOCK_C))[None, :]
    p_x = x.to(tl.int64) + o_b * stride_xb + i_d * stride_xd + o_c * 16
    p_out = out.to(tl.int64) + o_b * stride_ob + i_d * stride_od + o_c * 16
    next_x = step_b * stride_xb + step_c * 16
    next_out = step_b * stride_ob + step_c * 16
    taps, scale, b, s_out = _per_channel(
        i_d, True, weight, bias, scale_x, scale_w, scale_b, scale_out,
        stride_wd, stride_wk, stride_b, stride_sx, stride_sw, stride_sb, stride_so,
        WIDTH, HAS_BIAS, VECTOR_X, VECTOR_W, VECTOR_B, VECTOR_OUT, V_SHIFT, DIVISOR_SHIFT,
    )  # fmt: skip
    for _ in range(tiles):
        left = tl.where(o_b < batch, length - 16 * o_c, 0)
        before, w0, w1, w2, w3 = tl.inline_asm_elementwise(
            LOAD, LOAD_OPERANDS, [p_x, left, o_c],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32, tl.int32), is_pure=False, pack=1,
        )  # fmt: skip
        tl.inline_asm_elementwise(
            CODE, CODE_OPERANDS,
            [before, w0, w1, w2, w3, p_out, left, taps, scale, b, s_out],
            dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
        o_b += step_b
        o_c += step_c
        p_x += next_x
        p_out += next_out


@triton.jit(do_not_specialize=_NUMBERS)
def _along_d_kernel(
    x, weight, bias, out, scale_x, scale_w, scale_b, scale_out,
    channels, length,
    stride_xb: tl.int64, stride_xd: tl.int64, stride_xl: tl.int64,
    stride_ob: tl.int64, stride_od: tl.int64, stride_ol: tl.int64,
    stride_wd, stride_wk, stride_b, stride_sx, stride_sw, stride_sb, stride_so,
    steps,  # of four positions, a program's
    WIDTH: tl.constexpr, HAS_BIAS: tl.constexpr,
    VECTOR_X: tl.constexpr, VECTOR_W: tl.constexpr, VECTOR_B: tl.constexpr,
    VECTOR_OUT: tl.constexpr, V_SHIFT: tl.constexpr, DIVISOR_SHIFT: tl.constexpr,
    LOAD: tl.constexpr, LOAD_OPERANDS: tl.constexpr,
    CODE: tl.constexpr, CODE_OPERANDS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    i_d, i_l, i_b = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    o_d = (i_d * BLOCK + tl.arange(0, BLOCK)) * 4
    t0, s0, b0, d0 = _per_channel(
        o_d, o_d < channels, weight, bias, scale_x, scale_w, scale_b, scale_out,
        stride_wd, stride_wk, stride_b, stride_sx, stride_sw, stride_sb, stride_so,
        WIDTH, HAS_BIAS, VECTOR_X, VECTOR_W, VECTOR_B, VECTOR_OUT, V_SHIFT, DIVISOR_SHIFT,
    )  # fmt: skip
    t1, s1, b1, d1 = _per_channel(
        o_d + 1, o_d + 1 < channels, weight, bias, scale_x, scale_w, scale_b, scale_out,
        stride_wd, stride_wk, stride_b, stride_sx, stride_sw, stride_sb, stride_so,
        WIDTH, HAS_BIAS, VECTOR_X, VECTOR_W, VECTOR_B, VECTOR_OUT, V_SHIFT, DIVISOR_SHIFT,
    )  # fmt: skip
    t2, s2, b2, d2 = _per_channel(
        o_d + 2, o_d + 2 < channels, weight, bias, scale_x, scale_w, scale_b, scale_out,
        stride_wd, stride_wk, stride_b, stride_sx, stride_sw, stride_sb, stride_so,
        WIDTH, HAS_BIAS, VECTOR_X, VECTOR_W, VECTOR_B, VECTOR_OUT, V_SHIFT, DIVISOR_SHIFT,
    )  # fmt: skip
    t3, s3, b3, d3 = _per_channel(
        o_d + 3, o_d + 3 < channels, weight, bias, scale_x, scale_w, scale_b, scale_out,
        stride_wd, stride_wk, stride_b, stride_sx, stride_sw, stride_sb, stride_so,
        WIDTH, HAS_BIAS, VECTOR_X, VECTOR_W, VECTOR_B, VECTOR_OUT, V_SHIFT, DIVISOR_SHIFT,
    )  # fmt: skip
    first = i_l * steps * 4
    p_x = x.to(tl.int64) + i_b * stride_xb + o_d * stride_xd
    p_x += first * stride_xl
    p_out = out.to(tl.int64) + i_b * stride_ob + o_d * stride_od
    p_out += first * stride_ol
    left_d = channels - o_d
    v0, v1, v2, v3 = tl.inline_asm_elementwise(
        LOAD, LOAD_OPERANDS,
        [p_x - 4 * stride_xl, stride_xl, stride_xd, tl.where(first > 0, 4, 0), left_d],
        dtype=(tl.int32, tl.int32, tl.int32, tl.int32), is_pure=False, pack=1,
    )  # fmt: skip
    left = length - first
    for _ in range(steps):
        w0, w1, w2, w3 = tl.inline_asm_elementwise(
            LOAD, LOAD_OPERANDS, [p_x, stride_xl, stride_xd, left, left_d],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32), is_pure=False, pack=1,
        )  # fmt: skip
        tl.inline_asm_elementwise(
            CODE, CODE_OPERANDS,
            [v0, v1, v2, v3, w0, w1, w2, w3, p_out, stride_ol, stride_od, left, left_d,
             t0, t1, t2, t3, s0, s1, s2, s3, b0, b1, b2, b3, d0, d1, d2, d3],
            dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
        v0, v1, v2, v3 = w0, w1, w2, w3
        left -= 4
        p_x += 4 * stride_xl
        p_out += 4 * stride_ol


# Compiled kernels by what they were compiled for: Triton's own look-up costs more than a launch.
_HANDLES: dict[tuple, triton.compiler.CompiledKernel] = {}
_MULTIPROCESSORS: dict[int, int] = {}


def launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor,
    scales: tuple[float | Tensor, float | Tensor, float | Tensor, float | Tensor],
    *,
    silu: bool,
    exact: bool,
) -> None:
    """Write the codes of x into ``out``; arguments as ``kernels.quant_causal_conv1d`` checked them.

    ``scales`` are scale_x, scale_w, scale_b and scale_out. ``out`` has x's shape, and L contiguous
    where x has, else D.
    """
    batch, channels, length = x.shape
    stride_xb, stride_xd, stride_xl = x.stride()
    stride_ob, stride_od, stride_ol = out.stride()
    width = weight.shape[1]
    vectors = tuple(isinstance(scale, Tensor) for scale in scales)
    operands = (
        x, weight, weight if bias is None else bias, out, *scales,
    )  # fmt: skip
    strides = (
        *weight.stride(), 0 if bias is None else bias.stride(0),
        *(scale.stride(0) if vector else 0 for scale, vector in zip(scales, vectors, strict=True)),
    )  # fmt: skip
    static = (width, bias is not None, *vectors)
    device = x.device.index
    if (stride_xl == 1 or length == 1) and (stride_ol == 1 or length == 1):
        load = _alignment(16, x, stride_xb if batch > 1 else 0, stride_xd if channels > 1 else 0,
                          length)  # fmt: skip
        code = _alignment(16, out, stride_ob, stride_od, length)
        block_b, block_c, tiles, groups_b, groups_c, along_b = _tiles_along_l(
            batch, channels, length, device
        )
        runtime = (
            batch, length, stride_xb, stride_xd, stride_ob, stride_od, *strides, tiles,
            block_b * tiles if along_b else block_b, block_c if along_b else block_c * tiles,
            block_b if along_b else 0, 0 if along_b else block_c,
        )  # fmt: skip
        key = (device, 2, load, code, silu, exact, block_b, block_c, *static)
        programs = (channels, groups_b, groups_c)
        warps = block_b * block_c // 32
    else:
        aligned = stride_xd == 1 and stride_od == 1
        load = _alignment(4, x, stride_xb, stride_xl, channels) if aligned else 1
        code = _alignment(4, out, stride_ob, stride_ol, channels) if aligned else 1
        block, steps, groups_d, groups_l = _steps_along_d(batch, channels, length, device)
        runtime = (
            channels, length, stride_xb, stride_xd, stride_xl, stride_ob, stride_od, stride_ol,
            *strides, steps,
        )  # fmt: skip
        key = (device, 1, load, code, silu, exact, block, 0, *static)
        programs = (groups_d, groups_l, batch)
        warps = block // 32
    handle = _HANDLES.get(key)
    if handle is None:
        _HANDLES[key] = _compile(key, operands, runtime, programs, warps)
        return
    handle[programs](*operands, *runtime, *handle.constants)


def _compile(key: tuple, operands: tuple, runtime: tuple, programs: tuple, warps: int):
    """Compile for ``key``, launch once, and return the handle."""
    _, dim, load, code, silu, exact, *blocks = key[:8]
    if dim == 2:
        kernel, load, code = _along_l_kernel, ptx.load_along_l(load), ptx.code_along_l(
            code, silu=silu, exact=exact
        )
    else:
        kernel, load, code = _along_d_kernel, ptx.load_along_d(load), ptx.code_along_d(
            code, silu=silu, exact=exact
        )
        blocks = blocks[:1]
    constants = (*key[8:], ptx.V_SHIFT, ptx.DIVISOR_SHIFT[exact], load.text, load.constraints, code.text, code.constraints, *blocks)
    handle = kernel[programs](
        *operands, *runtime, *constants, num_warps=warps, enable_fp_fusion=False
    )
    handle.constants = constants
    return handle


def _alignment(most: int, codes: Tensor, *multiples: int) -> int:
    """The greatest of ``most``, 4 and 1 that divides the address and the strides, in bytes."""
    borders = codes.data_ptr()
    for multiple in multiples:
        borders |= multiple
    if borders % most == 0:
        return most
    return 4 if borders % 4 == 0 else 1


def _multiprocessors(device: int) -> int:
    if device not in _MULTIPROCESSORS:
        _MULTIPROCESSORS[device] = torch.cuda.get_device_properties(device).multi_processor_count
    return _MULTIPROCESSORS[device]


def _tiles_along_l(batch: int, channels: int, length: int, device: int):
    """Batches and chunks of a tile, tiles of a program, programs along B and L, and the walk."""
    chunks = triton.cdiv(length, 16)
    block_c = min((128, 64, 32), key=lambda c: (triton.cdiv(chunks, c) * c, -c))
    block_c = min(block_c, triton.next_power_of_2(chunks))
    block_b = max(min(128 // block_c, triton.next_power_of_2(batch)), max(1, 32 // block_c))
    rows, columns = triton.cdiv(batch, block_b), triton.cdiv(chunks, block_c)
    along_b = rows >= columns
    # At least 32 programs a multiprocessor before a program gets a second tile.
    tiles = max(1, min(MAX_TILES, rows if along_b else columns,
                       rows * columns * channels // (32 * _multiprocessors(device))))  # fmt: skip
    groups_b = triton.cdiv(rows, tiles) if along_b else rows
    groups_c = columns if along_b else triton.cdiv(columns, tiles)
    return block_b, block_c, tiles, groups_b, groups_c, along_b


MAX_TILES = 8
MAX_STEPS = 32
D_THREADS = 128


def _steps_along_d(batch: int, channels: int, length: int, device: int):
    """Threads of a program, its steps of four positions, programs along D and L."""
    fours = triton.cdiv(channels, 4)
    block = min((128, 64, 32), key=lambda c: (triton.cdiv(fours, c) * c, -c))
    if D_THREADS < block:
        block = D_THREADS
    groups_d = triton.cdiv(fours, block)
    steps = triton.cdiv(length, 4)
    wanted = steps * groups_d * batch // (32 * _multiprocessors(device) * 128 // block)
    steps = max(1, min(MAX_STEPS, steps, wanted))
    return block, steps, groups_d, triton.cdiv(triton.cdiv(length, 4), steps)
