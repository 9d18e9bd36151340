"""What pages share between reruns and between users: checkpoints, models, calibrations.

Streamlit's caches cannot hold a calibration, since one shows its progress and can be stopped while
it runs. A ``Shelf`` can: a bounded store, keyed by names and numbers, that drops what was used
longest ago.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st
from torch import nn

from dashboard import archive
from dashboard.calibration import (
    Calibration,
    CalibrationText,
    ConvCapture,
    Progress,
    SliceCalibration,
    calibrate,
    read_text,
    text_names,
)
from dashboard.channels import channel_outputs
from dashboard.checkpoints import (
    Checkpoint,
    default_device,
    is_hub_id,
    load_backbone,
    load_checkpoint,
    quantized_sample_names,
    sample_names,
)
from dashboard.compare import Column
from dashboard.grouping import ChannelGrouping, sort_and_cluster
from dashboard.histogram import Histogram, Quantized
from dashboard.landscape import Landscape, Recommendation, recommend
from dashboard.observers import ScaleRule
from dashboard.pages import access
from dashboard.report import (
    LayerReport,
    QuantizedConv,
    ScaleReport,
    SliceReport,
    quantize_conv,
    report_scale,
    report_slice,
    sweep_scales,
)
from dashboard.stored import StoredRun, run_stored

# Conv inputs of all layers are kept while they fit in this, so that another layer is at hand at
# once; of a larger model, only the chosen layer's.
KEEP_BYTES = 256 * 2**20


class Shelf:
    """At most ``size`` values, the least recently used dropped first. Safe between threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)


@dataclass(frozen=True)
class Model:
    """A backbone, and the lock that keeps two users' hooks from seeing each other's forward."""

    backbone: nn.Module
    lock: threading.Lock


@dataclass(frozen=True)
class Source:
    """What was asked for: it names a calibration completely, and is the key of every shelf.

    ``checkpoint`` may be a calibration file; the rest is then what the file says.
    """

    checkpoint: str
    text: str
    batches: int
    seq_len: int

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
    sizes = {"calibration": 4, "capture": 2, "conv": 4, "sweep": 64, "landscape": 512,
             "recommendation": 8, "scale": 4096, "channels": 2, "grouping": 64,
             "column": 256}  # fmt: skip
    return {name: Shelf(size) for name, size in sizes.items()}


def outline(source: Source) -> Outline:
    """The layers and slices of a source; a text that is too short, or a bad file, is an error."""
    if source.from_file:
        found = calibration(source, lambda _: None)
        known = replace(source, text=found.origin.text, batches=found.origin.batches,
                        seq_len=found.origin.seq_len)  # fmt: skip
        _shelves()["calibration"].put(known, found)
        slices = tuple(part.name for part in found.layers[0].slices)
        return Outline(known, tuple(layer.layer for layer in found.layers), slices, ())
    loaded = checkpoint(source.checkpoint)
    if not loaded.is_quantized:
        text(source)
    return Outline(
        source,
        loaded.layers,
        tuple(part.name for part in loaded.slices),
        tuple(part.width for part in loaded.slices),
        loaded.is_quantized,
    )


def checkpoint(name: str) -> Checkpoint:
    """Raises CheckpointError for what cannot be read, and for a path that is not open."""
    local = name in (*sample_names(), *quantized_sample_names()) or access.is_open(name)
    if not local and not is_hub_id(name):
        raise access.refusal()
    return _checkpoint(name, local)


@st.cache_resource(max_entries=8, show_spinner=False)
def _checkpoint(name: str, local: bool) -> Checkpoint:
    return load_checkpoint(name, local)


@st.cache_data(max_entries=4, show_spinner=False)
def stored_runs(source: str) -> list[StoredRun]:
    """The kernel, run with every layer's stored weights and scales."""
    return [run_stored(layer, default_device()) for layer in checkpoint(source).stored]


@st.cache_resource(max_entries=2, show_spinner=False)
def model(source: str) -> Model:
    return Model(load_backbone(checkpoint(source)), threading.Lock())


def text(source: Source) -> CalibrationText:
    """Raises CalibrationError for what cannot be read or is too short; CheckpointError for a path
    that is not open."""
    if source.text not in text_names() and not access.is_open(source.text):
        raise access.refusal()
    return _text(source)


@st.cache_data(max_entries=16, show_spinner=False)
def _text(source: Source) -> CalibrationText:
    return read_text(checkpoint(source.checkpoint), source.text, source.batches, source.seq_len)


def is_calibrated(source: Source) -> bool:
    return _shelves()["calibration"].get(source) is not None


