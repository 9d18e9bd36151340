"""A quantized checkpoint -> is each of its scales sound, and would this project have chosen it?

Two examinations. *Inspection* needs the checkpoint alone: a scale must be readable and positive,
equal to its copies, in a plausible ratio to the other layers', within reach of the convolution that
it quantizes, and of the kind that its observer leaves. *Evaluation* takes the float model and a
text as well: which rule and which α come nearest to each stored scale, what it saturates and loses,
and what the best scale, in the same groups, would gain.

The bounds are this project's own, and wide: they are to catch what is wrong, not what is debatable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dashboard.analysis.report import SILU_MIN, format_alpha
from dashboard.calibration import Calibration, LayerCalibration, SliceCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import Checkpoint, ConvWeights, StoredLayer, StoredSlice
from dashboard.rules.channels import evaluate_scales, group_scales, pooled_outputs
from dashboard.rules.observers import ALPHA_RULES, PUBLISHED_ALPHAS, ScaleRule, amax
from kernels.int8 import QMAX, QMIN, scale_from_amax

LEAST_MAXIMUM = 1e-5  # Quamba's observers and weights never take less
SAME_RATIO = 0.01  # scales within one per cent are a named rule's
NEIGHBOURS_RATIO = 16.0  # from the layers' median: 4 of 8 bits
FEWEST_NEIGHBOURS = 3
MOST_LOST_DB = 10.0  # ten times the squared error that the best scale makes
INPUT_RATIO = 4.0  # of the stored input scale and the text's: two bits


@dataclass(frozen=True)
class SliceEvaluation:
    """One slice's stored output scales beside the float model's outputs on a text.

    ``nearest`` is the rule whose scales, in the same groups, are nearest on average in the
    logarithm; ``ratio`` is the geometric mean of stored over its. ``alpha`` is the share of |y|
    that the stored scales reach.
    """

    name: str
    nearest: ScaleRule
    ratio: float
    alpha: float
    sqnr_db: float
    saturation_rate: float
    best_db: float  # by least squared error in the same groups
    input_ratio: float  # stored input scale over max|x| / 127 on the text

    @property
    def gain_db(self) -> float:
        """What the best scales have over the stored ones; 0 where neither makes an error."""
        return 0.0 if self.best_db == self.sqnr_db else self.best_db - self.sqnr_db


@dataclass(frozen=True)
class LayerHealth:
    """What was found of one layer: faults are wrong, remarks are worth knowing."""

    layer: int
    mixer: str
    faults: tuple[str, ...]
    remarks: tuple[str, ...]
    evaluations: tuple[SliceEvaluation, ...] = ()


@dataclass(frozen=True)
class Health:
    """Every layer of a quantized checkpoint, what was examined, and what it was held against."""

    checkpoint: str
    layers: tuple[LayerHealth, ...]
    examined: tuple[str, ...]  # what holds of every layer that has no fault
    against: str | None = None  # the float checkpoint and the text

    @property
    def is_sound(self) -> bool:
        return not any(layer.faults for layer in self.layers)


def inspect(checkpoint: Checkpoint) -> Health:
    """Examine a checkpoint by itself.

    Args:
        checkpoint: quantized; read with ``tolerant``, so that unusable layers are told, too.

    Raises ValueError for one that is not quantized.
    """
    if not checkpoint.is_quantized:
        raise ValueError(f"{checkpoint.path} is not quantized: it stores no scales to check")
    found = [LayerHealth(f.layer, "", (f.sentence,), ()) for f in checkpoint.faults]
    medians = _medians(checkpoint.stored)
    for layer in checkpoint.stored:
        faults = [
            *_copies(layer), *_neighbours(layer, medians), *_weights(layer), *_reach(layer)
        ]  # fmt: skip
        remarks = list(_kinds(layer))
        if not layer.copies:
            remarks.append("no other module repeats its scales, as the scan's entries do")
        found.append(LayerHealth(layer.layer, layer.mixer, tuple(faults), tuple(remarks)))
    known = {layer.layer for layer in found}
    mixers = checkpoint.architecture.quantized_mixers
    for conv in checkpoint.convs:
        if conv.layer not in known:
            mixer = next(iter(mixers[conv.layer].values()))
            remark = "float convolution: its activations have 16 bits and no scale"
            found.append(LayerHealth(conv.layer, mixer, (), (remark,)))
    examined = []
    if checkpoint.stored:
        examined.append("every scale finite and within the convolution's reach")
    if any(layer.copies for layer in checkpoint.stored):
        examined.append("equal to its copies")
    if medians:
        examined.append("of one order over the layers")
    ordered = tuple(sorted(found, key=lambda layer: layer.layer))
    return Health(checkpoint.name, ordered, tuple(examined))


def _copies(layer: StoredLayer) -> list[str]:
    return [f"{copy.name} is not {copy.copy}" for copy in layer.mismatches]


def _named_scales(layer: StoredLayer) -> dict[str, float]:
    """One number a scale; of several their geometric mean."""
    found: dict[str, float] = {}
    for part in layer.slices:
        out = float(np.exp(np.log(part.out_scales.astype(np.float64)).mean()))
        scales = {"input": part.x_scale, "weight": part.w_scale, "bias": part.b_scale,
                  "output": out}  # fmt: skip
        found |= {f"{part.name}: {kind} scale": s for kind, s in scales.items() if s is not None}
    return found


def _medians(layers: Sequence[StoredLayer]) -> Mapping[str, float]:
    """Of each scale over the layers; empty where there are too few to compare."""
    if len(layers) < FEWEST_NEIGHBOURS:
        return {}
    named = [_named_scales(layer) for layer in layers]
    keys = dict.fromkeys(key for scales in named for key in scales)
    return {key: float(np.median([s[key] for s in named if key in s])) for key in keys}


def _neighbours(layer: StoredLayer, medians: Mapping[str, float]) -> list[str]:
    return [
        f"{key} {scale:.4g} is {max(scale / medians[key], medians[key] / scale):.3g} times "
        f"{'above' if scale > medians[key] else 'below'} the layers' median"
        for key, scale in _named_scales(layer).items()
        if key in medians and not 1 / NEIGHBOURS_RATIO <= scale / medians[key] <= NEIGHBOURS_RATIO
    ]


def _weights(layer: StoredLayer) -> list[str]:
    """A scale that is the maximum over 127 gives some weight the code 127 or -127.

    But where the maximum is below 1e-5, which Quamba puts in its place, or the scale so small that
    float16, in which Mamba-1's is divided, has no number near it.
    """
    found = []
    for part in layer.slices:
        kinds = [("weights", layer.weight_q, part.w_scale)]
        if layer.bias_q is not None and part.b_scale is not None:
            kinds.append(("biases", layer.bias_q, part.b_scale))
        for kind, codes, scale in kinds:
            largest = int(codes[part.part.channels].int().abs().max())
            step = float(np.spacing(np.float16(scale))) if len(layer.slices) == 1 else 0.0
            least = QMAX * (1 - step / (2 * scale)) - 0.5
            if scale > LEAST_MAXIMUM / QMAX * (1 + 2**-10) and largest < min(least, QMAX):
                found.append(
                    f"{part.name}: the largest code of its {kind} is {largest}, not {QMAX}"
                )
    return found


def _reach(layer: StoredLayer) -> list[str]:
    """No input can make more of the convolution than all its taps at full scale.

    Half a code of each weight and of the bias is allowed for their rounding.
    """
    taps = layer.weight_q.shape[1]
    weights = layer.weight_q.numpy().astype(np.float64)
    found = []
    for part in layer.slices:
        own = weights[part.part.channels]
        reach = (np.abs(own).sum(axis=1) + taps / 2) * -QMIN * part.x_scale * part.w_scale
        if layer.bias_q is not None and part.b_scale is not None:
            bias = layer.bias_q[part.part.channels].numpy().astype(np.float64)
            reach = reach + (np.abs(bias) + 0.5) * part.b_scale
        reach = np.maximum(reach, -SILU_MIN)  # SiLU never exceeds what goes in
        scales = part.out_scales.ravel().astype(np.float64)
        limit = np.zeros(len(scales))
        np.maximum.at(limit, part.out_group, reach)
        beyond = scales * QMAX > limit * (1 + 2**-10)
        beyond &= np.bincount(part.out_group, minlength=len(scales)) > 0
        if beyond.any():
            worst = float((scales[beyond] * QMAX / limit[beyond]).max())
            found.append(
                f"{part.name}: {int(beyond.sum())} of {len(scales)} output scales reach beyond all "
                f"that the convolution can give, up to {worst:.3g} times"
            )
    return found


def _kinds(layer: StoredLayer) -> tuple[str, ...]:
    """MinMax leaves the maxima of float16 activations; anything else was not chosen by it."""
    others = [
        part.name
        for part in layer.slices
        if part.rule == "minmax" and not np.all(_is_float16_maximum(part.out_scales))
    ]
    if not others:
        return ()
    return (
        f"{', '.join(others)}: output scales that MinMax of float16 activations does not leave",
    )


def _is_float16_maximum(scales: np.ndarray) -> np.ndarray:
    """Whether a float16 number, divided by 127 in float16 or in float32, gives each scale."""
    scales = scales.astype(np.float32)
    with np.errstate(over="ignore"):
        in_half = scales.astype(np.float16).astype(np.float32) == scales
        nearest = (scales * np.float32(QMAX)).astype(np.float16)
    return in_half | (nearest.astype(np.float32) / np.float32(QMAX) == scales)


def match_channels(stored: StoredLayer, conv: ConvWeights) -> np.ndarray | None:
    """Which channel of the float model each stored channel is: (D,) int64.

    Quamba2 lays the channels of x out anew and does not store the order, but the weights came
    along: a stored row of codes is a float channel's, quantized. Channels whose rows of codes are
    equal are taken in order. None where the rows are not those of this model.
    """
    order = np.arange(len(conv.weight))
    if stored.weight_q.shape != conv.weight.shape:
        return None
    if stored.bias_q is None and bool(conv.bias.any()):
        return None
    for part in stored.slices:
        own = part.part.channels
        codes = _rows(stored, own)
        floats = np.column_stack([
            conv.weight[own].numpy() / part.w_scale,
            conv.bias[own].numpy() / (part.b_scale or 1.0),
        ])[:, : codes.shape[1]]  # fmt: skip
        if not np.abs(codes - floats).max() <= 1:  # else in their own places
            found = _assign(codes, floats)
            if found is None:
                return None
            order[own] = part.part.start + found
    return order


def _rows(stored: StoredLayer, channels: slice) -> np.ndarray:
    """(width, W + 1) float64: weight codes and the bias's; (width, W) without a bias."""
    parts = [stored.weight_q[channels].numpy()]
    if stored.bias_q is not None:
        parts.append(stored.bias_q[channels].numpy()[:, None])
    return np.column_stack(parts).astype(np.float64)


