"""Counts are kept on disk: a pass over the batches that was made once is not made again.

A calibration that is kept is a calibration file (``archive``) of the user's cache, or of the
directory that SCALESCOPE_CALIBRATIONS names, under a key that says all that its counts depend on:
the checkpoint's and the tokenizer's files, the text, how many batches of how many tokens, the
gradients, and what ran the forward. Command line, Python and pages share them. The directory is
bounded in bytes (``bounded_files``); what is not whole, or of another format, is counted anew.

The samples carry theirs (``carried``), so that a server that was just started has something to
show: those are float32 forwards on a CPU, whatever the machine has.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import platformdirs
from safetensors import SafetensorError, safe_open

from dashboard.calibration.archive import (
    FINGERPRINTED,
    FORMAT,
    calibration_pieces,
    fingerprint_of_files,
    load_calibration,
)
from dashboard.calibration.bounded_files import BoundedFiles, Holdings
from dashboard.calibration.capture import Calibration, CalibrationError
from dashboard.calibration.packed import unpack
from dashboard.checkpoints import Checkpoint

logger = logging.getLogger(__name__)

ENVIRONMENT = "SCALESCOPE_CALIBRATIONS"  # a directory; set and empty, nothing is kept
SUFFIX = ".calibration.safetensors"
MOST_BYTES = 2**30  # some 60 calibrations of the largest sample, 13 of mamba2-130m
FINGERPRINT_SUFFIX = ".fingerprint"
FINGERPRINT_BYTES = 2**18  # 4,096 of 64 digits

# Whatever transformers may read a tokenizer from.
TOKENIZER = ("tokenizer*", "vocab*", "merges*", "special_tokens*", "added_tokens*", "*.model")


ON_CPU = "cpu float32"


@dataclass(frozen=True)
class CountsKey:
    """All that counts depend on. ``forward``: where the model ran, in which dtype, by what."""

    fingerprint: str
    tokenizer: str
    text_sha256: str
    batches: int
    seq_len: int
    gradients: bool
    forward: str

    def __str__(self) -> str:
        own = "\n".join(f"{name} {value}" for name, value in vars(self).items())
        return f"{FORMAT}\n{own}\n{_libraries()}"


@cache
def _libraries() -> str:
    """The versions of what computes the activations: another one may round otherwise."""
    names = ("torch", "transformers")
    return "\n".join(f"{name} {importlib.metadata.version(name)}" for name in names)


@dataclass(frozen=True)
class Kept:
    """A calibration that was not counted now: on which day it was, or that a sample carries it."""

    calibration: Calibration
    day: str  # ISO 8601, of local time; empty of one that is carried

    @property
    def is_carried(self) -> bool:
        """Whether it came with the project."""
        return not self.day


@dataclass(frozen=True)
class CalibrationStore:
    """Calibrations by key in the files of one directory; threads and processes may share it."""

    directory: Path
    most_bytes: int = MOST_BYTES

    def get(self, key: CountsKey) -> Kept | None:
        """What was put there under the key; None where nothing was, or what was is not whole."""
        path = self._files.path(str(key))
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
            if metadata.get("key") != str(key):
                return None
            kept = Kept(load_calibration(path), metadata["day"])
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, CalibrationError, KeyError) as error:
            logger.warning("%s cannot be read, and is counted again: %s", path, error)
            return None
        with contextlib.suppress(OSError):  # of a directory that may be read alone
            self._files.use(str(key))
        return kept

    def put(self, key: CountsKey, calibration: Calibration) -> None:
        """Keep counts; where they cannot be written that is logged, and they are not kept."""
        origin = replace(calibration.origin, fingerprint=key.fingerprint)
        notes = {"key": str(key), "day": time.strftime("%Y-%m-%d")}
        try:
            pieces = calibration_pieces(replace(calibration, origin=origin), notes)
            self._files.put(str(key), *pieces)
        except OSError as error:
            logger.warning("a calibration cannot be kept in %s: %s", self.directory, error)

    def holdings(self) -> Holdings:
        """How many calibrations are kept, and how much room they take."""
        return self._files.holdings()

    def fingerprint(self, directory: Path) -> str:
        """``archive.fingerprint`` of a checkpoint's files, which are not read again until their
        sizes or times change."""
        stamps = sorted(
            (path.name, path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino)
            for pattern in FINGERPRINTED
            for path in directory.glob(pattern)
        )
        key = f"{directory.resolve()}\n{stamps}"
        known = BoundedFiles(self.directory, FINGERPRINT_SUFFIX, FINGERPRINT_BYTES)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            digits = known.path(key).read_text("ascii")
            if len(digits) == 64:
                return digits
        digits = fingerprint_of_files(directory, FINGERPRINTED)
        with contextlib.suppress(OSError):
            known.put(key, digits.encode("ascii"))
        return digits

    @property
    def _files(self) -> BoundedFiles:
        return BoundedFiles(self.directory, SUFFIX, self.most_bytes)


def carried(directory: Path, key: CountsKey) -> Kept | None:
    """The counts that lie beside a sample's weights, where they are of what the key says."""
    path = directory / carried_name(key.batches, key.seq_len)
    if key.gradients or key.forward != ON_CPU or not path.is_file():
        return None
    calibration = unpack(path.read_bytes())
    origin = calibration.origin
    counted_on = origin.fingerprint, origin.text_sha256, origin.batches, origin.seq_len
    wanted = key.fingerprint, key.text_sha256, key.batches, key.seq_len
    return Kept(calibration, "") if counted_on == wanted else None


