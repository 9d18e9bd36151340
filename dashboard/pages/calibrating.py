"""A source's calibration, and what else needs its model to run: made once, then kept.

Histograms of all layers come from one pass over the batches. Conv inputs are kept from the same
pass where those of all layers fit (``KEEP_BYTES``); of a larger model, one layer's are captured
when the live kernel or a grouping of channels asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dashboard.analysis.report import QuantizedConv, quantize_conv
from dashboard.calibration import Calibration, ConvCapture, Progress, archive, calibrate
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import default_device
from dashboard.pages import loading
from dashboard.pages.shelves import KEEP_BYTES, shelf
from dashboard.pages.sources import Source
from dashboard.rules.channels import channel_outputs


def is_calibrated(source: Source) -> bool:
    """Whether the histograms of a source are at hand."""
    return shelf("calibration").get(source) is not None


def calibration(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    """Every layer's histograms, from the shelf or made now."""
    kept = shelf("calibration")
    counted = kept.get(source)
    if counted is not None:
        return counted
    if source.from_file:
        counted = archive.load_calibration(source.checkpoint)
        kept.put(source, counted)
        return counted
    loaded = loading.model(source.checkpoint)
    tokens = loading.text(source)
    with loaded.lock:
        counted = kept.get(source)  # somebody else may have made it in the meantime
        if counted is None:
            known = loading.checkpoint(source.checkpoint)
            keep = known.layers if all_layers_fit(source) else ()
            made = calibrate(known, loaded.backbone, tokens, keep=keep, on_progress=on_progress)
            if keep:
                shelf("captures").put(source, made.captures)
            counted = replace(made, captures=())
            kept.put(source, counted)
    return counted


def has_gradients(source: Source) -> bool:
    """Whether the loss's gradients were counted, here or in the calibration file."""
    counted = shelf("calibration").get(source)
    return counted is not None and all(
        own.gradients is not None for layer in counted.layers for own in layer.slices
    )


def counted_gradients(source: Source, on_progress: Callable[[Progress], None]) -> Calibration:
    """``calibration`` with the loss's gradients; it takes the place of the one without.

    Conv inputs are kept with their gradients where they fit, for scales of single channels. A
    calibration file is as it is.

    Raises CheckpointError for a model without a head.
    """
    if source.from_file or has_gradients(source):
        return calibration(source, on_progress)
    loaded, tokens = loading.language_model(source.checkpoint), loading.text(source)
    with loaded.lock:
        if not has_gradients(source):  # nobody else has made it in the meantime
            known = loading.checkpoint(source.checkpoint)
            keep = known.layers if gradients_fit(source) else ()
            made = calibrate(
                known, loaded.network, tokens, keep=keep, gradients=True, on_progress=on_progress
            )
            if keep:
                shelf("captures").put(source, made.captures)
            shelf("calibration").put(source, replace(made, captures=()))
    return calibration(source, on_progress)


def captures_with_gradients(
    source: Source, on_progress: Callable[[Progress], None]
) -> tuple[ConvCapture, ...]:
    """Every layer's conv input and the gradient of its output; where ``gradients_fit``."""
    captures: tuple[ConvCapture, ...] = shelf("captures").get(source) or ()
    if not captures or any(capture.gradient is None for capture in captures):
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

    def make() -> QuantizedConv:
        counted = calibration(source, on_progress)
        scales = [conv_slice.scales for conv_slice in counted.layer(layer).slices]
        capture = captured(source, layer, on_progress)
        slices = loading.checkpoint(source.checkpoint).slices
        return quantize_conv(capture, slices, scales, default_device())

    return shelf("conv").get_or_make((source, layer), make)


def captured(source: Source, layer: int, on_progress: Callable[[Progress], None]) -> ConvCapture:
    """One layer's conv input; where those of all layers fit, they are kept together."""
    calibration(source, on_progress)
    every = all_layers_fit(source)

    def make() -> tuple[ConvCapture, ...]:
        loaded, known = loading.model(source.checkpoint), loading.checkpoint(source.checkpoint)
        keep = known.layers if every else (layer,)
        with loaded.lock:
            return calibrate(
                known,
                loaded.backbone,
                loading.text(source),
                layers=(),
                keep=keep,
                on_progress=on_progress,
            ).captures

    captures = shelf("captures").get_or_make(source if every else (source, layer), make)
    return next(capture for capture in captures if capture.layer == layer)


def channels(source: Source, layer: int, index: int) -> tuple[Histogram, ...]:
    """The output's histogram of each channel of a slice."""

    def make() -> tuple[Histogram, ...]:
        capture = captured(source, layer, lambda _: None)
        return channel_outputs(capture, loading.checkpoint(source.checkpoint).slices[index])

    return shelf("channels").get_or_make((source, layer, index), make)
