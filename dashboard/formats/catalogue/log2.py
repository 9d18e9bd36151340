"""Logarithmic grids: 0, and powers of two below amax, with both signs.

A multiplication by such a value is a shift (Miyashita et al., "Convolutional Neural Networks using
Logarithmic Data Representation", arXiv 1603.01025, section 3). ``log2`` has fifteen powers a sign;
``log2-eighths`` spends all of eight bits on eighths of powers. Values go to the nearest point, not
to the nearest exponent, which would only add to the error.
"""

from __future__ import annotations

import numpy as np

from dashboard.formats.codebook import UnitGrid
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message


def log_grid(magnitudes: int, steps_per_octave: int) -> UnitGrid:
    """0 and ±2^(−k / steps_per_octave), k = 0 … magnitudes − 1."""
    powers = 2.0 ** (-np.arange(magnitudes) / steps_per_octave)
    return UnitGrid.nearest(np.concatenate([-powers, [0.0], powers[::-1]]))


register(
    NumberFormat(
        "log2",
        label=Message("Powers of two"),
        help=Message("0 and fifteen powers of two a sign: a product is a shift"),
        source="arXiv 1603.01025, section 3",
        bits=5,
        grid=log_grid(15, 1),
        family="log",
    )
)
register(
    NumberFormat(
        "log2-eighths",
        label=Message("Eighths of powers of two"),
        help=Message("0 and 127 magnitudes a sign, eight to a doubling"),
        source="arXiv 1603.01025, section 3",
        bits=8,
        grid=log_grid(127, 8),
        family="log",
    )
)
