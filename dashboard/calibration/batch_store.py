"""Each batch's histogram, set aside on disk: a calibration's memory does not grow with its batches.

The moving average needs every batch's counts, and its σ and order are chosen afterwards. They are
appended to a temporary file without a name, as narrow as calibration files have them, which is
mapped: what is looked at is read, and what is not needed the system takes back. Threads may share a
store.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dashboard.calibration.histogram import Histogram

VALUES, COUNTS = np.dtype(np.float16), np.dtype(np.uint32)


class StoredHistogram(Histogram):
    """A histogram whose arrays are made of mapped memory each time that they are asked for."""

    _narrow: tuple[np.ndarray, np.ndarray]

    def __init__(self, values: np.ndarray, counts: np.ndarray) -> None:
        self.__dict__["_narrow"] = values, counts

    @property
    def values(self) -> np.ndarray:
        """(K,) float32."""
        return self._narrow[0].astype(np.float32)

    @property
    def counts(self) -> np.ndarray:
        """(K,) int64."""
        return self._narrow[1].astype(np.int64)

    def narrow(self) -> tuple[np.ndarray, np.ndarray]:
        """Float16 values and uint32 counts, as they are mapped."""
        return self._narrow


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
        self._putting = threading.Lock()

    def put(self, values: np.ndarray, counts: np.ndarray, lengths: Sequence[int]) -> list[Place]:
        """Append several histograms at once.

        Args:
            values, counts: float16 and uint32, end to end.
            lengths: how many of them each histogram has.
        """
        if values.dtype != VALUES or counts.dtype != COUNTS:
            raise ValueError(
                f"values are {values.dtype} and counts {counts.dtype}; they must be {VALUES} and "
                f"{COUNTS}"
            )
        with self._putting:  # where writing fails, the next begins at the same place
            counts_at = self._end
            values_at = counts_at + counts.nbytes
            _write(self._file.fileno(), counts.data, counts_at)
            _write(self._file.fileno(), values.data, values_at)
            padding = -values.nbytes % COUNTS.itemsize
            self._end = values_at + values.nbytes + padding
        places = []
        for length in lengths:
            places.append(Place(counts_at, values_at, length))
            counts_at += length * counts.itemsize
            values_at += length * values.itemsize
        return places

    def get(self, place: Place) -> Histogram:
        """The histogram at a place, which stays in the file until it is asked for its arrays."""
        return StoredHistogram(*self._arrays(place))

    def runs(self, places: Sequence[Place]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values and counts of several histograms, end to end: those put at once in one piece."""
        run = places[0]
        for place in places[1:]:
            follows = (
                place.counts_at == run.counts_at + run.distinct * COUNTS.itemsize
                and place.values_at == run.values_at + run.distinct * VALUES.itemsize
            )
            if follows:
                run = run._replace(distinct=run.distinct + place.distinct)
            else:
                yield self._arrays(run)
                run = place
        yield self._arrays(run)

    def _arrays(self, place: Place) -> tuple[np.ndarray, np.ndarray]:
        mapped = self._mapped
        # The values lie behind their counts.
        if mapped is None or len(mapped) < place.values_at + place.distinct * VALUES.itemsize:
            mapped = self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return (
            np.frombuffer(mapped, VALUES, place.distinct, place.values_at),
            np.frombuffer(mapped, COUNTS, place.distinct, place.counts_at),
        )


def _write(file: int, content: memoryview, at: int) -> None:
    """Write all of it: one call may write less, of a disk that fills up or of 2 GB at once."""
    view = content.cast("B")
    written = 0
    while written < len(view):
        written += os.pwrite(file, view[written:], at + written)
