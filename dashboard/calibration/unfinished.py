"""A calibration that may be stopped at any moment and goes on, in one process or in many.

While batches are counted, what was counted is written down from time to time: a segment, of some
batches, which is a file in a directory of this calibration alone. A process that starts again, with
the same model and text, looks for segments first, and counts the batches that none of them has. So
a kill costs what was counted since the last segment. Segments of different processes are told
apart by the batches they have: whichever were counted by now, each batch is taken from one segment,
and the others are divided anew over the processes that there are. So no batch is lost or counted
twice, and the result has the same bits as that of one process that was never stopped.

Segments lie in the user's cache, or in the directory that SCALESCOPE_UNFINISHED names: on several
machines one that all of them see, if a process may start again elsewhere. They go when the
calibration is written, or when nobody has gone on with them for a week.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import platformdirs
import torch
import transformers
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import nn

from dashboard.calibration.archive import FINGERPRINTED
from dashboard.calibration.capture import (
    Calibration,
    CalibrationText,
    Progress,
    assemble,
    count_batches,
)
from dashboard.calibration.counting import Arrays, Counter, Tally
from dashboard.calibration.forward import forward_of
from dashboard.calibration.gathering import gathering
from dashboard.calibration.processes import Processes
from dashboard.calibration.whole_files import write_whole
from dashboard.checkpoints import Checkpoint

logger = logging.getLogger(__name__)

ENVIRONMENT = "SCALESCOPE_UNFINISHED"  # a directory; set and empty, nothing is written down
SUFFIX = ".segment.safetensors"
FORMAT = "1"  # of segments: another is another calibration's
SHARE = 0.01  # of the time that may go into writing segments
ABANDONED_S = 7 * 24 * 3600


def default_directory() -> Path | None:
    """Where unfinished calibrations lie; None where they are not to be kept."""
    named = os.environ.get(ENVIRONMENT)
    if named is None:
        return platformdirs.user_cache_path("scalescope") / "unfinished"
    return Path(named) if named else None


class Segments:
    """The segments of one calibration, in a directory of its own; None keeps nothing."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory

    def numbers(self) -> dict[str, list[int]]:
        """The batches of each whole segment, by its name."""
        if self.directory is None or not self.directory.is_dir():
            return {}
        return {
            path.name: arrays["numbers"].tolist()
            for path in sorted(self.directory.glob(f"*{SUFFIX}"))
            if (arrays := self._read(path)) is not None
        }

    def read(self, name: str) -> Arrays:
        """A segment that ``numbers`` named."""
        assert self.directory is not None
        return load_file(self.directory / name)

    @staticmethod
    def _read(path: Path) -> Arrays | None:
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            logger.warning("%s cannot be read, and is counted again: %s", path, error)
            return None

    def write(self, arrays: Arrays) -> None:
        """Write a segment whole or not at all; where that fails it is logged, and work goes on."""
        if self.directory is None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_whole(self.directory / f"{uuid.uuid4().hex}{SUFFIX}", save(arrays))
        except OSError as error:
            logger.warning("what was counted cannot be kept in %s: %s", self.directory, error)

    def remove(self) -> None:
        """The calibration is finished; those that nobody went on with go, too."""
        if self.directory is None:
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        parent = self.directory.parent
        for other in parent.iterdir() if parent.is_dir() else ():
            if time.time() - other.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(other, ignore_errors=True)


def segments_of(
    directory: Path | None,
    checkpoint: Checkpoint,
    backbone: nn.Module,
    text: CalibrationText,
    gradients: bool,
) -> Segments:
    """The segments of this very calibration: their directory is named by all its bits depend on."""
    if directory is None:
        return Segments(None)
    files = {path for pattern in FINGERPRINTED for path in checkpoint.path.glob(pattern)}
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files)]
    tokens = hashlib.sha256(text.tokens.numpy().tobytes()).hexdigest()
    versions = (torch.__version__, transformers.__version__, FORMAT)
    key = repr(
        (
            str(checkpoint.path.resolve()),
            states,
            tokens,
            tuple(text.tokens.shape),
            forward_of(backbone),
            gradients,
            versions,
        )
    )
    return Segments(directory / hashlib.sha256(key.encode()).hexdigest()[:32])


