"""The same reports without a browser.

    python -m dashboard analyze CHECKPOINT       calibrate, and report every layer's scales
    python -m dashboard calibrate CHECKPOINT     calibrate, and save what was counted
    python -m dashboard compare COLUMN COLUMN    scales side by side, layer by layer
    python -m dashboard check CHECKPOINT         is each scale of a quantized checkpoint sound?
    python -m dashboard export CHECKPOINT        calibrate, and write scales as Quamba stores them
    python -m dashboard impact CHECKPOINT        what quantized layers cost the model, in nats

``calibrate`` goes on where it was stopped, and under torchrun it is shared out over its processes.

Exit status 0; 1 where ``check`` finds a fault or ``impact`` a KL above ``--max-kl``; 2, with one
line on standard error, for anything wrong with what was given; 130 where it was stopped, 141 where
nobody reads standard output any more. What was asked for goes to standard output or to ``--out``,
which is written whole or not at all; what ``impact`` had finished by the time it was stopped goes
to standard output. How far the work is, what came of it and what is logged (``--log-level``) go to
standard error, the first on a terminal alone.
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import NoReturn, TextIO

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dashboard import cli_compare
from dashboard.analysis import health
from dashboard.analysis.budget import KINDS, WHOLE_SLICE, LayerOption, choose, options_of
from dashboard.analysis.formats import INT8, format_layers
from dashboard.analysis.impact import (
    ImpactProgress,
    MeasuredSetting,
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
from dashboard.analysis.quantized_forward import MODES, LayerQuantization
from dashboard.analysis.report import (
    LayerReport,
    QuantizedConv,
    format_alpha,
    per_channel,
    quantize_conv,
    report_bests,
    report_slices,
    run_kernel,
)
from dashboard.analysis.result_store import default_store
from dashboard.analysis.stored import run_all, stored_document
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    DEFAULT_TEXT,
    Calibration,
    CalibrationText,
    ConvCapture,
    LayerCalibration,
    Origin,
    Progress,
    Tokenizer,
    calibrate,
    calibrate_in_passes,
    calibration_store,
    open_tokenizer,
    read_text,
)
from dashboard.calibration.archive import (
    SUFFIX,
    fingerprint,
    is_calibration_file,
    load_calibration,
    save_calibration,
)
from dashboard.calibration.calibration_store import CalibrationStore, CountsKey, counts_key
from dashboard.calibration.forward import forward_of
from dashboard.calibration.processes import Processes, launched_processes
from dashboard.calibration.unfinished import (
    Segments,
    calibrate_to_the_end,
    default_directory,
    segments_of,
)
from dashboard.calibration.whole_files import whole_directory, write_whole
from dashboard.checkpoints import (
    DTYPES,
    Checkpoint,
    backbone_of,
    default_device,
    forward_dtype,
    is_hub_id,
    load_backbone,
    load_checkpoint,
    load_language_model,
    open_weights,
)
from dashboard.checkpoints.hub import TOKENIZER_FILES, fetch
from dashboard.export import documents, quamba_entries, tables
from dashboard.export.impact import IMPACT_FORMATS, impact_document
from dashboard.formats import DEFAULT_FORMAT, NumberFormat
from dashboard.formats import REGISTERED as FORMATS
from dashboard.logs import LEVELS, PACKAGES, log_to_stderr
from dashboard.refusals import Refusal
from dashboard.rules.channels import (
    CHANNEL_RULES,
    channel_outputs,
    channels_of,
    even_groups,
    group_scales,
)
from dashboard.rules.landscape import Landscape, Recommendation, landscapes, recommend
from dashboard.rules.observers import (
    DEFAULT_ALPHA,
    DEFAULT_RULE,
    DEFAULT_SIGMA,
    RULES,
    ScaleRule,
)
from dashboard.text import captions
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import spans, with_error

logger = logging.getLogger(__name__)

STOPPED = 128 + signal.SIGINT  # as a shell has it
MOST_LAYERS = 10_000  # of one range; a longer one is refused without being counted out


class UsageError(Refusal):
    """An argument that cannot be used."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may not know α or ×
    arguments = _parser().parse_args(argv)
    try:
        log_to_stderr(arguments.log_level)
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # as after ``| head``
        _let_go(sys.stdout)
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        _write_line("stopped")
        return STOPPED
    except (Refusal, OSError) as error:
        logger.debug("refused", exc_info=error)
        _write_line(" ".join(str(error).split()))
        return 2


def _run_analyze(arguments: argparse.Namespace) -> int:
    _check_place(arguments.out)
    _write(tables.FORMATS[arguments.format](analyze(arguments)), arguments.out)
    return 0


