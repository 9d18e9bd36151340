"""Floating point of a few bits, as a grid: what FP8 and FP4 have in common."""

from __future__ import annotations

import numpy as np

from dashboard.formats.codebook import UnitGrid


def minifloat_grid(mantissa_bits: int, bias: int, greatest: float) -> UnitGrid:
    """Every finite value with both signs; ties to the even significand, as IEEE 754 rounds.

    Args:
        mantissa_bits: of the significand, without the hidden one; at least 1.
        bias: of the exponent; 2^(1 − bias) is the least normal number.
        greatest: the greatest finite value.
    """
    fractions = 2**mantissa_bits
    subnormal = np.arange(fractions) / fractions * 2.0 ** (1 - bias)
    exponents = np.arange(1 - bias, int(np.floor(np.log2(greatest))) + 1)
    normal = (1 + np.arange(fractions) / fractions) * 2.0 ** exponents[:, None].astype(float)
    magnitudes = np.concatenate([subnormal, normal.ravel()])
    magnitudes = magnitudes[magnitudes <= greatest]  # by bit pattern: even ones are even
    patterns = np.arange(len(magnitudes))
    points = np.concatenate([-magnitudes[:0:-1], magnitudes])
    even = np.concatenate([patterns[:0:-1], patterns]) % 2 == 0
    # A tie goes up where the point above is the even one; beyond both ends it stays in the range.
    return UnitGrid.nearest(points, np.concatenate([[True], even[1:], [False]]))
