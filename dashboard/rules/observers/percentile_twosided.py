"""percentile-twosided: a share α of the values is kept, and as much left out at either end.

The range goes from the (1 − α)/2-quantile of y to its 1 − (1 − α)/2-quantile. ``percentile``,
asymmetric, leaves out 1 − α at *each* end, twice as much at the same α; so this rule at α is that
one at (1 + α)/2, and here α is the share that is kept. A magnitude has one end only, so there is
no symmetric scale.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.calibration.histogram import Histogram
from dashboard.messages import Message
from dashboard.rules.registry import OutputScale, ScaleRule, range_scale, register


@register(
    "percentile-twosided",
    help=Message(
        "the range that leaves out (1 − α)/2 of the values at each end: half of what an asymmetric "
        "`percentile` leaves out"
    ),
    label=Message("α {alpha} kept"),
    gives="asymmetric",
    uses_alpha=True,
)
def two_sided_scale(
    rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]
) -> OutputScale:
    """The asymmetric scale between the two quantiles of y."""
    tail = (1.0 - rule.alpha) / 2
    return range_scale(output.quantile(tail), output.quantile(1.0 - tail))
