"""What pages share between reruns and between users: checkpoints, models, calibrations.

All of it stands on shelves (``shelf``), under keys that say what it was made from: the name of a
file and which edition of it, so that an edited text or a replaced checkpoint is read again.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import streamlit as st
from torch import nn

from dashboard.analysis import health, kinds
from dashboard.analysis.answers import Answers, answer_all
from dashboard.analysis.compare import Column, calibrated_column
from dashboard.analysis.kinds import GroupStudy, ScaleKind
from dashboard.analysis.report import (
    LayerReport,
    QuantizedConv,
    ScaleReport,
    SliceReport,
    baselines,
    distinct,
    quantize_conv,
    report_scale,
    report_slice,
    sweep_scales,
)
from dashboard.analysis.stored import StoredRun, run_all
from dashboard.calibration import (
    Calibration,
    CalibrationError,
    CalibrationText,
    ConvCapture,
    Progress,
    SliceCalibration,
    archive,
    calibrate,
    calibrate_in_passes,
    read_text,
    text_names,
)
from dashboard.calibration.histogram import Histogram, Quantized
from dashboard.checkpoints import (
    SAMPLES_DIR,
    Checkpoint,
    CheckpointError,
    default_device,
    is_hub_id,
    load_backbone,
    load_checkpoint,
)
from dashboard.pages import access
from dashboard.pages.shelf import Shelf
from dashboard.rules.channels import (
    CHANNEL_RULES,
    channel_means,
    channel_outputs,
    channels_of,
)
from dashboard.rules.grouping import ChannelGrouping, sort_and_cluster
from dashboard.rules.landscape import Landscape, Recommendation, recommend
from dashboard.rules.observers import ScaleRule

MIB = 2**20

# Conv inputs of all layers are kept while they fit in this, so that another layer is at hand at
# once; of a larger model, only the chosen layer's.
KEEP_BYTES = 256 * MIB

# What a page may take for one layer: its conv input, and what the kernel run makes of it.
MOST_BYTES = 4096 * MIB
LAYER_BYTES = 4 + 9 + 4  # a position and channel: the conv input, QuantizedConv's, a run's codes

# How many values each shelf has room for, how many bytes, and whether they grow while in use.
SHELVES = {
    "checkpoint": (8, 256 * MIB, False),
    "model": (2, 4096 * MIB, False),
    "text": (16, 56 * MIB, False),
    "stored": (8, 16 * MIB, False),
    "calibration": (8, 512 * MIB, True),
    "captures": (2, 2 * KEEP_BYTES, False),
    "conv": (4, KEEP_BYTES, False),
    "sweep": (64, 64 * MIB, False),
    "landscape": (512, 128 * MIB, False),
    "recommendation": (8, 16 * MIB, False),
    "scale": (4096, 64 * MIB, False),
    "channels": (2, 128 * MIB, True),
    "grouping": (64, 16 * MIB, False),
    "kinds": (32, 2 * MIB, False),
    "health": (16, 4 * MIB, False),
    "column": (256, 16 * MIB, False),
    "answers": (16, 64 * MIB, False),
    "table": (16, 64 * MIB, False),
}


@dataclass(frozen=True)
class Model:
    """A backbone, and the lock that keeps two users' hooks from seeing each other's forward."""

    backbone: nn.Module
    lock: threading.Lock


Edition = tuple[tuple[str | int, ...], ...]
READ = (".json", ".safetensors", ".bin", ".model", ".txt")  # of a checkpoint's directory


def edition(name: str) -> Edition:
    """What tells one edition of a checkpoint's or a calibration file from the next.

    Size, times and number of each file that is read. A name that is no open path has none: a Hub
    id's files are those that this server has fetched.
    """
    if _is_sample(name):
        path = SAMPLES_DIR / name
    elif access.is_open(name):
        path = Path(name)
    else:
        return ()
    try:
        path = path.expanduser()
        directory = path if path.is_dir() else path.parent
        if not (directory / "config.json").is_file():
            return (_stamp(path),)
        with os.scandir(directory) as entries:
            return tuple(sorted(_stamp(Path(e.path)) for e in entries if e.name.endswith(READ)))
    except (OSError, RuntimeError, ValueError):
        return ()  # whoever reads it says why it cannot be read


def _is_sample(name: str) -> bool:
    return re.fullmatch(r"\w[\w-]{,99}", name, re.ASCII) is not None and (
        (SAMPLES_DIR / name / "config.json").is_file()
    )


def _text_edition(name: str) -> Edition:
    if name not in text_names() and not access.is_open(name):
        return ()
    try:
        path = SAMPLES_DIR / name if name in text_names() else Path(name).expanduser()
        return (_stamp(path),)
    except (OSError, RuntimeError, ValueError):
        return ()


def _stamp(path: Path) -> tuple[str | int, ...]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@dataclass(frozen=True)
class Source:
    """What was asked for: it names a calibration completely, and is the key of every shelf.

    ``checkpoint`` may be a calibration file; the rest is then what the file says. ``edition`` is
    that of the checkpoint's files and of the text when the source was named: a run of a page names
    it anew, so that a file that has changed is another source.
    """

    checkpoint: str
    text: str
    batches: int
    seq_len: int
    edition: tuple[Edition, Edition] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        editions = (edition(self.checkpoint), _text_edition(self.text))
        object.__setattr__(self, "edition", editions)

    @property
    def from_file(self) -> bool:
        return is_calibration_file(self.checkpoint)

    def first_batch(self) -> Source:
        """The same, cut down to one batch: what can be shown while the rest is counted."""
        return replace(self, batches=1)


def is_calibration_file(name: str) -> bool:
    """Whether a checkpoint's name means a calibration file; never of a path that is not open."""
    return access.is_open(name) and archive.is_calibration_file(name)