def calibrate_to_the_end(
    checkpoint: Checkpoint,
    backbone: nn.Module,
    text: CalibrationText,
    segments: Segments,
    processes: Processes,
    *,
    gradients: bool = False,
    batch_size: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> Calibration | None:
    """``calibrate`` over all processes, from what was counted before; None but in rank 0.

    Every process calls it with the same arguments but for ``processes``. The segments are left:
    whoever has written the calibration removes them.
    """
    layers = list(checkpoint.layers)
    tally = Tally(len(layers) * len(checkpoint.slices), separate=gradients)
    taken = _divide(processes.all_objects(segments.numbers()))
    counted = sorted(number for numbers, _, _ in taken for number in numbers)
    missing = sorted(set(range(text.batches)) - set(counted))
    if counted:
        logger.info("%d of %d batches were counted before", len(counted), text.batches)
    writer = _Writer(tally, segments)
    own = missing[processes.rank :: processes.size]
    batches = [missing[rank :: processes.size] for rank in range(processes.size)]
    for numbers, _, rank in taken:
        batches[rank] += numbers
    with gathering(tally, processes, batches) as gather:

        def note(counter: Counter) -> None:
            writer.note(counter)
            gather.note()

        count_batches(
            checkpoint,
            backbone,
            text,
            own,
            layers,
            tally,
            gradients=gradients,
            batch_size=batch_size,
            on_progress=on_progress,
            on_counted=note,
        )
        for _, name, rank in taken:
            if rank == processes.rank:
                _absorb(tally, segments.read(name))
        if processes.size > 1:
            processes.add_up(tally.totals)
            processes.take_greatest(tally.x_amax)
        gather.finish()
    if not processes.is_first:
        return None
    return assemble(checkpoint, backbone, text, layers, tally)


def _divide(known: Sequence[dict[str, list[int]]]) -> list[tuple[list[int], str, int]]:
    """Which segments are taken, and by which process: the first that can read it.

    Two processes that did not know of each other may have counted the same batch: of segments that
    share a batch one is taken.
    """
    taken: list[tuple[list[int], str, int]] = []
    have: set[int] = set()
    for name in sorted(set().union(*known)):
        rank = next(rank for rank, own in enumerate(known) if name in own)
        numbers = known[rank][name]
        if have.isdisjoint(numbers):
            have.update(numbers)
            taken.append((numbers, name, rank))
    return taken


class _Writer:
    """Writes a segment whenever enough time has passed since the last."""

    def __init__(self, tally: Tally, segments: Segments) -> None:
        self._tally = tally
        self._segments = segments
        self._written: set[int] = set()
        self._before: np.ndarray | int = 0  # the totals in segments that are written
        self._next = time.monotonic()

    def note(self, counter: Counter) -> None:
        """Some batches more are in the tally."""
        begun = time.monotonic()
        if begun < self._next or self._segments.directory is None:
            return
        counter.collect()
        tally, fresh = self._tally, sorted(set(self._tally.numbers) - self._written)
        totals = tally.totals.copy()
        grown = (totals - self._before).ravel()
        places = np.flatnonzero(grown)
        arrays = tally.pack_batches(fresh)
        arrays |= {"x_amax": tally.x_amax, "places": places, "grown": grown[places]}
        self._segments.write(arrays)
        self._before = totals
        self._written.update(fresh)
        now = time.monotonic()
        self._next = now + (now - begun) / SHARE


def _absorb(tally: Tally, segment: Arrays) -> None:
    """Add a segment's totals and batches to a tally."""
    tally.totals.reshape(-1)[segment["places"]] += segment["grown"]
    tally.add_amax(range(tally.width), segment["x_amax"])
    tally.unpack_batches(segment)
