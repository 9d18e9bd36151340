"""A bounded store that every session of the server shares.

Streamlit's caches cannot hold a calibration, since one shows its progress and can be stopped while
it runs, and they count entries, of which one may have a kilobyte and the next a gigabyte. A
``Shelf`` is bounded in both, and drops what was used longest ago.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
from cachetools import LRUCache
from torch import Tensor, nn

LEAST = 100  # bytes; of a value without arrays


def size_of(value: object) -> int:
    """The bytes of all arrays and tensors in a value, each counted once.

    Looks into modules, records with what they have derived, mappings and sequences. An array that
    is mapped from a file counts, too: it takes room on the disk, and in memory while there is some.
    """
    seen: set[int] = set()

    def size(value: object) -> int:
        if id(value) in seen:
            return 0
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            return value.nbytes
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            if storage.data_ptr() in seen:
                return 0
            seen.add(storage.data_ptr())
            return storage.nbytes()
        if isinstance(value, nn.Module):
            return sum(map(size, itertools.chain(value.parameters(), value.buffers())))
        if dataclasses.is_dataclass(value):
            return sum(map(size, list(vars(value).values())))
        if isinstance(value, Mapping):
            return sum(map(size, list(value.values())))
        if isinstance(value, list | tuple):
            return sum(map(size, value))
        return 0

    return LEAST + size(value)


class Shelf:
    """At most so many values of so many bytes together, the least recently used dropped first.

    The newest stays, however large: what is on show is not made anew at every turn. Safe between
    threads.
    """

    def __init__(self, entries: int, most_bytes: int, grows: bool = False) -> None:
        """``grows``: whether values derive more while they are used, as histograms do. Then all are
        measured again whenever one is added."""
        self._entries, self._grows = entries, grows
        # A value larger than the whole shelf counts as the whole: it displaces all others, and is
        # not refused, as cachetools would.
        self._values: LRUCache[Hashable, Any] = LRUCache(
            most_bytes, lambda value: min(size_of(value), most_bytes)
        )
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Of all values, as last measured; at most what the shelf has room for."""
        return int(self._values.currsize)

    def get(self, key: Hashable) -> Any | None:
        """The value under a key, which is used now; None where there is none."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value under a key, and drop the least recently used for which there is no room."""
        with self._lock:
            self._values.pop(key, None)
            if self._grows:  # taken out and put back, in the order of their last use
                older = [self._values.popitem() for _ in range(len(self._values))]
                for known, grown in older:
                    self._values[known] = grown
            while len(self._values) >= self._entries:
                self._values.popitem()
            self._values[key] = value

    def forget(self, is_gone: Callable[[Hashable], bool]) -> None:
        """Drop the values whose keys say so."""
        with self._lock:
            for key in [key for key in self._values if is_gone(key)]:
                del self._values[key]

    def clear(self) -> None:
        """Drop every value."""
        with self._lock:
            self._values.clear()

    def get_or_make(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value, made now and put there if it is not there."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value