@dataclass(frozen=True)
class Outline:
    """What can be chosen of a source, known before it is calibrated."""

    source: Source
    layers: tuple[int, ...]
    slices: tuple[str, ...]
    widths: tuple[int, ...]  # channels of each slice; empty where only a file is at hand
    stored: bool = False  # quantized already: scales to show, nothing to calibrate


@st.cache_resource
def _shelves() -> dict[str, Shelf]:
    return {name: Shelf(*bounds) for name, bounds in SHELVES.items()}


@st.cache_resource
def _loading() -> threading.Lock:
    """Held while a model is loaded, so that two sessions do not load the same one."""
    return threading.Lock()


def outline(source: Source) -> Outline:
    """The layers and slices of a source.

    A text that is too short, a bad file, or more batches than a page has memory for is an error.
    """
    if source.from_file:
        counted = calibration(source, lambda _: None)
        known = replace(
            source,
            text=counted.origin.text,
            batches=counted.origin.batches,
            seq_len=counted.origin.seq_len,
        )
        _shelves()["calibration"].put(known, counted)
        slices = tuple(conv_slice.name for conv_slice in counted.layers[0].slices)
        return Outline(known, tuple(layer.layer for layer in counted.layers), slices, ())
    loaded = checkpoint(source.checkpoint)
    if not loaded.is_quantized:
        _check_size(source, loaded)
        text(source)
    return Outline(
        source,
        loaded.layers,
        tuple(conv_slice.name for conv_slice in loaded.slices),
        tuple(conv_slice.width for conv_slice in loaded.slices),
        loaded.is_quantized,
    )


def _check_size(source: Source, loaded: Checkpoint) -> None:
    """Raises CalibrationError for what would take more memory than a page has."""
    layer = LAYER_BYTES * source.batches * source.seq_len * loaded.conv_dim
    forward = source.seq_len * _forward_bytes(loaded)
    if max(layer, forward) > MOST_BYTES:
        limits = {
            "model": loaded.name,
            "size": f"{max(layer, forward) / 1e9:.1f} GB",
            "most": f"{MOST_BYTES / 1e9:.1f} GB",
            "seq_len": source.seq_len,
        }
        if layer > forward:
            raise CalibrationError(
                "one layer of {batches} batches of {seq_len} tokens takes about {size} in {model}, "
                "and a page may take {most}: ask for fewer tokens, or calibrate at the command "
                "line",
                batches=source.batches,
                **limits,
            )
        raise CalibrationError(
            "the forward of one batch of {seq_len} tokens takes about {size} in {model}, and a "
            "page may take {most}: ask for fewer tokens, or calibrate at the command line",
            **limits,
        )


