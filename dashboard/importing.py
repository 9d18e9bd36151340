"""How large libraries are imported: in two thirds of the time, and with this project's ``kernels``.

Hugging Face has a distribution called ``kernels``, too, which transformers imports names from where
it is installed. This project's package of that name has none of them, so that no model could be
built beside it. Whichever comes first on the path: in a process that imports ``dashboard``,
``kernels`` is this project's, and transformers finds what it finds where none is installed. Its
kernels would be fetched from the Hub and run; nothing here uses them.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

KERNELS = Path(__file__).resolve().parent.parent / "kernels" / "__init__.py"

_HIDING = threading.Lock()
_hidden = False  # whether transformers has been asked for its kernels
_entry = False  # whether the process is one of this project's programs


def freeze_imports() -> None:
    """For a program's entry: what ``imported`` imports is set aside from garbage collection.

    It lives as long as the process, and every full collection would walk through it. A library may
    not decide this for whoever imports it.
    """
    global _entry
    if not _entry:
        _entry = True
        # Extension modules complain about what is still set aside when the interpreter goes down.
        atexit.register(gc.unfreeze)


def imported(name: str) -> ModuleType:
    """The module of that name, imported without Python's garbage collector if it is not there yet.

    An import makes some hundred thousand objects, which the collector would walk through again and
    again while it lasts.
    """
    if name in sys.modules:
        return importlib.import_module(name)
    with collector_paused():
        module = importlib.import_module(name)
    if _entry:
        gc.freeze()
    return module


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection within; afterwards as before."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _OwnKernels(importlib.abc.MetaPathFinder):
    """Finds this project's package under the name ``kernels``, whatever else has that name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "kernels":
            return None
        return importlib.util.spec_from_file_location(
            name, KERNELS, submodule_search_locations=[str(KERNELS.parent)]
        )


def claim_kernels() -> None:
    """From here on, ``import kernels`` means this project's package; nothing is imported yet.

    Raises ImportError where another one has been imported already: both cannot be had.
    """
    spec = importlib.util.find_spec("kernels")
    if spec is not None and spec.origin and Path(spec.origin).resolve() == KERNELS:
        return
    if "kernels" in sys.modules:
        raise ImportError(
            f"another package called kernels is imported already, from {spec and spec.origin}; "
            "import dashboard before whatever imports it (transformers does)"
        )
    sys.meta_path.insert(0, _OwnKernels())


def hide_kernels_distribution() -> None:
    """Before transformers is imported: let it find that Hugging Face's kernels are not available.

    transformers asks once and remembers the answer (``is_kernels_available`` has a cache), so it is
    asked here, while the import system says that there is no such package.
    """
    global _hidden
    with _HIDING:
        if not _hidden and _is_installed("kernels"):
            from transformers.utils.import_utils import is_kernels_available

            own = importlib.import_module("kernels")
            sys.modules["kernels"] = None  # type: ignore[assignment] # none, to importlib
            try:
                is_kernels_available()
            finally:
                sys.modules["kernels"] = own
        _hidden = True


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
