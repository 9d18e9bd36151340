"""Measured settings -> the document of ``impact --format json``, and a table or CSV of it."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.analysis.budget import BudgetPlan, LayerOption
from dashboard.analysis.formats import INT8
from dashboard.analysis.impact import FloatRun, MeasuredSetting
from dashboard.calibration import Origin
from dashboard.checkpoints import Checkpoint
from dashboard.export.tables import aligned, as_json, rows_as_csv
from dashboard.rules.observers import REGISTERED, ScaleRule
from dashboard.text import captions
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import small, spans, with_error


def impact_document(
    checkpoint: Checkpoint,
    origin: Origin | None,
    scales: str | None,
    run: FloatRun,
    on_first: int,
    slices: Sequence[str],
    group_size: int | None,
    settings: Sequence[MeasuredSetting],
    each_layer: bool,
    plan: BudgetPlan | None = None,
) -> dict:
    """What was measured on what, under the names of the definitions.

    Args:
        checkpoint: the float model.
        origin: of the calibration that the scales, or the predictions, come from; None without one.
        scales: the calibration file or the quantized checkpoint that they were taken of, if any.
        on_first: the first window of the held-out text, counted in windows.
        slices: which were quantized.
        group_size: channels to a scale; None where a scale is for a whole slice.
        settings: all layers together first; with ``each_layer``, one for each layer alone after it.
        plan: what ``settings`` has the measurement of, where it was made for a budget.
    """
    loss = run.loss_nats
    if plan is None:
        sentences = [captions.impact_verdict(settings[0], ENGLISH)]
    else:
        sentences = [captions.budget_sentence(plan, settings[0], ENGLISH)]
    if each_layer and len(settings) > 1:
        sentences.append(captions.impact_ranking(settings[1:], ENGLISH))
    return {
        "checkpoint": checkpoint.name,
        "family": checkpoint.family,
        "scales": scales,
        **{name: None if origin is None else getattr(origin, name) for name in CALIBRATED_ON},
        "on": run.text.name,
        "on_sha256": run.text.sha256,
        "on_first": on_first,
        "on_batches": run.text.batches,
        "on_seq_len": run.text.seq_len,
        "slices": list(slices),
        "group_size": group_size,
        "loss_nats": loss.mean,
        "loss_nats_error": loss.error,
        "reason": ENGLISH.sentences(*sentences),
        "settings": [_setting(entry) for entry in settings],
        "budget": None if plan is None else budget_document(plan),
    }


CALIBRATED_ON = ("text", "text_sha256", "batches", "seq_len")


def _setting(entry: MeasuredSetting) -> dict:
    return {
        "layers": list(entry.layers),
        "source": entry.source,
        **_rule(entry.rule),
        "number_format": entry.number_format,
        "mode": entry.mode,
        **entry.measures(),
    }


def _rule(rule: ScaleRule | None) -> dict:
    """A rule and its settings; null where a plan has many."""
    names = ("observer", "alpha", "sigma", "order", "symmetric")
    return {name: None if rule is None else getattr(rule, name) for name in names}


def budget_document(plan: BudgetPlan) -> dict:
    """A plan with all of its scales: enough to quantize by."""
    return {
        "nats": plan.budget_nats,
        "fits": plan.fits,
        "predicted_nats": plan.predicted_nats,
        "layers": [_option(option) for option in plan.options],
    }


def _option(option: LayerOption) -> dict:
    return {
        "layer": option.layer,
        "kind": option.kind,
        "predicted_nats": option.predicted_nats,
        "slices": {
            own.conv_slice.name: {
                **_rule(option.rules[own.conv_slice.name]),
                "x_out_scale": own.scale_out.tolist(),  # one, or one a channel
                "zero_point": own.zero_point,
            }
            for own in option.quantization.slices
        },
    }


def impact_csv(document: dict) -> str:
    """A line a setting, under the names of the JSON."""
    rows = [{**entry, "layers": spans(entry["layers"])} for entry in document["settings"]]
    return rows_as_csv(rows)


def impact_table(document: dict) -> str:
    """A line a setting for whoever sits at a terminal, and what follows from them."""
    first = document["settings"][0]
    head = (
        f"{document['checkpoint']} ({document['family']}), {_scales(document)}, slices "
        f"{', '.join(document['slices'])}, {first['mode']}; {_scales_from(document)}judged on "
        f"{document['on_batches']} × {document['on_seq_len']} tokens of {document['on']} from "
        f"batch {document['on_first']} on"
    )
    names = ["layers", "kl_nats", "delta_nats", "same_top", "predicted_nats"]
    rows = [
        [
            spans(entry["layers"]),
            with_error(entry["kl_nats"], entry["kl_nats_error"]),
            with_error(entry["delta_nats"], entry["delta_nats_error"]),
            f"{entry['same_top']:.4f}",
            "-" if entry["predicted_nats"] is None else small(entry["predicted_nats"]),
        ]
        for entry in document["settings"]
    ]
    lines = [head, "", *aligned(names, rows)]
    if document["budget"] is not None:
        options = [
            [
                str(own["layer"]),
                own["kind"],
                ", ".join(_choice(name, entry) for name, entry in own["slices"].items()),
                small(own["predicted_nats"]),
            ]
            for own in document["budget"]["layers"]
        ]
        lines += ["", *aligned(["layer", "kind", "rules", "predicted_nats"], options)]
    return "\n".join([*lines, "", document["reason"], ""])


def _scales_from(document: dict) -> str:
    """What the scales were calibrated on, or where they lie."""
    if document["settings"][0]["source"] == "stored":
        return f"scales stored in {document['scales']}; "
    kept = f", kept in {document['scales']}" if document["scales"] else ""
    return (
        f"scales from {document['batches']} × {document['seq_len']} tokens of "
        f"{document['text']}{kept}; "
    )


def _scales(document: dict) -> str:
    """Which rule, or that a plan chose."""
    if document["settings"][0]["source"] == "stored":
        return "stored scales"
    if document["budget"] is not None:
        return f"planned within {document['budget']['nats']:g} nats"
    groups = f", {document['group_size']} channels a scale" if document["group_size"] else ""
    number_format = document["settings"][0]["number_format"]
    named = "" if number_format in (None, *INT8) else f", {number_format}"
    return _choice("", document["settings"][0]) + groups + named


def _choice(name: str, rule: dict) -> str:
    """A rule as ``--observer`` has it, with its α; for a slice, its name first."""
    alpha = f" α {rule['alpha']:g}" if REGISTERED[rule["observer"]].uses_alpha else ""
    kind = "" if rule["symmetric"] else " asymmetric"
    return f"{name} {rule['observer']}{alpha}{kind}".strip()


IMPACT_FORMATS = {"table": impact_table, "csv": impact_csv, "json": as_json}
