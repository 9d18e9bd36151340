"""Symmetric integers of 4 to 8 bits: equal steps, 0 at code 0, one code more below than above.

INT8 is what the kernel writes (``kernels/int8.py``): codes −128 … 127, halves away from zero.
INT4 to INT7 are the same with fewer bits, as Quamba2 uses 4 for weights (arXiv 2503.22879).
"""

from __future__ import annotations

import numpy as np

from dashboard.formats.codebook import UnitGrid
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message


def integer_grid(bits: int, zero_point: int = 0) -> UnitGrid:
    """Codes −2^(bits−1) … 2^(bits−1) − 1, less the code of 0; ties away from zero."""
    codes = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    return UnitGrid.nearest((codes - zero_point).astype(np.float64))


for _bits in (8, 7, 6, 5, 4):
    register(
        NumberFormat(
            f"int{_bits}",
            label=f"INT{_bits}",
            help=Message("equal steps on both sides of 0"),
            source="kernels/int8.py; arXiv 2410.13229, section 4.2",
            bits=_bits,
            amax_units=2 ** (_bits - 1) - 1,
            grid=integer_grid(_bits),
        )
    )