def calibration(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    """Every layer's histograms, from the shelf or made now."""
    shelf = _shelves()["calibration"]
    found = shelf.get(source)
    if found is not None:
        return found
    if source.from_file:
        found = archive.load_calibration(source.checkpoint)
        shelf.put(source, found)
        return found
    loaded = model(source.checkpoint)
    tokens = text(source)
    layers = checkpoint(source.checkpoint).layers
    keep = layers if _capture_bytes(source) * len(layers) <= KEEP_BYTES else ()
    with loaded.lock:
        found = shelf.get(source)  # somebody else may have made it in the meantime
        if found is None:
            found = calibrate(
                checkpoint(source.checkpoint),
                loaded.backbone,
                tokens,
                keep=keep,
                on_progress=on_progress,
            )
            shelf.put(source, found)
    return found


def _capture_bytes(source: Source) -> int:
    return 4 * source.batches * source.seq_len * checkpoint(source.checkpoint).conv_dim


def quantized_conv(
    source: Source, layer: int, on_progress: Callable[[Progress], None]
) -> QuantizedConv:
    """The layer's conv input, weights and bias as INT8: what the live kernel runs on."""
    shelf = _shelves()["conv"]
    found = shelf.get((source, layer))
    if found is None:
        loaded = checkpoint(source.checkpoint)
        counted = calibration(source, on_progress)
        scales = [part.scales for part in counted.layer(layer).slices]
        capture = _capture(source, layer, on_progress)
        found = quantize_conv(capture, loaded.slices, scales, default_device())
        shelf.put((source, layer), found)
    return found


def _capture(source: Source, layer: int, on_progress: Callable[[Progress], None]) -> ConvCapture:
    kept = calibration(source, on_progress).captures
    if kept:
        return calibration(source, on_progress).capture(layer)
    shelf = _shelves()["capture"]
    found = shelf.get((source, layer))
    if found is None:
        loaded = model(source.checkpoint)
        with loaded.lock:
            found = calibrate(
                checkpoint(source.checkpoint),
                loaded.backbone,
                text(source),
                layers=(),
                keep=(layer,),
                on_progress=on_progress,
            ).capture(layer)
        shelf.put((source, layer), found)
    return found


def sweep(source: Source, layer: int, index: int) -> Quantized:
    """Every measure over scale_out for one slice, which is the same for every α and rule."""
    shelf = _shelves()["sweep"]
    found = shelf.get((source, layer, index))
    if found is None:
        found = sweep_scales(_slice(source, layer, index))
        shelf.put((source, layer, index), found)
    return found


def _slice(source: Source, layer: int, index: int) -> SliceCalibration:
    return calibration(source, lambda _: None).layer(layer).slices[index]


def scale_report(source: Source, layer: int, index: int, rule: ScaleRule) -> ScaleReport:
    """What a rule makes of one slice: some rules search, and most stay while α moves."""
    shelf = _shelves()["scale"]
    found = shelf.get((source, layer, index, rule))
    if found is None:
        found = report_scale(_slice(source, layer, index), rule)
        shelf.put((source, layer, index, rule), found)
    return found


def slice_report(source: Source, layer: int, index: int, rule: ScaleRule) -> SliceReport:
    """One slice under a rule."""
    return report_slice(_slice(source, layer, index), scale_report(source, layer, index, rule))


def landscape(source: Source, layer: int, index: int, symmetric: bool = True) -> Landscape:
    """Every α for one slice."""
    shelf = _shelves()["landscape"]
    found = shelf.get((source, layer, index, symmetric))
    if found is None:
        found = Landscape.of(_slice(source, layer, index).silu_output, symmetric=symmetric)
        shelf.put((source, layer, index, symmetric), found)
    return found


def column(source: Source, rule: Hashable, make: Callable[[], Column]) -> Column:
    """A few numbers a layer: they stay when the calibration that they came from has been dropped.

    ``rule`` says what ``make`` makes of the source.
    """
    shelf = _shelves()["column"]
    found = shelf.get((source, rule))
    if found is None:
        found = make()
        shelf.put((source, rule), found)
    return found


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


def recommendation(source: Source, symmetric: bool = True) -> Recommendation:
    """The best α of every slice of every layer, and one for the whole model."""
    shelf = _shelves()["recommendation"]
    found = shelf.get((source, symmetric))
    if found is None:
        layers = calibration(source, lambda _: None).layers
        found = recommend({
            (layer.layer, part.name): landscape(source, layer.layer, i, symmetric)
            for layer in layers for i, part in enumerate(layer.slices)
        })  # fmt: skip
        shelf.put((source, symmetric), found)
    return found


def grouping(source: Source, layer: int, head_groups: int, channel_groups: int) -> ChannelGrouping:
    """The x slice's own sort-and-cluster groups, on the maxima of its output."""
    key = (source, layer, head_groups, channel_groups)
    shelf = _shelves()["grouping"]
    found = shelf.get(key)
    if found is None:
        architecture = checkpoint(source.checkpoint).architecture
        assert architecture.head_dim and architecture.n_groups  # the page groups Mamba-2's alone
        amax = [output.absmax for output in channels(source, layer, 0)]
        found = sort_and_cluster(
            np.array(amax),
            architecture.head_dim,
            architecture.n_groups,
            head_groups,
            channel_groups,
        )
        shelf.put(key, found)
    return found


def channels(source: Source, layer: int, index: int) -> tuple[Histogram, ...]:
    """The output's histogram of each channel of a slice."""
    shelf = _shelves()["channels"]
    found = shelf.get((source, layer, index))
    if found is None:
        capture = _capture(source, layer, lambda _: None)
        found = channel_outputs(capture, checkpoint(source.checkpoint).slices[index])
        shelf.put((source, layer, index), found)
    return found
