"""Stored scales: what a quantized checkpoint says, and what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.analysis.health import MOST_LOST_DB, NEIGHBOURS_RATIO, Health, rule_name
from dashboard.analysis.stored import StoredRun
from dashboard.checkpoints import StoredCopy, StoredLayer
from dashboard.messages import Message
from dashboard.text.language import Language
from dashboard.text.numbers import percent

NO_FLOAT_WEIGHTS = Message(
    "This checkpoint is quantized already: there is no float model to calibrate, only the scales "
    "that it stores."
)
STAND_IN = Message(
    "There are no activations without a float model: the kernel runs the stored INT8 convolutions "
    "on evenly drawn codes, a stand-in that says nothing about how good the scales are."
)
HEALTH_ALONE = Message(
    "Examined of each scale: is it finite and positive, equal to its copies, within {factor} times "
    "of the layers' median, within reach of the INT8 convolution, and of the kind that its "
    "observer leaves? The float model and a text say what it does to real activations.",
    factor=f"{NEIGHBOURS_RATIO:.0f}",
)
HEALTH = Message(
    "The nearest rule is the one whose scales, in the same groups, differ least from the stored "
    "ones; stored / nearest is 1 where they are the same. Best gains: what the scales of least "
    "squared error, in the same groups, have over the stored ones, in dB; more than {loss} is a "
    "fault.",
    loss=f"{MOST_LOST_DB:.0f} dB",
)
FLOAT_LAYER = Message(
    "This layer keeps a float convolution: its activations have 16 bits and no scale."
)


def stored_headline(layers: Sequence[StoredLayer], count: int, say: Language) -> str:
    """Whether α had any part in the stored scales; ``count`` is that of all Mamba layers."""
    if not layers:
        return say("No stored scales: every convolution is float, its activations have 16 bits.")
    rest = say(
        "{floats} of {layers} layers keep a float convolution.",
        floats=count - len(layers),
        layers=count,
    )
    return say.sentences(_rule_of_all(layers, say), rest if len(layers) < count else "")


def _rule_of_all(layers: Sequence[StoredLayer], say: Language) -> str:
    """Which of Quamba's rules set the output scales, from how each is stored."""
    used = sum(layer.alpha_used for layer in layers)
    minmax = [stored.name for stored in layers[0].slices if stored.rule == "minmax"]
    if used == 0:
        return say("Stored scales, which Quamba sets by MinMax per group: α is never used.")
    if used < len(layers):
        return say(
            "Stored scales, of which Quamba sets {used} of {layers} by a percentile α.",
            used=used,
            layers=len(layers),
        )
    if minmax:
        return say(
            "Stored scales, of which Quamba sets that of x by a percentile α, those of {slices} by "
            "MinMax.",
            slices=say.both(minmax),
        )
    return say("Stored scales, of which Quamba sets each output scale by a percentile α.")


def stored_verdict(layers: Sequence[StoredLayer], say: Language) -> str:
    """The shapes of x_out_scales, and whether two places that hold the same scale agree."""
    if not layers:
        return say("Such a model is W4A16: 4-bit weights in its projections, 16-bit activations.")
    shapes = sorted({layer.slices[0].out_scales.shape for layer in layers})
    words = say.both([str(shape) for shape in shapes])
    of_one_slice = len(layers[0].slices) == 1
    if max(map(len, shapes)) == 3:
        shape = say(
            "x_out_scales of shape {shapes} are (SSD group, head group, channel group).",
            shapes=words,
        )
    elif of_one_slice:
        shape = say(
            "x_out_scales of shape {shapes}; x_scale was observed on all of in_proj's output, z as "
            "well as x.",
            shapes=words,
        )
    else:
        shape = say("x_out_scales of shape {shapes}.", shapes=words)
    return say.sentences(shape, _copies(layers, say))


