"""scale-wx: a baseline, the scale at which the integer accumulator arrives."""

from __future__ import annotations

from dashboard.messages import Message
from dashboard.rules.registry import Observed, ScaleRule, register


@register(
    "scale-wx",
    help=Message("a baseline: 127 · x_scale · w_scale, no calibration of the output at all"),
    label="scale_wx",
    gives="scale",
    baseline=True,
    snippet="x.abs().max() * w.abs().max() / 127",
)
def accumulator_scale(rule: ScaleRule, observed: Observed) -> float:
    """x_scale · w_scale."""
    return observed.scale_wx