def _assign(codes: np.ndarray, floats: np.ndarray) -> np.ndarray | None:
    """(n,) the float row of each row of codes, each used once; None where one is more than a code
    away: rounding alone moves it by half, in float16 by up to one."""
    places: dict[bytes, list[int]] = {}
    for i, row in enumerate(np.rint(floats).clip(QMIN, QMAX).astype(np.int8)):
        places.setdefault(row.tobytes(), []).append(i)
    found = np.full(len(codes), -1)
    for i, row in enumerate(codes.astype(np.int8)):
        if rest := places.get(row.tobytes()):
            found[i] = rest.pop(0)
    left = sorted(i for rest in places.values() for i in rest)
    for i in np.flatnonzero(found < 0).tolist():
        distances = np.abs(floats[left] - codes[i]).max(axis=1)
        nearest = int(np.argmin(distances))
        if distances[nearest] > 1:
            return None
        found[i] = left.pop(nearest)
    return found


def float_groups(part: StoredSlice, order: np.ndarray) -> np.ndarray:
    """(width,) int64: the index of its stored scale for each channel of the float model's slice."""
    group = np.empty(part.part.width, np.int64)
    group[order[part.part.channels] - part.part.start] = part.out_group
    return group


def _two_digits(alpha: float) -> float:
    """An α whose 1 − α has two digits, as every α that is offered has."""
    return 1 - float(f"{1 - alpha:.1e}")


