"""A budget in nats -> the cheapest scales that keep to it, layer by layer.

Finer scales and zero points cost something, too: room in the checkpoint, and work in the kernel
that reads the codes. So each layer can be quantized in four ways, cheapest first (``KINDS``), and
the plan sought has as few layers as can be with a scale for each channel; of those
plans, as few as can be with a scale for each group; of those, as few as can be with a zero point;
and of those the least predicted cost. Predictions add up over layers, so the search is exact: the
least total for each number of layers of each kind, built up layer by layer. What a prediction does
not see (``calibration.gradients``) it does not see here either, so a plan is confirmed by a
measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.prediction import predict_groups
from dashboard.analysis.quantized_forward import (
    LayerQuantization,
    SliceQuantization,
    chosen_slices,
)
from dashboard.calibration import (
    Calibration,
    CalibrationError,
    ConvCapture,
    LayerCalibration,
    SliceCalibration,
)
from dashboard.calibration.gradients import GradientSums
from dashboard.checkpoints import Checkpoint, ConvSlice
from dashboard.rules.channels import (
    channel_gradients,
    channel_outputs,
    even_groups,
    group_scales,
)
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule, output_scale

# One symmetric scale a slice; one with a zero point; one a group of channels; one a channel.
KINDS = ("tensor", "asymmetric", "groups", "channels")
WHOLE_SLICE = KINDS[:2]  # those that counted slices are enough for
GROUP_SIZE = 32  # neighbouring channels to a scale, where a model has no heads


@dataclass(frozen=True, eq=False)
class LayerOption:
    """One way to quantize a layer, and what it is predicted to cost by itself."""

    kind: str  # one of KINDS
    quantization: LayerQuantization
    rules: Mapping[str, ScaleRule]  # by the slice's name: what chose its scales
    predicted_nats: float

    @property
    def layer(self) -> int:
        """The layer's number in the model."""
        return self.quantization.layer


@dataclass(frozen=True, eq=False)
class BudgetPlan:
    """Which way for which layer, the cheapest that is predicted to keep to the budget.

    Where none is, each layer has the way that is predicted to cost least, and ``fits`` is false.
    """

    budget_nats: float
    options: tuple[LayerOption, ...]  # one a layer, ascending
    fits: bool

    @property
    def predicted_nats(self) -> float:
        """What all layers together are predicted to cost."""
        return float(sum(option.predicted_nats for option in self.options))

    def layers_of(self, kind: str) -> tuple[int, ...]:
        """The layers that are quantized in one of the ``KINDS``."""
        return tuple(option.layer for option in self.options if option.kind == kind)


