"""Finer scales: one a channel, or one a group of channels, in place of one a tensor.

A group's histogram is the sum of its channels', so each rule applies to a group as it does to a
tensor. What a finer scale buys is read from the same sums: the squared errors of the groups, each
quantized with its own scale, add up to the slice's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from dashboard.calibration import Calibration, ConvCapture
from dashboard.calibration.gradients import GradientSums
from dashboard.calibration.histogram import Histogram, signal_to_noise_db
from dashboard.checkpoints import Checkpoint, ConvSlice
from dashboard.refusals import Refusal
from dashboard.rules.observers import CHANNEL_RULES, ScaleRule, amax
from kernels.int8 import scale_from_amax
from kernels.reference import causal_conv1d


@dataclass(frozen=True, eq=False)
class GroupScales:
    """A scale for each group of a slice's channels."""

    rule: ScaleRule | None  # None for scales that came from elsewhere
    group: np.ndarray  # (D,) int64, the group of each channel, from 0
    scales: np.ndarray  # (G,) float32, real units per code
    signal: float  # Σ y²
    error: float  # Σ (dequantized - y)²
    saturated: int
    total: int

    @property
    def per_channel(self) -> np.ndarray:
        """(D,) float32: each group's scale at each of its channels, as the kernel takes them."""
        return self.scales[self.group]

    @property
    def sqnr_db(self) -> float:
        """The SQNR of all groups together, each under its own scale, in decibels."""
        return float(signal_to_noise_db(self.signal, self.error))

    def as_dict(self) -> dict:
        """The measures that grouped scales change, under the names of the definitions."""
        return {
            "x_out_scale": self.scales.tolist(),
            "shape": [len(self.scales)],
            "saturation_rate": self.saturated / self.total,
            "top_code_utilization": None,
            "code_utilization": None,
            "effective_bits": None,
            "sqnr_db": self.sqnr_db,
            "best_alpha": None,
            "gain_db": None,
            "rounding_mse": None,
            "clipping_mse": None,
        }


def channel_outputs(capture: ConvCapture, conv_slice: ConvSlice) -> tuple[Histogram, ...]:
    """The histogram of y of each channel of a slice, over all batches: D of them."""
    x = capture.x[:, conv_slice.channels]
    y = F.silu(
        causal_conv1d(x, capture.weight[conv_slice.channels], capture.bias[conv_slice.channels])
    )
    return tuple(_exact(channel) for channel in y.transpose(0, 1))


def channel_gradients(capture: ConvCapture, conv_slice: ConvSlice) -> tuple[GradientSums, ...]:
    """Σ g² and Σ g of each channel of a slice, over all batches: D of them.

    Raises ValueError where the gradient was not kept.
    """
    if capture.gradient is None:
        raise ValueError(f"the gradient of layer {capture.layer} was not kept")
    x = capture.x[:, conv_slice.channels]
    y = F.silu(
        causal_conv1d(x, capture.weight[conv_slice.channels], capture.bias[conv_slice.channels])
    )
    gradient = capture.gradient[:, conv_slice.channels]
    tokens = y.shape[0] * (y.shape[2] - 1)  # the last of a batch has no next one
    return tuple(
        GradientSums.of(own, g, tokens)
        for own, g in zip(y.transpose(0, 1), gradient.transpose(0, 1), strict=True)
    )


def channels_of(
    calibration: Calibration, checkpoint: Checkpoint
) -> Callable[[int, int], tuple[Histogram, ...]]:
    """(layer, index of the slice) -> ``channel_outputs``, from the conv inputs that were kept."""
    return lambda layer, index: channel_outputs(
        calibration.capture(layer), checkpoint.slices[index]
    )


