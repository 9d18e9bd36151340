"""What was measured is kept on disk: a forward over every window, which nobody runs twice.

A result is a file of its own, named by the hash of a key that says all that it depends on (which
checkpoint, which tokens, which layers, scales and mode: ``impact.impact_key``). It is written
beside its place and then moved there, so that a stop at any moment, a killed process too, leaves
whole files, of the settings that were finished. The directory is the user's cache, or the one that
SCALESCOPE_RESULTS names, and is bounded in bytes: what was used longest ago goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dashboard.calibration.archive import write_whole

logger = logging.getLogger(__name__)

ENVIRONMENT = "SCALESCOPE_RESULTS"  # a directory; set and empty, nothing is kept
SUFFIX = ".impact.safetensors"
MOST_BYTES = 2**28  # some 1,900 results of 16 × 512 tokens, at 17 bytes a token
ABANDONED_S = 3600  # after which a file that was never moved to its place is a killed process's

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Holdings:
    """What a store has on disk."""

    directory: Path
    results: int
    bytes: int
    most_bytes: int


@dataclass(frozen=True)
class ResultStore:
    """Arrays by key in the files of one directory; several threads and processes may share it."""

    directory: Path
    most_bytes: int = MOST_BYTES

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """What was put there under the key; None where nothing was, or what was is not whole."""
        path = self._path(key)
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("key") != key:
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            os.utime(path)  # the time of its last use
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            logger.warning("%s cannot be read, and is measured again: %s", path, error)
            return None
        return arrays

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays; where they cannot be written that is logged, and they are not kept."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(key), save(dict(arrays), {"key": key}))
            self._make_room()
        except OSError as error:
            logger.warning("a result cannot be kept in %s: %s", self.directory, error)

    def holdings(self) -> Holdings:
        files = self._files()
        size = sum(size for _used, size, _path in files)
        return Holdings(self.directory, len(files), size, self.most_bytes)

    def _path(self, key: str) -> Path:
        return self.directory / (hashlib.sha256(key.encode()).hexdigest() + SUFFIX)

    def _files(self) -> list[tuple[float, int, Path]]:
        """Of every result the time of its last use, bytes, and path: longest ago first."""
        files = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another process made room
                    status = entry.stat()
                    if entry.name.startswith("."):
                        if SUFFIX in entry.name and time.time() - status.st_mtime > ABANDONED_S:
                            Path(entry).unlink()
                    elif entry.name.endswith(SUFFIX):
                        files.append((status.st_mtime, status.st_size, Path(entry)))
        return sorted(files)

    def _make_room(self) -> None:
        files = self._files()
        size = sum(size for _used, size, _path in files)
        for _used, freed, path in files[:-1]:  # the newest stays, however large
            if size <= self.most_bytes:
                break
            path.unlink(missing_ok=True)
            size -= freed


def default_store() -> ResultStore | None:
    """The store that the command line, Python and the pages share; None where it is turned off."""
    named = os.environ.get(ENVIRONMENT)
    if named is None:
        return ResultStore(platformdirs.user_cache_path("scalescope", appauthor=False) / "results")
    return ResultStore(Path(named).expanduser()) if named else None