def _tokenizer(arguments: argparse.Namespace) -> Tokenizer | None:
    """The one that ``--tokenizer`` names, in place of the checkpoint's own; None without it."""
    directory = _tokenizer_directory(arguments.tokenizer)
    if directory is None:
        return None
    try:
        return open_tokenizer(directory)
    except Exception as error:  # each kind of tokenizer has faults of its own
        logger.info("the tokenizer %s", arguments.tokenizer, exc_info=error)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"--tokenizer is {arguments.tokenizer!r}: {reason}") from error


@cache
def _tokenizer_directory(name: str | None) -> Path | None:
    """Where a tokenizer's files lie: a directory, or that of the Hub's cache; None for None."""
    if name is None:
        return None
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    if not is_hub_id(name):
        raise UsageError(f"--tokenizer is {name!r}; give a directory, or a Hub id (owner/name)")
    return fetch(name, TOKENIZER_FILES)


def _write(text: str, out: str | None) -> None:
    if out:
        write_whole(Path(out), text.encode("utf-8"))
    else:
        sys.stdout.write(text)


def _check_place(out: str | None, option: str = "--out", is_directory: bool = False) -> None:
    """Refuse a place where nothing can be written before the work, not after it."""
    if out is not None and not Path(out).absolute().parent.is_dir():
        raise UsageError(f"{option} is {out!r}; {Path(out).parent} is not a directory")
    if out is not None and not is_directory and Path(out).is_dir():
        raise UsageError(f"{option} is {out!r}, which is a directory; give a file")


