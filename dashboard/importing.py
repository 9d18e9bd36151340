"""Importing torch and transformers in two thirds of the time."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Import large modules without Python's garbage collector.

    An import makes some hundred thousand objects, nearly all of which live as long as the process.
    The collector would walk through them again and again while it lasts, and in every full
    collection after it: they are set aside, until the process ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


# Extension modules complain about what is still set aside when the interpreter goes down.
atexit.register(gc.unfreeze)
