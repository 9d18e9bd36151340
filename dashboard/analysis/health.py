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
from torch import Tensor

from dashboard.analysis.report import SILU_MIN, format_alpha
from dashboard.calibration import Calibration, LayerCalibration, SliceCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import Checkpoint, ConvWeights, StoredLayer, StoredSlice
from dashboard.messages import Message
from dashboard.refusals import Refusal
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
    """What was observed of one layer: faults are wrong, remarks are worth knowing."""

    layer: int
    mixer: str
    faults: tuple[Message, ...]
    remarks: tuple[Message, ...]
    evaluations: tuple[SliceEvaluation, ...] = ()


@dataclass(frozen=True)
class Health:
    """Every layer of a quantized checkpoint, what was examined, and what it was held against."""

    checkpoint: str
    layers: tuple[LayerHealth, ...]
    examined: tuple[Message, ...]  # what holds of every layer that has no fault
    against: Message | None = None  # the float checkpoint and the text

    @property
    def is_sound(self) -> bool:
        """Whether no fault was seen in any layer; remarks do not count."""
        return not any(layer.faults for layer in self.layers)


def inspect(checkpoint: Checkpoint) -> Health:
    """Examine a checkpoint by itself.

    Args:
        checkpoint: quantized; read with ``tolerant``, so that unusable layers are named, too.

    Raises Refusal for one that is not quantized.
    """
    if not checkpoint.is_quantized:
        raise Refusal("{path} is not quantized: it stores no scales to check", path=checkpoint.path)
    layers = [LayerHealth(f.layer, "", (f.sentence,), ()) for f in checkpoint.faults]
    medians = _medians(checkpoint.stored)
    for layer in checkpoint.stored:
        faults = [*_copies(layer), *_neighbours(layer, medians), *_weights(layer), *_reach(layer)]
        remarks = list(_kinds(layer))
        if not layer.copies:
            remarks.append(Message("no other module repeats its scales, as the scan's entries do"))
        layers.append(LayerHealth(layer.layer, layer.mixer, tuple(faults), tuple(remarks)))
    known = {layer.layer for layer in layers}
    mixers = checkpoint.architecture.quantized_mixers
    for conv in checkpoint.convs:
        if conv.layer not in known:
            mixer = next(iter(mixers[conv.layer].values()))
            remark = Message("float convolution: its activations have 16 bits and no scale")
            layers.append(LayerHealth(conv.layer, mixer, (), (remark,)))
    examined = []
    if checkpoint.stored:
        examined.append(Message("every scale finite and within the convolution's reach"))
    if any(layer.copies for layer in checkpoint.stored):
        examined.append(Message("equal to its copies"))
    if medians:
        examined.append(Message("of one order over the layers"))
    ordered = tuple(sorted(layers, key=lambda layer: layer.layer))
    return Health(checkpoint.name, ordered, tuple(examined))


def _copies(layer: StoredLayer) -> list[Message]:
    return [
        Message("{entry} is not {copy}", entry=copy.name, copy=copy.copy)
        for copy in layer.mismatches
    ]


def _named_scales(layer: StoredLayer) -> dict[Message, float]:
    """One number a scale; of several their geometric mean."""
    scales: dict[Message, float] = {}
    for stored in layer.slices:
        name = stored.name
        scales[Message("{slice}: input scale", slice=name)] = stored.x_scale
        scales[Message("{slice}: weight scale", slice=name)] = stored.w_scale
        if stored.b_scale is not None:
            scales[Message("{slice}: bias scale", slice=name)] = stored.b_scale
        mean = float(np.exp(np.log(stored.out_scales.astype(np.float64)).mean()))
        scales[Message("{slice}: output scale", slice=name)] = mean
    return scales


def _medians(layers: Sequence[StoredLayer]) -> Mapping[Message, float]:
    """Of each scale over the layers; empty where there are too few to compare."""
    if len(layers) < FEWEST_NEIGHBOURS:
        return {}
    named = [_named_scales(layer) for layer in layers]
    keys = dict.fromkeys(key for scales in named for key in scales)
    return {key: float(np.median([s[key] for s in named if key in s])) for key in keys}