def _run_check(arguments: argparse.Namespace) -> int:
    """Examine a quantized checkpoint; with ``--against``, compare it with the float model."""
    _check_place(arguments.out)
    quantized = load_checkpoint(arguments.checkpoint, tolerant=True)
    try:
        report = health.inspect(quantized)
        if arguments.against is not None:
            report = _evaluate(report, quantized, arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    writes = {"table": health.as_table, "json": lambda h: tables.as_json(health.document(h))}
    _write(writes[arguments.format](report), arguments.out)
    return 0 if report.is_sound else 1


def _evaluate(
    report: health.Health, quantized: Checkpoint, arguments: argparse.Namespace
) -> health.Health:
    model = load_checkpoint(arguments.against)
    if model.is_quantized:
        raise UsageError(f"--against is {arguments.against!r}, which is quantized, too")
    health.check_same_model(quantized, model)
    text = read_text(
        model, arguments.text, arguments.batches, arguments.seq_len, _tokenizer(arguments)
    )
    layers = sorted(set(quantized.stored_layers) & set(model.layers))
    for calibration in _calibrate_in_passes(model, text, layers):
        outputs = channels_of(calibration, model)
        report = health.evaluate(report, quantized, model, calibration, outputs)
    return report


def _run_compare(arguments: argparse.Namespace) -> int:
    """Columns side by side; what several have in common is counted once."""
    _check_place(arguments.out)
    counted: dict[tuple[str, str], Calibration] = {}

    def count(name: str, text_name: str) -> Calibration:
        if (name, text_name) not in counted:
            checkpoint = load_checkpoint(name)
            text = read_text(
                checkpoint, text_name, arguments.batches, arguments.seq_len, _tokenizer(arguments)
            )
            counted[name, text_name] = _kept_or_counted(
                arguments, checkpoint, text, False, lambda: _count(checkpoint, text, False)
            )
        return counted[name, text_name]

    _write(cli_compare.compare(arguments, count), arguments.out)
    return 0


def _run_calibrate(arguments: argparse.Namespace) -> int:
    """Calibrate every layer and save the counts."""
    out = Path(arguments.out)
    if out.suffix != SUFFIX:
        raise UsageError(f"--out is {arguments.out!r}; a calibration file ends in {SUFFIX}")
    _check_place(arguments.out)
    checkpoint = load_checkpoint(arguments.checkpoint)
    text = read_text(
        checkpoint, arguments.text, arguments.batches, arguments.seq_len, _tokenizer(arguments)
    )
    _check_batch_size(arguments)
    unfinished: list[Segments] = []
    with launched_processes() as processes:
        kept = _KeptCounts(arguments, checkpoint, text, arguments.gradients, arguments.dtype)
        try:
            calibration = kept.get() if processes.is_first else None
            if not processes.all_objects(calibration is not None)[0]:
                calibration = _count_to_the_end(arguments, checkpoint, text, processes, unfinished)
                if calibration is not None:
                    kept.put(calibration)
        except KeyboardInterrupt:
            _write_line("stopped; the same command goes on from what was counted")
            return STOPPED
        if calibration is not None:
            origin = replace(calibration.origin, fingerprint=fingerprint(checkpoint))
            save_calibration(out, replace(calibration, origin=origin))
            _write_line(
                f"{out}: the counts of {len(calibration.layers)} layers of {origin.checkpoint} on "
                f"{origin.batches} × {origin.seq_len} tokens of {origin.text}"
            )
        processes.wait()
        for segments in unfinished:
            segments.remove()
    if calibration is not None:
        _write_note(sys.stdout, _kept_counts(arguments))
    return 0


def _count_to_the_end(
    arguments: argparse.Namespace,
    checkpoint: Checkpoint,
    text: CalibrationText,
    processes: Processes,
    unfinished: list[Segments],
) -> Calibration | None:
    """Count all layers, from where an earlier run was stopped; None but in the first process.

    Adds to ``unfinished`` what has to be removed once the calibration is written.
    """
    load = load_language_model if arguments.gradients else load_backbone
    model = load(checkpoint, processes.device, DTYPES.get(arguments.dtype))
    backbone = backbone_of(model)
    segments = segments_of(default_directory(), checkpoint, backbone, text, arguments.gradients)
    unfinished.append(segments)
    with _progress_bar(processes.is_first) as show:
        calibration = calibrate_to_the_end(
            checkpoint,
            model,
            text,
            segments,
            processes,
            gradients=arguments.gradients,
            batch_size=arguments.batch_size,
            on_progress=show,
        )
    if processes.is_first:
        together = f", {processes.size} processes" if processes.size > 1 else ""
        _write_line(
            f"{text.batches} batches of {text.seq_len} tokens counted; the forward ran in "
            f"{forward_of(backbone)}{together}"
        )
    return calibration


def _check_batch_size(arguments: argparse.Namespace) -> None:
    if arguments.batch_size < 1:
        raise UsageError(f"--batch-size is {arguments.batch_size}; it must be at least 1")
    if arguments.gradients and arguments.batch_size > 1:
        raise UsageError("--batch-size does not go with --gradients, counted one at a time")


def _write_line(line: str) -> None:
    """A line on standard error, unless nobody reads it any more."""
    _write_note(sys.stderr, f"dashboard: {line}\n")


def _write_note(stream: TextIO, note: str) -> None:
    """What is said beside the result; that nobody reads it is no fault."""
    try:
        stream.write(note)
        stream.flush()
    except OSError:
        _let_go(stream)


def _let_go(stream: TextIO) -> None:
    """Nobody reads a stream any more: what is left in its buffer goes nowhere, at the end, too."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _count(checkpoint: Checkpoint, text: CalibrationText, gradients: bool) -> Calibration:
    load = load_language_model if gradients else load_backbone
    with _progress_bar() as show:
        return calibrate(checkpoint, load(checkpoint), text, gradients=gradients, on_progress=show)


class _KeptCounts:
    """What earlier runs counted of a checkpoint on a text; nothing with ``--no-store``."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        checkpoint: Checkpoint,
        text: CalibrationText,
        gradients: bool,
        dtype: str | None = None,
    ) -> None:
        self._arguments, self._checkpoint, self._text = arguments, checkpoint, text
        self._gradients = gradients
        device = default_device()
        self._forward = device, forward_dtype(checkpoint, device, dtype)

    @cached_property
    def _store(self) -> CalibrationStore | None:
        return None if self._arguments.no_store else calibration_store.default_store()

    @cached_property
    def _key(self) -> CountsKey:
        device, dtype = self._forward
        return counts_key(
            self._checkpoint.path,
            self._text.sha256,
            self._text.batches,
            self._text.seq_len,
            self._gradients,
            device,
            self._store,
            _tokenizer_directory(self._arguments.tokenizer),
            dtype,
        )

    def get(self) -> Calibration | None:
        if self._arguments.no_store:
            return None
        return calibration_store.recalled(self._store, self._checkpoint, self._text.name, self._key)

    def put(self, calibration: Calibration) -> None:
        """Keep it, if it has all layers."""
        if self._store is not None and len(calibration.layers) == self._checkpoint.n_layers:
            self._store.put(self._key, calibration)


def _kept_or_counted(
    arguments: argparse.Namespace,
    checkpoint: Checkpoint,
    text: CalibrationText,
    gradients: bool,
    count: Callable[[], Calibration],
) -> Calibration:
    """The counts of an earlier run, of all layers, or what ``count`` makes now, which is kept."""
    kept = _KeptCounts(arguments, checkpoint, text, gradients)
    calibration = kept.get()
    if calibration is None:
        calibration = count()
        kept.put(calibration)
    return calibration


def _kept_counts(arguments: argparse.Namespace) -> str:
    """How many calibrations are kept on disk, and where; a line, or "" where none may be."""
    store = None if arguments.no_store else calibration_store.default_store()
    if store is None:
        return ""
    return captions.kept_counts_line(store.holdings(), ENGLISH) + "\n"


