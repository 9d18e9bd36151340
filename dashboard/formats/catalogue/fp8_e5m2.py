"""FP8 E5M2 (torch.float8_e5m2): a sign, five exponent bits, two of significand.

float16 with eight bits of significand cut off: its range, a quarter of E4M3's precision or half.
Micikevicius et al., "FP8 Formats for Deep Learning", arXiv 2209.05433, table 1. A value beyond the
range is clamped, not made infinite.
"""

from __future__ import annotations

from dashboard.formats.minifloat import minifloat_grid
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message

register(
    NumberFormat(
        "fp8-e5m2",
        label="FP8 E5M2",
        help=Message("floating point with two bits of significand, to 57,344"),
        source="arXiv 2209.05433, table 1",
        bits=8,
        amax_units=57344.0,
        grid=minifloat_grid(mantissa_bits=2, bias=15, greatest=57344.0),
        family="float",
    )
)
