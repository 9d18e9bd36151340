"""``impact``: what quantized layers cost the model, in nats."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from dashboard.analysis.budget import KINDS, WHOLE_SLICE, LayerOption, choose, options_of
from dashboard.analysis.impact import (
    MeasuredSetting,
    ScaleSource,
    alone,
    float_run,
    study_rule,
)
from dashboard.analysis.prediction import (
    PlannedLayer,
    check_calibrated_on,
    plan_layers,
    predict_layer,
    stored_quantizations,
)
from dashboard.analysis.quantized_forward import LayerQuantization
from dashboard.analysis.result_store import default_store
from dashboard.calibration import Calibration, calibrate, calibrate_in_passes, read_text
from dashboard.calibration.archive import is_calibration_file, load_calibration
from dashboard.calibration.whole_files import write_whole
from dashboard.checkpoints import Checkpoint, backbone_of, load_checkpoint, load_language_model
from dashboard.cli.analyze import check_groups
from dashboard.cli.counts import kept_counts, kept_or_counted
from dashboard.cli.options import (
    format_name,
    is_other,
    number_format_of,
    parse_layers,
    parse_slices,
    rule_of,
    tokenizer_of,
)
from dashboard.cli.output import (
    STOPPED,
    UsageError,
    check_place,
    progress_bar,
    write_line,
    write_note,
    write_result,
)
from dashboard.export import quamba_entries
from dashboard.export.impact import IMPACT_FORMATS, impact_document
from dashboard.formats import NumberFormat
from dashboard.text import captions
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import spans, with_error


def run_impact(arguments: argparse.Namespace) -> int:
    """Measure what a rule's scales cost; with ``--max-kl``, whether that is too much."""
    check_place(arguments.out)
    _check_budget(arguments)
    document, stopped = measure_impact(arguments)
    # What a stop cut short is no result: it is shown, and a file stays what it was.
    write_result(IMPACT_FORMATS[arguments.format](document), None if stopped else arguments.out)
    if arguments.format == "table" and not arguments.out:
        write_note(sys.stdout, _holdings(arguments))
    if stopped:
        asked = len(document["settings"]) + stopped
        kept = f", and {arguments.out} is as it was" if arguments.out else ""
        write_line(f"stopped; {stopped} of {asked} settings are missing{kept}")
        return STOPPED
    worst = max(document["settings"], key=lambda setting: setting["kl_nats"])
    limits = {"--max-kl": arguments.max_kl, "--budget": arguments.budget}
    for name, limit in limits.items():
        if limit is not None and worst["kl_nats"] > limit:
            cost = with_error(worst["kl_nats"], worst["kl_nats_error"])
            write_line(
                f"kl_nats of layers {spans(worst['layers'])} is {cost}, above {name} {limit:g}"
            )
            return 1
    return 0


def _holdings(arguments: argparse.Namespace) -> str:
    """What is kept on disk, and where; a line."""
    store = None if arguments.no_store else default_store()
    if store is None:
        return "No result is kept.\n"
    return captions.holdings_line(store.holdings(), ENGLISH) + "\n" + kept_counts(arguments)


def _check_budget(arguments: argparse.Namespace) -> None:
    """Refuse, before the work, what does not go together."""
    if arguments.budget is None:
        if arguments.entries is not None:
            raise UsageError("--entries needs --budget, whose plan it writes")
        return
    if not arguments.budget > 0:
        raise UsageError(f"--budget is {arguments.budget:g}; it must be above 0")
    others = {
        "--each": arguments.each,
        "--mode": arguments.mode != "output",
        "--group-size": arguments.group_size is not None,
    }
    for name, given in others.items():
        if given:
            raise UsageError(f"{name} does not go with --budget, which plans INT8 outputs itself")
    check_place(arguments.entries, "--entries")
    if arguments.entries is not None and Path(arguments.entries).suffix != ".bin":
        raise UsageError(f"--entries is {arguments.entries!r}; give a file that ends in .bin")


