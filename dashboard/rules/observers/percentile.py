"""percentile: the α-quantile of |y|, over all calibration batches.

The method is Quamba's (arXiv 2410.13229), without its moving average. Asymmetric, each end of the
range leaves out a share 1 − α of the values.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.calibration.histogram import Histogram
from dashboard.messages import Message
from dashboard.rules.registry import OutputScale, ScaleRule, range_scale, register


def percentile_range(output: Histogram, alpha: float) -> tuple[float, float]:
    """Low and high that leave out a share 1 − α of the values at each end.

    The high end is the α-quantile of y, the low end that of −y, with its sign turned.
    """
    return -output.negated.quantile(alpha), output.quantile(alpha)


def percentile_scale(
    rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]
) -> OutputScale:
    """The asymmetric scale of that range."""
    return range_scale(*percentile_range(output, rule.alpha))


@register(
    "percentile",
    help=Message(
        "the α-quantile of the output's magnitude, over all batches, linearly interpolated"
    ),
    label=Message("α {alpha}"),
    asymmetric=percentile_scale,
    uses_alpha=True,
    grouped=True,
    snippet="np.quantile(y.numpy(), np.float32({alpha!r}))",
)
def percentile_amax(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]) -> float:
    """The α-quantile of |y|."""
    return output.abs.quantile(rule.alpha)
