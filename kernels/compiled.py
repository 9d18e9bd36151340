"""The compiled kernel: which thread takes which sixteen codes, and how it is launched.

Sequence-last, a thread takes sixteen positions of one channel. A program stays with its channel and
walks over batches or along L, so that what belongs to a channel is fetched once. Channel-last, a
thread takes four channels and walks along L, four positions a step, keeping the last four in
registers: each code is read once, and nothing is transposed in memory. ``kernels.ptx`` has the
arithmetic.

A launch must cost little, for a decoder's batches are small. All that depends on shapes, strides
and kinds alone is therefore planned once and kept (``_plan``); a call passes pointers and scales
straight to Triton's launcher. That launcher is Triton's own affair and may change with a version of
it, so the first launch on a device is checked against the reference (``launches_directly``); where
it fails, ``kernel[grid]`` does the work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import ptx, reference
from kernels.int8 import QMAX, QMIN
from kernels.lookup import MOST_ENTRIES, Header

_LOG = logging.getLogger(__name__)

THREADS = 128  # of a program
MAX_WALK = 16  # tiles or steps of a program, at most: longer walks leave the last programs alone
PROGRAMS_EACH = 40  # programs per multiprocessor, before walks become longer
MAX_GRID = 65535  # programs along the second and third axes

# Blocks, the numbers that describe the walk, the grid.
_Walk = tuple[tuple[int, ...], tuple[int, ...], tuple[int, int, int]]


@triton.jit
def _per_channel(
    o_d,
    m_d,
    weight,
    bias,
    scale_x,
    scale_w,
    scale_b,
    scale_out,
    zero_point,
    WIDTH: tl.constexpr,
    TAP_WORDS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    VECTOR_X: tl.constexpr,
    VECTOR_W: tl.constexpr,
    VECTOR_B: tl.constexpr,
    VECTOR_OUT: tl.constexpr,
    ZERO_STRIDE: tl.constexpr,
    V_SHIFT: tl.constexpr,
    DIVISOR_SHIFT: tl.constexpr,
):
    """What channels o_d bring, as the PTX has it.

    taps, scale_w · scale_x, bias · scale_b, scale_out and zero_point.
    """
    if TAP_WORDS:
        taps = tl.load(weight.to(tl.pointer_type(tl.int32)) + o_d, mask=m_d, other=0)
    else:
        taps = tl.zeros_like(o_d)
        for k in tl.static_range(WIDTH):
            w = tl.load(weight + o_d * WIDTH + k, mask=m_d, other=0)
            taps |= (w.to(tl.int32) & 0xFF) << (8 * (4 - WIDTH + k))
    one = tl.zeros_like(o_d).to(tl.float32) + 1.0
    s_x = tl.load(scale_x + o_d, mask=m_d, other=1.0) if VECTOR_X else one * scale_x
    s_w = tl.load(scale_w + o_d, mask=m_d, other=1.0) if VECTOR_W else one * scale_w
    s_out = tl.load(scale_out + o_d, mask=m_d, other=1.0) if VECTOR_OUT else one * scale_out
    b = one * 0.0
    if HAS_BIAS:
        s_b = tl.load(scale_b + o_d, mask=m_d, other=1.0) if VECTOR_B else scale_b
        b = tl.load(bias + o_d, mask=m_d, other=0).to(tl.float32) * s_b
    if ZERO_STRIDE is not None:
        zero = tl.load(zero_point + o_d * ZERO_STRIDE, mask=m_d, other=0)
    else:
        zero = tl.zeros_like(o_d).to(tl.int32) + zero_point
    return taps, s_w * s_x * V_SHIFT, b * V_SHIFT, s_out * DIVISOR_SHIFT, zero


@triton.jit
def _look_up(
    table,
    block,
    LOOKUP: tl.constexpr,
    HEADER_BYTES: tl.constexpr,
    FETCH: tl.constexpr,
    FETCH_OPERANDS: tl.constexpr,
):
    """What the PTX needs of a table, ``ptx.LOOKUP``; zeros where there is none.

    Args:
        block: a value for each thread, of any kind.
    """
    entries, shift = 0, 0
    shrink, factor, negative = 0.0, 0.0, 0.0
    search = table.to(tl.int64)
    if LOOKUP:
        shrink = tl.load(table).to(tl.float32, bitcast=True)
        factor = tl.load(table + 1).to(tl.float32, bitcast=True)
        shift = tl.load(table + 2)
        negative = tl.load(table + 3).to(tl.float32, bitcast=True)
        sixteens = tl.load(table + 4)
        search += HEADER_BYTES
        entries = tl.inline_asm_elementwise(
            FETCH,
            FETCH_OPERANDS,
            [block, search, sixteens],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
        search += sixteens.to(tl.int64) * 16
    return entries, shrink, factor, shift, negative, search


# One compiled kernel for all numbers: what depends on them is decided by the launcher.
_NUMBERS = (
    "x", "weight", "bias", "out", "scale_x", "scale_w", "scale_b", "scale_out",
    "zero_point", "table", "batch", "channels", "length", "stride_xb", "stride_xd", "stride_xl",
    "stride_ob", "stride_od", "stride_ol", "tiles", "span_b", "span_c",
    "step_b", "step_c", "steps", "groups_d", "groups_l",
)  # fmt: skip


@triton.jit(do_not_specialize=_NUMBERS)
def _along_l_kernel(
    x,
    weight,
    bias,
    out,  # int8
    scale_x,
    scale_w,
    scale_b,
    scale_out,  # float32 (D,) where VECTOR_…, else floats
    zero_point,  # int32, ZERO_STRIDE from channel to channel; an int where that is None
    table,  # int32, as kernels.lookup makes it, where LOOKUP; else of no account
    batch,
    length,
    stride_xb: tl.int64,
    stride_xd: tl.int64,
    stride_ob: tl.int64,
    stride_od: tl.int64,
    tiles,  # a program's
    span_b,
    span_c,  # what a program covers: batches, chunks of 16 positions
    step_b,
    step_c,  # from one of its tiles to the next; one of the two is 0
    WIDTH: tl.constexpr,
    TAP_WORDS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    VECTOR_X: tl.constexpr,
    VECTOR_W: tl.constexpr,
    VECTOR_B: tl.constexpr,
    VECTOR_OUT: tl.constexpr,
    ZERO_STRIDE: tl.constexpr,
    LOOKUP: tl.constexpr,
    V_SHIFT: tl.constexpr,
    DIVISOR_SHIFT: tl.constexpr,
    LOAD: tl.constexpr,
    LOAD_OPERANDS: tl.constexpr,
    CODE: tl.constexpr,
    CODE_OPERANDS: tl.constexpr,
    HEADER_BYTES: tl.constexpr,
    FETCH: tl.constexpr,
    FETCH_OPERANDS: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    i_d, i_b, i_c = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    o_b = (i_b * span_b + tl.arange(0, BLOCK_B))[:, None]
    o_c = (i_c * span_c + tl.arange(0, BLOCK_C))[None, :]
    o_l = o_c.to(tl.int64) * 16
    p_x = x.to(tl.int64) + o_b * stride_xb + i_d * stride_xd + o_l
    p_out = out.to(tl.int64) + o_b * stride_ob + i_d * stride_od + o_l
    next_x = step_b * stride_xb + step_c * 16
    next_out = step_b * stride_ob + step_c * 16
    left = tl.where(o_b < batch, length - 16 * o_c, 0)
    before, w0, w1, w2, w3 = tl.inline_asm_elementwise(
        LOAD,
        LOAD_OPERANDS,
        [p_x, left, o_c],
        dtype=(tl.int32, tl.int32, tl.int32, tl.int32, tl.int32),
        is_pure=False,
        pack=1,
    )
    taps, scale, b, s_out, zero = _per_channel(
        i_d,
        True,
        weight,
        bias,
        scale_x,
        scale_w,
        scale_b,
        scale_out,
        zero_point,
        WIDTH,
        TAP_WORDS,
        HAS_BIAS,
        VECTOR_X,
        VECTOR_W,
        VECTOR_B,
        VECTOR_OUT,
        ZERO_STRIDE,
        V_SHIFT,
        DIVISOR_SHIFT,
    )
    entries, shrink, factor, shift, negative, search = _look_up(
        table, o_c, LOOKUP, HEADER_BYTES, FETCH, FETCH_OPERANDS
    )
    for i in range(tiles):
        # The next tile is loaded while this one is computed.
        o_b += step_b
        o_c += step_c
        p_x += next_x
        left_then = tl.where((o_b < batch) & (i + 1 < tiles), length - 16 * o_c, 0)
        before_then, w0_then, w1_then, w2_then, w3_then = tl.inline_asm_elementwise(
            LOAD,
            LOAD_OPERANDS,
            [p_x, left_then, o_c],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=False,
            pack=1,
        )
        tl.inline_asm_elementwise(
            CODE,
            CODE_OPERANDS,
            [
                before, w0, w1, w2, w3, p_out, left, taps, scale, b, s_out, zero,
                entries, shrink, factor, shift, negative, search,
            ],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )  # fmt: skip
        before, w0, w1, w2, w3 = before_then, w0_then, w1_then, w2_then, w3_then
        left = left_then
        p_out += next_out


@triton.jit(do_not_specialize=_NUMBERS)
def _along_d_kernel(
    x,
    weight,
    bias,
    out,  # int8
    scale_x,
    scale_w,
    scale_b,
    scale_out,  # float32 (D,) where VECTOR_…, else floats
    zero_point,  # int32, ZERO_STRIDE from channel to channel; an int where that is None
    table,  # int32, as kernels.lookup makes it, where LOOKUP; else of no account
    channels,
    length,
    stride_xb: tl.int64,
    stride_xd: tl.int64,
    stride_xl: tl.int64,
    stride_ob: tl.int64,
    stride_od: tl.int64,
    stride_ol: tl.int64,
    steps,  # of four positions, a program's
    groups_d,
    groups_l,  # programs along D and L
    WIDTH: tl.constexpr,
    TAP_WORDS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    VECTOR_X: tl.constexpr,
    VECTOR_W: tl.constexpr,
    VECTOR_B: tl.constexpr,
    VECTOR_OUT: tl.constexpr,
    ZERO_STRIDE: tl.constexpr,
    LOOKUP: tl.constexpr,
    V_SHIFT: tl.constexpr,
    DIVISOR_SHIFT: tl.constexpr,
    LOAD: tl.constexpr,
    LOAD_OPERANDS: tl.constexpr,
    CODE: tl.constexpr,
    CODE_OPERANDS: tl.constexpr,
    HEADER_BYTES: tl.constexpr,
    FETCH: tl.constexpr,
    FETCH_OPERANDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i_d, i_t = tl.program_id(0) % groups_d, tl.program_id(0) // groups_d
    i_l, i_b = i_t % groups_l, i_t // groups_l
    o_d = (i_d * BLOCK + tl.arange(0, BLOCK)) * 4
    first = i_l * steps * 4
    p_x = x.to(tl.int64) + i_b * stride_xb + o_d * stride_xd + first * stride_xl
    p_out = out.to(tl.int64) + i_b * stride_ob + o_d * stride_od + first * stride_ol
    left, left_d = length - first, channels - o_d
    v0, v1, v2, v3 = tl.inline_asm_elementwise(
        LOAD,
        LOAD_OPERANDS,
        [p_x - 4 * stride_xl, stride_xl, stride_xd, tl.where(first > 0, 4, 0), left_d],
        dtype=(tl.int32, tl.int32, tl.int32, tl.int32),
        is_pure=False,
        pack=1,
    )
    w0, w1, w2, w3 = tl.inline_asm_elementwise(
        LOAD,
        LOAD_OPERANDS,
        [p_x, stride_xl, stride_xd, left, left_d],
        dtype=(tl.int32, tl.int32, tl.int32, tl.int32),
        is_pure=False,
        pack=1,
    )
    t0, s0, b0, d0, z0 = _per_channel(
        o_d,
        o_d < channels,
        weight,
        bias,
        scale_x,
        scale_w,
        scale_b,
        scale_out,
        zero_point,
        WIDTH,
        TAP_WORDS,
        HAS_BIAS,
        VECTOR_X,
        VECTOR_W,
        VECTOR_B,
        VECTOR_OUT,
        ZERO_STRIDE,
        V_SHIFT,
        DIVISOR_SHIFT,
    )
    t1, s1, b1, d1, z1 = _per_channel(
        o_d + 1,
        o_d + 1 < channels,
        weight,
        bias,
        scale_x,
        scale_w,
        scale_b,
        scale_out,
        zero_point,
        WIDTH,
        TAP_WORDS,
        HAS_BIAS,
        VECTOR_X,
        VECTOR_W,
        VECTOR_B,
        VECTOR_OUT,
        ZERO_STRIDE,
        V_SHIFT,
        DIVISOR_SHIFT,
    )
    t2, s2, b2, d2, z2 = _per_channel(
        o_d + 2,
        o_d + 2 < channels,
        weight,
        bias,
        scale_x,
        scale_w,
        scale_b,
        scale_out,
        zero_point,
        WIDTH,
        TAP_WORDS,
        HAS_BIAS,
        VECTOR_X,
        VECTOR_W,
        VECTOR_B,
        VECTOR_OUT,
        ZERO_STRIDE,
        V_SHIFT,
        DIVISOR_SHIFT,
    )
    t3, s3, b3, d3, z3 = _per_channel(
        o_d + 3,
        o_d + 3 < channels,
        weight,
        bias,
        scale_x,
        scale_w,
        scale_b,
        scale_out,
        zero_point,
        WIDTH,
        TAP_WORDS,
        HAS_BIAS,
        VECTOR_X,
        VECTOR_W,
        VECTOR_B,
        VECTOR_OUT,
        ZERO_STRIDE,
        V_SHIFT,
        DIVISOR_SHIFT,
    )
    entries, shrink, factor, shift, negative, search = _look_up(
        table, o_d, LOOKUP, HEADER_BYTES, FETCH, FETCH_OPERANDS
    )
    steps = tl.minimum(steps, (left + 3) // 4)
    for i in range(steps):
        # The next four positions are loaded while these are computed.
        p_x += 4 * stride_xl
        left_then = tl.where(i + 1 < steps, left - 4, 0)
        n0, n1, n2, n3 = tl.inline_asm_elementwise(
            LOAD,
            LOAD_OPERANDS,
            [p_x, stride_xl, stride_xd, left_then, left_d],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=False,
            pack=1,
        )
        tl.inline_asm_elementwise(
            CODE,
            CODE_OPERANDS,
            [
                v0, v1, v2, v3, w0, w1, w2, w3, p_out, stride_ol, stride_od, left, left_d,
                t0, t1, t2, t3, s0, s1, s2, s3, b0, b1, b2, b3, d0, d1, d2, d3, z0, z1, z2, z3,
                entries, shrink, factor, shift, negative, search,
            ],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )  # fmt: skip
        v0, v1, v2, v3 = w0, w1, w2, w3
        w0, w1, w2, w3 = n0, n1, n2, n3
        left = left_then
        p_out += 4 * stride_ol


def launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor,
    scales: Sequence[float | Tensor],
    zero_point: int | Tensor = 0,
    table: Tensor | None = None,
    *,
    silu: bool,
    exact: bool,
) -> None:
    """Write the codes of x into ``out``; arguments as ``kernels.quant_causal_conv1d`` checked them.

    Args:
        out: int8 (B, D, L), with x's order of strides.
        scales: scale_x, scale_w, scale_b and scale_out; ordinary ones (``ptx.is_ordinary``).
        zero_point: an int, or int32 (D,).
        table: of ``lookup.table_for``, where codes are looked up; scale_out and zero_point are then
            of no account.
    """
    weight = weight.contiguous()
    bias = weight if bias is None else bias.contiguous()
    vectors = tuple([isinstance(scale, Tensor) for scale in scales])
    values: Sequence[float | Tensor] = scales  # pointers in place of tensors
    if True in vectors:
        scales = [s.contiguous() if isinstance(s, Tensor) else s for s in scales]
        values = [s.data_ptr() if isinstance(s, Tensor) else s for s in scales]
    zero, device = "none", x.get_device()
    if isinstance(zero_point, Tensor):
        zero, zero_point = "vector", zero_point.contiguous()
    elif zero_point != 0:
        zero = "one"
        if exact and device in _ZERO_POINTS and x.stride(2) == 1:
            zero = "read"
    plan = plan_for(
        x,
        weight,
        bias is not weight,
        out,
        vectors,
        silu=silu,
        exact=exact,
        zero=zero,
        looks_up=table is not None,
    )
    if table is None:
        table = weight
    if plan.run is None:
        if zero == "read":
            zero_point = _ZERO_POINTS[device][zero_point - QMIN :]
        with torch.cuda.device(device):
            plan.source[plan.grid](
                x,
                weight,
                bias,
                out,
                *scales,
                zero_point,
                table,
                *plan.numbers,
                **_options(plan.threads),
            )
        return
    if isinstance(zero_point, Tensor):
        zero_point = zero_point.data_ptr()
    elif zero == "read":
        zero_point = _ZERO_POINTS[device].data_ptr() + 4 * (zero_point - QMIN)
    operands = (
        x.data_ptr(),
        weight.data_ptr(),
        bias.data_ptr(),
        out.data_ptr(),
        *values,
        zero_point,
        table.data_ptr(),
    )
    if device != torch.cuda.current_device():
        with torch.cuda.device(device):
            run_plan(plan, plan.run, device, operands)
    else:
        run_plan(plan, plan.run, device, operands)


class Plan(NamedTuple):
    """A launch, but for the pointers and the scales."""

    run: Callable[..., None] | None  # Triton's launcher; None where ``source[grid]`` is to launch
    kernel: triton.compiler.CompiledKernel
    source: triton.JITFunction
    grid: tuple[int, int, int]
    numbers: tuple  # the kernel's other arguments
    threads: int  # of a program


def _options(threads: int) -> dict[str, int | bool]:
    return {"num_warps": threads // 32, "enable_fp_fusion": False}


def run_plan(plan: Plan, run: Callable[..., None], device: int, operands: tuple) -> None:
    # What kernel[grid](...) does, without what it does for profilers: 17 µs a call, not 36.
    run(
        *plan.grid,
        triton.runtime.driver.active.get_current_stream(device),
        plan.kernel.function,
        plan.kernel.packed_metadata,
        None,
        None,
        None,
        *operands,
        *plan.numbers,
    )


def plan_for(
    x: Tensor,
    weight: Tensor,
    has_bias: bool,
    out: Tensor,
    vectors: tuple[bool, ...],
    *,
    silu: bool,
    exact: bool,
    zero: str = "none",
    looks_up: bool = False,
) -> Plan:
    """How ``launch`` would launch; its ``kernel.asm["ptx"]`` is the program.

    Args:
        vectors: which of scale_x, scale_w, scale_b and scale_out are tensors.
        zero: "none", where every zero point is 0, "one" number, one that is "read" from memory, or
            a "vector".
        looks_up: whether codes are looked up in a table.
    """
    return _plan(
        x.get_device(),
        x.shape,
        x.stride(),
        x.data_ptr() % 16,
        out.stride(),
        out.data_ptr() % 16,
        weight.shape[1],
        weight.data_ptr() % 4 == 0,
        has_bias,
        vectors,
        silu,
        exact,
        zero,
        looks_up,
    )


@lru_cache(maxsize=4096)
def _plan(
    device: int,
    shape: tuple[int, int, int],
    x_strides: tuple[int, int, int],
    x_address: int,
    out_strides: tuple[int, int, int],
    out_address: int,
    width: int,
    weight_aligned: bool,
    has_bias: bool,
    vectors: tuple[bool, ...],
    silu: bool,
    exact: bool,
    zero: str,
    looks_up: bool,
) -> Plan:
    batch, channels, length = shape
    kind = "look-up" if looks_up else "symmetric" if zero == "none" else "zero point"
    coding = ptx.Coding(kind, silu, exact)
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    (x_b, x_d, x_l), (out_b, out_d, out_l) = x_strides, out_strides
    if batch == 1:
        x_b = 0
    if channels == 1:
        x_d = 0
    if x_l == out_l == 1 and length > 1:
        kernel = _along_l_kernel
        load = ptx.load_along_l(_alignment(16, x_address, x_b, x_d, length))
        aligned = _alignment(16, out_address, out_b, out_d, length)
        code = ptx.code_along_l(aligned, coding)
        blocks, walk, grid = _walk_along_l(batch, channels, length, multiprocessors)
        runtime = (batch, length, x_b, x_d, out_b, out_d, *walk)
    else:
        kernel = _along_d_kernel
        whole = length % 4 == 0
        load = ptx.load_along_d(_words_along_d(x_address, x_strides, channels), whole)
        words = _words_along_d(out_address, out_strides, channels)
        code = ptx.code_along_d(words, whole, coding)
        blocks, walk, grid = _walk_along_d(batch, channels, length, multiprocessors)
        runtime = (channels, length, x_b, x_d, x_l, out_b, out_d, out_l, *walk)
    shifts = (coding.v_shift, coding.divisor_shift)
    constants = (
        width,
        width == 4 and weight_aligned,
        has_bias,
        *vectors,
        {"vector": 1, "read": 0}.get(zero),
        looks_up,
        *shifts,
        *load,
        *code,
        4 * len(Header._fields),
        *ptx.fetch_entries(MOST_ENTRIES),
        *blocks,
    )
    scales = (torch.float32 if vector else 1.0 for vector in vectors)
    threads = 1
    for block in blocks:
        threads *= block
    with torch.cuda.device(device):
        compiled = kernel.warmup(
            *[torch.int8] * 4,
            *scales,
            torch.int32 if zero in ("vector", "read") else 0,
            torch.int32 if looks_up else torch.int8,
            *runtime,
            *constants,
            grid=grid,
            **_options(threads),
        )
        run = compiled.run if launches_directly(device) else None  # loads it on the device
    return Plan(run, compiled, kernel, grid, (*runtime, *constants), threads)


# Every zero point there is, by device. One that is read from memory stays in a register. Along L
# one among the arguments is loaded again for every tile: in exact mode that takes 3 % longer.
_ZERO_POINTS: dict[int, Tensor] = {}


# Whether Triton's launcher takes what run_plan gives it: by device, and by Triton's version.
_DIRECT: dict[tuple[int, str], bool] = {}
_CHECKING = threading.RLock()


def launches_directly(device: int) -> bool:
    """Whether ``run_plan`` works on a device: tried once, on a small input, against the reference.

    While a CUDA graph is captured nothing can be tried, and a device not tried yet counts as no.
    """
    key = device, triton.__version__
    with _CHECKING:
        if key not in _DIRECT:
            if torch.cuda.is_current_stream_capturing():
                return False
            _DIRECT[key] = True  # for the launch that tries it
            codes = torch.arange(QMIN, QMAX + 1, dtype=torch.int32)
            _ZERO_POINTS[device] = codes.to(_device(device))
            fault = _fault_of_direct_launch(device)
            if fault is not None:
                _DIRECT[key] = False
                _plan.cache_clear()  # it holds the plan of that launch
                _LOG.warning(
                    "Triton %s on device %d: its launcher %s; kernels are launched by kernel[grid],"
                    " which takes some 20 µs a call more",
                    triton.__version__,
                    device,
                    fault,
                )
        return _DIRECT[key]


def _fault_of_direct_launch(device: int) -> str | None:
    """What is wrong with one launch by ``run_plan``; None where it gives the reference's codes.

    Three of its scales are floats and one is a tensor; every code of its output is wrong before.
    """
    x = torch.arange(-128, 128).to(torch.int8).view(2, 4, 32)
    weight, bias = x[0, :, 8:12].contiguous(), x[1, :, 3].contiguous()
    scale_out = torch.tensor([0.01, 0.02, 0.03, 0.04])
    scale_x, scale_w, scale_b = 0.04, 0.005, 0.006
    expected = reference.quant_causal_conv1d(
        x, weight, bias, scale_x=scale_x, scale_w=scale_w, scale_b=scale_b, scale_out=scale_out
    )
    there = _device(device)
    out = (~expected).to(there)
    scales = (scale_x, scale_w, scale_b, scale_out.to(there))
    try:
        launch(x.to(there), weight.to(there), bias.to(there), out, scales, silu=True, exact=True)
        codes = out.cpu()
    except Exception as error:  # another version of Triton may reject the arguments in any way
        return f"raises {type(error).__name__}: {error}"
    differing = int((codes != expected).sum())
    return f"gives {differing} of {codes.numel()} other codes" if differing else None


def _device(index: int) -> torch.device:
    return torch.device("cuda", index)


def _alignment(most: int, *numbers: int) -> int:
    """The greatest of ``most``, 4 and 1 that divides the numbers of bytes."""
    bits = most
    for number in numbers:
        bits |= number
    if bits % most == 0:
        return most
    return 4 if bits % 4 == 0 else 1


def _words_along_d(address: int, strides: tuple[int, int, int], channels: int) -> int | None:
    """The stride of L where words of four channels can be moved, else None."""
    stride_b, stride_d, stride_l = strides
    aligned = _alignment(4, address, stride_b, stride_l, channels) == 4
    return stride_l if aligned and stride_d == 1 and 3 * stride_l < 2**31 else None


def _walk_along_l(batch: int, channels: int, length: int, multiprocessors: int) -> _Walk:
    """(BLOCK_B, BLOCK_C), the numbers that describe the walk, and the grid."""
    chunks = _divide_up(length, 16)
    # The block that leaves the fewest threads idle at the end of a row; the largest of those.
    block_c = min((THREADS, THREADS // 2, THREADS // 4), key=lambda c: _divide_up(chunks, c) * c)
    block_c = min(block_c, _power_of_2(chunks))
    block_b = max(min(THREADS // block_c, _power_of_2(batch)), max(1, 32 // block_c))
    rows, columns = _divide_up(batch, block_b), _divide_up(chunks, block_c)
    along_b = rows >= columns
    walked = rows if along_b else columns
    groups = _groups(walked, rows * columns * channels // multiprocessors)
    tiles = _divide_up(walked, groups)
    if along_b:
        walk = (tiles, block_b * tiles, block_c, block_b, 0)
        return (block_b, block_c), walk, (channels, groups, columns)
    walk = (tiles, block_b, block_c * tiles, 0, block_c)
    return (block_b, block_c), walk, (channels, rows, groups)


def _walk_along_d(batch: int, channels: int, length: int, multiprocessors: int) -> _Walk:
    """(BLOCK,), (steps, groups_d, groups_l), and the grid."""
    fours, steps = _divide_up(channels, 4), _divide_up(length, 4)
    block = min((THREADS, THREADS // 2, THREADS // 4), key=lambda c: _divide_up(fours, c) * c)
    columns = _divide_up(fours, block)
    groups = _groups(steps, steps * columns * batch * block // (THREADS * multiprocessors))
    walk = (_divide_up(steps, groups), columns, groups)
    return (block,), walk, (columns * groups * batch, 1, 1)


def _groups(walked: int, per_multiprocessor: int) -> int:
    """How many programs share ``walked`` steps.

    Args:
        per_multiprocessor: steps of the whole grid that would fall to a multiprocessor.
    """
    longest = max(1, min(MAX_WALK, per_multiprocessor // PROGRAMS_EACH))
    return min(_divide_up(walked, longest), MAX_GRID)


def _divide_up(number: int, by: int) -> int:
    return -(-number // by)


def _power_of_2(number: int) -> int:
    """The least that is not below ``number``."""
    return 1 << (number - 1).bit_length()