def _neighbours(layer: StoredLayer, medians: Mapping[Message, float]) -> list[Message]:
    """Scales that lie far from the median of the same scale in all layers."""
    faults = []
    for name, scale in _named_scales(layer).items():
        if name not in medians:
            continue
        ratio = scale / medians[name]
        if ratio > NEIGHBOURS_RATIO:
            faults.append(
                Message(
                    "{scale} {value} is {factor} times above the layers' median",
                    scale=name,
                    value=f"{scale:.4g}",
                    factor=f"{ratio:.3g}",
                )
            )
        elif ratio < 1 / NEIGHBOURS_RATIO:
            faults.append(
                Message(
                    "{scale} {value} is {factor} times below the layers' median",
                    scale=name,
                    value=f"{scale:.4g}",
                    factor=f"{1 / ratio:.3g}",
                )
            )
    return faults


def _weights(layer: StoredLayer) -> list[Message]:
    """A scale that is the maximum over 127 gives some weight the code 127 or -127.

    But where the maximum is below 1e-5, which Quamba puts in its place, or the scale so small that
    float16, in which Mamba-1's is divided, has no number near it.
    """
    faults = []
    in_half = len(layer.slices) == 1
    for stored in layer.slices:
        own, name = stored.conv_slice.channels, stored.name
        largest = _unreached(layer.weight_q[own], stored.w_scale, in_half)
        if largest is not None:
            faults.append(
                Message(
                    "{slice}: the largest code of its weights is {code}, not {top}",
                    slice=name,
                    code=largest,
                    top=QMAX,
                )
            )
        if layer.bias_q is None or stored.b_scale is None:
            continue
        largest = _unreached(layer.bias_q[own], stored.b_scale, in_half)
        if largest is not None:
            faults.append(
                Message(
                    "{slice}: the largest code of its biases is {code}, not {top}",
                    slice=name,
                    code=largest,
                    top=QMAX,
                )
            )
    return faults


def _unreached(codes: Tensor, scale: float, in_half: bool) -> int | None:
    """The largest magnitude of codes that stay below what their scale promises; else None."""
    largest = int(codes.int().abs().max())
    step = float(np.spacing(np.float16(scale))) if in_half else 0.0
    least = QMAX * (1 - step / (2 * scale)) - 0.5
    in_bounds = scale > LEAST_MAXIMUM / QMAX * (1 + 2**-10)
    return largest if in_bounds and largest < min(least, QMAX) else None


def _reach(layer: StoredLayer) -> list[Message]:
    """No input can make more of the convolution than all its taps at full scale.

    Half a code of each weight and of the bias is allowed for their rounding.
    """
    taps = layer.weight_q.shape[1]
    weights = layer.weight_q.numpy().astype(np.float64)
    faults = []
    for stored in layer.slices:
        own = weights[stored.conv_slice.channels]
        reach = (np.abs(own).sum(axis=1) + taps / 2) * -QMIN * stored.x_scale * stored.w_scale
        if layer.bias_q is not None and stored.b_scale is not None:
            bias = layer.bias_q[stored.conv_slice.channels].numpy().astype(np.float64)
            reach = reach + (np.abs(bias) + 0.5) * stored.b_scale
        reach = np.maximum(reach, -SILU_MIN)  # SiLU never exceeds what goes in
        scales = stored.out_scales.ravel().astype(np.float64)
        limit = np.zeros(len(scales))
        np.maximum.at(limit, stored.out_group, reach)
        beyond = scales * QMAX > limit * (1 + 2**-10)
        beyond &= np.bincount(stored.out_group, minlength=len(scales)) > 0
        if beyond.any():
            worst = float((scales[beyond] * QMAX / limit[beyond]).max())
            faults.append(
                Message(
                    "{slice}: {count} of {total} output scales reach beyond all that the "
                    "convolution can give, up to {factor} times",
                    slice=stored.name,
                    count=int(beyond.sum()),
                    total=len(scales),
                    factor=f"{worst:.3g}",
                )
            )
    return faults


