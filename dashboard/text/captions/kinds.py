"""What each kind of scale is called."""

from __future__ import annotations

from dashboard.analysis.kinds import ScaleKind
from dashboard.text.language import Language


def kind_name(kind: ScaleKind, say: Language) -> str:
    """A kind of scale, and how many scales of it a slice has."""
    if kind.kind == "tensor":
        return say("per tensor, symmetric") if kind.symmetric else say("per tensor, asymmetric")
    names = {
        "neighbours": say("neighbouring channels ({count} scales), symmetric", count=kind.scales),
        "as-quamba2": say("as Quamba2, by mean |y| ({count} scales), symmetric", count=kind.scales),
        "by-maximum": say("by maximum |y| ({count} scales), symmetric", count=kind.scales),
        "channel": say("each channel ({count} scales), symmetric", count=kind.scales),
    }
    return names[kind.kind]