def _copies(layers: Sequence[StoredLayer], say: Language) -> str:
    """Whether the modules beside the convolutions hold the same scales."""
    copies = sum(len(layer.copies) for layer in layers)
    wrong = [(layer.layer, copy) for layer in layers for copy in layer.mismatches]
    if not copies:
        return say("No other module repeats one of these scales.")
    if not wrong:
        return say("{copies} copies in the modules that follow all agree with them.", copies=copies)
    layer, first = wrong[0]
    values = {
        "wrong": len(wrong),
        "copies": copies,
        "layer": layer,
        "name": first.name,
        "copy": first.copy,
    }
    if first.largest_difference is None:
        return say(
            "**{wrong} of {copies} copies disagree**: first, in layer {layer}, {name} and {copy} "
            "have different shapes.",
            **values,
        )
    return say(
        "**{wrong} of {copies} copies disagree**: first, in layer {layer}, {name} and {copy} "
        "differ by {difference}.",
        **values,
        difference=f"{first.largest_difference:.3g}",
    )


def stored_rows(rows: Sequence[dict], layers: Sequence[StoredLayer], say: Language) -> list[dict]:
    """The columns of a stored table; of several scales the least, mean and greatest.

    Args:
        rows: of one slice, from ``export.tables.slice_rows``.
        layers: those of them whose scales are stored.
    """
    mismatches = {layer.layer: layer.mismatches for layer in layers}
    return [_stored_row(row, mismatches.get(row["layer"], ()), say) for row in rows]


def _stored_row(row: dict, mismatches: Sequence[StoredCopy], say: Language) -> dict:
    if row["x_out_scale"] is None:
        rule = say("none: 16-bit activations")
    elif row["alpha_used"]:
        rule = say("percentile α, moving average")
    else:
        rule = "MinMax"
    if mismatches:
        copies = say.clauses(
            say("{entry} is not {copy}", entry=copy.name, copy=copy.copy) for copy in mismatches
        )
    elif row["copies"]:
        copies = say("{count} agree", count=row["copies"])
    else:
        copies = say("none")
    return {
        say("layer"): row["layer"],
        say("mixer"): row["mixer"],
        "x_scale": row["x_scale"],
        "w_scale": row["w_scale"],
        "scale_wx": row["scale_wx"],
        say("shape"): row["shape"],
        say("least x_out_scale"): row["x_out_scale_min"],
        say("mean"): row["x_out_scale_mean"],
        say("greatest"): row["x_out_scale_max"],
        "ratio_weight": row["ratio_weight"],
        "ratio_wx": row["ratio_wx"],
        say("Quamba's rule"): rule,
        say("copies"): copies,
    }


def stored_status(runs: Sequence[StoredRun], say: Language) -> str:
    """Which backend ran every layer, and how many codes differ from the reference."""
    if not runs:
        return say("no INT8 convolution to run")
    differing, codes = sum(run.differing_codes for run in runs), sum(run.codes for run in runs)
    dot = ":green[●]" if differing == 0 else ":red[●]"
    status = say(
        "**{backend}** · {layers} layers · **{differing}** of {codes} codes differ from the "
        "reference",
        backend=runs[0].backend,
        layers=len(runs),
        differing=f"{differing:,}",
        codes=f"{codes:,}",
    )
    return f"{dot} {status}"


def health_rows(health: Health, name: str, say: Language) -> list[dict]:
    """A row a layer: its verdict and notes, and the evaluation of one slice, by its name."""
    rows = []
    for layer in health.layers:
        evaluation = next((e for e in layer.evaluations if e.name == name), None)
        notes = [say(note) for note in (*layer.faults, *layer.remarks)]
        row: dict[str, object] = {
            say("layer"): layer.layer,
            say("verdict"): say("fault") if layer.faults else say("sound"),
            say("notes"): say.clauses(notes) or "–",
        }
        if health.against is not None:
            row |= {
                say("nearest rule"): rule_name(evaluation.nearest) if evaluation else "–",
                say("stored / nearest"): evaluation and evaluation.ratio,
                say("reaches α"): evaluation and evaluation.alpha,
                "saturation_rate": percent(evaluation.saturation_rate) if evaluation else "–",
                "sqnr_db": evaluation and evaluation.sqnr_db,
                say("best gains"): evaluation and evaluation.gain_db,
                say("input scale / text's"): evaluation and evaluation.input_ratio,
            }
        rows.append(row)
    return rows