def _kinds(layer: StoredLayer) -> tuple[Message, ...]:
    """MinMax leaves the maxima of float16 activations; anything else was not chosen by it."""
    others = tuple(
        stored.name
        for stored in layer.slices
        if stored.rule == "minmax" and not np.all(_is_float16_maximum(stored.out_scales))
    )
    if not others:
        return ()
    remark = Message(
        "{slices}: output scales that MinMax of float16 activations does not leave", slices=others
    )
    return (remark,)


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
    for stored_slice in stored.slices:
        own = stored_slice.conv_slice.channels
        codes = _rows(stored, own)
        floats = np.column_stack(
            [
                conv.weight[own].numpy() / stored_slice.w_scale,
                conv.bias[own].numpy() / (stored_slice.b_scale or 1.0),
            ]
        )[:, : codes.shape[1]]
        if not np.abs(codes - floats).max() <= 1:  # else in their own places
            places = _assign(codes, floats)
            if places is None:
                return None
            order[own] = stored_slice.conv_slice.start + places
    return order


def order_of(quantized: Checkpoint, stored: StoredLayer, model: Checkpoint) -> np.ndarray:
    """``match_channels`` with a layer of the float model; raises Refusal if they do not match."""
    order = match_channels(stored, model.conv(stored.layer))
    if order is None:
        raise Refusal(
            "layer {layer} of {quantized} has not the weights of {model}",
            layer=stored.layer,
            quantized=quantized.name,
            model=model.name,
        )
    return order


def _rows(stored: StoredLayer, channels: slice) -> np.ndarray:
    """(width, W + 1) float64: weight codes and the bias's; (width, W) without a bias."""
    columns = [stored.weight_q[channels].numpy()]
    if stored.bias_q is not None:
        columns.append(stored.bias_q[channels].numpy()[:, None])
    return np.column_stack(columns).astype(np.float64)


def _assign(codes: np.ndarray, floats: np.ndarray) -> np.ndarray | None:
    """(n,) the float row of each row of codes, each used once; None where one is more than a code
    away: rounding alone moves it by half, in float16 by up to one."""
    places: dict[bytes, list[int]] = {}
    for i, row in enumerate(np.rint(floats).clip(QMIN, QMAX).astype(np.int8)):
        places.setdefault(row.tobytes(), []).append(i)
    assigned = np.full(len(codes), -1)
    for i, row in enumerate(codes.astype(np.int8)):
        if rest := places.get(row.tobytes()):
            assigned[i] = rest.pop(0)
    left = sorted(i for rest in places.values() for i in rest)
    for i in np.flatnonzero(assigned < 0).tolist():
        distances = np.abs(floats[left] - codes[i]).max(axis=1)
        nearest = int(np.argmin(distances))
        if distances[nearest] > 1:
            return None
        assigned[i] = left.pop(nearest)
    return assigned


def float_groups(stored: StoredSlice, order: np.ndarray) -> np.ndarray:
    """(width,) int64: the index of its stored scale for each channel of the float model's slice."""
    group = np.empty(stored.conv_slice.width, np.int64)
    group[order[stored.conv_slice.channels] - stored.conv_slice.start] = stored.out_group
    return group


def _two_digits(alpha: float) -> float:
    """An α whose 1 − α has two digits, as every α that is offered has."""
    return 1 - float(f"{1 - alpha:.1e}")


