"""A source's calibration, and what else needs its model to run: made once, then kept.

Histograms of all layers come from one pass over the batches, made now, or before by anybody: then
they are on disk (``calibration/calibration_store.py``), and the model is run when the live kernel
or a grouping of channels asks for conv inputs. Those are kept from the same pass where all layers'
fit (``KEEP_BYTES``); of a larger model, one layer's are captured at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from torch import Tensor

from dashboard.analysis.format_runs import run_formats
from dashboard.analysis.report import KernelRun, QuantizedConv, quantize_conv, run_kernel
from dashboard.calibration import Calibration, ConvCapture, Progress, calibrate
from dashboard.calibration.calibration_store import (
    CalibrationStore,
    CountsKey,
    counts_key,
    default_store,
)
from dashboard.calibration.calibration_store import kept as kept_counts
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import default_device, forward_dtype
from dashboard.formats import FormatReport
from dashboard.pages import loading, uploads
from dashboard.pages.jobs import JOBS
from dashboard.pages.shelves import KEEP_BYTES, shelf
from dashboard.pages.sources import Source
from dashboard.pages.turns import turn
from dashboard.rules.channels import channel_outputs


@dataclass(frozen=True)
class Whence:
    """How the counts that are on show came about."""

    how: Literal["now", "kept", "carried", "file"]
    day: str = ""  # on which they were counted, where they were kept: ISO 8601


@cache
def calibration_store() -> CalibrationStore | None:
    """Where counts are kept between visits; the command line's own."""
    return default_store()


def is_calibrated(source: Source) -> bool:
    """Whether the histograms of a source are at hand: in memory, on disk, or carried."""
    return _at_hand(source) is not None


def whence(source: Source) -> Whence:
    """How the counts of a source, which are at hand, came about."""
    known: Whence | None = shelf("whence").get(source)
    return known or Whence("file" if source.from_file else "now")


