"""Histograms taken where the values are made: SiLU's input and output, and the INT8 output's codes.

Calibration needs to know which float16 patterns a layer's convolution and SiLU make, and how often
(``dashboard.calibration.histogram``). To store v and y and count them afterwards moves each twice
more and counts with two atomic additions a value. Here both are counted as they are computed,
mostly with one addition for the two: y follows from v, so its pattern is that of SiLU(v rounded to
float16) or a near one, and the pair (pattern of v, how far y's pattern is from the expected) has
one counter. Pairs farther apart are counted one by one.

Counters lie in the L2 cache, in several copies, since additions to one address wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import Tensor

from kernels import ptx, reference
from kernels.arguments import CODES, FLOATS, check_sequence, check_tensor
from kernels.backends import (
    HAS_PTX,
    HAS_TRITON,
    INTERPRETED,
    check_backend,
    default_backend,
    launching_on,
)
from kernels.reference import PATTERNS

if HAS_PTX:
    from kernels import compiled

NEAR = 8  # y's patterns that have a counter beside v's: from 4 below the expected to 3 above
COPIES = 8  # of the counters: 21 MB, which the L2 cache holds
COUNTING_PROGRAMS = 6  # a multiprocessor: as many as have room for their 32 KB of counters
MOST_VALUES = 2**31 - 1  # of a launch: counters are int32

if HAS_TRITON:
    import triton
    import triton.language as tl

    @triton.jit
    def _silu_histograms_kernel(
        x,  # (B, D, L), floating
        weight,  # (D, WIDTH), floating, contiguous
        bias,  # (D,), floating, contiguous
        expected,  # uint16 (PATTERNS,): y's pattern where v is exactly the float16
        counts,  # int32 (COPIES, NEAR + 2, PATTERNS): the pairs (PATTERNS, NEAR), then v, then y
        rows,  # B · D
        channels,
        length,
        stride_b,
        stride_d,
        stride_l,
        WIDTH: tl.constexpr,
        HAS_BIAS: tl.constexpr,
        PATTERNS: tl.constexpr,
        NEAR: tl.constexpr,
        COPIES: tl.constexpr,
        BLOCK_R: tl.constexpr,
        BLOCK_L: tl.constexpr,
    ):
        blocks_r = (rows + (BLOCK_R - 1)) // BLOCK_R
        i_r, i_l = tl.program_id(0) % blocks_r, tl.program_id(0) // blocks_r
        o_r = i_r * BLOCK_R + tl.arange(0, BLOCK_R)
        o_l = i_l * BLOCK_L + tl.arange(0, BLOCK_L)
        m_r = o_r < rows
        m = m_r[:, None] & (o_l < length)[None, :]
        o_b, o_d = (o_r // channels).to(tl.int64), o_r % channels
        p_x = x + (o_b * stride_b + o_d.to(tl.int64) * stride_d)[:, None]
        # The reference's order of operations, each rounded to float32 on its own.
        v = tl.zeros((BLOCK_R, BLOCK_L), tl.float32)
        for k in tl.static_range(WIDTH):
            o_k = o_l - (WIDTH - 1) + k
            x_k = tl.load(
                p_x + (o_k.to(tl.int64) * stride_l)[None, :],
                mask=m & (o_k >= 0)[None, :],
                other=0.0,
            ).to(tl.float32)
            w_k = tl.load(weight + o_d * WIDTH + k, mask=m_r, other=0.0).to(tl.float32)[:, None]
            v = w_k * x_k if k == 0 else v + w_k * x_k
        if HAS_BIAS:
            v = v + tl.load(bias + o_d, mask=m_r, other=0.0).to(tl.float32)[:, None]
        e = tl.exp(-v.to(tl.float64)).to(tl.float32)
        y = tl.div_rn(v, 1.0 + e)
        of_v = v.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32) + PATTERNS // 2
        of_y = y.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32) + PATTERNS // 2
        near = of_y - tl.load(expected + of_v).to(tl.int32) + NEAR // 2
        m_near = (near >= 0) & (near < NEAR)
        mine = counts + (tl.program_id(0) % COPIES) * (NEAR + 2) * PATTERNS
        tl.atomic_add(mine + of_v * NEAR + near, 1, mask=m & m_near, sem="relaxed")
        m_far = m & ((near < 0) | (near >= NEAR))
        tl.atomic_add(mine + NEAR * PATTERNS + of_v, 1, mask=m_far, sem="relaxed")
        tl.atomic_add(mine + (NEAR + 1) * PATTERNS + of_y, 1, mask=m_far, sem="relaxed")

    @triton.jit
    def _layer_counts_kernel(
        x,  # (N, D, L), floating: the first of M inputs
        weight,  # float32 (K, D, WIDTH), contiguous
        bias,  # float32 (K, D), contiguous
        slice_of,  # int32 (D,): which row of its layer's counters a channel counts in
        table,  # int64 (2, M): how many elements after x an input begins, and which of the K it is
        v_counts,  # int32 (K, SLICES, PATTERNS)
        y_counts,  # int32 (N, K, SLICES, PATTERNS), stride_y from one sequence to the next
        x_amax,  # int32 (N, K, D), stride_amax likewise: bits of float32
        inputs,  # M
        channels,
        length,
        stride_n,
        stride_d,
        stride_l,
        stride_y,
        stride_amax,
        SLICES: tl.constexpr,
        WIDTH: tl.constexpr,
        PATTERNS: tl.constexpr,
        BLOCK_D: tl.constexpr,
        BLOCK_L: tl.constexpr,
    ):
        i_n, i_m = (tl.program_id(2) // inputs).to(tl.int64), tl.program_id(2) % inputs
        i_k = tl.load(table + inputs + i_m)
        o_d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
        o_l = tl.program_id(1) * BLOCK_L + tl.arange(0, BLOCK_L)
        m_d = o_d < channels
        m = m_d[:, None] & (o_l < length)[None, :]
        p_x = x + (tl.load(table + i_m) + i_n * stride_n + o_d.to(tl.int64) * stride_d)[:, None]
        p_w = weight + (i_k * channels + o_d) * WIDTH
        # The reference's order of operations, each rounded to float32 on its own.
        v = tl.zeros((BLOCK_D, BLOCK_L), tl.float32)
        x_k = v
        for k in tl.static_range(WIDTH):
            o_k = o_l - (WIDTH - 1) + k
            x_k = tl.load(
                p_x + (o_k.to(tl.int64) * stride_l)[None, :],
                mask=m & (o_k >= 0)[None, :],
                other=0.0,
            ).to(tl.float32)
            w_k = tl.load(p_w + k, mask=m_d, other=0.0)[:, None]
            v = w_k * x_k if k == 0 else v + w_k * x_k
        v = v + tl.load(bias + i_k * channels + o_d, mask=m_d, other=0.0)[:, None]
        # x_k is now the position's own value. As whole numbers, magnitudes keep their order, and a
        # NaN is above infinity.
        magnitude = x_k.to(tl.int32, bitcast=True) & 0x7FFFFFFF
        tl.atomic_max(
            x_amax + i_n * stride_amax + i_k * channels + o_d,
            tl.max(magnitude, axis=1),
            mask=m_d,
            sem="relaxed",
        )
        e = tl.exp(-v.to(tl.float64)).to(tl.float32)
        y = tl.div_rn(v, 1.0 + e)
        of_v = v.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32) + PATTERNS // 2
        of_y = y.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32) + PATTERNS // 2
        row = ((i_k * SLICES + tl.load(slice_of + o_d, mask=m_d, other=0)) * PATTERNS)[:, None]
        tl.atomic_add(v_counts + row + of_v, 1, mask=m, sem="relaxed")
        tl.atomic_add(y_counts + i_n * stride_y + row + of_y, 1, mask=m, sem="relaxed")

    @triton.jit
    def _code_histogram_kernel(
        codes,  # int8 (number,)
        counts,  # int32 (256,)
        number,
        COUNT: tl.constexpr,
        COUNT_OPERANDS: tl.constexpr,
        THREADS: tl.constexpr,
    ):
        first = tl.program_id(0) * THREADS + tl.arange(0, THREADS)
        address = codes.to(tl.int64)
        tl.inline_asm_elementwise(
            COUNT,
            COUNT_OPERANDS,
            [address, address + number, counts.to(tl.int64), first, tl.num_programs(0) * THREADS],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


def silu_histograms(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Count the float16 patterns of a float layer's SiLU input and output.

    v is the causal convolution of x, y = SiLU(v), both float32 as ``kernels.reference`` computes
    them; each is then rounded to float16. The counts are those of the stored tensors, exactly.

    Args:
        x: (B, D, L), any strides; float16, bfloat16 or float32.
        weight: (D, W), W from 2 to 4, of any of these dtypes.
        bias: (D,), of any of these dtypes, or None.
        backend: as for ``quant_causal_conv1d``; None is "triton" on CUDA, else "torch".

    Returns:
        (counts of v, counts of y): (65536,) int64 on x's device; entry i counts the pattern that
        reads as the int16 i - 32768.

    Raises ValueError, naming the argument, what it got and the rule; and where a value is NaN,
    infinite or beyond float16's range.
    """
    check_sequence(x, weight, bias, FLOATS)
    if _resolve(backend, "x", x) == "torch":
        return reference.silu_histograms(x, weight, bias)
    _, channels, length = x.shape
    v_counts = torch.zeros(PATTERNS, dtype=torch.int64, device=x.device)
    y_counts = torch.zeros(PATTERNS, dtype=torch.int64, device=x.device)
    if x.numel():
        for chunk in x.split(max(1, MOST_VALUES // (channels * length))):
            v_chunk, y_chunk = _count_chunk(chunk, weight, bias)
            v_counts += v_chunk
            y_counts += y_chunk
    reference.check_finite(v_counts, y_counts)
    return v_counts, y_counts


def add_layer_counts(
    inputs: Sequence[Tensor],
    layers: Sequence[int],
    weight: Tensor,
    bias: Tensor,
    slice_of: Tensor,
    v_counts: Tensor,
    y_counts: Tensor,
    x_amax: Tensor,
) -> None:
    """Count v and y of float layers into counters on the device, and the largest |x|, in a launch.

    v and y as ``silu_histograms`` has them. Nothing is checked for being finite, and nothing is
    waited for: whoever owns the counters reads them when forwards are over, and looks for patterns
    that are no finite float16.

    Args:
        inputs: M conv inputs (N, D, L), of one dtype, device and strides; float16, bfloat16 or
            float32. M·N·D·L is at most 2^31 - 1.
        layers: M numbers below K: whose input each is.
        weight, bias: float32 (K, D, W), W from 2 to 4, and (K, D).
        slice_of: int32 (D,), below S: the row of its layer's counters that a channel counts in.
        v_counts: int32 (K, S, 65536), of all sequences together; entry i of a row counts the
            pattern that reads as the int16 i - 32768.
        y_counts: int32 (N, K, S, 65536), of each sequence by itself; any stride between sequences.
        x_amax: int32 (N, K, D), likewise: raised to the bits of max |x| as float32, where they are
            more; those of infinity are 2139095040, and a NaN's are more.

    Raises ValueError, naming the argument, what it got and the rule.
    """
    if not len(inputs) == len(layers) > 0:
        raise ValueError(
            f"there are {len(inputs)} inputs of {len(layers)} layers; each is of one, and one at "
            "least"
        )
    x = inputs[0]
    if weight.dim() != 3 or bias.dim() != 2:
        raise ValueError(
            f"weight and bias have shapes {tuple(weight.shape)} and {tuple(bias.shape)}; they must "
            "be (K, D, W) and (K, D)"
        )
    known = weight.shape[0]
    check_sequence(x, weight[0], bias[0], FLOATS)
    sequences, channels, length = x.shape
    strides, dtype, device = x.stride(), x.dtype, x.get_device()
    for i, own in enumerate(inputs):
        alike = own.shape == x.shape and own.stride() == strides and own.dtype == dtype
        if not (alike and own.get_device() == device):
            raise ValueError(
                f"inputs[{i}] is {own.dtype} of shape {tuple(own.shape)} and strides "
                f"{own.stride()} on {own.device}; all must be as the first: {dtype}, "
                f"{tuple(x.shape)}, {strides}, {x.device}"
            )
    if not 0 <= min(layers) <= max(layers) < known:
        raise ValueError(f"layers go from {min(layers)} to {max(layers)}; there are {known}")
    if x.numel() * len(inputs) > MOST_VALUES:
        raise ValueError(
            f"the inputs have {x.numel() * len(inputs):,} values; the counters take at most "
            f"{MOST_VALUES:,}"
        )
    slices = v_counts.shape[1] if v_counts.dim() == 3 else 0
    for name, tensor, wanted, shape in (
        ("weight", weight, torch.float32, (known, channels, weight.shape[2])),
        ("bias", bias, torch.float32, (known, channels)),
        ("slice_of", slice_of, torch.int32, (channels,)),
        ("v_counts", v_counts, torch.int32, (known, slices, PATTERNS)),
        ("y_counts", y_counts, torch.int32, (sequences, known, slices, PATTERNS)),
        ("x_amax", x_amax, torch.int32, (sequences, known, channels)),
    ):
        check_tensor(name, tensor, (wanted,), x)
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it must be {shape}")
        by_sequence = name in ("y_counts", "x_amax")
        if not (tensor[:1] if by_sequence else tensor).is_contiguous():
            raise ValueError(f"{name} has strides {tensor.stride()}; its rows must have no gaps")
    if not x.numel():
        return
    if INTERPRETED:
        block_d, block_l = min(channels, 128), min(length, 1024)
    elif x.stride(2) == 1:
        block_d, block_l = 1, 1024
    else:  # neighbouring threads take neighbouring channels
        block_d, block_l = 64, 16
    block_d, block_l = triton.next_power_of_2(block_d), triton.next_power_of_2(block_l)
    programs = sequences * len(inputs)
    grid = (triton.cdiv(channels, block_d), triton.cdiv(length, block_l), programs)
    tensors = (x, weight, bias, slice_of, _table(inputs, layers), v_counts, y_counts, x_amax)
    numbers = (
        len(inputs),
        channels,
        length,
        *strides,
        y_counts.stride(0),
        x_amax.stride(0),
        slices,
        weight.shape[2],
        PATTERNS,
        block_d,
        block_l,
    )
    if INTERPRETED or not HAS_PTX:
        with launching_on(x):
            _layer_counts_kernel[grid](*tensors, *numbers, enable_fp_fusion=False)
        return
    # A forward may take less of the host than launches by Triton, which looks at every argument:
    # a launch like one before goes straight to its launcher.
    addresses = [tensor.data_ptr() for tensor in tensors]
    like = (device, dtype, grid, numbers, tuple([address % 16 == 0 for address in addresses]))
    plan = _LAYER_PLANS.get(like)
    with launching_on(x) if device != torch.cuda.current_device() else nullcontext():
        if plan is not None and plan.run is not None:
            compiled.run_plan(plan, plan.run, device, tuple(addresses))
            return
        kernel = _layer_counts_kernel[grid](*tensors, *numbers, enable_fp_fusion=False)
        if plan is None:
            run = kernel.run if compiled.launches_directly(device) else None
            if len(_LAYER_PLANS) == MOST_PLANS:
                _LAYER_PLANS.clear()
            _LAYER_PLANS[like] = compiled.Plan(run, kernel, _layer_counts_kernel, grid, numbers, 0)


def _table(inputs: Sequence[Tensor], layers: Sequence[int]) -> Tensor:
    """int64 (2, M) on the inputs' device: where each begins, from the first on, and its layer."""
    first, size = inputs[0].data_ptr(), inputs[0].element_size()
    begins = [(own.data_ptr() - first) // size for own in inputs]
    on_gpu = inputs[0].is_cuda  # from pinned memory the copy is not waited for
    table = torch.tensor([begins, list(layers)], dtype=torch.int64, pin_memory=on_gpu)
    return table.to(inputs[0].device, non_blocking=True)


# Launches of ``add_layer_counts`` by all that the compiled kernel depends on.
_LAYER_PLANS: dict[tuple, compiled.Plan] = {}
MOST_PLANS = 256


def _resolve(backend: str | None, name: str, x: Tensor) -> str:
    """On a CPU torch counts faster than Triton's interpreter."""
    if backend is None:
        return "triton" if default_backend(x) == "triton" else "torch"
    check_backend(backend, name, x)
    return backend


def _count_chunk(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    batch, channels, length = x.shape
    rows = batch * channels
    if INTERPRETED:
        block_r, block_l, copies = min(rows, 64), min(length, 1024), 1
    elif x.stride(2) == 1:
        block_r, block_l, copies = 1, 1024, COPIES
    else:  # neighbouring threads take neighbouring channels
        block_r, block_l, copies = 64, 16, COPIES
    block_r, block_l = triton.next_power_of_2(block_r), triton.next_power_of_2(block_l)
    counts = torch.zeros((copies, NEAR + 2, PATTERNS), dtype=torch.int32, device=x.device)
    expected = _expected(x.device)
    grid = (triton.cdiv(rows, block_r) * triton.cdiv(length, block_l),)
    with launching_on(x):
        _silu_histograms_kernel[grid](
            x=x,
            weight=weight.contiguous(),
            bias=weight if bias is None else bias.contiguous(),
            expected=expected,
            counts=counts,
            rows=rows,
            channels=channels,
            length=length,
            stride_b=x.stride(0),
            stride_d=x.stride(1),
            stride_l=x.stride(2),
            WIDTH=weight.shape[1],
            HAS_BIAS=bias is not None,
            PATTERNS=PATTERNS,
            NEAR=NEAR,
            COPIES=copies,
            BLOCK_R=block_r,
            BLOCK_L=block_l,
            enable_fp_fusion=False,
        )
    counts = counts.sum(0)  # int64
    pairs, v_counts, y_counts = counts[:NEAR].view(PATTERNS, NEAR), counts[NEAR], counts[NEAR + 1]
    near = torch.arange(NEAR, device=x.device) - NEAR // 2
    of_y = (expected.to(torch.int32)[:, None] + near).clamp(
        0, PATTERNS - 1
    )  # beyond the ends nothing was counted
    y_counts = y_counts.index_add(0, of_y.flatten(), pairs.flatten())
    return v_counts + pairs.sum(1), y_counts


@lru_cache(maxsize=16)
def _expected(device: torch.device) -> Tensor:
    """uint16 (PATTERNS,): the pattern of SiLU of each float16, both counted from 0."""
    v = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    y = reference.silu(v.to(torch.float32)).to(torch.float16)
    return (y.view(torch.int16).to(torch.int32) + 2**15).to(torch.uint16).to(device)


def code_histogram(codes: Tensor) -> Tensor:
    """Count INT8 codes: by a kernel on an NVIDIA GPU, elsewhere by torch.

    Args:
        codes: int8, any shape and strides.

    Returns:
        (256,) int64 on the codes' device; entry i counts the code i - 128.

    Raises ValueError for another dtype.
    """
    check_tensor("codes", codes, CODES, codes)
    # In the order of memory, so that gapless codes of any layout are not copied.
    order = sorted(range(codes.dim()), key=codes.stride, reverse=True)
    flat = codes.permute(order).reshape(-1)
    counts = torch.zeros(256, dtype=torch.int64, device=codes.device)
    for chunk in flat.split(MOST_VALUES) if flat.numel() else ():
        if HAS_PTX and codes.is_cuda:
            counts += _count_codes(chunk)
        else:
            counts += torch.bincount(chunk.to(torch.int32) + 128, minlength=256)
    return counts


def _count_codes(codes: Tensor) -> Tensor:
    counts = torch.zeros(256, dtype=torch.int32, device=codes.device)
    program = ptx.count_codes()
    groups = codes.numel() // 16 + 2
    multiprocessors = torch.cuda.get_device_properties(codes.device).multi_processor_count
    grid = (min(triton.cdiv(groups, ptx.COUNTING_THREADS), COUNTING_PROGRAMS * multiprocessors),)
    with launching_on(codes):
        _code_histogram_kernel[grid](
            codes=codes,
            counts=counts,
            number=codes.numel(),
            COUNT=program.text,
            COUNT_OPERANDS=program.constraints,
            THREADS=ptx.COUNTING_THREADS,
            num_warps=ptx.COUNTING_THREADS // 32,
        )
    return counts