def _run_export(arguments: argparse.Namespace) -> int:
    """Scales as entries of Quamba's; with ``--into``, a whole checkpoint that holds them."""
    rule, out = _rule(arguments), Path(arguments.out)
    if reason := quamba_entries.refusal(rule):
        raise UsageError(reason)
    _check_place(arguments.out, is_directory=arguments.into is not None)
    model = load_checkpoint(arguments.checkpoint)
    if model.architecture.is_hybrid:
        raise UsageError(
            f"{model.path} is a hybrid ({model.family}), of which Quamba has no checkpoints"
        )
    text = read_text(
        model, arguments.text, arguments.batches, arguments.seq_len, _tokenizer(arguments)
    )
    try:
        if arguments.into is None:
            if out.suffix != ".bin":
                raise UsageError(f"--out is {arguments.out!r}; give a file that ends in .bin")
            calibration = _kept_or_counted(
                arguments, model, text, False, lambda: _count(model, text, False)
            )
            reports = [
                LayerReport(layer.layer, report_slices(layer, rule), None)
                for layer in calibration.layers
            ]
            groups = model.architecture.n_groups
            entries = quamba_entries.scale_entries(reports, groups)
            write_whole(out, quamba_entries.as_bytes(entries))
        else:
            _export_into(load_checkpoint(arguments.into), model, text, rule, out)
    except Refusal:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    return 0


def _export_into(
    quantized: Checkpoint, model: Checkpoint, text: CalibrationText, rule: ScaleRule, out: Path
) -> None:
    if not quantized.stored:
        raise UsageError(f"--into is {quantized.path}, which stores no scales to replace")
    health.check_same_model(quantized, model)
    if out.exists():
        raise UsageError(f"--out is {str(out)!r}, which exists; give a directory to be made")
    weights = open_weights(quantized.weights_path)
    state = {name: weights.read(name) for name in weights.files} | weights.numbers
    changed: dict[str, object] = {}
    for calibration in _calibrate_in_passes(model, text, list(quantized.stored_layers)):
        changed |= quamba_entries.replaced(
            state, quantized, model, calibration.layers, channels_of(calibration, model), rule
        )
    with whole_directory(out) as directory:
        for file in sorted(quantized.path.iterdir()):
            if file.is_file() and not file.name.endswith((".bin", ".safetensors", ".index.json")):
                shutil.copyfile(file, directory / file.name)
        write_whole(directory / "pytorch_model.bin", quamba_entries.as_bytes(state | changed))


def _rule(arguments: argparse.Namespace, number_format: NumberFormat | None = None) -> ScaleRule:
    asymmetric = arguments.asymmetric or (number_format is not None and number_format.is_asymmetric)
    try:
        return ScaleRule(
            arguments.observer, arguments.alpha, arguments.sigma, arguments.order, not asymmetric
        )
    except ValueError as error:
        raise UsageError(f"--{error}") from None


def _number_format(arguments: argparse.Namespace) -> NumberFormat:
    """What ``--number-format`` names."""
    name = arguments.number_format
    if arguments.asymmetric and name not in INT8:
        own = f"{name}-asymmetric"
        advice = f"; give --number-format {own}" if own in FORMATS else ""
        raise UsageError(f"--asymmetric is for int8, not for --number-format {name}{advice}")
    return FORMATS[name]


def _is_other(number_format: NumberFormat) -> bool:
    """Whether it is not INT8, for which all of the reports, and the kernel, are made."""
    return number_format.name not in INT8


def _format_name(number_format: NumberFormat, rule: ScaleRule) -> str:
    """As documents have it: of INT8 by the rule, which --asymmetric makes asymmetric."""
    return number_format.name if _is_other(number_format) else INT8[0 if rule.symmetric else 1]


def analyze(arguments: argparse.Namespace) -> dict:
    """Report on the layers of a checkpoint or a calibration file: what ``--format json`` writes."""
    number_format = _number_format(arguments)
    rule = _rule(arguments, number_format)
    if arguments.group_size is not None:
        _check_groups(arguments.group_size, rule)
    if _is_other(number_format):
        return _analyze_format(arguments, rule, number_format)
    if is_calibration_file(arguments.checkpoint):
        origin, reports, every_alpha = _analyze_file(arguments, rule)
    else:
        checkpoint = load_checkpoint(arguments.checkpoint)
        if checkpoint.is_quantized:
            return _analyze_stored(checkpoint, arguments)
        origin, reports, every_alpha = _analyze_checkpoint(checkpoint, arguments, rule)
    document = documents.document(origin, rule, reports)
    if arguments.recommend:
        document["recommended"] = _recommended(recommend(every_alpha))
    return document


def _check_groups(size: int, rule: ScaleRule) -> None:
    if size < 1:
        raise UsageError(f"--group-size is {size}; a group has at least one channel")
    if rule.observer not in CHANNEL_RULES or not rule.symmetric:
        raise UsageError(
            f"--group-size is for symmetric scales by {', '.join(CHANNEL_RULES)}, not for "
            f"{rule.observer}{'' if rule.symmetric else ', asymmetric'}"
        )


