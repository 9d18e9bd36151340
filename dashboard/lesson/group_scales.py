"""Scales of shape (1, 4, 4): one for each head group and channel group, by MinMax.

Quamba2 (arXiv 2503.22879) sorts heads and channels by their ranges before it groups them. Here
neighbours make a group, which is enough to see what such scales are, and that no α is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.calibration.histogram import Histogram, signal_to_noise_db
from dashboard.rules.observers import ScaleRule, amax
from dashboard.rules.published import X_OUT_SCALES
from kernels.int8 import scale_from_amax

_, HEAD_GROUPS, CHANNEL_GROUPS = X_OUT_SCALES.shape


@dataclass(frozen=True)
class Groups:
    """The output's histogram of each group of channels, row by row, and of all together."""

    heads: int  # 0 where the model has none
    parts: tuple[Histogram, ...]  # HEAD_GROUPS · CHANNEL_GROUPS of them
    whole: Histogram


def group(outputs: Sequence[Histogram], head_dim: int | None) -> Groups:
    """Channels -> (4, 4) groups of neighbours.

    Args:
        outputs: the histogram of each channel, from ``channels.channel_outputs``.
        head_dim: channels of a head; None for Mamba-1, whose channels then count as four heads.

    Raises ValueError where heads or channels cannot be parted in four.
    """
    size = head_dim or len(outputs) // HEAD_GROUPS
    heads = len(outputs) // size
    if heads < HEAD_GROUPS or size < CHANNEL_GROUPS or heads * size != len(outputs):
        raise ValueError(
            f"{len(outputs)} channels in heads of {size} cannot be parted in {HEAD_GROUPS} head "
            f"groups and {CHANNEL_GROUPS} channel groups"
        )
    channel = np.arange(len(outputs))
    row = channel // size * HEAD_GROUPS // heads
    column = channel % size * CHANNEL_GROUPS // size
    number = row * CHANNEL_GROUPS + column
    parts = tuple(
        Histogram.sum([outputs[i] for i in np.flatnonzero(number == each).tolist()])
        for each in range(HEAD_GROUPS * CHANNEL_GROUPS)
    )
    return Groups(heads if head_dim else 0, parts, Histogram.sum(parts))


@dataclass(frozen=True, eq=False)
class GroupedScales:
    """One scale a group by MinMax, and one for the whole tensor by a percentile."""

    alpha: float
    scales: np.ndarray  # (4, 4)
    sqnr_db: float  # with the 16 scales
    tensor_scale: float  # by the percentile α
    tensor_db: float


def scaled(groups: Groups, alpha: float) -> GroupedScales:
    """Both kinds of scale: α can only enter the second."""
    scales = [scale_from_amax(amax(ScaleRule("minmax", alpha), part)) for part in groups.parts]
    made = [part.quantize(scale) for part, scale in zip(groups.parts, scales, strict=True)]
    noise = sum(float(each.rounding_sse + each.clipping_sse) for each in made)
    tensor = scale_from_amax(amax(ScaleRule("percentile", alpha), groups.whole))
    return GroupedScales(
        alpha=alpha,
        scales=np.array(scales).reshape(HEAD_GROUPS, CHANNEL_GROUPS),
        sqnr_db=float(signal_to_noise_db(sum(each.signal for each in made), noise)),
        tensor_scale=tensor,
        tensor_db=float(groups.whole.quantize(tensor).sqnr_db),
    )
