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

import streamlit as st
from torch import nn

from dashboard.calibration import (
    Calibration,
    CalibrationText,
    ConvCapture,
    Progress,
    calibrate,
    read_text,
)
from dashboard.checkpoints import Checkpoint, default_device, load_backbone, load_checkpoint
from dashboard.histogram import Quantized
from dashboard.report import QuantizedConv, quantize_conv, slice_scales, sweep_scales

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
    """What was asked for: it names a calibration completely, and is the key of every shelf."""

    checkpoint: str
    text: str
    batches: int
    seq_len: int

    def first_batch(self) -> Source:
        """The same, cut down to one batch: what can be shown while the rest is counted."""
        return replace(self, batches=1)


@st.cache_resource
def _shelves() -> dict[str, Shelf]:
    return {"calibration": Shelf(4), "capture": Shelf(2), "conv": Shelf(4), "sweep": Shelf(64)}


@st.cache_resource(max_entries=8, show_spinner=False)
def checkpoint(source: str) -> Checkpoint:
    return load_checkpoint(source)


@st.cache_resource(max_entries=2, show_spinner=False)
def model(source: str) -> Model:
    return Model(load_backbone(checkpoint(source)), threading.Lock())


@st.cache_data(max_entries=16, show_spinner=False)
def text(source: Source) -> CalibrationText:
    return read_text(checkpoint(source.checkpoint), source.text, source.batches, source.seq_len)


def is_calibrated(source: Source) -> bool:
    return _shelves()["calibration"].get(source) is not None


def calibration(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    """Every layer's histograms, from the shelf or made now."""
    shelf = _shelves()["calibration"]
    found = shelf.get(source)
    if found is not None:
        return found
    loaded = model(source.checkpoint)
    tokens = text(source)
    layers = checkpoint(source.checkpoint).n_layers
    keep = range(layers) if _capture_bytes(source) * layers <= KEEP_BYTES else ()
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
        scales = [
            slice_scales(loaded.convs[layer], part, tally)
            for part, tally in zip(loaded.slices, counted.layer(layer).slices, strict=True)
        ]
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
        counted = calibration(source, lambda _: None).layer(layer).slices[index]
        loaded = checkpoint(source.checkpoint)
        found = sweep_scales(
            counted, slice_scales(loaded.convs[layer], loaded.slices[index], counted)
        )
        shelf.put((source, layer, index), found)
    return found