def evaluate_slice(
    part: StoredSlice,
    counted: SliceCalibration,
    group: np.ndarray,
    outputs: Sequence[Histogram] | None = None,
) -> SliceEvaluation:
    """Hold one slice's stored scales against the float model's outputs.

    Args:
        counted: the slice's calibration.
        group: from ``float_groups``.
        outputs: of each channel, from ``channels.channel_outputs``; needed where there are groups.
    """
    if outputs is None:
        outputs, group = [counted.silu_output], np.zeros(1, np.int64)
    present, group = np.unique(group, return_inverse=True)  # a group may have no channel
    scales = part.out_scales.ravel()[present]
    # Pooled once: from here on each group is one output, under whatever rule.
    pooled = pooled_outputs(outputs, group)
    group = np.arange(len(pooled))
    stored = evaluate_scales(pooled, group, scales)
    candidates = {
        rule: group_scales(pooled, group, rule).scales
        for rule in (ScaleRule("minmax"), ScaleRule("mse"),
                     *(ScaleRule("percentile", alpha) for alpha in PUBLISHED_ALPHAS))
    }  # fmt: skip
    if len(scales) == 1:
        for rule in (*(ScaleRule("percentile-ema", a) for a in PUBLISHED_ALPHAS),
                     ScaleRule("entropy")):  # fmt: skip
            one = scale_from_amax(amax(rule, counted.silu_output, counted.batches))
            candidates[rule] = np.array([one], dtype=np.float32)
    within = sum(
        output.count_within(-QMAX * scale, QMAX * scale)
        for output, scale in zip(pooled, scales.tolist(), strict=True)
    )
    logs = {rule: np.log(scales.astype(np.float64) / own) for rule, own in candidates.items()}
    distances = {rule: float(np.abs(log).mean()) for rule, log in logs.items()}
    reached = _two_digits(within / stored.total)
    if min(distances.values()) > SAME_RATIO and 0 < reached < 1:
        rule = ScaleRule("percentile", reached)
        logs[rule] = np.log(scales / group_scales(pooled, group, rule).scales.astype(np.float64))
        distances[rule] = float(np.abs(logs[rule]).mean())
    nearest = min(distances, key=lambda rule: distances[rule])
    best = evaluate_scales(pooled, group, candidates[ScaleRule("mse")])
    return SliceEvaluation(
        name=part.name,
        nearest=nearest,
        ratio=float(np.exp(logs[nearest].mean())),
        alpha=within / stored.total,
        sqnr_db=stored.sqnr_db,
        saturation_rate=stored.saturated / stored.total,
        best_db=max(best.sqnr_db, stored.sqnr_db),
        input_ratio=part.x_scale / counted.scales.x_scale,
    )


