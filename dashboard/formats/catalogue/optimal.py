"""The best points of a layer: none of that number makes less error on the values that were counted.

Lloyd (1982) and Max (1960) gave what such points must satisfy: each is the mean of the values that
are nearer to it than to any other. Many codebooks do; ``least_error`` finds the best of all. It
bounds every other quantizer of as many codes that looks at one value alone.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from dashboard.formats.codebook import Codebook
from dashboard.formats.least_error import least_error_points
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message


def optimal_codebook(size: int, values: np.ndarray, weights: np.ndarray) -> Codebook:
    """The points with the least Σ w · (Q(v) − v)²."""
    return Codebook.nearest(least_error_points(values, weights, (size,))[size])


for _bits in (8, 4):
    register(
        NumberFormat(
            f"optimal{_bits}",
            label=Message("Best {size} points of the layer", size=2**_bits),
            help=Message("no {size} values make less error on this layer", size=2**_bits),
            source="Lloyd 1982, IEEE Trans. Inf. Theory 28(2); Wu 1991, J. Algorithms 12(4)",
            bits=_bits,
            fit=partial(optimal_codebook, 2**_bits),
            family="optimal",
        )
    )