def channel_means(capture: ConvCapture, conv_slice: ConvSlice) -> np.ndarray:
    """(D,) float32: of each channel of a slice, the greatest mean |y| of a calibration batch.

    What Quamba2 sorts channels by, in its float16: y is rounded to it, and so is each mean.
    """
    x = capture.x[:, conv_slice.channels]
    y = F.silu(
        causal_conv1d(x, capture.weight[conv_slice.channels], capture.bias[conv_slice.channels])
    )
    return y.half().float().abs().mean(-1).half().float().amax(0).numpy()


def _exact(values: Tensor) -> Histogram:
    """As ``Histogram.of``, for few values: by sorting them, which beats 65,536 counters."""
    rounded = values.half().float().numpy().ravel() + np.float32(0.0)  # -0 + 0 = +0
    if not np.isfinite(rounded).all():
        return Histogram.of(values)  # which says what is wrong
    distinct, counts = np.unique(rounded, return_counts=True)
    return Histogram(distinct, counts.astype(np.int64))


def even_groups(channels: int, size: int) -> np.ndarray:
    """(D,) the group of each channel, ``size`` neighbours to a group; the last may be smaller.

    Raises Refusal for a size below 1.
    """
    if size < 1:
        raise Refusal("size is {size}; a group has at least one channel", size=size)
    return np.arange(channels) // size


def group_scales(outputs: Sequence[Histogram], group: np.ndarray, rule: ScaleRule) -> GroupScales:
    """Apply a rule to each group of channels.

    Args:
        outputs: from ``channel_outputs``, D of them.
        group: (D,) the group of each channel: 0 … G - 1, each with a channel at least.
        rule: symmetric, one of ``CHANNEL_RULES``.

    Raises Refusal for another rule, ValueError for groups that do not fit.
    """
    if rule.observer not in CHANNEL_RULES:
        raise Refusal(
            "{rule} is not defined for groups of channels; allowed are {rules}, symmetric",
            rule=rule.observer,
            rules=tuple(CHANNEL_RULES),
        )
    if not rule.symmetric:
        raise Refusal(
            "{rule}, asymmetric, is not defined for groups of channels; allowed are {rules}, "
            "symmetric",
            rule=rule.observer,
            rules=tuple(CHANNEL_RULES),
        )
    group = np.asarray(group)
    if group.shape != (len(outputs),) or set(group.tolist()) != set(range(int(group.max()) + 1)):
        raise ValueError(
            f"the groups of {len(outputs)} channels have shape {group.shape}; each channel needs "
            "one, numbered from 0 without a gap"
        )
    pooled = pooled_outputs(outputs, group)
    scales = [scale_from_amax(amax(rule, output)) for output in pooled]
    return _summed(pooled, rule, group, np.array(scales, dtype=np.float32))


def evaluate_scales(
    outputs: Sequence[Histogram], group: np.ndarray, scales: np.ndarray
) -> GroupScales:
    """What given scales make of the groups, wherever they come from.

    Args:
        outputs, group: as ``group_scales`` has them.
        scales: (G,) positive, real units per code.
    """
    return _summed(pooled_outputs(outputs, group), None, group, scales.astype(np.float32))


def pooled_outputs(outputs: Sequence[Histogram], group: np.ndarray) -> list[Histogram]:
    """Each group's histogram, the sum of its channels'; arguments as ``group_scales`` has them."""
    members: list[list[Histogram]] = [[] for _ in range(int(group.max()) + 1)]
    for output, number in zip(outputs, group.tolist(), strict=True):
        members[number].append(output)
    return [Histogram.sum(own) for own in members]


def _summed(
    pooled: Sequence[Histogram], rule: ScaleRule | None, group: np.ndarray, scales: np.ndarray
) -> GroupScales:
    """The groups' squared errors and counts, added up."""
    quantized = [output.quantize(scale) for output, scale in zip(pooled, scales, strict=True)]
    return GroupScales(
        rule,
        group,
        scales,
        signal=sum(one.signal for one in quantized),
        error=sum(float(one.rounding_sse + one.clipping_sse) for one in quantized),
        saturated=sum(int(one.saturated) for one in quantized),
        total=sum(output.total for output in pooled),
    )
