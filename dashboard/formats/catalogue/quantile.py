"""Quantile codebooks: points where the layer's own values lie, so that all codes are used alike.

Dettmers et al., "8-bit Optimizers via Block-wise Quantization", arXiv 2110.02861, section 1.3:
point i is the middle between the quantiles i / (n + 1) and (i + 1) / (n + 1) of the values; values
go to the nearest. Equal use of all codes has the most entropy, and is not the least error: rare
large values get no points of their own.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from dashboard.formats.codebook import Codebook
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message


def quantile_codebook(size: int, values: np.ndarray, weights: np.ndarray) -> Codebook:
    """Points midway between neighbouring quantiles; those that coincide are one.

    Args:
        values: (K,) ascending; ``weights`` (K,), how often each occurred.
    """
    cumulative = np.cumsum(weights, dtype=np.float64)
    before = np.arange(size + 1) * cumulative[-1] / (size + 1)  # exact where it is a whole number
    places = np.searchsorted(cumulative, before, side="right")
    quantiles = values.astype(np.float64)[np.minimum(places, len(values) - 1)]
    return Codebook.nearest(np.unique((quantiles[:-1] + quantiles[1:]) / 2))


for _bits in (8, 4):
    register(
        NumberFormat(
            f"quantile{_bits}",
            label=Message("Quantiles of the layer, {bits} bits", bits=_bits),
            help=Message("points where the layer's values lie, so that all codes are used alike"),
            source="arXiv 2110.02861, section 1.3",
            bits=_bits,
            fit=partial(quantile_codebook, 2**_bits),
            family="quantile",
        )
    )
