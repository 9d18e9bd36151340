"""What can run a kernel here: Triton compiled, Triton interpreted, or plain torch.

Which of the first two is decided when triton is first imported (``kernels/__init__.py``).
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from torch import Tensor

BACKENDS = ("triton", "triton-interpret", "torch")

HAS_TRITON = importlib.util.find_spec("triton") is not None  # it has wheels for Linux alone
if HAS_TRITON:
    import triton

INTERPRETED = HAS_TRITON and triton.knobs.runtime.interpret
# Whether kernels that hold PTX can be compiled: not for AMD's GPUs.
HAS_PTX = HAS_TRITON and not INTERPRETED and torch.version.hip is None

# The interpreter replaces parts of triton.language while it runs, so it runs once at a time.
_INTERPRETER = threading.Lock()


@cache
def available_backends() -> tuple[str, ...]:
    """Which of "triton", "triton-interpret" and "torch" can run in this process."""
    compiled = HAS_TRITON and not INTERPRETED and torch.cuda.is_available()
    runs = {"triton": compiled, "triton-interpret": INTERPRETED, "torch": True}
    return tuple(name for name in BACKENDS if runs[name])


def default_backend(x: Tensor) -> str:
    """The backend that None stands for: the best that can run where ``x`` lies."""
    available = available_backends()
    if x.is_cuda and "triton" in available:
        return "triton"
    return "triton-interpret" if "triton-interpret" in available else "torch"


def resolve_backend(backend: str | None, x: Tensor) -> str:
    """The backend asked for, or the best; raises ValueError where it cannot run on x."""
    if backend is None:
        return default_backend(x)
    check_backend(backend, "x", x)
    return backend


def check_backend(backend: str, name: str, x: Tensor) -> None:
    """Raises ValueError where ``backend`` cannot run on the argument ``name``, x."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; allowed are {BACKENDS} and None")
    if backend not in available_backends():
        raise ValueError(f"backend {backend!r} cannot run here: {_why_not(backend)}")
    if backend == "triton" and not x.is_cuda:
        raise ValueError(f"backend 'triton' needs {name} on CUDA; it is on {x.device}")


def _why_not(backend: str) -> str:
    if not HAS_TRITON:
        return "triton is not installed"
    if backend == "triton-interpret":
        return "TRITON_INTERPRET was not set before triton was first imported"
    if INTERPRETED:
        return "this process interprets Triton (TRITON_INTERPRET)"
    return "torch sees no CUDA device"


@contextmanager
def launching_on(x: Tensor) -> Iterator[None]:
    """Where a Triton kernel may be launched on x: its device, or the interpreter, one at a time."""
    if INTERPRETED:
        # exp may overflow: SiLU of a very negative value is 0. Values of a float layer that are not
        # finite are refused when they are counted.
        with _INTERPRETER, np.errstate(over="ignore", invalid="ignore"):
            yield
    else:
        with torch.cuda.device(x.device):
            yield
