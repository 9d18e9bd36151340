"""What pages read of a checkpoint: its configuration, its model, the tokens of a text.

Each is read once for all users, and again when its files have changed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dashboard.calibration import CalibrationText, read_text, text_names, text_sha256
from dashboard.checkpoints import (
    SAMPLES_DIR,
    Checkpoint,
    CheckpointError,
    backbone_of,
    default_device,
    is_hub_id,
    load_backbone,
    load_checkpoint,
    load_language_model,
    memory,
)
from dashboard.pages import access
from dashboard.pages.shelves import shelf
from dashboard.pages.sources import Source, edition, is_sample
from dashboard.pages.turns import ModelTurn, turn


@dataclass(frozen=True)
class Model:
    """A backbone, and what it is run within."""

    backbone: nn.Module
    lock: ModelTurn


@dataclass(frozen=True)
class LanguageModel:
    """A model with its head, and what it and its backbone are run within."""

    network: nn.Module
    lock: ModelTurn


_LOADING = threading.Lock()  # held while a model is loaded: two visitors do not load the same one


def checkpoint(name: str) -> Checkpoint:
    """Raises CheckpointError for what cannot be read, and for a path that is not open."""
    local = is_sample(name) or access.is_open(name)
    hub = access.is_hub_open()
    if not local and not (hub and is_hub_id(name)):
        raise access.refusal()
    return shelf("checkpoint").get_or_make((name, edition(name)), lambda: _load(name, local, hub))


def directory(name: str) -> Path:
    """Where a checkpoint's files lie; a sample's are not opened for that. Raises CheckpointError as
    ``checkpoint`` does."""
    return SAMPLES_DIR / name if is_sample(name) else checkpoint(name).path


def _load(name: str, local: bool, hub: bool) -> Checkpoint:
    """A quantized checkpoint some of whose layers cannot be used is shown without them."""
    try:
        return load_checkpoint(name, local=local, hub=hub)
    except CheckpointError:
        # Or it cannot be read at all.
        rest = load_checkpoint(name, local=local, hub=hub, tolerant=True)
        if not rest.layers:
            raise
        return rest


def model(name: str) -> Model:
    """The backbone: that of the language model where this is there already."""
    kept, key = shelf("model"), (name, edition(name))
    whole = kept.get((*key, "head"))
    if whole is not None:
        return Model(backbone_of(whole.network), whole.lock)
    shared = kept.get(key)
    if shared is None:
        with _LOADING, turn():
            shared = kept.get_or_make(
                key, lambda: Model(load_backbone(_fitting(name)), ModelTurn())
            )
    return shared


def _fitting(name: str) -> Checkpoint:
    """A checkpoint whose model there is memory for; CheckpointError where there is not."""
    known = checkpoint(name)
    memory.check_fits(known, default_device() == "cpu")
    return known


def language_model(name: str) -> LanguageModel:
    """The model with its head; raises CheckpointError where there is none."""
    kept, key = shelf("model"), (name, edition(name), "head")
    shared = kept.get(key)
    if shared is None:
        with _LOADING, turn():
            shared = kept.get_or_make(
                key,
                lambda: LanguageModel(load_language_model(_fitting(name)), ModelTurn()),
            )
    return shared


def text(source: Source) -> CalibrationText:
    """Raises CalibrationError for what cannot be read or is too short; CheckpointError for a path
    that is not open."""
    _check_open(source.text)
    return shelf("text").get_or_make(
        source,
        lambda: read_text(
            checkpoint(source.checkpoint), source.text, source.batches, source.seq_len
        ),
    )


def text_hash(source: Source) -> str:
    """The SHA-256 of its text, which is not tokenized for that; raises as ``text`` does."""
    _check_open(source.text)
    return shelf("hash").get_or_make(
        (source.text, source.edition[1]), lambda: text_sha256(source.text)
    )


def _check_open(text_name: str) -> None:
    if text_name not in text_names() and not access.is_open(text_name):
        raise access.refusal()
