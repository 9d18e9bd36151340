"""A directory of files that is bounded in bytes: what was used longest ago goes first.

What is made once and wanted again, over restarts and by several processes, is a file of its own,
named by the hash of a key that says all that it depends on. It is written beside its place and then
moved there, so that a stop at any moment, a killed process too, leaves whole files. The time of a
file's last use is that of its last change, as the file system has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from dashboard.calibration.whole_files import write_whole

ABANDONED_S = 3600  # after which a file that was never moved to its place is a killed process's


@dataclass(frozen=True)
class Holdings:
    """What a directory has of one kind of files."""

    directory: Path
    files: int
    bytes: int
    most_bytes: int


@dataclass(frozen=True)
class BoundedFiles:
    """The files of one directory that end in ``suffix``; threads and processes may share it."""

    directory: Path
    suffix: str
    most_bytes: int

    def path(self, key: str) -> Path:
        """Where what has this key lies, or would."""
        return self.directory / (hashlib.sha256(key.encode()).hexdigest() + self.suffix)

    def put(self, key: str, *content: bytes | memoryview) -> None:
        """Write a file whole, of one piece or several, and make room for it; raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_whole(self.path(key), *content)
        self._make_room()

    def use(self, key: str) -> None:
        """Note that a file was used now; raises OSError where that cannot be noted."""
        os.utime(self.path(key))

    def holdings(self) -> Holdings:
        """How many files there are, and how much room they take."""
        files = self._files()
        size = sum(size for _used, size, _path in files)
        return Holdings(self.directory, len(files), size, self.most_bytes)

    def _files(self) -> list[tuple[float, int, Path]]:
        """Of every file the time of its last use, bytes, and path: longest ago first."""
        files = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another process made room
                    status = entry.stat()
                    if entry.name.startswith("."):
                        abandoned = time.time() - status.st_mtime > ABANDONED_S
                        if self.suffix in entry.name and abandoned:
                            Path(entry).unlink()
                    elif entry.name.endswith(self.suffix):
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
