"""Each batch's histogram, set aside on disk: a calibration's memory does not grow with its batches.

The moving average needs every batch's counts, and its σ and order are chosen afterwards. They are
appended to a temporary file without a name, and mapped when all are there: what is looked at is
read, and what is not needed the system takes back.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dashboard.calibration.histogram import Histogram

ALIGNMENT = 8  # bytes, of the counts


class Place(NamedTuple):
    """Where one histogram lies in the file."""

    counts_at: int
    values_at: int
    distinct: int


class BatchStore:
    """Histograms in a temporary file, which is deleted with the last of them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed with the last view)
        self._end = 0
        self._mapped: mmap.mmap | None = None

    def put(self, values: np.ndarray, counts: np.ndarray, lengths: Sequence[int]) -> list[Place]:
        """Append several histograms at once.

        Args:
            values, counts: float32 and int64, as ``Histogram`` has them, end to end.
            lengths: how many of them each histogram has.
        """
        counts_at = self._end
        values_at = counts_at + counts.nbytes
        padding = bytes(-values.nbytes % ALIGNMENT)
        for content in (counts.data, values.data, padding):
            self._end += _write(self._file.fileno(), content)
        places = []
        for length in lengths:
            places.append(Place(counts_at, values_at, length))
            counts_at += length * counts.itemsize
            values_at += length * values.itemsize
        return places

    def get(self, place: Place) -> Histogram:
        """The histogram at a place, its arrays mapped and not copied."""
        if self._mapped is None or len(self._mapped) < self._end:  # more was put since
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return Histogram(
            np.frombuffer(self._mapped, np.float32, place.distinct, place.values_at),
            np.frombuffer(self._mapped, np.int64, place.distinct, place.counts_at),
        )


def _write(file: int, content: memoryview | bytes) -> int:
    """Write all of it: one call may write less, of a disk that fills up or of 2 GB at once."""
    if not len(content):  # of which there is no view
        return 0
    view = memoryview(content).cast("B")
    written = 0
    while written < len(view):
        written += os.write(file, view[written:])
    return written
