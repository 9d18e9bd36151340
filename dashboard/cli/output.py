"""Where a command's words go: its result, and beside it notes, progress, refusals."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dashboard.analysis.impact import ImpactProgress
from dashboard.calibration import Progress
from dashboard.calibration.whole_files import write_whole
from dashboard.logs import PACKAGES
from dashboard.refusals import Refusal

STOPPED = 128 + signal.SIGINT  # as a shell has it
BAR = "{desc} {percentage:3.0f} %|{bar:30}| {elapsed}, {remaining} left"


class UsageError(Refusal):
    """An argument that cannot be used."""


def write_result(text: str, out: str | None) -> None:
    """What was asked for: on standard output, or in the file that ``--out`` names."""
    if out:
        write_whole(Path(out), text.encode("utf-8"))
    else:
        sys.stdout.write(text)


def check_place(out: str | None, option: str = "--out", is_directory: bool = False) -> None:
    """Refuse a place where nothing can be written before the work, not after it."""
    if out is not None and not Path(out).absolute().parent.is_dir():
        raise UsageError(f"{option} is {out!r}; {Path(out).parent} is not a directory")
    if out is not None and not is_directory and Path(out).is_dir():
        raise UsageError(f"{option} is {out!r}, which is a directory; give a file")


def write_line(line: str) -> None:
    """A line on standard error, unless nobody reads it any more."""
    write_note(sys.stderr, f"dashboard: {line}\n")


def write_note(stream: TextIO, note: str) -> None:
    """What is said beside the result; that nobody reads it is no fault."""
    try:
        stream.write(note)
        stream.flush()
    except OSError:
        let_go(stream)


def let_go(stream: TextIO) -> None:
    """Nobody reads a stream any more: what is left in its buffer goes nowhere, at the end, too."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def progress_bar(
    is_shown: bool = True,
) -> Iterator[Callable[[Progress | ImpactProgress], None]]:
    """A bar on standard error, gone afterwards; nothing at all where that is not a terminal.

    ``is_shown`` is false for all but one of several processes that share a terminal. Gives what a
    calibration or a study is to call. Lines that are logged meanwhile appear above the bar.
    """
    loggers = [logging.getLogger(name) for name in PACKAGES]
    with (
        logging_redirect_tqdm(loggers),
        tqdm(
            total=1,
            bar_format=BAR,
            leave=False,
            disable=None if is_shown else True,
            dynamic_ncols=True,
        ) as bar,
    ):

        def show(progress: Progress | ImpactProgress) -> None:
            if progress.share < bar.n:  # another pass, over further layers
                bar.reset()
            bar.set_description_str(str(progress), refresh=False)
            bar.update(progress.share - bar.n)

        yield show