def _analyze_format(
    arguments: argparse.Namespace, rule: ScaleRule, number_format: NumberFormat
) -> dict:
    """From counts, which say all about a format, and a live run of the kernel where it can."""
    for name, given in {
        "--group-size": arguments.group_size is not None,
        "--recommend": arguments.recommend,
    }.items():
        if given:
            raise UsageError(f"{name} is for INT8, not for --number-format {number_format.name}")
    if is_calibration_file(arguments.checkpoint):
        calibration = load_calibration(arguments.checkpoint)
        wanted = parse_layers(arguments.layers, [layer.layer for layer in calibration.layers])
        layers = [calibration.layer(layer) for layer in wanted]
        reports = format_layers(layers, number_format, rule)
        return documents.document(calibration.origin, rule, reports, number_format.name)
    checkpoint = load_checkpoint(arguments.checkpoint)
    if checkpoint.is_quantized:
        raise UsageError(
            f"{checkpoint.path} is quantized already; --number-format needs a checkpoint with "
            "float weights"
        )
    wanted = parse_layers(arguments.layers, checkpoint.layers)
    text = read_text(
        checkpoint, arguments.text, arguments.batches, arguments.seq_len, _tokenizer(arguments)
    )
    reports = []
    for calibration in _calibrate_in_passes(checkpoint, text, wanted):

        def conv_of(layer: int, calibration: Calibration = calibration) -> QuantizedConv:
            scales = [own.scales for own in calibration.layer(layer).slices]
            capture = calibration.capture(layer)
            return quantize_conv(capture, checkpoint.slices, scales, default_device())

        reports += format_layers(calibration.layers, number_format, rule, conv_of)
    return documents.document(calibration.origin, rule, reports, number_format.name)


Analysis = tuple[Origin, list[LayerReport], dict[tuple[int, str], Landscape]]


def _analyze_file(arguments: argparse.Namespace, rule: ScaleRule) -> Analysis:
    """From the file's counts; there is no conv input, so no kernel runs."""
    if arguments.group_size:
        raise UsageError("--group-size needs a checkpoint; a calibration file holds no channels")
    saved = load_calibration(arguments.checkpoint)
    layers = parse_layers(arguments.layers, [layer.layer for layer in saved.layers])
    chosen = replace(saved, layers=tuple(saved.layer(layer) for layer in layers))
    every_alpha = landscapes(chosen, rule.symmetric)
    reports = [
        LayerReport(
            layer.layer, report_slices(layer, rule), None, bests=report_bests(layer, every_alpha)
        )
        for layer in chosen.layers
    ]
    return saved.origin, reports, every_alpha


def _analyze_stored(checkpoint: Checkpoint, arguments: argparse.Namespace) -> dict:
    """What a quantized checkpoint stores, whatever the rule."""
    if arguments.group_size or arguments.recommend:
        raise UsageError(
            f"{checkpoint.path} is quantized already; --group-size and --recommend need a "
            "checkpoint with float weights"
        )
    layers = parse_layers(arguments.layers, checkpoint.layers)
    return stored_document(checkpoint, layers, run_all(checkpoint, layers, default_device()))


def _analyze_checkpoint(
    checkpoint: Checkpoint, arguments: argparse.Namespace, rule: ScaleRule
) -> Analysis:
    layers = parse_layers(arguments.layers, checkpoint.layers)
    text = read_text(
        checkpoint, arguments.text, arguments.batches, arguments.seq_len, _tokenizer(arguments)
    )
    reports: list[LayerReport] = []
    every_alpha: dict[tuple[int, str], Landscape] = {}
    for calibration in _calibrate_in_passes(checkpoint, text, layers):
        origin = calibration.origin
        every_alpha |= landscapes(calibration, rule.symmetric)
        for layer in calibration.layers:
            capture = calibration.capture(layer.layer)
            report = _report_layer(checkpoint, layer, capture, rule, arguments.group_size)
            reports.append(replace(report, bests=report_bests(layer, every_alpha)))
    return origin, reports, every_alpha


def _recommended(recommendation: Recommendation) -> dict:
    """One α for the model, and each slice's best, as JSON."""
    return {
        "alpha": recommendation.alpha,
        "mean_loss_db": recommendation.mean_loss_db(recommendation.alpha),
        "reason": captions.recommendation(recommendation, ENGLISH).replace("**", ""),
        "layers": [
            {
                "layer": choice.layer,
                "slice": choice.slice,
                "alpha": choice.alpha,
                "x_out_scale": choice.x_out_scale,
                "sqnr_db": choice.sqnr_db,
                "loss_db": {format_alpha(alpha): loss for alpha, loss in choice.loss_db.items()},
            }
            for choice in recommendation.layers
        ],
    }


def _calibrate_in_passes(
    checkpoint: Checkpoint, text: CalibrationText, layers: Sequence[int]
) -> Iterator[Calibration]:
    """Every layer with its conv input, as many layers a pass as have room."""
    backbone = load_backbone(checkpoint)
    with _progress_bar() as show:
        yield from calibrate_in_passes(checkpoint, backbone, text, layers, on_progress=show)