def measure_impact(arguments: argparse.Namespace) -> tuple[dict, int]:
    """What ``impact --format json`` writes, and how many settings a stop left unmeasured.

    Raises KeyboardInterrupt where it was stopped before the first was measured.
    """
    number_format = number_format_of(arguments)
    rule = rule_of(arguments, number_format)
    if arguments.group_size is not None:
        check_groups(arguments.group_size, rule)
    _check_format(arguments, number_format)
    if is_calibration_file(arguments.checkpoint):
        raise UsageError(
            f"{arguments.checkpoint} is a calibration file, which holds no model; give the "
            "checkpoint, and the file as --scales"
        )
    checkpoint = load_checkpoint(arguments.checkpoint)
    names = parse_slices(arguments.slices, [conv_slice.name for conv_slice in checkpoint.slices])
    saved, stored = _given_scales(arguments, checkpoint, names)
    if stored is not None and is_other(number_format):
        raise UsageError(f"--number-format {number_format.name} does not go with stored scales")
    known: Collection[int] = checkpoint.layers if stored is None else stored
    if saved is not None:
        known = [layer.layer for layer in saved.layers]
    layers = parse_layers(arguments.layers, known)
    on_first = _first_window(arguments, checkpoint, saved)
    held_out = read_text(
        checkpoint,
        arguments.text if arguments.on is None else arguments.on,
        arguments.on_batches,
        arguments.seq_len,
        tokenizer_of(arguments),
        first=on_first,
    )
    model = load_language_model(checkpoint)
    planned: dict[int, PlannedLayer] = {}
    options: dict[int, Sequence[LayerOption]] = {}
    origin = None
    if stored is not None and not arguments.predict:
        planned = {layer: PlannedLayer(stored[layer], None) for layer in layers}
    else:
        for calibration in _passes(checkpoint, model, layers, saved, arguments):
            origin = calibration.origin
            if arguments.budget is not None:
                kinds = _kinds(arguments, saved)
                options |= options_of(checkpoint, calibration, kinds, names)
            elif stored is not None:
                planned |= {
                    counted.layer: PlannedLayer(
                        stored[counted.layer],
                        predict_layer(
                            counted, stored[counted.layer], calibration.capture(counted.layer)
                        ),
                    )
                    for counted in calibration.layers
                }
            else:
                other = number_format if is_other(number_format) else None
                planned |= plan_layers(
                    checkpoint, calibration, rule, names, arguments.group_size, other
                )
    plan = None
    source: ScaleSource = "calibrated" if stored is None else "stored"
    if arguments.budget is not None:
        plan, source = choose(options, arguments.budget), "planned"
        planned = {o.layer: PlannedLayer(o.quantization, o.predicted_nats) for o in plan.options}
        if arguments.entries is not None:
            entries = quamba_entries.plan_entries(plan, checkpoint.architecture.n_groups)
            write_whole(Path(arguments.entries), quamba_entries.as_bytes(entries))
    store = None if arguments.no_store else default_store()
    run = float_run(checkpoint, model, held_out, store=store)
    subsets = [tuple(layers)]
    if arguments.each and len(layers) > 1:
        subsets += alone(layers)
    settings: list[MeasuredSetting] = []
    with progress_bar() as show:
        measured = study_rule(
            checkpoint,
            model,
            run,
            planned,
            rule if source == "calibrated" else None,
            subsets,
            arguments.mode,
            store,
            show,
            source,
            format_name(number_format, rule) if source == "calibrated" else None,
        )
        try:
            for setting in measured:
                settings.append(setting)
        except KeyboardInterrupt:
            if not settings:
                raise
    document = impact_document(
        checkpoint,
        origin,
        arguments.scales,
        run,
        on_first,
        names,
        arguments.group_size,
        settings,
        arguments.each,
        plan,
    )
    return document, len(subsets) - len(settings)


def _check_format(arguments: argparse.Namespace, number_format: NumberFormat) -> None:
    """Refuse what other formats than INT8 have not."""
    if not is_other(number_format):
        return
    for name, given in {
        "--group-size": arguments.group_size is not None,
        "--budget": arguments.budget is not None,
    }.items():
        if given:
            raise UsageError(f"{name} is for INT8, not for --number-format {number_format.name}")


def _given_scales(
    arguments: argparse.Namespace, checkpoint: Checkpoint, names: Collection[str]
) -> tuple[Calibration | None, dict[int, LayerQuantization] | None]:
    """What ``--scales`` names: a saved calibration, or stored scales; neither without it."""
    source = arguments.scales
    if source is None:
        return None, None
    if arguments.group_size is not None:
        raise UsageError("--group-size does not go with --scales, which has its own groups or none")
    if is_calibration_file(source):
        saved = load_calibration(source)
        check_calibrated_on(checkpoint, saved)
        if arguments.predict and saved.layers[0].slices[0].gradients is None:
            raise UsageError(
                f"--scales is {source!r}, which has no gradients to predict from; make it with "
                "calibrate --gradients"
            )
        return saved, None
    if arguments.budget is not None:
        raise UsageError("--budget plans from counted activations; --scales has stored scales")
    quantized = load_checkpoint(source)
    if not quantized.is_quantized:
        raise UsageError(
            f"--scales is {source!r}, which stores none; give a calibration file or a quantized "
            "checkpoint"
        )
    return None, stored_quantizations(quantized, checkpoint, names)


def _first_window(
    arguments: argparse.Namespace, checkpoint: Checkpoint, saved: Calibration | None
) -> int:
    """Where the held-out windows begin: after those that were calibrated on, if of their text."""
    if arguments.on is not None:
        return 0
    if saved is None:
        return arguments.batches
    sha256 = read_text(
        checkpoint, arguments.text, 1, arguments.seq_len, tokenizer_of(arguments)
    ).sha256
    if sha256 != saved.origin.text_sha256:
        return 0
    return math.ceil(saved.origin.batches * saved.origin.seq_len / arguments.seq_len)


def _kinds(arguments: argparse.Namespace, saved: Calibration | None) -> Sequence[str]:
    """What a plan may have: with ``--entries`` what Quamba can hold; a file has no channels."""
    if arguments.entries is not None:
        return ("tensor",)
    return KINDS if saved is None else WHOLE_SLICE


def _passes(
    checkpoint: Checkpoint,
    model: nn.Module,
    layers: Sequence[int],
    saved: Calibration | None,
    arguments: argparse.Namespace,
) -> Iterator[Calibration]:
    """The layers calibrated: at once, or, where single channels count, as many a pass as fit."""
    if saved is not None:
        yield replace(saved, layers=tuple(saved.layer(layer) for layer in layers))
        return
    text = read_text(
        checkpoint, arguments.text, arguments.batches, arguments.seq_len, tokenizer_of(arguments)
    )
    gradients = arguments.predict or arguments.budget is not None
    by_channel = (
        arguments.group_size is not None
        or arguments.scales is not None
        or (arguments.budget is not None and arguments.entries is None)
    )
    whole = model if gradients else backbone_of(model)
    with progress_bar() as show:
        if by_channel:
            yield from calibrate_in_passes(
                checkpoint, whole, text, layers, on_progress=show, gradients=gradients
            )
        else:
            counted = kept_or_counted(
                arguments,
                checkpoint,
                text,
                gradients,
                lambda: calibrate(
                    checkpoint, whole, text, layers=layers, gradients=gradients, on_progress=show
                ),
            )
            yield replace(counted, layers=tuple(counted.layer(layer) for layer in layers))
