"""minmax: nothing is clipped; the range is what calibration saw."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.calibration.histogram import Histogram
from dashboard.messages import Message
from dashboard.rules.registry import OutputScale, ScaleRule, range_scale, register


def minmax_scale(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]) -> OutputScale:
    """The asymmetric scale from the least y to the greatest."""
    return range_scale(output.min, output.max)


@register(
    "minmax",
    help=Message("the greatest magnitude"),
    label=Message("MinMax, SiLU output"),
    short="MinMax",
    asymmetric=minmax_scale,
    grouped=True,
    baseline=True,
    snippet="y.max()",
)
def minmax_amax(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]) -> float:
    """max |y|."""
    return output.absmax
