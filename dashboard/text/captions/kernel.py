"""Kernel: one value's way to its code, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.pipeline import ChannelTrace
from dashboard.analysis.recorded import Benchmark, Roofline, Timing
from dashboard.messages import Message
from dashboard.text.language import Language
from dashboard.text.numbers import percent, signed
from kernels.int8 import QMAX, QMIN
from kernels.listing import Listing

NO_TRACE_FILE = Message(
    "A calibration file holds counts and no single values; choose its checkpoint to follow one. "
    "What follows depends on no checkpoint."
)
NO_TRACE_STORED = Message(
    "This checkpoint is quantized already: without float weights there are no activations to "
    "follow. What follows depends on no checkpoint."
)
PIPELINE_NOTE = Message(
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
    low, high = signed(QMIN, 0), str(QMAX)
    rows = [
        (say("window"), say("the codes that the position sees"),
         ", ".join(signed(code, 0) for code in seen), ""),
        ("acc", say("Σ weight · x, in integers"), products,
         signed(float(trace.acc[at]), 0)),
        ("v", "scale_w · scale_x · acc + bias · scale_b",
         f"{trace.scale_wx:.4g} · {_code(trace.acc[at])} + "
         f"{_code(trace.bias)} · {trace.scale_b:.4g}",
         signed(v, 5)),
        ("s", "SiLU: v / (1 + exp(−v))",
         f"{signed(v, 5)} / (1 + {np.exp(-np.float64(v)):.5g})", signed(s, 5)),
        ("s / scale_out", say("in codes"), f"{signed(s, 5)} / {trace.scale_out:.5g}",
         signed(quotient, 4)),
        (say("rounded"), say("to the nearest whole, halves away from 0"), signed(quotient, 4),
         signed(float(trace.rounded[at]), 0)),
        ("y_q", say("clamped to {low} … {high}", low=low, high=high),
         signed(float(trace.rounded[at]), 0), signed(float(trace.code[at]), 0)),
    ]  # fmt: skip
    headers = (say("step"), say("what"), say("numbers"), say("result"))
    return [dict(zip(headers, row, strict=True)) for row in rows]


def _code(value: int) -> str:
    """A code in a product: in brackets where it is negative."""
    return str(int(value)) if value >= 0 else f"({signed(float(value), 0)})"


def pipeline_headline(trace: ChannelTrace, at: int, say: Language) -> str:
    """From the code that came in to the code that goes out."""
    return say(
        "Position {position}: SiLU makes {value}, the kernel writes {code}.",
        position=int(trace.positions[at]),
        value=signed(float(trace.s[at]), 4),
        code=signed(float(trace.written[at]), 0),
    )


def pipeline_caption(trace: ChannelTrace, at: int, say: Language) -> str:
    """What the code stands for, and whether the kernel that ran agrees."""
    value = float(trace.code[at]) * trace.scale_out
    code = {
        "code": signed(float(trace.code[at]), 0),
        "value": signed(value, 5),
        "error": signed(value - float(trace.s[at]), 5),
    }
    return say.sentences(
        say("Code {code} stands for {value}: an error of {error}, by clipping.", **code)
        if trace.rounded[at] != trace.code[at]
        else say("Code {code} stands for {value}: an error of {error}, by rounding.", **code),
        say(
            "In this window {differing} of {codes} codes of {backend} differ from the reference.",
            differing=int((trace.written != trace.code).sum()),
            codes=len(trace.code),
            backend=trace.backend,
        ),
    )


def listing_caption(listing: Listing, say: Language) -> str:
    """Where the PTX on show was made."""
    made = {"device": listing.where, "lines": f"{listing.text.count(chr(10)):,}"}
    if listing.recorded:
        return say(
            "Recorded on an {device}: this machine does not compile it. {lines} lines.", **made
        )
    return say("Compiled here, on an {device}. {lines} lines.", **made)


def recorded_caption(benchmark: Benchmark, say: Language) -> str:
    """Which machine the figures are of."""
    return say(
        "Recorded on an {device}, {date}, torch {torch}, Triton {triton}; not measured here.",
        device=benchmark.device,
        date=benchmark.date,
        torch=benchmark.torch,
        triton=benchmark.triton,
    )


def speed_caption(rows: Sequence[Timing], say: Language) -> str:
    """How the two modes compare with a copy, and what fast costs."""
    scalar = [r for r in rows if r.scales == "scalar" and r.layout == "sequence-last"]
    exact, fast = (next(r for r in scalar if r.mode == mode) for mode in ("exact", "fast"))
    return say(
        "Exact mode runs at {exact} of a copy's speed with {exact_codes} of {codes} codes "
        "different from the reference; fast mode at {fast}, and {fast_codes} codes are off by one.",
        exact=percent(exact.share_of_copy),
        exact_codes=exact.differing,
        codes=f"{exact.compared:,}",
        fast=percent(fast.share_of_copy),
        fast_codes=f"{fast.differing:,}",
    )


def roofline_caption(roofline: Roofline, say: Language) -> str:
    """Which of the three ceilings limits the fastest and the slowest variant."""
    fastest, slowest = (_binding(roofline, point, say) for point in roofline.points[:2])
    return say("{fastest}; {slowest}.", fastest=fastest, slowest=slowest)


def _binding(roofline: Roofline, point: tuple[str, float, float], say: Language) -> str:
    """The lowest of the three ceilings over one point, and how near it comes."""
    variant, per_byte, tb_per_s = point
    ceilings = {
        say("issue of instructions"): roofline.issue_tb_per_s(per_byte),
        say("memory"): roofline.copy_tb_per_s,
        say("special functions"): roofline.special_tb_per_s,
    }
    lowest = min(ceilings, key=lambda ceiling: ceilings[ceiling])
    return say(
        "{variant}: {ceiling} binds, {share} of that is reached",
        variant=say(variant),
        ceiling=lowest,
        share=percent(tb_per_s / ceilings[lowest]),
    )
