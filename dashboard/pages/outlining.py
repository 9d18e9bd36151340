"""What can be chosen of a source before it is calibrated, and whether a page has memory for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dashboard.calibration import CalibrationError, is_of_state_spaces
from dashboard.checkpoints import Checkpoint, memory
from dashboard.pages import calibrating, loading
from dashboard.pages.shelves import MIB, shelf
from dashboard.pages.sources import Source, edition
from dashboard.refusals import Refusal

MOST_BATCHES, MOST_TOKENS = 1024, 8192  # of a page, whatever memory there is
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
    layer = source.batches * source.seq_len * _layer_bytes(loaded)
    forward = source.seq_len * _forward_bytes(loaded)
    most = _free_bytes()
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


def own_tokenizer(name: str) -> Literal["own", "fetched", "none", "bytes"]:
    """What a checkpoint reads texts with, where nothing else is chosen.

    The tokenizer beside its weights; the one that state-spaces' models are evaluated with, from the
    Hub; nothing yet; or bytes, which is said of one that cannot be read, too: there is no choice.
    """
    known = _readable(name)
    if known is None or known.reads_bytes:
        return "bytes"
    if known.has_tokenizer:
        return "own"
    return "fetched" if is_of_state_spaces(known) else "none"


def _readable(name: str) -> Checkpoint | None:
    """A checkpoint that can be calibrated, and is here; what it lacks is said in its place."""
    if loading.is_to_be_fetched(name):
        return None
    try:
        known = loading.checkpoint(name)
    except Refusal:
        return None
    return None if known.is_quantized else known


def bounds(name: str, batches: int, seq_len: int) -> tuple[int, int]:
    """How many batches of ``seq_len`` tokens, and how many tokens in each of ``batches``, fit.

    As ``outline`` judges it, with the memory that was free when the checkpoint was first asked for:
    so a box has the same end from run to run. Of a checkpoint that cannot be read, is yet to be
    fetched, or has nothing to calibrate, the most that a page takes of any.
    """
    loaded = _readable(name)
    if loaded is None:
        return MOST_BATCHES, MOST_TOKENS
    most = shelf("room").get_or_make((name, edition(name)), _free_bytes)
    layer = _layer_bytes(loaded)
    tokens = min(most // (layer * batches), most // _forward_bytes(loaded))
    return (
        min(max(most // (layer * seq_len), 1), MOST_BATCHES),
        min(max(tokens, 1), MOST_TOKENS),
    )


def _free_bytes() -> int:
    """What a page may take for one layer, or one forward."""
    return min(MOST_BYTES, memory.free_bytes())


def _layer_bytes(loaded: Checkpoint) -> int:
    """What a layer's conv input takes at a position, with what is made of it."""
    return LAYER_BYTES * loaded.conv_dim


def _forward_bytes(loaded: Checkpoint) -> int:
    """What a Mamba layer takes at a position, where transformers runs it in plain torch.

    Measured: 3.4 float32 arrays of (L, D, state) in Mamba-1, whose state has 16 numbers, and 4 of
    (L, chunk, heads) in Mamba-2, of chunks of 256.
    """
    x, head_dim = loaded.slices[0].width, loaded.architecture.head_dim
    return 4 * 4 * (16 * x if head_dim is None else 256 * (x // head_dim))
