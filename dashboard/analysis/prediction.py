"""Counted gradients and scales -> what INT8 in those layers is predicted to cost, in nats.

The prediction is of ``output`` quantization: how y is rounded depends on y's value alone, which is
what was counted. What rounding x and the weights adds is not in it. Slices and layers are added up,
as if their errors were independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.quantized_forward import LayerQuantization
from dashboard.calibration import Calibration, ConvCapture, LayerCalibration
from dashboard.calibration.gradients import GradientSums
from dashboard.rules.channels import channel_gradients


def predicted_nats(
    calibration: Calibration, quantizations: Sequence[LayerQuantization]
) -> float | None:
    """What these layers are predicted to cost together; None where no gradients were counted.

    Where a layer has scales of single channels or groups, ``calibration`` has to hold its capture.
    """
    costs = [
        predict_layer(calibration.layer(entry.layer), entry, _capture(calibration, entry.layer))
        for entry in quantizations
    ]
    known = [cost for cost in costs if cost is not None]
    return float(sum(known)) if len(known) == len(costs) else None


def _capture(calibration: Calibration, layer: int) -> ConvCapture | None:
    captures = [capture for capture in calibration.captures if capture.layer == layer]
    return captures[0] if captures else None


def predict_layer(
    counted: LayerCalibration, quantization: LayerQuantization, capture: ConvCapture | None = None
) -> float | None:
    """What one layer is predicted to cost by itself; None where no gradients were counted.

    Args:
        capture: of the layer, with its gradient: for scales of single channels or groups.

    Raises ValueError where such scales come without it.
    """
    total = 0.0
    for entry in quantization.slices:
        own = next(part for part in counted.slices if part.name == entry.part.name)
        if own.gradients is None:
            return None
        if entry.scale_out.shape == ():
            total += float(own.gradients.predicted_nats(entry.scale_out, entry.zero_point))
            continue
        if capture is None:
            raise ValueError(
                f"layer {counted.layer} has scales of single channels; to predict their cost its "
                "conv input and gradient have to be kept"
            )
        total += predict_groups(
            channel_gradients(capture, entry.part), entry.scale_out, entry.zero_point
        )
    return total


def predict_groups(
    channels: Sequence[GradientSums], scale_out: np.ndarray, zero_point: int = 0
) -> float:
    """What scales of single channels are predicted to cost: (D,) scales, D channels' sums.

    Channels of one scale are added up first.
    """
    total = 0.0
    for scale in np.unique(scale_out):
        group = [sums for sums, own in zip(channels, scale_out, strict=True) if own == scale]
        merged = GradientSums.merge(group, group[0].tokens)
        total += float(merged.predicted_nats(scale, zero_point))
    return total
