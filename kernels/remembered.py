"""What was worked out from a tensor's values, for as long as nothing is written to it.

Reading a tensor on a GPU waits for everything that runs there, so what depends on its values is
worked out once. torch counts writes (``_version``); where it counts none, in inference mode,
nothing is remembered.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor

# By identity: the tensor, its version, and what was worked out, by purpose.
_REMEMBERED: dict[int, tuple[weakref.ref, int, dict[str, Any]]] = {}


def recall(tensor: Tensor, purpose: str) -> Any:
    """What was remembered of the tensor for a purpose; None where nothing holds."""
    known = _REMEMBERED.get(id(tensor))
    if known is not None and known[0]() is tensor and known[1] == tensor._version:
        return known[2].get(purpose)
    return None


def remember(tensor: Tensor, purpose: str, value: object) -> None:
    """Keep ``value`` until the tensor is written to, or gone."""
    if tensor.is_inference():  # those count no versions
        return
    key, version = id(tensor), tensor._version
    known = _REMEMBERED.get(key)
    if known is None or known[0]() is not tensor or known[1] != version:
        known = weakref.ref(tensor, lambda _: _REMEMBERED.pop(key, None)), version, {}
        _REMEMBERED[key] = known
    known[2][purpose] = value
