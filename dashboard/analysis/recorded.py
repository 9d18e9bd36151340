"""The kernel's committed H200 figures -> records: for machines that cannot measure them.

``benchmarks/recorded`` holds what ``python -m benchmarks.kernel --json`` wrote on the machine that
it names, and the counted instructions of ``docs/kernel.md``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dashboard.messages import Message

RECORDED = Path(__file__).resolve().parents[2] / "benchmarks" / "recorded"
ROOFLINE_SHAPE = (16, 5120, 2048)
MODES = {"exact": Message("exact"), "fast": Message("fast")}  # what they are called
BYTES_PER_VALUE = 2  # one read, one written


@dataclass(frozen=True)
class Timing:
    """One row of the benchmark."""

    shape: tuple[int, int, int]  # (B, D, L)
    kind: str  # "copy", "kernel" or "peer"
    layout: str
    scales: str
    mode: str
    time_us: float
    tb_per_s: float  # bytes read and written
    share_of_copy: float
    differing: int | None  # codes that are not the reference's, of all draws together
    compared: int  # codes compared


@dataclass(frozen=True)
class Benchmark:
    """A run of the benchmark on one machine."""

    device: str
    date: str
    torch: str
    triton: str
    rows: tuple[Timing, ...]

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The shapes (B, D, L) that were measured."""
        return tuple(dict.fromkeys(row.shape for row in self.rows))


@dataclass(frozen=True)
class Roofline:
    """The three ceilings of the chip, in bytes, and where the kernel's variants lie under them."""

    copy_tb_per_s: float
    issue_per_s: float  # instructions a second, one lane each
    special_tb_per_s: float  # what the special-function pipe allows
    points: tuple[tuple[str, float, float], ...]  # (name, instructions a byte, TB/s)

    def issue_tb_per_s(self, per_byte: float) -> float:
        """What issuing that many instructions a byte allows."""
        return self.issue_per_s / per_byte / 1e12


def variant_name(mode: str, layout: str) -> Message:
    """What a variant of the kernel is called: "exact, sequence-last"."""
    return Message("{mode}, {layout}", mode=MODES[mode], layout=layout)


@cache
def benchmark() -> Benchmark:
    """The committed run on an H200."""
    record = json.loads((RECORDED / "kernel_h200.json").read_text("utf-8"))
    rows = tuple(
        Timing(
            shape=tuple(row["shape"]),
            kind=row["kind"],
            layout=row["layout"],
            scales=row["scales"],
            mode=row["mode"],
            time_us=row["us"],
            tb_per_s=row["tb_per_s"],
            share_of_copy=row["share_of_copy"],
            differing=sum(row["differing"].values()) if "differing" in row else None,
            compared=row["values"] * len(row.get("differing", ())),
        )
        for row in record["rows"]
    )
    return Benchmark(record["device"], record["date"], record["torch"], record["triton"], rows)


@cache
def roofline() -> Roofline:
    """From the counted instructions and the times of ``ROOFLINE_SHAPE``."""
    counted = json.loads((RECORDED / "kernel_h200_counters.json").read_text("utf-8"))
    timed = {
        (row.kind, row.layout, row.mode): row.tb_per_s
        for row in benchmark().rows
        if row.shape == ROOFLINE_SHAPE and row.scales in ("", "scalar")
    }
    clocks = counted["multiprocessors"] * counted["clock_ghz"] * 1e9
    return Roofline(
        copy_tb_per_s=timed["copy", "any", "copy of the codes"],
        issue_per_s=clocks * counted["lanes_issued"],
        special_tb_per_s=clocks
        * counted["lanes_special"]
        / counted["special_per_value"]
        * BYTES_PER_VALUE
        / 1e12,
        points=tuple(
            (
                variant_name(row["mode"], row["layout"]),
                row["instructions_per_value"] / BYTES_PER_VALUE,
                timed["kernel", row["layout"], row["mode"]],
            )
            for row in counted["rows"]
        ),
    )