def layer_options(
    counted: LayerCalibration,
    conv_slices: Sequence[ConvSlice],
    capture: ConvCapture | None,
    kinds: Sequence[str] = KINDS,
    group_size: int = GROUP_SIZE,
    names: Sequence[str] | None = None,
) -> tuple[LayerOption, ...]:
    """Every way in which one layer can be quantized, cheapest first.

    Within a kind each slice has, of a few rules, the one that is predicted to cost least.

    Args:
        counted: of the layer, with gradients.
        conv_slices: the checkpoint's slices.
        capture: the layer's conv input and gradient; needed for groups and channels.
        kinds: which of ``KINDS``.
        group_size: neighbouring channels to a scale.
        names: the slices to quantize; None means all.

    Raises CalibrationError where no gradients were counted, ValueError for another kind, and where
    the capture is wanting.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"kind is {unknown[0]!r}; allowed are {', '.join(KINDS)}")
    made = [kind for kind in KINDS if kind in kinds]
    if capture is None and not set(made) <= set(WHOLE_SLICE):
        raise ValueError(f"layer {counted.layer}: groups and channels need its conv input")
    options = []
    for kind in made:
        slices, rules, total = [], {}, 0.0
        for conv_slice, own in chosen_slices(counted, conv_slices, names):
            if own.gradients is None:
                raise CalibrationError(
                    "layer {layer} has no counted gradients; a budget is kept by predictions, "
                    "which need them",
                    layer=counted.layer,
                )
            if kind in WHOLE_SLICE:
                chosen, rule, cost = _whole_slice(conv_slice, own, own.gradients, kind == "tensor")
            else:
                assert capture is not None  # checked above
                size = 1 if kind == "channels" else group_size
                chosen, rule, cost = _in_groups(conv_slice, own, capture, size)
            slices.append(chosen)
            rules[conv_slice.name] = rule
            total += cost
        quantization = LayerQuantization(counted.layer, tuple(slices))
        options.append(LayerOption(kind, quantization, rules, total))
    return tuple(options)


def options_of(
    checkpoint: Checkpoint,
    calibration: Calibration,
    kinds: Sequence[str] = KINDS,
    names: Sequence[str] | None = None,
) -> dict[int, tuple[LayerOption, ...]]:
    """``layer_options`` of every calibrated layer; a group is a head, where there are heads."""
    captures = {capture.layer: capture for capture in calibration.captures}
    group_size = checkpoint.architecture.head_dim or GROUP_SIZE
    return {
        counted.layer: layer_options(
            counted,
            checkpoint.slices,
            captures.get(counted.layer),
            kinds,
            group_size,
            names,
        )
        for counted in calibration.layers
    }


Choice = tuple[SliceQuantization, ScaleRule, float]


def _whole_slice(
    conv_slice: ConvSlice, own: SliceCalibration, gradients: GradientSums, symmetric: bool
) -> Choice:
    """One scale for the slice: the best α by predicted loss, or least squared error or MinMax."""
    best = Landscape.of(own.silu_output, symmetric=symmetric, gradients=gradients).best_rule
    rules = [best, *(ScaleRule(name, symmetric=symmetric) for name in ("minmax", "mse"))]

    def choice(rule: ScaleRule) -> Choice:
        scale = output_scale(rule, own)
        quantization = SliceQuantization(
            conv_slice, own.scales, np.asarray(scale.scale, np.float32), scale.zero_point
        )
        return quantization, rule, float(gradients.predicted_nats(scale.scale, scale.zero_point))

    return min((choice(rule) for rule in rules), key=_cost)


def _in_groups(
    conv_slice: ConvSlice, own: SliceCalibration, capture: ConvCapture, size: int
) -> Choice:
    """A scale for each ``size`` channels: MinMax, or least squared error where there are few."""
    groups = even_groups(conv_slice.width, size)
    outputs = channel_outputs(capture, conv_slice)
    sums = channel_gradients(capture, conv_slice)
    rules = [ScaleRule("minmax")] if size == 1 else [ScaleRule("minmax"), ScaleRule("mse")]

    def choice(rule: ScaleRule) -> Choice:
        scales = group_scales(outputs, groups, rule).per_channel
        quantization = SliceQuantization(conv_slice, own.scales, scales)
        return quantization, rule, predict_groups(sums, scales)

    return min((choice(rule) for rule in rules), key=_cost)


def _cost(choice: Choice) -> float:
    return choice[2]


def choose(options: Mapping[int, Sequence[LayerOption]], budget_nats: float) -> BudgetPlan:
    """The cheapest plan that is predicted to keep to a budget.

    Args:
        options: of each layer, from ``layer_options``.
        budget_nats: above 0; what all layers together may cost, in nats of KL a token.

    Raises ValueError for a budget that is not above 0, and for no layer.
    """
    if not budget_nats > 0:
        raise ValueError(f"budget_nats is {budget_nats}; it must be above 0")
    if not options:
        raise ValueError("there is no layer to plan for")
    layers = sorted(options)
    totals, made = _least_totals([options[layer] for layer in layers])
    within = np.argwhere(totals <= budget_nats)  # in lexicographic order: fewest channels first
    if not len(within):
        best = tuple(min(options[layer], key=lambda o: o.predicted_nats) for layer in layers)
        return BudgetPlan(budget_nats, best, False)
    counts = tuple(within[0].tolist())
    chosen: list[LayerOption] = []
    for i in reversed(range(len(layers))):
        option = options[layers[i]][made[i][counts]]
        chosen.append(option)
        counts = _without(counts, option.kind)
    return BudgetPlan(budget_nats, tuple(reversed(chosen)), True)


def _least_totals(options: Sequence[Sequence[LayerOption]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The least predicted total for each number of layers of each kind, and how it came about.

    Returns totals (L + 1, L + 1, L + 1), indexed by how many layers have channels, groups and a
    zero point (the rest are "tensor"), infinite where that cannot be; and for each layer, of the
    same shape, which of its options was taken there.
    """
    size = len(options) + 1
    totals = np.full((size, size, size), np.inf)
    totals[0, 0, 0] = 0.0
    made = []
    for own in options:
        reached = np.full_like(totals, np.inf)
        taken = np.zeros(totals.shape, np.int8)  # a layer has few options
        for number, option in enumerate(own):
            moved = _moved(totals, option.kind) + option.predicted_nats
            better = moved < reached
            reached[better], taken[better] = moved[better], number
        totals = reached
        made.append(taken)
    return totals, made


AXES = ("channels", "groups", "asymmetric")  # of the totals: the dearest first


def _moved(totals: np.ndarray, kind: str) -> np.ndarray:
    """Totals with one layer more of a kind."""
    if kind not in AXES:
        return totals
    axis = AXES.index(kind)
    moved = np.roll(totals, 1, axis)
    moved[(slice(None),) * axis + (0,)] = np.inf
    return moved


def _without(counts: tuple[int, ...], kind: str) -> tuple[int, ...]:
    return tuple(count - (kind == axis) for count, axis in zip(counts, AXES, strict=True))
