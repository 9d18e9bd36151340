"""Chosen output scales -> entries of a Quamba checkpoint, in its own names, shapes and types.

docs/quamba.md says what each entry is. A scale of the convolution's output stands there at least
twice, since the scan reads what the convolution writes: all places are written together, or the
checkpoint would contradict itself. Scales of inputs are left alone: in_proj has them folded into
its own. What the format has no place for is refused: a zero point, and scales for groups that are
not the checkpoint's.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dashboard.analysis.budget import BudgetPlan
from dashboard.analysis.health import float_groups, order_of
from dashboard.analysis.report import LayerReport
from dashboard.calibration import LayerCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import Checkpoint, StoredLayer
from dashboard.messages import Message
from dashboard.refusals import Refusal
from dashboard.rules.channels import CHANNEL_RULES, group_scales
from dashboard.rules.grouping import CHANNEL_GROUPS, HEAD_GROUPS
from dashboard.rules.observers import ScaleRule, output_scale

Entries = dict[str, Tensor | float]


def refusal(rule: ScaleRule) -> Message | None:
    """Why scales by a rule have no place in a Quamba checkpoint; None where they have one."""
    if not rule.symmetric:
        return Message(
            "Quamba's checkpoints have no place for a zero point: asymmetric scales leave as JSON "
            "or CSV alone."
        )
    return None


def scale_entries(reports: Sequence[LayerReport], n_groups: int | None) -> Entries:
    """One scale for each slice, as entries that go into a checkpoint's state dict.

    Mamba-2's mixers hold (G, 4, 4) scales for x and (G,) for B and C: each is filled with the one
    scale, so that the checkpoint's own groups do not matter. Mamba-1's are those of W4A8; a W8A8
    x_proj has the scale folded into a product, and wants ``replaced``.

    Args:
        n_groups: SSD groups, None for Mamba-1.

    Raises Refusal for asymmetric scales, and for groups.
    """
    entries: Entries = {}
    for report in reports:
        if reason := refusal(report.slices[0].chosen.rule):
            raise Refusal(reason)
        if report.finer:
            raise Refusal("scales of neighbouring channels are no groups of Quamba's")
        for slice_report in report.slices:
            scale = slice_report.chosen.x_out_scale
            entries |= _one_scale(report.layer, slice_report.name, scale, n_groups)
    return entries


def plan_entries(plan: BudgetPlan, n_groups: int | None) -> Entries:
    """The scales of a plan, as ``scale_entries`` writes those of a rule.

    Raises Refusal, naming the layer, for zero points and for more than one scale a slice.
    """
    entries: Entries = {}
    for option in plan.options:
        for own in option.quantization.slices:
            if own.zero_point or own.scale_out.shape != ():
                raise Refusal(
                    "layer {layer} has zero points, or scales of single channels or groups of "
                    "them, for which Quamba's checkpoints have no place",
                    layer=option.layer,
                )
            scale = float(own.scale_out)
            entries |= _one_scale(option.layer, own.conv_slice.name, scale, n_groups)
    return entries


def _one_scale(layer: int, name: str, x_out_scale: float, n_groups: int | None) -> Entries:
    """A slice's one scale at every place that holds it."""
    prefix = f"backbone.layers.{layer}.mixer."
    scale = float(np.float32(x_out_scale))
    if n_groups is None:
        copies = {prefix + place: torch.tensor(scale) for place in MAMBA1_COPIES}
        return {f"{prefix}conv1d.output_scale": scale, **copies}
    groups = (HEAD_GROUPS, CHANNEL_GROUPS) if name == "x" else ()
    return {
        prefix + place: torch.full((n_groups, *groups), scale) for place in _mamba2_places(name)
    }


MAMBA1_COPIES = ("selective_scan.u_scale", "x_proj.input_scale")


def _mamba2_places(name: str) -> tuple[str, str]:
    """Where the scales of a slice's output stand: the convolution's, and the scan's input."""
    copy = "x_scales" if name == "x" else f"{name}_scale"
    return f"conv1d.{name}_out_scales", f"qchunk_scan.{copy}"


def replaced(
    state: Mapping[str, object],
    quantized: Checkpoint,
    model: Checkpoint,
    layers: Sequence[LayerCalibration],
    outputs: Callable[[int, int], Sequence[Histogram]],
    rule: ScaleRule,
) -> Entries:
    """Entries that give a checkpoint's own groups the scales of a rule, layer by layer.

    Args:
        state: the quantized checkpoint's state dict.
        model: the float checkpoint that it was made of.
        layers: calibrated layers of ``model``; those that are stored are replaced.
        outputs: (layer, index of the slice) -> each channel's histogram.

    Raises Refusal for a rule that its groups cannot have, and for another model's weights.
    """
    if reason := refusal(rule):
        raise Refusal(reason)
    entries: Entries = {}
    for counted in layers:
        if counted.layer not in quantized.stored_layers:
            continue
        stored = quantized.stored_layer(counted.layer)
        order = order_of(quantized, stored, model)
        prefix = _prefix(quantized, stored)
        for i, (stored_slice, own) in enumerate(zip(stored.slices, counted.slices, strict=True)):
            scales = stored_slice.out_scales.copy().ravel()
            if scales.size == 1:
                scales[0] = output_scale(rule, own).scale
            else:
                if rule.observer not in CHANNEL_RULES:
                    raise Refusal(
                        "{rule} is not defined for groups of channels, which layer {layer} has; "
                        "allowed are {rules}",
                        rule=rule.observer,
                        layer=counted.layer,
                        rules=tuple(CHANNEL_RULES),
                    )
                present, group = np.unique(float_groups(stored_slice, order), return_inverse=True)
                scales[present] = group_scales(outputs(counted.layer, i), group, rule).scales
            entries |= _placed(state, prefix, stored, stored_slice.name, scales)
    return entries


def _prefix(quantized: Checkpoint, stored: StoredLayer) -> str:
    mixers = quantized.architecture.quantized_mixers[stored.layer]
    name = next(name for name, mixer in mixers.items() if mixer == stored.mixer)
    return f"backbone.layers.{stored.layer}.mixer{f's.{name}' if name else ''}."


def _placed(
    state: Mapping[str, object], prefix: str, stored: StoredLayer, name: str, scales: np.ndarray
) -> Entries:
    """A slice's scales at every place that holds them, in the kind and shape that lie there."""
    is_mamba1 = len(stored.slices) == 1
    places = ("conv1d.output_scale", *MAMBA1_COPIES) if is_mamba1 else _mamba2_places(name)
    entries: Entries = {}
    for place in places:
        entry = state.get(prefix + place)
        if isinstance(entry, Tensor):
            values = torch.from_numpy(scales.astype(np.float32))
            entries[prefix + place] = values.reshape(entry.shape).to(entry.dtype)
        elif isinstance(entry, float):
            entries[prefix + place] = float(scales[0])
    factor = float(scales[0]) / float(stored.slices[0].out_scales.ravel()[0])
    for place in ("x_proj.a", "x_proj.alpha") if is_mamba1 else ():
        entry = state.get(prefix + place)  # of W8A8: the scale that x_proj reads, over its own
        if isinstance(entry, Tensor | float):
            entries[prefix + place] = entry * factor
    return entries


def as_bytes(entries: Mapping[str, object]) -> bytes:
    """A state dict as ``torch.save`` writes it: what Quamba's loader reads, plain numbers too."""
    written = io.BytesIO()
    torch.save(dict(entries), written)
    return written.getvalue()