def _report_layer(
    checkpoint: Checkpoint,
    calibration: LayerCalibration,
    capture: ConvCapture,
    rule: ScaleRule,
    group_size: int | None,
) -> LayerReport:
    """Scales, measures, and a live run of the kernel."""
    slices = report_slices(calibration, rule)
    finer = None
    if group_size:
        outputs = [channel_outputs(capture, conv_slice) for conv_slice in checkpoint.slices]
        finer = tuple(group_scales(o, even_groups(len(o), group_size), rule) for o in outputs)
    conv = quantize_conv(
        capture, checkpoint.slices, [report.scales for report in slices], default_device()
    )
    if finer:
        scale_out = torch.from_numpy(np.concatenate([groups.per_channel for groups in finer]))
    else:
        scale_out = per_channel(
            checkpoint.slices, [report.chosen.x_out_scale for report in slices], "cpu"
        )
    zero_points = [report.chosen.zero_point for report in slices]
    ran = run_kernel(conv, scale_out, zero_points=zero_points)
    return LayerReport(calibration.layer, slices, ran, finer)


def parse_layers(asked: str | None, known: Collection[int]) -> list[int]:
    """ "0,3-5" -> [0, 3, 4, 5]; None -> all. Raises UsageError for any that is not known."""
    if asked is None:
        return sorted(known)
    layers: set[int] = set()
    for piece in asked.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--layers is {asked!r}; give numbers and ranges, as in 0,3-5")
        least, most = int(first), int(last if dash else first)
        layers.update(range(least, min(most, least + MOST_LAYERS) + 1))
    if not layers or layers - set(known):
        raise UsageError(f"--layers is {asked!r}; there are layers {_ranges(sorted(known))}")
    return sorted(layers)


def _ranges(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0 to 2, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


BAR = "{desc} {percentage:3.0f} %|{bar:30}| {elapsed}, {remaining} left"


@contextmanager
def _progress_bar(
    is_shown: bool = True,
) -> Iterator[Callable[[Progress | ImpactProgress], None]]:
    """A bar on standard error, gone afterwards; nothing at all where that is not a terminal.

    ``is_shown`` is false for all but one of several processes that share a terminal. Gives what a
    calibration or a study is to call. Lines that are logged meanwhile appear above the bar.
    """
    loggers = [logging.getLogger(name) for name in PACKAGES]
    with (
        logging_redirect_tqdm(loggers),
        tqdm(
            total=1,
            bar_format=BAR,
            leave=False,
            disable=None if is_shown else True,
            dynamic_ncols=True,
        ) as bar,
    ):

        def show(progress: Progress | ImpactProgress) -> None:
            if progress.share < bar.n:  # another pass, over further layers
                bar.reset()
            bar.set_description_str(str(progress), refresh=False)
            bar.update(progress.share - bar.n)

        yield show


def _run_impact(arguments: argparse.Namespace) -> int:
    """Measure what a rule's scales cost; with ``--max-kl``, whether that is too much."""
    _check_place(arguments.out)
    _check_budget(arguments)
    document, stopped = measure_impact(arguments)
    # What a stop cut short is no result: it is shown, and a file stays what it was.
    _write(IMPACT_FORMATS[arguments.format](document), None if stopped else arguments.out)
    if arguments.format == "table" and not arguments.out:
        _write_note(sys.stdout, _holdings(arguments))
    if stopped:
        asked = len(document["settings"]) + stopped
        kept = f", and {arguments.out} is as it was" if arguments.out else ""
        _write_line(f"stopped; {stopped} of {asked} settings are missing{kept}")
        return STOPPED
    worst = max(document["settings"], key=lambda setting: setting["kl_nats"])
    limits = {"--max-kl": arguments.max_kl, "--budget": arguments.budget}
    for name, limit in limits.items():
        if limit is not None and worst["kl_nats"] > limit:
            cost = with_error(worst["kl_nats"], worst["kl_nats_error"])
            _write_line(
                f"kl_nats of layers {spans(worst['layers'])} is {cost}, above {name} {limit:g}"
            )
            return 1
    return 0


def _holdings(arguments: argparse.Namespace) -> str:
    """What is kept on disk, and where; a line."""
    store = None if arguments.no_store else default_store()
    if store is None:
        return "No result is kept.\n"
    return captions.holdings_line(store.holdings(), ENGLISH) + "\n" + _kept_counts(arguments)


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
    _check_place(arguments.entries, "--entries")
    if arguments.entries is not None and Path(arguments.entries).suffix != ".bin":
        raise UsageError(f"--entries is {arguments.entries!r}; give a file that ends in .bin")


def measure_impact(arguments: argparse.Namespace) -> tuple[dict, int]:
    """What ``impact --format json`` writes, and how many settings a stop left unmeasured.

    Raises KeyboardInterrupt where it was stopped before the first was measured.
    """
    number_format = _number_format(arguments)
    rule = _rule(arguments, number_format)
    if arguments.group_size is not None:
        _check_groups(arguments.group_size, rule)
    _check_format(arguments, number_format)
    if is_calibration_file(arguments.checkpoint):
        raise UsageError(
            f"{arguments.checkpoint} is a calibration file, which holds no model; give the "
            "checkpoint, and the file as --scales"
        )
    checkpoint = load_checkpoint(arguments.checkpoint)
    names = _parse_slices(arguments.slices, [conv_slice.name for conv_slice in checkpoint.slices])
    saved, stored = _given_scales(arguments, checkpoint, names)
    if stored is not None and _is_other(number_format):
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
        _tokenizer(arguments),
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
                other = number_format if _is_other(number_format) else None
                planned |= plan_layers(
                    checkpoint, calibration, rule, names, arguments.group_size, other
                )
    plan, source = None, "calibrated" if stored is None else "stored"
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
    with _progress_bar() as show:
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
            _format_name(number_format, rule) if source == "calibrated" else None,
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
    if not _is_other(number_format):
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
        checkpoint, arguments.text, 1, arguments.seq_len, _tokenizer(arguments)
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
        checkpoint, arguments.text, arguments.batches, arguments.seq_len, _tokenizer(arguments)
    )
    gradients = arguments.predict or arguments.budget is not None
    by_channel = (
        arguments.group_size is not None
        or arguments.scales is not None
        or (arguments.budget is not None and arguments.entries is None)
    )
    whole = model if gradients else backbone_of(model)
    with _progress_bar() as show:
        if by_channel:
            yield from calibrate_in_passes(
                checkpoint, whole, text, layers, on_progress=show, gradients=gradients
            )
        else:
            counted = _kept_or_counted(
                arguments,
                checkpoint,
                text,
                gradients,
                lambda: calibrate(
                    checkpoint, whole, text, layers=layers, gradients=gradients, on_progress=show
                ),
            )
            yield replace(counted, layers=tuple(counted.layer(layer) for layer in layers))