def evaluate_layer(
    health: LayerHealth,
    stored: StoredLayer,
    conv: ConvWeights,
    counted: LayerCalibration,
    outputs: Mapping[str, Sequence[Histogram]],
) -> LayerHealth:
    """Add to an inspected layer what the float model says of it.

    Args:
        conv, counted: of the same layer of the float model.
        outputs: each channel's histograms, of the slices that have groups.
    """
    order = match_channels(stored, conv)
    if order is None:
        fault = "its weights are not those of the float model, quantized"
        return replace(health, faults=(*health.faults, fault))
    evaluations = tuple(
        evaluate_slice(part, own, float_groups(part, order), outputs.get(part.name))
        for part, own in zip(stored.slices, counted.slices, strict=True)
    )
    faults = list(health.faults)
    for found in evaluations:
        if found.gain_db > MOST_LOST_DB:
            faults.append(
                f"{found.name}: {found.sqnr_db:.2f} dB, {found.gain_db:.1f} less than the best "
                f"scale; {found.saturation_rate:.3g} of the values saturate"
            )
        if not 1 / INPUT_RATIO <= found.input_ratio <= INPUT_RATIO:
            faults.append(
                f"{found.name}: input scale {found.input_ratio:.3g} times max|x| / {QMAX} on the "
                "text"
            )
    return replace(health, faults=tuple(faults), evaluations=evaluations)


def evaluate(
    found: Health,
    quantized: Checkpoint,
    model: Checkpoint,
    calibration: Calibration,
    outputs: Callable[[int, int], Sequence[Histogram]],
) -> Health:
    """Evaluate every stored layer that a calibration of the float model has.

    Args:
        found: from ``inspect``, or from an earlier call for other layers.
        outputs: (layer, index of the slice) -> each channel's histogram; asked for slices that
            have several scales alone.

    Raises ValueError where the two models' convolutions have not the same slices.
    """
    check_same_model(quantized, model)
    origin = calibration.origin
    wanted = set(quantized.stored_layers) & {layer.layer for layer in calibration.layers}
    judged = []
    for layer in found.layers:
        number = layer.layer
        if number in wanted:
            stored = quantized.stored_layer(number)
            counted = {
                part.name: outputs(number, i)
                for i, part in enumerate(stored.slices)
                if part.out_scales.size > 1
            }
            layer = evaluate_layer(
                layer, stored, model.conv(number), calibration.layer(number), counted
            )
        judged.append(layer)
    against = f"{origin.checkpoint} on {origin.text}, {origin.batches} × {origin.seq_len} tokens"
    return replace(found, layers=tuple(judged), against=against)


def check_same_model(quantized: Checkpoint, model: Checkpoint) -> None:
    """Raises ValueError where a float model's layers or slices are not the quantized one's, or
    nothing is stored that it could judge."""
    if not quantized.stored:
        raise ValueError(
            f"{quantized.name} stores no scales, since its activations have 16 bits: there is "
            "nothing to hold against a float model"
        )
    if quantized.slices != model.slices or not set(quantized.layers) <= set(model.layers):
        raise ValueError(
            f"{model.name} has {model.n_layers} layers of {_widths(model)} channels, "
            f"{quantized.name} {quantized.n_layers} of {_widths(quantized)}: they are not one model"
        )


