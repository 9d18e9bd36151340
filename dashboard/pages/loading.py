"""What pages read of a checkpoint: its configuration, its model, the tokens of a text.

Each is read once for all users, and again when its files have changed.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dashboard.calibration import (
    Calibration,
    CalibrationText,
    Tokenizer,
    archive,
    cut_text,
    is_of_state_spaces,
    open_tokenizer,
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
    hub,
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

logger = logging.getLogger(__name__)


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
        return _cut(source, source.text, source.batches)

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
    return _cut(source, text_name, batches, first)


def _cut(source: Source, text_name: str, batches: int, first: int = 0) -> CalibrationText:
    known, chosen = checkpoint(source.checkpoint), tokenizer(source)
    own, size = uploads.find(text_name), (batches, source.seq_len)
    if own is None:
        return read_text(known, text_name, *size, chosen, first)
    return cut_text(known, own.title, uploads.text_content(own), *size, chosen, first)


def tokenizer(source: Source) -> Tokenizer | None:
    """What was chosen in place of the checkpoint's own; None for its own, and for bytes.

    Raises CheckpointError where there is none, or none that can be used.
    """
    known = checkpoint(source.checkpoint)
    if known.reads_bytes:
        return None
    place = tokenizer_directory(source)
    if place is None:
        _check_own_tokenizer(known)
        return None

    def make() -> Tokenizer:
        try:
            return open_tokenizer(place)
        except Exception as error:  # each kind of tokenizer has faults of its own
            logger.info("the tokenizer %s", source.tokenizer, exc_info=error)
            raise CheckpointError(
                "{path} has no tokenizer that can be used: {reason}",
                path=source.tokenizer,
                reason=(str(error).strip() or type(error).__name__).splitlines()[0],
            ) from error

    return shelf("tokenizer").get_or_make((source.tokenizer, source.edition[2]), make)


def _check_own_tokenizer(known: Checkpoint) -> None:
    if known.has_tokenizer:
        return
    if not is_of_state_spaces(known):
        raise CheckpointError(
            "{model} has a vocabulary of {vocabulary} and no tokenizer beside its weights: choose "
            "one under Calibration, of the Hub or a directory",
            model=known.name,
            vocabulary=known.vocab_size,
        )
    if not access.is_hub_open():
        raise CheckpointError(
            "{path} has no tokenizer beside its weights, and this server fetches none",
            path=known.path,
        )


def tokenizer_directory(source: Source) -> Path | None:
    """Where the files of the tokenizer that was chosen lie; None where none was, or none is needed.

    Raises CheckpointError for what is not open, and for what the Hub does not give.
    """
    name = source.tokenizer
    if not name or checkpoint(source.checkpoint).reads_bytes:
        return None
    is_local = access.is_open(name)
    if is_local and Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    if is_hub_id(name) and access.is_hub_open():
        return hub.fetch(name, hub.TOKENIZER_FILES, anonymously=not is_local)
    if not is_local:
        raise access.refusal()
    raise CheckpointError("{name} is no directory with a tokenizer, and no Hub id", name=name)


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
