"""What can be chosen of a source before it is calibrated, and whether a page has memory for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dashboard.calibration import CalibrationError
from dashboard.checkpoints import Checkpoint, memory
from dashboard.pages import calibrating, loading
from dashboard.pages.shelves import MIB, shelf
from dashboard.pages.sources import Source

# What a page may take for one layer: its conv input, and what the kernel run makes of it.
MOST_BYTES = 4096 * MIB
LAYER_BYTES = 4 + 9 + 4  # a position and channel: the conv input, QuantizedConv's, a run's codes


@dataclass(frozen=True)
class Outline:
    """What can be chosen of a source, known before it is calibrated."""

    source: Source
    layers: tuple[int, ...]
    slices: tuple[str, ...]
    widths: tuple[int, ...]  # channels of each slice; empty where only a file is at hand
    stored: bool = False  # quantized already: scales to show, nothing to calibrate


def outline(source: Source) -> Outline:
    """The layers and slices of a source.

    A text that is too short, a bad file, or more batches than a page has memory for is an error.
    """
    if source.from_file:
        counted = calibrating.calibration(source, lambda _: None)
        known = replace(
            source,
            text=counted.origin.text,
            batches=counted.origin.batches,
            seq_len=counted.origin.seq_len,
        )
        shelf("calibration").put(known, counted)
        slices = tuple(conv_slice.name for conv_slice in counted.layers[0].slices)
        return Outline(known, tuple(layer.layer for layer in counted.layers), slices, ())
    loaded = loading.checkpoint(source.checkpoint)
    if not loaded.is_quantized:
        _check_size(source, loaded)
        loading.text(source)
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
    most = min(MOST_BYTES, memory.free_bytes())
    if max(layer, forward) > most:
        limits = {
            "model": loaded.name,
            "size": memory.size_text(max(layer, forward)),
            "most": memory.size_text(most),
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
