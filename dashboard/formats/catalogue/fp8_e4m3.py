"""FP8 E4M3 (torch.float8_e4m3fn): a sign, four exponent bits, three of significand, no infinities.

Steps double with each power of two, so that the *relative* error is about the same from 2⁻⁶ to 448.
Micikevicius et al., "FP8 Formats for Deep Learning", arXiv 2209.05433, table 1. A value beyond the
range is clamped, as programs do before they convert.
"""

from __future__ import annotations

from dashboard.formats.minifloat import minifloat_grid
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message

register(
    NumberFormat(
        "fp8-e4m3",
        label="FP8 E4M3",
        help=Message("floating point with three bits of significand, to 448"),
        source="arXiv 2209.05433, table 1",
        bits=8,
        amax_units=448.0,
        grid=minifloat_grid(mantissa_bits=3, bias=7, greatest=448.0),
        family="float",
    )
)