def _forward_bytes(loaded: Checkpoint) -> int:
    """What a Mamba layer takes at a position, where transformers runs it in plain torch.

    Measured: 3.4 float32 arrays of (L, D, state) in Mamba-1, whose state has 16 numbers, and 4 of
    (L, chunk, heads) in Mamba-2, of chunks of 256.
    """
    x, head_dim = loaded.slices[0].width, loaded.architecture.head_dim
    return 4 * 4 * (16 * x if head_dim is None else 256 * (x // head_dim))


def checkpoint(name: str) -> Checkpoint:
    """Raises CheckpointError for what cannot be read, and for a path that is not open."""
    local = _is_sample(name) or access.is_open(name)
    if not local and not is_hub_id(name):
        raise access.refusal()
    return _shelves()["checkpoint"].get_or_make((name, edition(name)), lambda: _load(name, local))


def _load(name: str, local: bool) -> Checkpoint:
    """A quantized checkpoint some of whose layers cannot be used is shown without them."""
    try:
        return load_checkpoint(name, local=local)
    except CheckpointError:
        rest = load_checkpoint(name, local=local, tolerant=True)  # or it cannot be read at all
        if not rest.layers:
            raise
        return rest


def stored_runs(name: str) -> dict[int, StoredRun]:
    """The kernel, run with every layer's stored weights and scales, by the layer's number."""
    loaded = checkpoint(name)
    return _shelves()["stored"].get_or_make(
        (name, edition(name)), lambda: run_all(loaded, loaded.layers, default_device())
    )


def checked(
    name: str, against: Source | None, on_progress: Callable[[Progress], None]
) -> health.Health:
    """A quantized checkpoint examined; with ``against``, judged by its float model, too."""
    quantized = checkpoint(name)

    def make() -> health.Health:
        report = health.inspect(quantized)
        if against is None:
            return report
        known = checkpoint(against.checkpoint)
        health.check_same_model(quantized, known)
        if _fits(against):
            counted = calibration(against, on_progress)
            return health.evaluate(
                report,
                quantized,
                known,
                counted,
                lambda layer, index: channels(against, layer, index),
            )
        loaded = model(against.checkpoint)
        with loaded.lock:
            for counted in calibrate_in_passes(
                known,
                loaded.backbone,
                text(against),
                quantized.stored_layers,
                KEEP_BYTES,
                on_progress,
            ):
                outputs = channels_of(counted, known)
                report = health.evaluate(report, quantized, known, counted, outputs)
        return report

    return _shelves()["health"].get_or_make((name, edition(name), against), make)


def model(name: str) -> Model:
    shelf, key = _shelves()["model"], (name, edition(name))
    shared = shelf.get(key)
    if shared is None:
        with _loading():
            shared = shelf.get_or_make(
                key, lambda: Model(load_backbone(checkpoint(name)), threading.Lock())
            )
    return shared


def text(source: Source) -> CalibrationText:
    """Raises CalibrationError for what cannot be read or is too short; CheckpointError for a path
    that is not open."""
    if source.text not in text_names() and not access.is_open(source.text):
        raise access.refusal()
    return _shelves()["text"].get_or_make(
        source,
        lambda: read_text(
            checkpoint(source.checkpoint), source.text, source.batches, source.seq_len
        ),
    )


def is_calibrated(source: Source) -> bool:
    return _shelves()["calibration"].get(source) is not None


def calibration(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    """Every layer's histograms, from the shelf or made now."""
    shelf = _shelves()["calibration"]
    counted = shelf.get(source)
    if counted is not None:
        return counted
    if source.from_file:
        counted = archive.load_calibration(source.checkpoint)
        shelf.put(source, counted)
        return counted
    loaded = model(source.checkpoint)
    tokens = text(source)
    with loaded.lock:
        counted = shelf.get(source)  # somebody else may have made it in the meantime
        if counted is None:
            known = checkpoint(source.checkpoint)
            keep = known.layers if _fits(source) else ()
            made = calibrate(known, loaded.backbone, tokens, keep=keep, on_progress=on_progress)
            if keep:
                _shelves()["captures"].put(source, made.captures)
            counted = replace(made, captures=())
            shelf.put(source, counted)
    return counted


def _fits(source: Source) -> bool:
    """Whether the conv inputs of all layers can be kept."""
    known = checkpoint(source.checkpoint)
    layer_bytes = 4 * source.batches * source.seq_len * known.conv_dim
    return layer_bytes * known.n_layers <= KEEP_BYTES


def quantized_conv(
    source: Source, layer: int, on_progress: Callable[[Progress], None]
) -> QuantizedConv:
    """The layer's conv input, weights and bias as INT8: what the live kernel runs on."""

    def make() -> QuantizedConv:
        counted = calibration(source, on_progress)
        scales = [conv_slice.scales for conv_slice in counted.layer(layer).slices]
        capture = _capture(source, layer, on_progress)
        slices = checkpoint(source.checkpoint).slices
        return quantize_conv(capture, slices, scales, default_device())

    return _shelves()["conv"].get_or_make((source, layer), make)


def _capture(source: Source, layer: int, on_progress: Callable[[Progress], None]) -> ConvCapture:
    """One layer's conv input; where those of all layers fit, they are kept together."""
    calibration(source, on_progress)
    every = _fits(source)

    def make() -> tuple[ConvCapture, ...]:
        loaded, known = model(source.checkpoint), checkpoint(source.checkpoint)
        keep = known.layers if every else (layer,)
        with loaded.lock:
            return calibrate(
                known,
                loaded.backbone,
                text(source),
                layers=(),
                keep=keep,
                on_progress=on_progress,
            ).captures

    captures = _shelves()["captures"].get_or_make(source if every else (source, layer), make)
    return next(capture for capture in captures if capture.layer == layer)


def sweep(source: Source, layer: int, index: int) -> Quantized:
    """Every measure over scale_out for one slice, which is the same for every α and rule."""
    return _shelves()["sweep"].get_or_make(
        (source, layer, index), lambda: sweep_scales(_slice(source, layer, index))
    )


def _slice(source: Source, layer: int, index: int) -> SliceCalibration:
    return calibration(source, lambda _: None).layer(layer).slices[index]


def scale_report(source: Source, layer: int, index: int, rule: ScaleRule) -> ScaleReport:
    """What a rule makes of one slice: some rules search, and most stay while α moves."""
    return _shelves()["scale"].get_or_make(
        (source, layer, index, rule), lambda: report_scale(_slice(source, layer, index), rule)
    )


def scale_reports(
    source: Source, layer: int, index: int, rules: Iterable[ScaleRule]
) -> tuple[ScaleReport, ...]:
    """What each of some rules makes of one slice, each rule once."""
    return distinct(scale_report(source, layer, index, rule) for rule in rules)


def slice_report(source: Source, layer: int, index: int, rule: ScaleRule) -> SliceReport:
    """One slice under a rule."""
    return report_slice(_slice(source, layer, index), scale_report(source, layer, index, rule))


def landscape(source: Source, layer: int, index: int, symmetric: bool = True) -> Landscape:
    """Every α for one slice."""
    return _shelves()["landscape"].get_or_make(
        (source, layer, index, symmetric),
        lambda: Landscape.of(_slice(source, layer, index).silu_output, symmetric=symmetric),
    )


def answers(
    source: Source, layer: int, index: int, alphas: tuple[float, ...], symmetric: bool
) -> Answers:
    """What every α of an axis makes of one slice."""
    return _shelves()["answers"].get_or_make(
        (source, layer, index, alphas, symmetric),
        lambda: answer_all(_slice(source, layer, index), alphas, symmetric),
    )


def table(subject: str, make: Callable[[], str]) -> str:
    """A table of answers as the browser has it, in JSON; ``subject`` says what it is about."""
    return _shelves()["table"].get_or_make(subject, make)


def column(
    source: Source,
    observer: str,
    alpha: float | None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Column:
    """The x slice of every layer under a rule, without a label; an α of None is each layer's best.

    A few numbers a layer: they stay when the calibration that they came from has been dropped.
    """

    def make() -> Column:
        layers = [entry.layer for entry in calibration(source, on_progress).layers]
        alphas = [alpha or landscape(source, layer, 0).best_alpha for layer in layers]
        return calibrated_column(
            "",
            [
                layer_report(source, layer, ScaleRule(observer, own))
                for layer, own in zip(layers, alphas, strict=True)
            ],
        )

    return _shelves()["column"].get_or_make((source, observer, alpha), make)


def best(source: Source, layer: int, index: int, symmetric: bool = True) -> ScaleReport:
    """What a slice's own best α makes of it."""
    rule = landscape(source, layer, index, symmetric).best_rule
    return scale_report(source, layer, index, rule)


def layer_report(source: Source, layer: int, rule: ScaleRule) -> LayerReport:
    """One layer under a rule, from the counts alone: no kernel runs."""
    parts = range(len(calibration(source, lambda _: None).layer(layer).slices))
    return LayerReport(
        layer,
        tuple(slice_report(source, layer, i, rule) for i in parts),
        kernel=None,
        bests=tuple(best(source, layer, i, rule.symmetric) for i in parts),
    )


@dataclass(frozen=True, eq=False)
class SliceStudy:
    """One slice under one rule, and what it is held to."""

    layer: LayerReport  # all slices of its layer; no kernel ran
    report: SliceReport  # the one on show
    beside: ScaleReport  # under the rule that was asked for as a companion
    best: ScaleReport  # under its best α
    rows: tuple[ScaleReport, ...]  # under every rule: the chosen first, then the other two
    landscape: Landscape  # every α, symmetric or not as the rule is
    sweep: Quantized  # every scale from scale_wx up

    @property
    def has_beside(self) -> bool:
        """Whether the companion has a row of its own, the second."""
        return len(self.rows) > 1 and self.rows[1] is self.beside

    @property
    def held_to(self) -> tuple[ScaleReport, ...]:
        """The few scales that fit into a small drawing."""
        few = [row for row in self.rows if row.observer in ("minmax", "scale-wx")]
        return distinct([self.report.chosen, self.best, *few])


def study_slice(
    source: Source, layer: int, index: int, rule: ScaleRule, beside: ScaleRule
) -> SliceStudy:
    """All that Explore shows of one slice."""
    report = layer_report(source, layer, rule)
    other, top = scale_report(source, layer, index, beside), report.bests[index]
    rivals = scale_reports(source, layer, index, baselines(rule))
    return SliceStudy(
        report,
        report.slices[index],
        other,
        top,
        distinct([report.slices[index].chosen, other, top, *rivals]),
        landscape(source, layer, index, rule.symmetric),
        sweep(source, layer, index),
    )


def recommendation(source: Source, symmetric: bool = True) -> Recommendation:
    """The best α of every slice of every layer, and one for the whole model."""

    def make() -> Recommendation:
        layers = calibration(source, lambda _: None).layers
        return recommend(
            {
                (layer.layer, counted.name): landscape(source, layer.layer, i, symmetric)
                for layer in layers
                for i, counted in enumerate(layer.slices)
            }
        )

    return _shelves()["recommendation"].get_or_make((source, symmetric), make)


def grouping(
    source: Source, layer: int, head_groups: int, channel_groups: int, as_quamba2: bool = False
) -> ChannelGrouping:
    """The x slice's own groups, by the maxima of its output; or by its means, as Quamba2 has them.

    Raises CalibrationError where the conv input, which the means are taken of, cannot be had.
    """

    def make() -> ChannelGrouping:
        architecture = checkpoint(source.checkpoint).architecture
        assert architecture.head_dim and architecture.n_groups  # the page groups Mamba-2's alone
        if as_quamba2:
            capture = _capture(source, layer, lambda _: None)
            sizes = channel_means(capture, checkpoint(source.checkpoint).slices[0])
        else:
            sizes = np.array([output.absmax for output in channels(source, layer, 0)])
        return sort_and_cluster(
            sizes,
            architecture.head_dim,
            architecture.n_groups,
            head_groups,
            channel_groups,
            as_quamba2,
        )

    key = (source, layer, head_groups, channel_groups, as_quamba2)
    return _shelves()["grouping"].get_or_make(key, make)


def channels(source: Source, layer: int, index: int) -> tuple[Histogram, ...]:
    """The output's histogram of each channel of a slice."""

    def make() -> tuple[Histogram, ...]:
        capture = _capture(source, layer, lambda _: None)
        return channel_outputs(capture, checkpoint(source.checkpoint).slices[index])

    return _shelves()["channels"].get_or_make((source, layer, index), make)


def channel_kinds(
    source: Source, layer: int, index: int, group_size: int, alpha: float
) -> list[ScaleKind]:
    """What scales for groups of neighbouring channels, and for each channel, give a slice."""
    return _shelves()["kinds"].get_or_make(
        (source, layer, index, group_size, alpha),
        lambda: kinds.channel_kinds(channels(source, layer, index), group_size, alpha),
    )


def group_study(
    source: Source, layer: int, head_groups: int, channel_groups: int, alpha: float
) -> GroupStudy:
    """The x slice in its own groups, under each rule, against other kinds of scale."""

    def make() -> GroupStudy:
        rules = {name: ScaleRule(name, alpha) for name in CHANNEL_RULES}
        tensor = {name: scale_report(source, layer, 0, rule) for name, rule in rules.items()}
        return kinds.study_groups(
            channels(source, layer, 0),
            grouping(source, layer, head_groups, channel_groups),
            grouping(source, layer, head_groups, channel_groups, as_quamba2=True),
            {name: float(report.output.sqnr_db) for name, report in tensor.items()},
            alpha,
        )

    key = (source, layer, head_groups, channel_groups, alpha)
    return _shelves()["kinds"].get_or_make(key, make)