def evaluate_slice(
    stored: StoredSlice,
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
    scales = stored.out_scales.ravel()[present]
    # Pooled once: from here on each group is one output, under whatever rule.
    pooled = pooled_outputs(outputs, group)
    group = np.arange(len(pooled))
    made = evaluate_scales(pooled, group, scales)
    candidates = {
        rule: group_scales(pooled, group, rule).scales
        for rule in (
            ScaleRule("minmax"),
            ScaleRule("mse"),
            *(ScaleRule("percentile", alpha) for alpha in PUBLISHED_ALPHAS),
        )
    }
    if len(scales) == 1:
        for rule in (
            *(ScaleRule("percentile-ema", a) for a in PUBLISHED_ALPHAS),
            ScaleRule("entropy"),
        ):
            one = scale_from_amax(amax(rule, counted.silu_output, counted.batches))
            candidates[rule] = np.array([one], dtype=np.float32)
    within = sum(
        output.count_within(-QMAX * scale, QMAX * scale)
        for output, scale in zip(pooled, scales.tolist(), strict=True)
    )
    logs = {rule: np.log(scales.astype(np.float64) / own) for rule, own in candidates.items()}
    distances = {rule: float(np.abs(log).mean()) for rule, log in logs.items()}
    reached = _two_digits(within / made.total)
    if min(distances.values()) > SAME_RATIO and 0 < reached < 1:
        rule = ScaleRule("percentile", reached)
        logs[rule] = np.log(scales / group_scales(pooled, group, rule).scales.astype(np.float64))
        distances[rule] = float(np.abs(logs[rule]).mean())
    nearest = min(distances, key=lambda rule: distances[rule])
    best = evaluate_scales(pooled, group, candidates[ScaleRule("mse")])
    return SliceEvaluation(
        name=stored.name,
        nearest=nearest,
        ratio=float(np.exp(logs[nearest].mean())),
        alpha=within / made.total,
        sqnr_db=made.sqnr_db,
        saturation_rate=made.saturated / made.total,
        best_db=max(best.sqnr_db, made.sqnr_db),
        input_ratio=stored.x_scale / counted.scales.x_scale,
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
        fault = Message("its weights are not those of the float model, quantized")
        return replace(health, faults=(*health.faults, fault))
    evaluations = tuple(
        evaluate_slice(own, calibrated, float_groups(own, order), outputs.get(own.name))
        for own, calibrated in zip(stored.slices, counted.slices, strict=True)
    )
    faults = list(health.faults)
    for evaluation in evaluations:
        if evaluation.gain_db > MOST_LOST_DB:
            faults.append(
                Message(
                    "{slice}: {sqnr} dB, {loss} less than the best scale; {rate} of the values "
                    "saturate",
                    slice=evaluation.name,
                    sqnr=f"{evaluation.sqnr_db:.2f}",
                    loss=f"{evaluation.gain_db:.1f}",
                    rate=f"{evaluation.saturation_rate:.3g}",
                )
            )
        if not 1 / INPUT_RATIO <= evaluation.input_ratio <= INPUT_RATIO:
            faults.append(
                Message(
                    "{slice}: input scale {factor} times max|x| / {top} on the text",
                    slice=evaluation.name,
                    factor=f"{evaluation.input_ratio:.3g}",
                    top=QMAX,
                )
            )
    return replace(health, faults=tuple(faults), evaluations=evaluations)


def evaluate(
    health: Health,
    quantized: Checkpoint,
    model: Checkpoint,
    calibration: Calibration,
    outputs: Callable[[int, int], Sequence[Histogram]],
) -> Health:
    """Evaluate every stored layer that a calibration of the float model has.

    Args:
        health: from ``inspect``, or from an earlier call for other layers.
        outputs: (layer, index of the slice) -> each channel's histogram; asked for slices that
            have several scales alone.

    Raises Refusal as ``check_same_model`` does.
    """
    check_same_model(quantized, model)
    origin = calibration.origin
    wanted = set(quantized.stored_layers) & {layer.layer for layer in calibration.layers}
    evaluated = []
    for layer in health.layers:
        number = layer.layer
        if number in wanted:
            stored = quantized.stored_layer(number)
            counted = {
                own.name: outputs(number, i)
                for i, own in enumerate(stored.slices)
                if own.out_scales.size > 1
            }
            layer = evaluate_layer(
                layer, stored, model.conv(number), calibration.layer(number), counted
            )
        evaluated.append(layer)
    against = Message(
        "{checkpoint} on {text}, {batches} × {seq_len} tokens",
        checkpoint=origin.checkpoint,
        text=origin.text,
        batches=origin.batches,
        seq_len=origin.seq_len,
    )
    return replace(health, layers=tuple(evaluated), against=against)


def check_same_model(quantized: Checkpoint, model: Checkpoint) -> None:
    """Raises Refusal where a float model's layers or slices are not the quantized one's, or
    nothing is stored that it could be held against."""
    if not quantized.stored:
        raise Refusal(
            "{name} stores no scales, since its activations have 16 bits: there is nothing to hold "
            "against a float model",
            name=quantized.name,
        )
    if quantized.slices != model.slices or not set(quantized.layers) <= set(model.layers):
        raise Refusal(
            "{model} has {layers} layers of {channels} channels, {quantized} {quantized_layers} of "
            "{quantized_channels}: they are not one model",
            model=model.name,
            layers=model.n_layers,
            channels=_widths(model),
            quantized=quantized.name,
            quantized_layers=quantized.n_layers,
            quantized_channels=_widths(quantized),
        )


def _widths(checkpoint: Checkpoint) -> str:
    return " + ".join(str(conv_slice.width) for conv_slice in checkpoint.slices)


def document(health: Health) -> dict:
    """The examination as ``check --format json`` writes it: in English, numbers unrounded."""
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
                        "slice": evaluation.name,
                        "nearest": evaluation.nearest.observer,
                        "nearest_alpha": evaluation.nearest.alpha
                        if evaluation.nearest.observer in ALPHA_RULES
                        else None,
                        "ratio": evaluation.ratio,
                        "alpha": evaluation.alpha,
                        "sqnr_db": evaluation.sqnr_db,
                        "saturation_rate": evaluation.saturation_rate,
                        "gain_db": evaluation.gain_db,
                        "input_ratio": evaluation.input_ratio,
                    }
                    for evaluation in layer.evaluations
                ],
            }
            for layer in health.layers
        ],
    }


