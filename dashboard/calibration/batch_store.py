"""Each batch's histogram, set aside on disk: a calibration's memory does not grow with its batches.

The moving average needs every batch's counts, and its σ and order are chosen afterwards. They are
appended to a temporary file without a name, and mapped when all are there: what is looked at is
read, and what is not needed the system takes back.
"""

from __future__ import annotations

import mmap
import tempfile
from typing import NamedTuple

import numpy as np

from dashboard.calibration.histogram import Histogram

ALIGNMENT = 8  # bytes, of the counts


class Place(NamedTuple):
    """Where one histogram lies in the file."""

    offset: int
    distinct: int


class BatchStore:
    """Histograms in a temporary file, which is deleted with the last of them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed with the last view)
        self._end = 0
        self._mapped: mmap.mmap | None = None

    def put(self, histogram: Histogram) -> Place:
        """Append one: counts, then values."""
        place = Place(self._end, len(histogram.counts))
        padding = bytes(-histogram.values.nbytes % ALIGNMENT)
        for content in (histogram.counts.data, histogram.values.data, padding):
            self._end += self._file.write(content)
        return place

    def get(self, place: Place) -> Histogram:
        """The histogram at a place, its arrays mapped and not copied; nothing is put after this."""
        if self._mapped is None:
            self._mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        counts = np.frombuffer(self._mapped, np.int64, place.distinct, place.offset)
        return Histogram(
            np.frombuffer(self._mapped, np.float32, place.distinct, place.offset + counts.nbytes),
            counts,
        )
