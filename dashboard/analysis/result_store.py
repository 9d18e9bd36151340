"""What was measured is kept on disk: a forward over every window, which nobody runs twice.

A result is a file of its own (``calibration/bounded_files.py``) under a key that says all that it
depends on: which checkpoint, which tokens, which layers, scales and mode (``impact.impact_key``).
So a stop at any moment leaves whole files, of the settings that were finished. The directory is the
user's cache, or the one that SCALESCOPE_RESULTS names, and is bounded in bytes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dashboard.calibration.bounded_files import BoundedFiles, Holdings

logger = logging.getLogger(__name__)

ENVIRONMENT = "SCALESCOPE_RESULTS"  # a directory; set and empty, nothing is kept
SUFFIX = ".impact.safetensors"
MOST_BYTES = 2**28  # some 1,900 results of 16 × 512 tokens, at 17 bytes a token

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ResultStore:
    """Arrays by key in the files of one directory; several threads and processes may share it."""

    directory: Path
    most_bytes: int = MOST_BYTES

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """What was put there under the key; None where nothing was, or what was is not whole."""
        path = self._files.path(key)
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("key") != key:
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self._files.use(key)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            logger.warning("%s cannot be read, and is measured again: %s", path, error)
            return None
        return arrays

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays; where they cannot be written that is logged, and they are not kept."""
        try:
            self._files.put(key, save(dict(arrays), {"key": key}))
        except OSError as error:
            logger.warning("a result cannot be kept in %s: %s", self.directory, error)

    def holdings(self) -> Holdings:
        """How many results are kept, and how much room they take."""
        return self._files.holdings()

    @property
    def _files(self) -> BoundedFiles:
        return BoundedFiles(self.directory, SUFFIX, self.most_bytes)


def default_store() -> ResultStore | None:
    """The store that the command line, Python and the pages share; None where it is turned off."""
    named = os.environ.get(ENVIRONMENT)
    if named is None:
        return ResultStore(platformdirs.user_cache_path("scalescope", appauthor=False) / "results")
    return ResultStore(Path(named).expanduser()) if named else None
