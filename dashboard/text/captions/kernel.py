"""Kernel: one value's way to its code, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.pipeline import ChannelTrace
from dashboard.analysis.recorded import Benchmark, Roofline, Timing
from dashboard.text.language import Language
from dashboard.text.numbers import percent, signed
from kernels.int8 import QMAX, QMIN
from kernels.listing import Listing

NO_TRACE_FILE = (
    "A calibration file holds counts and no single values; choose its checkpoint to follow one. "
    "What follows depends on no checkpoint."
)
NO_TRACE_STORED = (
    "This checkpoint is quantized already: without float weights there are no activations to "
    "follow. What follows depends on no checkpoint."
)
PIPELINE_NOTE = (
    "Every operation is rounded to float32 on its own. acc is exact: at most 4 · 128 · 128 in "
    "magnitude. The kernel folds some of these steps, and gives the same code. Quamba's CUDA "
    "kernels are built with fast math and contract or reorder some of them, so that single codes "
    "may differ by one; docs/kernel.md says where."
)


def pipeline_rows(trace: ChannelTrace, at: int, say: Language) -> list[dict]:
    """A row a step, with its formula, these numbers in it, and what comes out."""
    seen = [int(code) for code in trace.window[at]]
    products = " ".join(
        f"{'+' if k else ''} {_code(w)}·{_code(x)}"
        for k, (w, x) in enumerate(zip(trace.weight, seen, strict=True))
    ).strip()
    v, s, quotient = float(trace.v[at]), float(trace.s[at]), float(trace.quotient[at])
    rows = [
        ("window", "the codes that the position sees",
         ", ".join(signed(code, 0) for code in seen), ""),
        ("acc", "Σ weight · x, in integers", products,
         signed(float(trace.acc[at]), 0)),
        ("v", "scale_w · scale_x · acc + bias · scale_b",
         f"{trace.scale_wx:.4g} · {_code(trace.acc[at])} + "
         f"{_code(trace.bias)} · {trace.scale_b:.4g}",
         signed(v, 5)),
        ("s", "v / (1 + exp(−v)), SiLU",
         f"{signed(v, 5)} / (1 + {np.exp(-np.float64(v)):.5g})", signed(s, 5)),
        ("s / scale_out", "in codes", f"{signed(s, 5)} / {trace.scale_out:.5g}",
         signed(quotient, 4)),
        ("rounded", "to the nearest whole, halves away from 0", signed(quotient, 4),
         signed(float(trace.rounded[at]), 0)),
        ("y_q", f"clamped to {signed(QMIN, 0)} … {QMAX}", signed(float(trace.rounded[at]), 0),
         signed(float(trace.code[at]), 0)),
    ]  # fmt: skip
    return [
        {"step": step, "what": what, "numbers": numbers, "result": result}
        for step, what, numbers, result in rows
    ]


def _code(value: int) -> str:
    """A code in a product: in brackets where it is negative."""
    return str(int(value)) if value >= 0 else f"({signed(float(value), 0)})"


def pipeline_headline(trace: ChannelTrace, at: int, say: Language) -> str:
    """From the code that came in to the code that goes out."""
    return (
        f"Position {trace.positions[at]}: SiLU makes {signed(float(trace.s[at]), 4)}, the kernel "
        f"writes {signed(float(trace.written[at]), 0)}."
    )


def pipeline_caption(trace: ChannelTrace, at: int, say: Language) -> str:
    """What the code stands for, and whether the kernel that ran agrees."""
    stands = float(trace.code[at]) * trace.scale_out
    error = stands - float(trace.s[at])
    clamped = trace.rounded[at] != trace.code[at]
    differing = int((trace.written != trace.code).sum())
    return (
        f"Code {signed(float(trace.code[at]), 0)} stands for {signed(stands, 5)}: an error of "
        f"{signed(error, 5)}, {'by clipping' if clamped else 'by rounding'}. In this window "
        f"{differing} of {len(trace.code)} codes of {trace.backend} differ from the reference."
    )


def listing_caption(listing: Listing, say: Language) -> str:
    """Where the PTX on show was made."""
    lines = listing.text.count("\n")
    if listing.recorded:
        return f"Recorded on an {listing.where}: this machine does not compile it. {lines:,} lines."
    return f"Compiled here, on an {listing.where}. {lines:,} lines."


def recorded_caption(found: Benchmark, say: Language) -> str:
    """Which machine the figures are of."""
    return (
        f"Recorded on an {found.device}, {found.date}, torch {found.torch}, Triton "
        f"{found.triton}; not measured here."
    )


def speed_caption(rows: Sequence[Timing], say: Language) -> str:
    """How the two modes compare with a copy, and what fast costs."""
    scalar = [r for r in rows if r.scales == "scalar" and r.layout == "sequence-last"]
    exact, fast = (next(r for r in scalar if r.mode == mode) for mode in ("exact", "fast"))
    return (
        f"Exact mode runs at {percent(exact.share_of_copy)} of a copy's speed with "
        f"{exact.differing} of {exact.compared:,} codes different from the reference; fast mode at "
        f"{percent(fast.share_of_copy)}, and {fast.differing:,} codes are off by one."
    )


def roofline_caption(found: Roofline, say: Language) -> str:
    """What binds the fastest and the slowest variant."""
    told = []
    for name, per_byte, speed in (found.points[0], found.points[1]):
        ceilings = {
            "issue": found.issue_tb_per_s(per_byte),
            "memory": found.copy_tb_per_s,
            "special functions": found.special_tb_per_s,
        }
        least = min(ceilings, key=lambda name: ceilings[name])
        told.append(f"{name}: {least} binds, {percent(speed / ceilings[least])} of that is reached")
    return f"{'; '.join(told)}."
