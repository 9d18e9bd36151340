"""A file, or a directory of files, that is whole or not there, whatever happens meanwhile.

Whatever the project writes for a person goes through here, and so do the stores. Content is written
where nobody looks for it, flushed to the disk, and moved to its place in one step. A full disk and
an interruption leave what was there before. A process that is killed has no time to tidy up:

- a file is written without a name where the file system can (Linux, but for some network file
  systems), and gets one when it is whole, so that there is nothing to tidy;
- elsewhere, and for directories, which cannot be without a name, a lock says that somebody is still
  writing. The system takes it away with the process, and whoever writes to that place next removes
  what has none.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

UNNAMED = getattr(os, "O_TMPFILE", 0)  # of Linux
# Linux then begins to write what is asked for to the disk, while more is copied: else all of it
# waits for fsync, and a gigabyte takes twice as long.
BEGIN_WRITING = getattr(os, "POSIX_FADV_DONTNEED", None)
STEP = 2**24  # bytes


def write_whole(path: Path, *content: bytes | memoryview) -> None:
    """Write a file, of one piece or several, whole or not at all; raises OSError.

    What is no file, as a pipe or a terminal, is written to as it is; through a symbolic link, the
    file that it leads to is replaced.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb", buffering=0) as device:
            for piece in content:
                device.write(piece)
        return
    path = path.resolve()
    _remove_abandoned(path)
    temporary = _beside(path)
    try:
        if UNNAMED and Path("/proc/self/fd").is_dir():
            file = _write_unnamed(temporary, content)
        else:
            file = _write_named(temporary, content)
        try:
            temporary.replace(path)
        finally:
            os.close(file)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A new directory to put files into: it is at its place once all of them are written.

    Raises OSError where there is something at its place already.
    """
    _remove_abandoned(path)
    temporary = _beside(path)
    directory = _make_locked(temporary)
    try:
        yield temporary
        os.fsync(directory)
        temporary.rename(path)
    finally:
        os.close(directory)
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A name in the same directory that nobody else writes to."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes left of the same file or directory: nobody has it locked."""
    left = re.compile(re.escape(f".{path.name}.") + r"\d+\.\d+\.part")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if left.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_unless_locked(entry)


def _remove_unless_locked(entry: os.DirEntry[str]) -> None:
    """Raises OSError where somebody is writing it, or where that cannot be known."""
    opened = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            Path(entry).unlink()
    finally:
        os.close(opened)


def _write_unnamed(path: Path, content: Sequence[bytes | memoryview]) -> int:
    """Write a file that has no name until it is whole; its descriptor, open and locked."""
    try:
        file = os.open(path.parent, UNNAMED | os.O_WRONLY, 0o666)
    except OSError:  # the file system has no such files
        return _write_named(path, content)
    try:
        _lock(file)
        _write(file, content)
        # With a directory, which an absolute path does not need, os.link follows the link.
        os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file)
    except BaseException:
        os.close(file)
        raise
    return file


def _write_named(path: Path, content: Sequence[bytes | memoryview]) -> int:
    """Write a file under its temporary name; its descriptor, open and locked."""
    while True:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        _lock(file)
        if _is_at(file, path):
            break
        os.close(file)  # removed by another process in the moment before it was locked
    try:
        _write(file, content)
    except BaseException:
        os.close(file)
        raise
    return file


def _make_locked(path: Path) -> int:
    """Make a directory; its descriptor, open and locked."""
    while True:
        path.mkdir()
        with suppress(FileNotFoundError):  # removed by another process, before it was locked
            directory = os.open(path, os.O_RDONLY)
            _lock(directory)
            if _is_at(directory, path):
                return directory
            os.close(directory)


def _lock(opened: int) -> None:
    with suppress(OSError):  # a file system without locks: what is killed there stays
        fcntl.flock(opened, fcntl.LOCK_EX)


def _is_at(opened: int, path: Path) -> bool:
    """Whether what is open has this name still."""
    try:
        return os.path.samestat(os.fstat(opened), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _write(file: int, content: Sequence[bytes | memoryview]) -> None:
    begun = written = 0
    with os.fdopen(file, "wb", closefd=False) as opened:
        for piece in content:
            view = memoryview(piece).cast("B")
            for first in range(0, len(view), STEP):
                written += opened.write(view[first : first + STEP])
                if written - begun >= STEP and BEGIN_WRITING is not None:
                    opened.flush()
                    with suppress(OSError):  # of file systems that take no advice
                        os.posix_fadvise(file, begun, written - begun, BEGIN_WRITING)
                    begun = written
        opened.flush()
        os.fsync(file)