def calibration(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    """Every layer's histograms: those that are at hand, or made now."""
    counted = _at_hand(source)
    if counted is None:
        counted = JOBS.watch(("counts", source), partial(_count, source), on_progress)
    return counted


def stop(source: Source) -> None:
    """For a press on a button: its calibration ends now, unless somebody else waits for it."""
    JOBS.drop(("counts", source))


def _count(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    loaded, tokens = loading.model(source.checkpoint), loading.text(source)
    with loaded.lock:
        known = loading.checkpoint(source.checkpoint)
        keep = known.layers if all_layers_fit(source) else ()
        made = calibrate(known, loaded.backbone, tokens, keep=keep, on_progress=on_progress)
    return _put(source, made, gradients=False)


def _at_hand(source: Source, gradients: bool = False) -> Calibration | None:
    """A source's counts without its model: from the shelf, a calibration file, or the store."""
    kept = shelf("calibration")
    counted: Calibration | None = kept.get(source)
    if counted is not None and (_has_gradients(counted) or not gradients):
        return counted
    if source.from_file:
        counted = loading.calibration_file(source.checkpoint)
        kept.put(source, counted)
        return counted
    store, key = calibration_store(), _key(source, gradients)
    stored = kept_counts(store, loading.directory(source.checkpoint), key)
    if stored is None:
        return None
    text_name = Path(uploads.title(source.text)).name
    origin = replace(stored.calibration.origin, checkpoint=source.checkpoint, text=text_name)
    counted = replace(stored.calibration, origin=origin)
    kept.put(source, counted)
    shelf("whence").put(source, Whence("kept" if stored.day else "carried", stored.day))
    return counted


def _put(source: Source, made: Calibration, gradients: bool) -> Calibration:
    """Keep what was counted now: the captures in memory, the counts on disk, too."""
    if made.captures:
        shelf("captures").put(source, made.captures)
    counted = replace(made, captures=())
    shelf("calibration").put(source, counted)
    shelf("whence").put(source, Whence("now"))
    store = calibration_store()
    if store is not None and not source.is_uploaded:
        store.put(_key(source, gradients), counted)
    return counted


def _key(source: Source, gradients: bool) -> CountsKey:
    """What the source's counts depend on."""

    def make() -> CountsKey:
        device = default_device()
        on_cpu = device == "cpu"
        return counts_key(
            loading.directory(source.checkpoint),
            loading.text_hash(source),
            source.batches,
            source.seq_len,
            gradients,
            device,
            calibration_store(),
            loading.tokenizer_directory(source),
            # On a CPU it is float32, of whatever weights: a sample's are not opened for that.
            dtype="" if on_cpu else forward_dtype(loading.checkpoint(source.checkpoint), device),
        )

    return shelf("hash").get_or_make((source, gradients), make)


def has_gradients(source: Source) -> bool:
    """Whether the loss's gradients were counted, here or in the calibration file."""
    counted = shelf("calibration").get(source)
    return counted is not None and _has_gradients(counted)


def _has_gradients(counted: Calibration) -> bool:
    return all(own.gradients is not None for layer in counted.layers for own in layer.slices)


def counted_gradients(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    """``calibration`` with the loss's gradients; it takes the place of the one without.

    Conv inputs are kept with their gradients where they fit, for scales of single channels. A
    calibration file is as it is.

    Raises CheckpointError for a model without a head.
    """
    counted = _at_hand(source, gradients=True)
    if counted is None:
        key = ("counts", source, "gradients")
        counted = JOBS.watch(key, partial(_count_gradients, source), on_progress)
    return counted


def _count_gradients(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    loaded, tokens = loading.language_model(source.checkpoint), loading.text(source)
    with loaded.lock:
        known = loading.checkpoint(source.checkpoint)
        keep = known.layers if gradients_fit(source) else ()
        made = calibrate(
            known, loaded.network, tokens, keep=keep, gradients=True, on_progress=on_progress
        )
    return _put(source, made, gradients=True)


def captures_with_gradients(
    source: Source, on_progress: Callable[[Progress], None]
) -> tuple[ConvCapture, ...]:
    """Every layer's conv input and the gradient of its output; where ``gradients_fit``."""
    captures: tuple[ConvCapture, ...] = shelf("captures").get(source) or ()
    if not captures or any(capture.gradient is None for capture in captures):
        key = ("captures", source, "gradients")
        captures = JOBS.watch(key, partial(_capture_gradients, source), on_progress)
    return captures


def _capture_gradients(
    source: Source, on_progress: Callable[[Progress], None]
) -> tuple[ConvCapture, ...]:
    loaded = loading.language_model(source.checkpoint)
    known = loading.checkpoint(source.checkpoint)
    with loaded.lock:
        captures = calibrate(
            known,
            loaded.network,
            loading.text(source),
            layers=(),
            keep=known.layers,
            gradients=True,
            on_progress=on_progress,
        ).captures
    shelf("captures").put(source, captures)
    return captures


def all_layers_fit(source: Source) -> bool:
    """Whether the conv inputs of all layers can be kept."""
    return _captured_bytes(source) <= KEEP_BYTES


def gradients_fit(source: Source) -> bool:
    """Whether the conv inputs of all layers and their gradients can be kept."""
    return 2 * _captured_bytes(source) <= KEEP_BYTES


def _captured_bytes(source: Source) -> int:
    known = loading.checkpoint(source.checkpoint)
    return 4 * source.batches * source.seq_len * known.conv_dim * known.n_layers


def is_quantized(source: Source, layer: int) -> bool:
    """Whether the live kernel can run on a layer at once."""
    return shelf("conv").get((source, layer)) is not None


def quantized_conv(
    source: Source, layer: int, on_progress: Callable[[Progress], None]
) -> QuantizedConv:
    """The layer's conv input, weights and bias as INT8: what the live kernel runs on."""

    kept, key = shelf("conv"), (source, layer)
    conv: QuantizedConv | None = kept.get(key)
    if conv is None:
        counted = calibration(source, on_progress)
        scales = [conv_slice.scales for conv_slice in counted.layer(layer).slices]
        capture = captured(source, layer, on_progress)
        slices = loading.checkpoint(source.checkpoint).slices
        with turn():  # another visitor may have made it in the one before
            conv = kept.get_or_make(
                key, lambda: quantize_conv(capture, slices, scales, default_device())
            )
    return conv


def is_captured(source: Source, layer: int) -> bool:
    """Whether the live kernel can run on a layer without the model."""
    keys = (source, (source, layer))
    return shelf("conv").get((source, layer)) is not None or any(
        shelf("captures").get(key) is not None for key in keys
    )


def captured(source: Source, layer: int, on_progress: Callable[[Progress], None]) -> ConvCapture:
    """One layer's conv input; where those of all layers fit, they are kept together."""
    calibration(source, on_progress)
    key = source if all_layers_fit(source) else (source, layer)
    captures = shelf("captures").get(key)
    if captures is None:
        work = partial(_capture, source, layer)
        captures = JOBS.watch(("captures", key), work, on_progress)
    return next(capture for capture in captures if capture.layer == layer)


def _capture(
    source: Source, layer: int, on_progress: Callable[[Progress], None]
) -> tuple[ConvCapture, ...]:
    """Every layer's conv input where they fit, else the one's."""
    loaded, known = loading.model(source.checkpoint), loading.checkpoint(source.checkpoint)
    every = all_layers_fit(source)
    with loaded.lock:
        captures = calibrate(
            known,
            loaded.backbone,
            loading.text(source),
            layers=(),
            keep=known.layers if every else (layer,),
            on_progress=on_progress,
        ).captures
    shelf("captures").put(source if every else (source, layer), captures)
    return captures


def run_live(
    conv: QuantizedConv,
    scales: Sequence[float] | Tensor,
    zero_points: Sequence[int] = (),
    while_waiting: Callable[[], object] | None = None,
) -> KernelRun:
    """``report.run_kernel`` in its turn; what ``while_waiting`` raises ends the waiting."""
    with turn(while_waiting):
        return run_kernel(conv, scales, zero_points=zero_points)


def run_live_format(
    conv: QuantizedConv,
    report: FormatReport,
    while_waiting: Callable[[], object] | None = None,
) -> KernelRun:
    """``format_runs.run_formats`` of one slice in its turn, as ``run_live``."""
    with turn(while_waiting):
        return run_formats(conv, [report])


def channels(source: Source, layer: int, index: int) -> tuple[Histogram, ...]:
    """The output's histogram of each channel of a slice."""

    def make() -> tuple[Histogram, ...]:
        capture = captured(source, layer, lambda _: None)
        return channel_outputs(capture, loading.checkpoint(source.checkpoint).slices[index])

    return shelf("channels").get_or_make((source, layer, index), make)
