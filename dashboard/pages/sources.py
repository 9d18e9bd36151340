"""What a page was asked to calibrate, as the key of all that is kept of it.

A ``Source`` names a calibration completely. Part of it is which edition of its files it speaks of,
so that an edited text or a replaced checkpoint is read again.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from dashboard.calibration import archive, text_names
from dashboard.checkpoints import SAMPLES_DIR
from dashboard.pages import access, uploads

Edition = tuple[tuple[str | int, ...], ...]


def edition(name: str) -> Edition:
    """What tells one edition of a checkpoint's or a calibration file from the next.

    Size, times and number of each file that is read. A name that is no open path has none: a Hub
    id's files are those that this server has fetched.
    """
    if uploads.is_upload(name):
        return (("upload",),) if uploads.find(name) else ()
    if is_sample(name):
        path = SAMPLES_DIR / name
    elif access.is_open(name):
        path = Path(name)
    else:
        return ()
    try:
        path = path.expanduser()
        directory = path if path.is_dir() else path.parent
        if not (directory / "config.json").is_file():
            return (_stamp(path),)
        with os.scandir(directory) as entries:
            return tuple(
                sorted(_stamp(Path(e.path)) for e in entries if e.name.endswith(access.READ))
            )
    except (OSError, RuntimeError, ValueError):
        return ()  # whoever reads it says why it cannot be read


def is_sample(name: str) -> bool:
    """Whether a name is that of one of the project's samples."""
    return re.fullmatch(r"\w[\w-]{,99}", name, re.ASCII) is not None and (
        (SAMPLES_DIR / name / "config.json").is_file()
    )


def text_edition(name: str) -> Edition:
    """``edition`` of a calibration text, by its name or path."""
    if uploads.is_upload(name):
        return edition(name)
    if name not in text_names() and not access.is_open(name):
        return ()
    try:
        path = SAMPLES_DIR / name if name in text_names() else Path(name).expanduser()
        return (_stamp(path),)
    except (OSError, RuntimeError, ValueError):
        return ()


def _tokenizer_edition(name: str) -> Edition:
    """``edition`` of a directory with a tokenizer; of none, or of a Hub id, there is none."""
    if not name or not access.is_open(name):
        return ()
    try:
        with os.scandir(Path(name).expanduser()) as entries:
            return tuple(
                sorted(_stamp(Path(e.path)) for e in entries if e.name.endswith(access.READ))
            )
    except (OSError, RuntimeError, ValueError):
        return ()


def _stamp(path: Path) -> tuple[str | int, ...]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@dataclass(frozen=True)
class Source:
    """What was asked for: it names a calibration completely, and is the key of every shelf.

    ``checkpoint`` may be a calibration file; the rest is then what the file says. ``tokenizer`` is
    a directory or a Hub id in place of the checkpoint's own; empty, there is none. ``edition`` is
    that of the checkpoint's files, of the text and of the tokenizer's files when the source was
    named: a run of a page names it anew, so that a file that has changed is another source.
    """

    checkpoint: str
    text: str
    batches: int
    seq_len: int
    tokenizer: str = ""
    edition: tuple[Edition, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        editions = (
            edition(self.checkpoint),
            text_edition(self.text),
            _tokenizer_edition(self.tokenizer),
        )
        object.__setattr__(self, "edition", editions)

    @property
    def from_file(self) -> bool:
        """Whether it is a calibration file, whose counts are read and not made."""
        return is_calibration_file(self.checkpoint)

    @property
    def is_uploaded(self) -> bool:
        """Whether a visitor has uploaded its text, or the calibration file that it is."""
        return uploads.is_upload(self.checkpoint) or uploads.is_upload(self.text)

    def first_batch(self) -> Source:
        """The same, cut down to one batch: what can be shown while the rest is counted."""
        return replace(self, batches=1)


def is_calibration_file(name: str) -> bool:
    """Whether a checkpoint's name means a calibration file; never of a path that is not open."""
    if uploads.is_upload(name):
        return True  # no other kind of upload stands in place of a checkpoint
    return access.is_open(name) and archive.is_calibration_file(name)


def text_choices() -> list[str]:
    """The texts that a box offers: the project's own, and what this visit has uploaded."""
    return [*text_names(), *uploads.names("text")]
