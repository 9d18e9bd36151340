"""What may be given as a text: a name, a file, the text itself, token ids."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dashboard import calibration as counting
from dashboard.calibration import (
    DEFAULT_BATCHES,
    DEFAULT_SEQ_LEN,
    CalibrationError,
    CalibrationText,
    Tokenizer,
)
from dashboard.checkpoints import Checkpoint, CheckpointError

LONGEST_SOURCE = 1024  # characters: a longer string is a text, not the name of one


def read(
    checkpoint: Checkpoint,
    text: object,
    batches: int,
    seq_len: int,
    tokenizer: Tokenizer | None,
    in_memory: bool,
    first: int = 0,
) -> CalibrationText:
    """The calibration batches from ``first`` on, whichever way the text is given."""
    if isinstance(text, Tensor):
        asked = (batches, seq_len)
        if asked not in ((DEFAULT_BATCHES, DEFAULT_SEQ_LEN), tuple(text.shape)):
            raise CalibrationError(
                "{batches} batches of {seq_len} tokens were asked for; the token ids have shape "
                "{shape}: leave batches and seq_len out",
                batches=batches,
                seq_len=seq_len,
                shape=tuple(text.shape),
            )
        return counting.given_tokens(checkpoint, text)
    given = given_text(text, batches, seq_len)
    if in_memory and tokenizer is None and not checkpoint.reads_bytes:
        raise CheckpointError(
            "{model} has a vocabulary of {vocabulary} and brings no tokenizer: give tokenizer=…, "
            "or token ids of shape (N, L) as the text",
            model=checkpoint.name,
            vocabulary=checkpoint.vocab_size,
        )
    if given.content is not None:
        return counting.cut_text(
            checkpoint, given.name, given.content, batches, seq_len, tokenizer, first
        )
    return counting.read_text(checkpoint, given.source, batches, seq_len, tokenizer, first)


@dataclass(frozen=True)
class _GivenText:
    """A text as it was given: the name of one or a file, or the text itself."""

    source: str  # empty of the text itself
    content: bytes | None  # UTF-8, of the text itself alone

    @property
    def name(self) -> str:
        return Path(self.source).name if self.content is None else "the text"

    @property
    def sha256(self) -> str:
        if self.content is None:
            return counting.text_sha256(self.source)
        return hashlib.sha256(self.content).hexdigest()


def given_text(text: object, batches: int, seq_len: int) -> _GivenText:
    """Which way a text that is no token ids is given; raises CalibrationError for what is none."""
    if not isinstance(text, str | os.PathLike):
        raise CalibrationError(
            "text is a {kind}; allowed are the name of a text or a file, the text itself, and a "
            "tensor of token ids (N, L)",
            kind=type(text).__name__,
        )
    for name, count in (("batches", batches), ("seq_len", seq_len)):
        if isinstance(count, bool) or not isinstance(count, int):
            raise CalibrationError(
                "{field} is {value}; it must be a whole number, at least 1",
                field=name,
                value=repr(count),
            )
    if isinstance(text, str) and ("\n" in text or len(text) > LONGEST_SOURCE):
        # What is no UTF-8 is refused where it is decoded.
        return _GivenText("", text.encode("utf-8", "surrogatepass"))
    if not isinstance(text, str):  # a path means a file, even one named as the project's texts are
        text = str(Path(text).expanduser().absolute())
    return _GivenText(text, None)