def rule_name(rule: ScaleRule) -> str:
    """A rule as the command line calls it, with α where it uses it."""
    uses_alpha = rule.observer in ALPHA_RULES
    return f"{rule.observer} {format_alpha(rule.alpha)}" if uses_alpha else rule.observer


def sentence(health: Health) -> Message:
    """The whole model in one sentence."""
    verdict = _verdict(health)
    evaluations = [(layer.layer, e) for layer in health.layers for e in layer.evaluations]
    if health.against is None or not evaluations:
        return Message("{verdict}.", verdict=verdict)
    labels = [rule_name(evaluation.nearest) for _, evaluation in evaluations]
    common = max(dict.fromkeys(labels), key=labels.count)
    layer, worst = max(evaluations, key=lambda pair: pair[1].gain_db)
    return Message(
        "{verdict}; against {against}, {count} of {slices} slices are nearest to {rule}, and the "
        "best scales would gain {mean} dB on average, at most {most} dB (layer {layer}, {slice}).",
        verdict=verdict,
        against=health.against,
        count=labels.count(common),
        slices=len(labels),
        rule=common,
        mean=f"{np.mean([evaluation.gain_db for _, evaluation in evaluations]):.2f}",
        most=f"{worst.gain_db:.2f}",
        layer=layer,
        slice=worst.name,
    )


def _verdict(health: Health) -> Message:
    """How many layers have a fault, or what was examined: a clause, without a full stop."""
    wrong = [str(layer.layer) for layer in health.layers if layer.faults]
    count = len(health.layers)
    if wrong:
        return Message(
            "{wrong} of {count} layers have a fault: {layers}",
            wrong=len(wrong),
            count=count,
            layers=", ".join(wrong[:8]) + (" …" if len(wrong) > 8 else ""),
        )
    if health.examined:
        return Message(
            "No fault in {count} layers: {examined}", count=count, examined=health.examined
        )
    return Message(
        "No fault in {count} layers: no scale is stored, every convolution is float", count=count
    )


def rows(health: Health, name: str) -> list[dict]:
    """A row a layer as it is exported, in English: the evaluation of one slice, by its name."""
    rows = []
    for layer in health.layers:
        evaluation = next((e for e in layer.evaluations if e.name == name), None)
        row: dict[str, object] = {
            "layer": layer.layer,
            "verdict": "fault" if layer.faults else "sound",
            "notes": "; ".join([*layer.faults, *layer.remarks]) or "–",
        }
        if health.against is not None:
            row |= {
                "nearest rule": rule_name(evaluation.nearest) if evaluation else "–",
                "stored / nearest": evaluation and evaluation.ratio,
                "reaches α": evaluation and evaluation.alpha,
                "saturation_rate": evaluation and evaluation.saturation_rate,
                "sqnr_db": evaluation and evaluation.sqnr_db,
                "best gains": evaluation and evaluation.gain_db,
                "input scale / text's": evaluation and evaluation.input_ratio,
            }
        rows.append(row)
    return rows


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


def _evaluation(evaluation: SliceEvaluation) -> str:
    return (
        f"{evaluation.name} {evaluation.ratio:.4g} × {rule_name(evaluation.nearest)} "
        f"(α {evaluation.alpha:.6g}), "
        f"{evaluation.sqnr_db:.2f} dB, best {evaluation.gain_db:+.2f}"
    )
