"""Whether a model fits: estimated from the shapes in its files, before anything is loaded.

A server that is asked for more memory than there is does not answer with a sentence: the system
ends it, with everybody's work. So what a model takes is added up beforehand, and refused if it is
more than may be taken, which is what the system has free, the container's limit, or what the
administrator allows in SCALESCOPE_MEMORY.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from dashboard.checkpoints.records import Checkpoint, CheckpointError
from dashboard.checkpoints.weights import SUFFIXES
from dashboard.refusals import Refusal, quoted

ENVIRONMENT = "SCALESCOPE_MEMORY"  # GB of 10^9 bytes
GB = 10**9
WIDE = 4  # bytes of a weight in float32, as a model on a CPU has them
CGROUP = Path("/sys/fs/cgroup")


def model_bytes(checkpoint: Checkpoint, on_cpu: bool) -> int:
    """What loading a model takes at its peak, in bytes of the machine's memory.

    Its files as they are, which are mapped, and the model itself: in float32 on a CPU; on a GPU it
    leaves the machine's memory again.
    """
    path = checkpoint.weights_path
    files = [path] if path.is_file() else [f for f in path.iterdir() if f.suffix in SUFFIXES]
    stored = sum(file.stat().st_size for file in files)
    return stored + sum(map(_widened_bytes, files)) if on_cpu else stored


def _widened_bytes(file: Path) -> int:
    """As many numbers as a file has, in float32; a pickle's are taken for 16 bits wide."""
    if file.suffix != ".safetensors":
        return 2 * file.stat().st_size
    with file.open("rb") as content:
        header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
    shapes = (entry["shape"] for name, entry in header.items() if name != "__metadata__")
    return WIDE * sum(_product(shape) for shape in shapes)


def _product(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def free_bytes(environment: Mapping[str, str] = os.environ) -> int:
    """What may be taken now: SCALESCOPE_MEMORY, or what the system and the container have free.

    Raises Refusal for a SCALESCOPE_MEMORY that is no number of GB above 0.
    """
    named = environment.get(ENVIRONMENT)
    if named:
        try:
            allowed = float(named)
        except ValueError:
            allowed = 0.0
        if not 0 < allowed < float("inf"):
            raise Refusal(
                "{source} is {value}; give a number of GB above 0",
                source=ENVIRONMENT,
                value=quoted(named),
            )
        return int(allowed * GB)
    return min(_system_free(), _container_free())


NO_LIMIT = 2**62


def _system_free() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration):  # not Linux: nothing is known
        return NO_LIMIT


def _container_free() -> int:
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        return NO_LIMIT if limit == "max" else max(int(limit) - used, 0)
    except (OSError, ValueError):  # no container, or of an older kind
        return NO_LIMIT


def check_fits(checkpoint: Checkpoint, on_cpu: bool, free: int | None = None) -> None:
    """Raise CheckpointError, in one sentence, where a model takes more than may be taken.

    Args:
        free: bytes; None means ``free_bytes()``.
    """
    needed, free = model_bytes(checkpoint, on_cpu), free_bytes() if free is None else free
    if needed > free:
        raise CheckpointError(
            "{model} takes about {size} of memory to load, and {free} may be taken: choose a "
            "smaller model",
            model=checkpoint.name,
            size=size_text(needed),
            free=size_text(free),
        )


def size_text(size: int) -> str:
    """Bytes as a person reads them: 5 MB, 2.1 GB."""
    return f"{size / GB:.1f} GB" if size >= GB // 2 else f"{size / 10**6:.0f} MB"