def carried_name(batches: int, seq_len: int) -> str:
    """What the file of a sample's counts is called."""
    return f"counts-{batches}x{seq_len}.xz"


def kept(store: CalibrationStore | None, directory: Path, key: CountsKey) -> Kept | None:
    """What a sample carries, or what was counted before; None where it is to be counted.

    Args:
        store: None where none is kept on disk.
        directory: of the checkpoint.
    """
    return carried(directory, key) or (store.get(key) if store else None)


def counts_key(
    directory: Path,
    text_sha256: str,
    batches: int,
    seq_len: int,
    gradients: bool,
    device: str,
    store: CalibrationStore | None,
    tokenizer: Path | None = None,
    dtype: str = "",
) -> CountsKey:
    """The key of a checkpoint's counts on the first batches of a text.

    Args:
        device: that the model runs on: "cpu", in float32, or "cuda".
        store: remembers fingerprints; None where none is kept on disk.
        tokenizer: the directory of another one than the checkpoint's own.
        dtype: of the forward on a GPU: ``checkpoints.forward_dtype``.
    """
    fingerprint = (
        store.fingerprint(directory) if store else fingerprint_of_files(directory, FINGERPRINTED)
    )
    return CountsKey(
        fingerprint=fingerprint,
        tokenizer=fingerprint_of_files(tokenizer or directory, TOKENIZER),
        text_sha256=text_sha256,
        batches=batches,
        seq_len=seq_len,
        gradients=gradients,
        forward=ON_CPU if device == "cpu" else f"{device} {dtype}, {_gpu_packages()}",
    )


@cache
def _gpu_packages() -> str:
    """Whose kernels transformers takes on a GPU: another one rounds otherwise."""
    installed = []
    for name in ("causal-conv1d", "mamba-ssm"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(installed) or "plain torch"


def recalled(
    store: CalibrationStore | None, checkpoint: Checkpoint, text_name: str, key: CountsKey
) -> Calibration | None:
    """``kept``, under the names that its checkpoint and text go by now."""
    known = kept(store, checkpoint.path, key)
    if known is None:
        return None
    logger.info("the counts of %s were made before", checkpoint.name)
    origin = replace(known.calibration.origin, checkpoint=checkpoint.name, text=text_name)
    return replace(known.calibration, origin=origin)


def default_store() -> CalibrationStore | None:
    """The store that the command line, Python and the pages share; None where it is turned off."""
    named = os.environ.get(ENVIRONMENT)
    if named is None:
        cache_path = platformdirs.user_cache_path("scalescope", appauthor=False)
        return CalibrationStore(cache_path / "calibrations")
    return CalibrationStore(Path(named).expanduser()) if named else None
