"""Measured settings -> the document of ``impact --format json``, and a table or CSV of it."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.analysis.impact import FloatRun, MeasuredSetting
from dashboard.calibration import Origin
from dashboard.export.tables import aligned, as_json, rows_as_csv
from dashboard.rules.observers import REGISTERED
from dashboard.text import captions
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import small, spans, with_error


def impact_document(
    origin: Origin,
    run: FloatRun,
    on_first: int,
    slices: Sequence[str],
    group_size: int | None,
    settings: Sequence[MeasuredSetting],
    each_layer: bool,
) -> dict:
    """What was measured on what, under the names of the definitions.

    Args:
        origin: of the calibration that the scales come from.
        on_first: the first window of the held-out text, counted in windows.
        slices: which were quantized.
        group_size: channels to a scale; None where a scale is for a whole slice.
        settings: all layers together first; with ``each_layer``, one for each layer alone after it.
    """
    loss = run.loss_nats
    sentences = [captions.impact_verdict(settings[0], ENGLISH)]
    if each_layer and len(settings) > 1:
        sentences.append(captions.impact_ranking(settings[1:], ENGLISH))
    return {
        "checkpoint": origin.checkpoint,
        "family": origin.family,
        "text": origin.text,
        "text_sha256": origin.text_sha256,
        "batches": origin.batches,
        "seq_len": origin.seq_len,
        "on": run.text.name,
        "on_sha256": run.text.sha256,
        "on_first": on_first,
        "on_batches": run.text.batches,
        "slices": list(slices),
        "group_size": group_size,
        "loss_nats": loss.mean,
        "loss_nats_error": loss.error,
        "reason": ENGLISH.sentences(*sentences),
        "settings": [_setting(entry) for entry in settings],
    }


def _setting(entry: MeasuredSetting) -> dict:
    rule = entry.rule
    return {
        "layers": list(entry.layers),
        "observer": rule.observer,
        "alpha": rule.alpha,
        "sigma": rule.sigma,
        "order": rule.order,
        "symmetric": rule.symmetric,
        "mode": entry.mode,
        **entry.measures(),
    }


def impact_csv(document: dict) -> str:
    """A line a setting, under the names of the JSON."""
    rows = [{**entry, "layers": spans(entry["layers"])} for entry in document["settings"]]
    return rows_as_csv(rows)


def impact_table(document: dict) -> str:
    """A line a setting for whoever sits at a terminal, and what follows from them."""
    first = document["settings"][0]
    registered = REGISTERED[first["observer"]]
    rule = first["observer"] + (f" α {first['alpha']:g}" if registered.uses_alpha else "")
    rule += "" if first["symmetric"] else " asymmetric"
    groups = f", {document['group_size']} channels a scale" if document["group_size"] else ""
    head = (
        f"{document['checkpoint']} ({document['family']}), {rule}{groups}, slices "
        f"{', '.join(document['slices'])}, {first['mode']}; scales from {document['batches']} × "
        f"{document['seq_len']} tokens of {document['text']}, judged on {document['on_batches']} × "
        f"{document['seq_len']} of {document['on']} from batch {document['on_first']} on"
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
    return "\n".join([head, "", *aligned(names, rows), "", document["reason"], ""])


IMPACT_FORMATS = {"table": impact_table, "csv": impact_csv, "json": as_json}
