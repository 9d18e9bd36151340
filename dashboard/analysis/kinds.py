"""Other kinds of scale than one symmetric scale a tensor, each measured under the same rules.

Asymmetric INT8 moves the code of 0; a scale for each group of channels, or each channel, follows
their ranges. Groups are neighbouring channels, or those that Quamba2's way of sorting and
clustering finds (arXiv 2503.22879).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dashboard.analysis.report import per_channel, report_scale
from dashboard.calibration import SliceCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import ConvSlice
from dashboard.rules.channels import CHANNEL_RULES, GroupScales, even_groups, group_scales
from dashboard.rules.grouping import ChannelGrouping
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ASYMMETRIC_RULES, DEFAULT_SIGMA, SYMMETRIC_RULES, ScaleRule


@dataclass(frozen=True)
class ScaleKind:
    """One kind of scale, and what each rule makes of a slice with it."""

    kind: str  # "tensor", "neighbours", "as-quamba2", "by-maximum", "channel"
    scales: int  # how many
    symmetric: bool
    sqnr_db: Mapping[str, float]  # by rule; one that the kind does not take is missing


def tensor_kinds(
    counted: SliceCalibration, landscapes: Sequence[Landscape], sigma: float = DEFAULT_SIGMA
) -> list[ScaleKind]:
    """One scale for the slice, symmetric and asymmetric, under every rule that can be both.

    Args:
        landscapes: of each symmetry; its best α is that of the rules that use one.
    """
    return [
        ScaleKind(
            "tensor",
            1,
            landscape.symmetric,
            {
                name: float(
                    report_scale(
                        counted,
                        ScaleRule(name, landscape.best_alpha, sigma, symmetric=landscape.symmetric),
                    ).output.sqnr_db
                )
                for name in ASYMMETRIC_RULES
                if name in SYMMETRIC_RULES or not landscape.symmetric
            },
        )
        for landscape in landscapes
    ]


def channel_kinds(outputs: Sequence[Histogram], group_size: int, alpha: float) -> list[ScaleKind]:
    """A scale for each group of neighbouring channels, and for each channel.

    Args:
        outputs: the histogram of y of each channel.
        group_size: channels a group.
        alpha: of the percentile, in (0, 1].
    """
    kinds = []
    for kind, size in (("neighbours", group_size), ("channel", 1)):
        groups = even_groups(len(outputs), size)
        made = {
            name: group_scales(outputs, groups, ScaleRule(name, alpha)) for name in CHANNEL_RULES
        }
        kinds.append(_kind(kind, made))
    return kinds


def _kind(kind: str, made: Mapping[str, GroupScales]) -> ScaleKind:
    scales = len(next(iter(made.values())).scales)
    return ScaleKind(kind, scales, True, {name: groups.sqnr_db for name, groups in made.items()})


@dataclass(frozen=True, eq=False)
class GroupStudy:
    """A slice in groups of channels: the scales of each kind of group, under each rule."""

    shape: tuple[int, ...]  # (SSD groups, head groups, channel groups)
    widths: np.ndarray  # channels in each of the layer's own groups, in the order of the scales
    clustered: Mapping[str, GroupScales]  # by rule; groups by the channels' maxima
    as_quamba2: Mapping[str, GroupScales]  # groups by the channels' means
    tensor: Mapping[str, float]  # SQNR in dB of one scale for the slice, by rule
    kinds: tuple[ScaleKind, ...]  # from one scale for the slice to one for each channel


def study_groups(
    outputs: Sequence[Histogram],
    grouping: ChannelGrouping,
    as_quamba2: ChannelGrouping,
    tensor: Mapping[str, float],
    alpha: float,
) -> GroupStudy:
    """Measure groups of channels, found in both ways, against other kinds of scale.

    Args:
        outputs: the histogram of y of each channel of the slice.
        grouping: by the channels' maxima; as_quamba2: by their means.
        tensor: what one scale for the slice gives, in dB, by rule.
        alpha: of the percentile, in (0, 1].
    """
    count = int(np.prod(grouping.shape))
    groups = {
        "neighbours": even_groups(len(outputs), -(-len(outputs) // count)),
        "as-quamba2": as_quamba2.group,
        "by-maximum": grouping.group,
        "channel": np.arange(len(outputs)),
    }
    scales = {
        kind: {name: group_scales(outputs, group, ScaleRule(name, alpha)) for name in CHANNEL_RULES}
        for kind, group in groups.items()
    }
    return GroupStudy(
        grouping.shape,
        np.bincount(grouping.group),
        scales["by-maximum"],
        scales["as-quamba2"],
        tensor,
        (
            ScaleKind("tensor", 1, True, tensor),
            *(_kind(kind, made) for kind, made in scales.items()),
        ),
    )


def with_groups(
    slices: Sequence[ConvSlice], scales: Sequence[float], groups: GroupScales
) -> Tensor:
    """The output scale of every channel of a convolution: x in groups, the other slices whole.

    Args:
        slices: of the convolution, x first.
        scales: one for each slice; that of x is not used.

    Returns: (D,) float32, as the kernel takes it.
    """
    expanded = per_channel(slices, scales, "cpu")
    expanded[slices[0].channels].copy_(expanded.new_tensor(groups.per_channel.tolist()))
    return expanded