def _parse_slices(asked: str | None, known: Sequence[str]) -> list[str]:
    """ "x,B" -> ["x", "B"]; None -> all. Raises UsageError for any that is not known."""
    if asked is None:
        return list(known)
    names = [name.strip() for name in asked.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"--slices has {unknown[0]!r}; there are {', '.join(known)}")
    return [name for name in known if name in names]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for every other fault."""
        self.exit(2, f"dashboard: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m dashboard", description="INT8 activation scales of Mamba.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "analyze", help="report the scales of a checkpoint or a calibration file"
    )
    _add_source(command, "directory, Hub id, sample, or a calibration file")
    _add_rule(command)
    command.add_argument(
        "--group-size", type=int, metavar="N", help="one scale for N neighbouring channels"
    )
    command.add_argument(
        "--recommend", action="store_true", help="the best α of each layer, and of the model"
    )
    _add_number_format(command)
    command.add_argument("--layers", metavar="0,3-5", help="default: all")
    command.add_argument(
        "--format",
        choices=tables.FORMATS,
        default="table",
        metavar="FORM",
        help=", ".join(tables.FORMATS),
    )
    command.add_argument("--out", metavar="FILE", help="default: standard output")
    command.set_defaults(run=_run_analyze)

    command = commands.add_parser("compare", help="scales side by side, layer by layer")
    cli_compare.add_arguments(command)
    _add_tokenizer(command)
    _add_log_level(command)
    _add_no_store(command)
    command.set_defaults(run=_run_compare)

    command = commands.add_parser("calibrate", help="count what the convolutions make, and save it")
    _add_source(command, "directory, Hub id or sample")
    command.add_argument(
        "--gradients",
        action="store_true",
        help="of the model's loss, too: then the best α is the one that is predicted to cost least",
    )
    command.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="sequences in one forward, on a GPU; the result is the same",
    )
    command.add_argument(
        "--dtype",
        choices=DTYPES,
        metavar="DTYPE",
        help="of the forward, on a GPU: float32, bfloat16, float16; default: the weights'",
    )
    command.add_argument("--out", metavar=f"FILE{SUFFIX}", required=True)
    _add_no_store(command)
    command.set_defaults(run=_run_calibrate)
    command = commands.add_parser("check", help="is each scale of a quantized checkpoint sound?")
    _add_source(command, "a quantized checkpoint: directory, Hub id or sample")
    command.add_argument(
        "--against", metavar="FLOAT_CHECKPOINT", help="the model it was made of, to judge by"
    )
    command.add_argument(
        "--format", choices=("table", "json"), default="table", metavar="FORM", help="table, json"
    )
    command.add_argument("--out", metavar="FILE", help="default: standard output")
    command.set_defaults(run=_run_check)

    command = commands.add_parser("export", help="write scales as Quamba's checkpoints store them")
    _add_source(command, "a float checkpoint: directory, Hub id or sample")
    _add_rule(command)
    command.add_argument(
        "--into",
        metavar="QUANTIZED",
        help="the checkpoint that was made of it: its own groups get the rule's scales; needed "
        "for a W8A8 Mamba-1 and for mixed widths",
    )
    command.add_argument(
        "--out", metavar="OUT", required=True, help="FILE.bin; with --into a new directory"
    )
    _add_no_store(command)
    command.set_defaults(run=_run_export)

    command = commands.add_parser("impact", help="what quantized layers cost the model, in nats")
    _add_impact(command)
    return parser


def _add_impact(command: argparse.ArgumentParser) -> None:
    _add_source(command, "a float checkpoint: directory, Hub id or sample")
    _add_rule(command)
    command.add_argument(
        "--group-size", type=int, metavar="N", help="one scale for N neighbouring channels"
    )
    _add_number_format(command)
    command.add_argument(
        "--scales",
        metavar="SOURCE",
        help="a calibration file in place of --text, or a quantized checkpoint, whose stored "
        "scales are taken",
    )
    command.add_argument("--layers", metavar="0,3-5", help="default: all")
    command.add_argument("--slices", metavar="x,B,C", help="default: all")
    command.add_argument(
        "--mode",
        choices=MODES,
        default="output",
        help="what is rounded: the output alone; x, weights and bias alone; or both",
    )
    command.add_argument(
        "--on",
        metavar="FILE",
        help="the text that is judged on; default: --text's batches after the calibrated ones",
    )
    command.add_argument("--on-batches", type=int, default=DEFAULT_BATCHES, metavar="N")
    command.add_argument("--each", action="store_true", help="each layer alone, too")
    command.add_argument(
        "--predict", action="store_true", help="count gradients, and predict what is measured"
    )
    command.add_argument(
        "--budget",
        type=float,
        metavar="NATS",
        help="in place of a rule: plan the cheapest scales that are predicted to keep to so much, "
        "and measure the plan; exit status 1 where it does not keep to it",
    )
    command.add_argument(
        "--entries",
        metavar="FILE.bin",
        help="write the plan as Quamba stores scales: one symmetric scale a slice",
    )
    command.add_argument(
        "--no-store",
        action="store_true",
        help="count and measure all anew, and keep nothing on disk; SCALESCOPE_CALIBRATIONS and "
        "SCALESCOPE_RESULTS name the places",
    )
    command.add_argument(
        "--max-kl", type=float, metavar="NATS", help="exit status 1 where kl_nats is above it"
    )
    command.add_argument(
        "--format",
        choices=IMPACT_FORMATS,
        default="table",
        metavar="FORM",
        help=", ".join(IMPACT_FORMATS),
    )
    command.add_argument("--out", metavar="FILE", help="default: standard output")
    command.set_defaults(run=_run_impact)


def _add_rule(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--observer", choices=RULES, default=DEFAULT_RULE, metavar="RULE", help=", ".join(RULES)
    )
    command.add_argument("--alpha", type=float, default=DEFAULT_ALPHA, metavar="A")
    command.add_argument(
        "--sigma", type=float, default=DEFAULT_SIGMA, metavar="S", help="of percentile-ema"
    )
    command.add_argument(
        "--order", type=int, metavar="SEED", help="shuffle the batches for percentile-ema"
    )
    command.add_argument("--asymmetric", action="store_true", help="let 0 have another code than 0")


def _add_no_store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-store",
        action="store_true",
        help="count anew, and keep no counts on disk; SCALESCOPE_CALIBRATIONS names the place",
    )


def _add_number_format(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--number-format",
        choices=FORMATS,
        default=DEFAULT_FORMAT,
        metavar="NAME",
        help=f"of the output: {', '.join(FORMATS)}",
    )


def _add_source(command: argparse.ArgumentParser, help: str) -> None:
    command.add_argument("checkpoint", metavar="CHECKPOINT", help=help)
    command.add_argument("--text", default=DEFAULT_TEXT, metavar="FILE", help="UTF-8 text")
    _add_tokenizer(command)
    command.add_argument("--batches", type=int, default=DEFAULT_BATCHES, metavar="N")
    command.add_argument("--seq-len", type=int, default=DEFAULT_SEQ_LEN, metavar="L")
    _add_log_level(command)


def _add_tokenizer(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tokenizer",
        metavar="SOURCE",
        help="a directory or Hub id with the tokenizer; default: the checkpoint's own, bytes for a "
        "vocabulary of 256, or GPT-NeoX's for state-spaces' models",
    )


def _add_log_level(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--log-level",
        choices=LEVELS,
        metavar="LEVEL",
        help=f"{', '.join(LEVELS)}: what is logged to standard error; default: SCALESCOPE_LOG, or "
        "warning",
    )
