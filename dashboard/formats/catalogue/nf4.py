"""NF4: sixteen points at quantiles of a normal distribution, between −1 and 1.

Dettmers et al., "QLoRA", arXiv 2305.14314, section 3 and appendix E: eight points of the negative
half and nine of the positive one, which share 0, at evenly spaced probabilities, divided by the
greatest. It is made for weights, which are nearly normal; y is not.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from dashboard.formats.codebook import UnitGrid
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message

# Where the outermost quantile lies: halfway between those that cut 1/30 and 1/32 off, with the
# digits that the published points were computed with.
OUTERMOST = 0.9677083


def normal_points() -> np.ndarray:
    """(16,) float64, −1 … 1."""
    quantile = np.vectorize(NormalDist().inv_cdf)
    positive = quantile(np.linspace(OUTERMOST, 0.5, 9)[:-1])
    negative = -quantile(np.linspace(OUTERMOST, 0.5, 8)[:-1])
    points = np.sort(np.concatenate([negative, [0.0], positive]))
    return points / points.max()


register(
    NumberFormat(
        "nf4",
        label="NF4",
        help=Message("sixteen quantiles of a normal distribution"),
        source="arXiv 2305.14314, appendix E",
        bits=4,
        grid=UnitGrid.nearest(normal_points()),
        family="quantile",
    )
)
