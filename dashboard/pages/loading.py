"""What pages read of a checkpoint: its configuration, its model, the tokens of a text.

Each is read once for all users, and again when its files have changed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from torch import nn

from dashboard.calibration import CalibrationText, read_text, text_names, text_sha256
from dashboard.checkpoints import (
    SAMPLES_DIR,
    Checkpoint,
    CheckpointError,
    backbone_of,
    is_hub_id,
    load_backbone,
    load_checkpoint,
    load_language_model,
)
from dashboard.pages import access
from dashboard.pages.shelves import shelf
from dashboard.pages.sources import Source, edition, is_sample


@dataclass(frozen=True)
class Model:
    """A backbone, and the lock that keeps two users' hooks from seeing each other's forward."""

    backbone: nn.Module
    lock: threading.Lock


@dataclass(frozen=True)
class LanguageModel:
    """A model with its head, and the lock that it shares with its backbone."""

    network: nn.Module
    lock: threading.Lock


@st.cache_resource
def _loading() -> threading.Lock:
    """Held while a model is loaded, so that two sessions do not load the same one."""
    return threading.Lock()


def checkpoint(name: str) -> Checkpoint:
    """Raises CheckpointError for what cannot be read, and for a path that is not open."""
    local = is_sample(name) or access.is_open(name)
    if not local and not is_hub_id(name):
        raise access.refusal()
    return shelf("checkpoint").get_or_make((name, edition(name)), lambda: _load(name, local))


def directory(name: str) -> Path:
    """Where a checkpoint's files lie; a sample's are not opened for that. Raises CheckpointError as
    ``checkpoint`` does."""
    return SAMPLES_DIR / name if is_sample(name) else checkpoint(name).path


def _load(name: str, local: bool) -> Checkpoint:
    """A quantized checkpoint some of whose layers cannot be used is shown without them."""
    try:
        return load_checkpoint(name, local=local)
    except CheckpointError:
        rest = load_checkpoint(name, local=local, tolerant=True)  # or it cannot be read at all
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
        with _loading():
            shared = kept.get_or_make(
                key, lambda: Model(load_backbone(checkpoint(name)), threading.Lock())
            )
    return shared


def language_model(name: str) -> LanguageModel:
    """The model with its head; raises CheckpointError where there is none."""
    kept, key = shelf("model"), (name, edition(name), "head")
    shared = kept.get(key)
    if shared is None:
        with _loading():
            shared = kept.get_or_make(
                key,
                lambda: LanguageModel(load_language_model(checkpoint(name)), threading.Lock()),
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
