"""FP4 E2M1: 0, ½, 1, 1½, 2, 3, 4 and 6 with both signs.

OCP Microscaling Formats (MX) Specification 1.0, section 5.3.3. There every 32 values have a scale
of their own; here one scale serves a whole slice, as with the other formats.
"""

from __future__ import annotations

from dashboard.formats.minifloat import minifloat_grid
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message

register(
    NumberFormat(
        "fp4-e2m1",
        label="FP4 E2M1",
        help=Message("floating point in four bits: seven magnitudes, to 6"),
        source="OCP Microscaling Formats 1.0, section 5.3.3",
        bits=4,
        amax_units=6.0,
        grid=minifloat_grid(mantissa_bits=1, bias=1, greatest=6.0),
        family="float",
    )
)
