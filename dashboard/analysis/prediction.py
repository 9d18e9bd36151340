"""Counted gradients and scales -> what INT8 in those layers is predicted to cost, in nats.

The prediction is of ``output`` quantization: how y is rounded depends on y's value alone, which is
what was counted. What rounding x and the weights adds is not in it. Slices and layers are added up,
as if their errors were independent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.health import check_same_model, float_groups, order_of
from dashboard.analysis.quantized_forward import (
    Choose,
    LayerQuantization,
    SliceQuantization,
    chosen_slices,
    quantize_layer,
    quantize_slices,
    wanted_slices,
)
from dashboard.calibration import Calibration, ConvCapture, LayerCalibration, SliceScales
from dashboard.calibration.gradients import GradientSums
from dashboard.checkpoints import Checkpoint, ConvSlice, StoredSlice
from dashboard.formats import NumberFormat
from dashboard.refusals import Refusal
from dashboard.rules.channels import (
    channel_gradients,
    channel_outputs,
    even_groups,
    group_scales,
)
from dashboard.rules.observers import ScaleRule


@dataclass(frozen=True, eq=False)
class PlannedLayer:
    """Scales for one layer, and what they are predicted to cost by themselves."""

    quantization: LayerQuantization
    predicted_nats: float | None  # None where no gradients were counted

    @property
    def layer(self) -> int:
        """The model's own number of the layer."""
        return self.quantization.layer


def plan_layers(
    checkpoint: Checkpoint,
    calibration: Calibration,
    rule: ScaleRule,
    names: Collection[str] | None = None,
    group_size: int | None = None,
    number_format: NumberFormat | None = None,
) -> dict[int, PlannedLayer]:
    """Every calibrated layer under a rule, by its number.

    Args:
        names: the slices to quantize; None means all.
        group_size: neighbouring channels to a scale, for which ``calibration`` has to hold the
            captures; None gives a scale to each slice.
        number_format: of the output; None is INT8. Groups of channels have no other.

    Raises ValueError for a name that is no slice's, and for a rule that has no groups.
    """
    planned = {}
    for counted in calibration.layers:
        capture = None
        if group_size is None:
            layer = quantize_layer(counted, checkpoint.slices, rule, names, number_format)
        else:
            capture = calibration.capture(counted.layer)
            layer = quantize_groups(counted, checkpoint.slices, rule, capture, group_size, names)
        planned[counted.layer] = PlannedLayer(layer, predict_layer(counted, layer, capture))
    return planned


def plan_slices(
    checkpoint: Checkpoint,
    calibration: Calibration,
    choose: Choose,
    names: Collection[str] | None = None,
) -> dict[int, PlannedLayer]:
    """Every calibrated layer, each slice with the scale, or the points, that ``choose`` gives it.

    ``names`` and errors as of ``plan_layers``.
    """
    planned = {}
    for counted in calibration.layers:
        layer = quantize_slices(counted, checkpoint.slices, choose, names)
        planned[counted.layer] = PlannedLayer(layer, predict_layer(counted, layer))
    return planned


def check_calibrated_on(checkpoint: Checkpoint, calibration: Calibration) -> None:
    """Raise Refusal where a calibration, as of a file, is not of this checkpoint's weights."""
    names = [conv_slice.name for conv_slice in checkpoint.slices]
    for counted in calibration.layers:
        fits = counted.layer in checkpoint.layers and [s.name for s in counted.slices] == names
        if fits:
            weight = checkpoint.conv(counted.layer).weight
            fits = all(
                own.w_amax == float(weight[conv_slice.channels].abs().max())
                for conv_slice, own in zip(checkpoint.slices, counted.slices, strict=True)
            )
        if not fits:
            raise Refusal(
                "layer {layer} of the calibration of {calibrated} has not the weights of {model}",
                layer=counted.layer,
                calibrated=calibration.origin.checkpoint,
                model=checkpoint.name,
            )


def stored_quantizations(
    quantized: Checkpoint, checkpoint: Checkpoint, names: Collection[str] | None = None
) -> dict[int, LayerQuantization]:
    """The scales that a quantized checkpoint stores, by layer, to run its float model with.

    Args:
        quantized: with stored scales; groups of channels are put into the float model's order.
        checkpoint: the float model that it was made of.
        names: the slices to quantize; None means all.

    Raises Refusal where the two are not one model, ValueError for a name that is no slice's.
    """
    check_same_model(quantized, checkpoint)
    wanted = wanted_slices(checkpoint.slices, names)
    layers = {}
    for stored in quantized.stored:
        order = order_of(quantized, stored, checkpoint)
        slices = tuple(
            SliceQuantization(own.conv_slice, _input_scales(own), _output_scales(own, order))
            for own in stored.slices
            if own.name in wanted
        )
        layers[stored.layer] = LayerQuantization(stored.layer, slices)
    return layers


def _input_scales(stored: StoredSlice) -> SliceScales:
    # Without a bias there is no scale of it, and any rounds a bias of 0 to 0.
    return SliceScales(stored.x_scale, stored.w_scale, stored.b_scale or 1.0)


def _output_scales(stored: StoredSlice, order: np.ndarray) -> np.ndarray:
    """One scale, or each channel's in the float model's order."""
    scales = stored.out_scales.ravel().astype(np.float32)
    return scales.reshape(()) if len(scales) == 1 else scales[float_groups(stored, order)]


def quantize_groups(
    counted: LayerCalibration,
    conv_slices: Sequence[ConvSlice],
    rule: ScaleRule,
    capture: ConvCapture,
    group_size: int,
    names: Collection[str] | None = None,
) -> LayerQuantization:
    """A scale for each ``group_size`` neighbouring channels; 1 gives each channel its own.

    Arguments and errors as of ``quantize_layer`` and ``channels.group_scales``.
    """
    slices = []
    for conv_slice, own in chosen_slices(counted, conv_slices, names):
        groups = even_groups(conv_slice.width, group_size)
        scales = group_scales(channel_outputs(capture, conv_slice), groups, rule)
        slices.append(SliceQuantization(conv_slice, own.scales, scales.per_channel))
    return LayerQuantization(counted.layer, tuple(slices))


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
        own = next(known for known in counted.slices if known.name == entry.conv_slice.name)
        if own.gradients is None:
            return None
        if entry.codebook is not None:
            total += entry.codebook.predicted_nats(own.gradients)
            continue
        if entry.scale_out.shape == ():
            total += float(own.gradients.predicted_nats(entry.scale_out, entry.zero_point))
            continue
        if capture is None:
            raise ValueError(
                f"layer {counted.layer} has scales of single channels; to predict their cost its "
                "conv input and gradient have to be kept"
            )
        total += predict_groups(
            channel_gradients(capture, entry.conv_slice), entry.scale_out, entry.zero_point
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
