"""One way to say that something cannot be used: a sentence, and the end of the run."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.pages import access

logger = logging.getLogger(__name__)

DIRECTORIES = re.compile(r"(?<![\w.:/-])/(?:[^/\s'\"]+/)+(?=[^/\s])", re.ASCII)
MARKUP = re.compile(r"([\\`*_\[\]<>~$])")


def refuse(slot: DeltaGenerator, sentence: str) -> NoReturn:
    """Show a sentence in place of what stands in ``slot``, word for word, and end the run.

    Streamlit reads Markdown, in which a name from a link or a file could be an image for the
    browser to fetch.
    """
    sentence = " ".join(sentence.split())
    logger.info("refused: %s", sentence)
    slot.error(plain(visible(sentence)), icon=":material/error:")
    st.stop()


def plain(text: str) -> str:
    """Text as it is, where Streamlit reads Markdown."""
    return MARKUP.sub(r"\\\1", text)


def visible(sentence: str) -> str:
    """A sentence without the server's own directories, where no path is open to a visitor."""
    return sentence if access.is_open(os.sep) else DIRECTORIES.sub("", sentence)


class Refusing(Protocol):
    """A page's frame: where it says what cannot be used."""

    def refuse(self, error: ValueError | str) -> NoReturn: ...


@contextmanager
def refusals(frame: Refusing) -> Iterator[None]:
    """What is done here with a checkpoint, a text or a setting is refused where it cannot be.

    Their errors (``CheckpointError``, ``CalibrationError``, and those of the kernel's arguments)
    are all ValueErrors with a sentence for a person.
    """
    try:
        yield
    except ValueError as error:
        frame.refuse(error)
