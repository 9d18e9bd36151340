"""What pages read of a checkpoint: its configuration, its model, the tokens of a text.

Each is read once for all users, and again when its files have changed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dashboard.calibration import (
    Calibration,
    CalibrationText,
    archive,
    cut_text,
    read_text,
    text_names,
    text_sha256,
)
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
from dashboard.checkpoints.hub import FetchError, OnBytes
from dashboard.pages import access, uploads
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
    """A quantized one some of whose layers cannot be used comes without them.

    Raises CheckpointError for what cannot be read, and for a path that is not open.
    """
    key = (name, edition(name))
    known: Checkpoint | None = shelf("checkpoint").get(key)
    if known is None:
        known = _load(name, None)
        shelf("checkpoint").put(key, known)
    return known


@dataclass(frozen=True)
class Fetched:
    """How far a download is, in bytes."""

    done: int
    size: int


def is_to_be_fetched(name: str) -> bool:
    """Whether a checkpoint's name is a Hub id, of which this server has read nothing yet."""
    if shelf("checkpoint").get((name, edition(name))) is not None or not is_hub_id(name):
        return False
    return access.is_hub_open() and not (access.is_open(name) and Path(name).exists())


def fetch(name: str, on_progress: Callable[[Fetched], None]) -> None:
    """Have a model of the Hub on the shelf; raises as ``checkpoint`` does."""
    key = (name, edition(name))
    made = _load(name, lambda done, size: on_progress(Fetched(done, size)))
    shelf("checkpoint").put(key, made)


def directory(name: str) -> Path:
    """Where a checkpoint's files lie; a sample's are not opened for that. Raises CheckpointError as
    ``checkpoint`` does."""
    return SAMPLES_DIR / name if is_sample(name) else checkpoint(name).path


def _load(name: str, on_bytes: OnBytes | None) -> Checkpoint:
    """A quantized checkpoint some of whose layers cannot be used is shown without them."""
    if uploads.is_upload(name):
        raise uploads.refusal(name)
    local, hub = is_sample(name) or access.is_open(name), access.is_hub_open()
    if not local and not (hub and is_hub_id(name)):
        raise access.refusal()
    try:
        return load_checkpoint(name, local=local, hub=hub, on_bytes=on_bytes)
    except FetchError:
        raise
    except CheckpointError:  # some layers cannot be used, or nothing can be read at all
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

    def read() -> CalibrationText:
        known = checkpoint(source.checkpoint)
        if not (known.reads_bytes or known.has_tokenizer or access.is_hub_open()):
            raise CheckpointError(
                "{path} has no tokenizer beside its weights, and this server fetches none",
                path=known.path,
            )
        return _cut(known, source.text, source.batches, source.seq_len)

    return shelf("text").get_or_make(source, read)


def text_hash(source: Source) -> str:
    """The SHA-256 of its text, which is not tokenized for that; raises as ``text`` does."""
    _check_open(source.text)

    def make() -> str:
        own = uploads.find(source.text)
        if own is None:
            return text_sha256(source.text)
        return hashlib.sha256(uploads.text_content(own)).hexdigest()

    return shelf("hash").get_or_make((source.text, source.edition[1]), make)


def windows(source: Source, text_name: str, batches: int, first: int) -> CalibrationText:
    """Batches of a text, from ``first`` on, as the source's checkpoint reads it; raises as ``text``
    does."""
    _check_open(text_name)
    known = checkpoint(source.checkpoint)
    return _cut(known, text_name, batches, source.seq_len, first)


def _cut(
    known: Checkpoint, text_name: str, batches: int, seq_len: int, first: int = 0
) -> CalibrationText:
    own = uploads.find(text_name)
    if own is None:
        return read_text(known, text_name, batches, seq_len, first=first)
    content = uploads.text_content(own)
    return cut_text(known, own.title, content, batches, seq_len, first=first)


def calibration_file(name: str) -> Calibration:
    """Raises CalibrationError for a file that is none, and for an upload of another visit."""
    if not uploads.is_upload(name):
        return archive.load_calibration(name)
    own = uploads.find(name)
    if own is None:
        raise uploads.refusal(name)
    return uploads.load_calibration(own)


def _check_open(text_name: str) -> None:
    if uploads.is_upload(text_name):
        if uploads.find(text_name) is None:
            raise uploads.refusal(text_name)
        return
    if text_name not in text_names() and not access.is_open(text_name):
        raise access.refusal()
