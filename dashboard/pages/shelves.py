"""The shelves that all pages and users share, and how much each of them may hold.

What stands on one has a key that says what it was made from: a ``Source``, or a checkpoint's name
and which edition of its files (``sources``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from dashboard.pages.shelf import Shelf

MIB = 2**20

# Conv inputs of all layers are kept while they fit in this, so that another layer is at hand at
# once; of a larger model, only the chosen layer's.
KEEP_BYTES = 256 * MIB

# How many values each shelf has room for, how many bytes, and whether they grow while in use.
SHELVES = {
    "checkpoint": (8, 160 * MIB, False),
    "model": (2, 4096 * MIB, False),
    "text": (16, 56 * MIB, False),
    "stored": (8, 16 * MIB, False),
    "hash": (256, MIB, False),
    "calibration": (8, 512 * MIB, True),
    "whence": (64, MIB // 8, False),
    "captures": (2, 2 * KEEP_BYTES, False),
    "conv": (64, KEEP_BYTES, False),
    "sweep": (64, 32 * MIB, False),
    "landscape": (512, 64 * MIB, False),
    "recommendation": (8, 16 * MIB, False),
    "scale": (4096, 64 * MIB, False),
    "channels": (2, 96 * MIB, True),
    "grouping": (64, 16 * MIB, False),
    "kinds": (32, 2 * MIB, False),
    "health": (16, 4 * MIB, False),
    "column": (256, 16 * MIB, False),
    "formats": (128, 16 * MIB, False),
    "format": (512, 8 * MIB, False),
    "answers": (16, 32 * MIB, False),
    "table": (16, 32 * MIB, False),
    "planned": (512, 8 * MIB, False),
    "float_run": (1, 64 * MIB, True),
    "impact": (4096, 40 * MIB, False),
    "damage": (32, 8 * MIB, False),
    "options": (16, 16 * MIB, False),
    "pace": (64, MIB // 8, False),
    "tokenizer": (4, MIB // 8, False),
    "room": (64, MIB // 8, False),
}


# Of the process, and not of Streamlit's caches: jobs, which have no session, use them, too.
_SHELVES = {name: Shelf(*bounds) for name, bounds in SHELVES.items()}


def shelf(name: str) -> Shelf:
    """One of ``SHELVES``, by its name."""
    return _SHELVES[name]


def forget(is_gone: Callable[[Hashable], bool]) -> None:
    """Drop from all shelves what stands under keys that say so."""
    for own in _SHELVES.values():
        own.forget(is_gone)


def clear() -> None:
    """Drop everything that is kept, on all shelves."""
    for own in _SHELVES.values():
        own.clear()