def _widths(checkpoint: Checkpoint) -> str:
    return " + ".join(str(part.width) for part in checkpoint.slices)


def document(health: Health) -> dict:
    """As ``check --format json`` writes it."""
    return {
        "checkpoint": health.checkpoint,
        "against": health.against,
        "sound": health.is_sound,
        "sentence": sentence(health),
        "layers": [
            {
                "layer": layer.layer,
                "mixer": layer.mixer,
                "faults": list(layer.faults),
                "remarks": list(layer.remarks),
                "slices": [
                    {
                        "slice": found.name,
                        "nearest": found.nearest.observer,
                        "nearest_alpha": found.nearest.alpha
                        if found.nearest.observer in ALPHA_RULES
                        else None,
                        "ratio": found.ratio,
                        "alpha": found.alpha,
                        "sqnr_db": found.sqnr_db,
                        "saturation_rate": found.saturation_rate,
                        "gain_db": found.gain_db,
                        "input_ratio": found.input_ratio,
                    }
                    for found in layer.evaluations
                ],
            }
            for layer in health.layers
        ],
    }


def rule_name(rule: ScaleRule) -> str:
    """A rule as the command line calls it, with α where it uses it."""
    uses_alpha = rule.observer in ALPHA_RULES
    return f"{rule.observer} {format_alpha(rule.alpha)}" if uses_alpha else rule.observer


def sentence(health: Health) -> str:
    """The whole model in one sentence."""
    wrong = [layer.layer for layer in health.layers if layer.faults]
    count = len(health.layers)
    if wrong:
        numbers = ", ".join(map(str, wrong[:8])) + (" …" if len(wrong) > 8 else "")
        words = f"{len(wrong)} of {count} layers have a fault: {numbers}"
    else:
        words = f"No fault in {count} layers: " + (
            ", ".join(health.examined) or "no scale is stored, every convolution is float"
        )
    judged = [(layer.layer, found) for layer in health.layers for found in layer.evaluations]
    if not judged:
        return f"{words}."
    labels = [rule_name(found.nearest) for _, found in judged]
    common = max(dict.fromkeys(labels), key=labels.count)
    layer, worst = max(judged, key=lambda pair: pair[1].gain_db)
    return (
        f"{words}; against {health.against}, {labels.count(common)} of {len(labels)} slices are "
        f"nearest to {common}, and the best scales would gain "
        f"{np.mean([found.gain_db for _, found in judged]):.2f} dB on average, at most "
        f"{worst.gain_db:.2f} dB (layer {layer}, {worst.name})."
    )


def rows(health: Health, name: str) -> list[dict]:
    """A row a layer for a table on a page: the evaluation of one slice, by its name."""
    found = []
    for layer in health.layers:
        judged = next((each for each in layer.evaluations if each.name == name), None)
        row: dict[str, object] = {
            "layer": layer.layer,
            "verdict": "fault" if layer.faults else "sound",
            "notes": "; ".join([*layer.faults, *layer.remarks]) or "–",
        }
        if health.against is not None:
            row |= {
                "nearest rule": rule_name(judged.nearest) if judged else "–",
                "stored / nearest": judged and judged.ratio,
                "reaches α": judged and judged.alpha,
                "saturation_rate": judged and judged.saturation_rate,
                "sqnr_db": judged and judged.sqnr_db,
                "best gains": judged and judged.gain_db,
                "input scale / text's": judged and judged.input_ratio,
            }
        found.append(row)
    return found


def as_table(health: Health) -> str:
    """The sentence, and a line a layer."""
    mixers = max(len(layer.mixer) for layer in health.layers)
    lines = [
        f"{layer.layer:>4}  {layer.mixer:<{mixers}}  {'FAULT' if layer.faults else 'ok   '}  "
        f"{line(layer)}".rstrip()
        for layer in health.layers
    ]
    return "\n".join([sentence(health), "", *lines, ""])


def line(layer: LayerHealth) -> str:
    """One layer in one line: what is wrong or worth knowing, then each slice's evaluation."""
    return "; ".join([*layer.faults, *layer.remarks, *map(_evaluation, layer.evaluations)])


def _evaluation(found: SliceEvaluation) -> str:
    return (
        f"{found.name} {found.ratio:.4g} × {rule_name(found.nearest)} (α {found.alpha:.6g}), "
        f"{found.sqnr_db:.2f} dB, best {found.gain_db:+.2f}"
    )
