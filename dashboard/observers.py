"""Scale rules: a layer's histograms -> the scale of its INT8 output.

An observer chooses ``amax``, the magnitude that code 127 stands for; the scale is amax / 127.
Quamba (arXiv 2410.13229) takes a percentile of |SiLU output|; MinMax takes all of it. Two baselines
need no look at SiLU's output: ``scale-wx``, the scale at which the integer accumulator arrives, and
``conv-absmax``, the range of the convolution before SiLU.
"""

from __future__ import annotations

import math

from dashboard.histogram import Histogram
from kernels.int8 import scale_from_amax

RULES = ("percentile", "minmax", "conv-absmax", "scale-wx")
DEFAULT_RULE = "percentile"
DEFAULT_ALPHA = 0.9995

# The two values of α that the published scales were made with.
PUBLISHED_ALPHAS = (0.9995, 0.99999)


def output_scale(
    rule: str,
    silu_input: Histogram,
    silu_output: Histogram,
    scale_wx: float,
    alpha: float = DEFAULT_ALPHA,
) -> float:
    """x_out_scale by one of ``RULES``: real units per code, a float32, at least 1e-6.

    Args:
        silu_input, silu_output: histograms of v and y over all calibration batches.
        scale_wx: x_scale · w_scale, used by "scale-wx" alone.
        alpha: the quantile of |y|, in (0, 1], used by "percentile" alone.

    Raises ValueError for an unknown rule or an alpha outside (0, 1].
    """
    if rule == "percentile":
        if not 0.0 < alpha <= 1.0:
            raise ValueError(f"alpha is {alpha}; a percentile needs 0 < alpha <= 1")
        return scale_from_amax(silu_output.abs.quantile(alpha))
    if rule == "minmax":
        return scale_from_amax(silu_output.absmax)
    if rule == "conv-absmax":
        return scale_from_amax(silu_input.absmax)
    if rule == "scale-wx":
        return scale_wx
    raise ValueError(f"observer is {rule!r}; allowed are {', '.join(RULES)}")


def alpha_grid(total: int) -> tuple[float, ...]:
    """The values of α that a slider offers: even steps of t = -log10(1 - α), from 0.9 to 1.

    The steps are 0.05, 1 - α rounded to two digits; the nearest ones give way to exactly 0.9995 and
    0.99999. Where 1 - α would leave out less than one of ``total`` values, only 1 remains.
    """
    steps = [round(1 + 0.05 * i, 2) for i in range(round((math.log10(total) - 1) / 0.05) + 1)]
    grid = {round(1 - float(f"{10**-t:.1e}"), 12) for t in steps if 10**t < total}
    for exact in PUBLISHED_ALPHAS:
        if 1 - exact > 1 / total:
            nearest = min(grid, key=lambda a: abs(log_alpha(a) - log_alpha(exact)))
            grid = (grid - {nearest}) | {exact}
    return (*sorted(grid), 1.0)


def log_alpha(alpha: float) -> float:
    """t = -log10(1 - α): 1 at 0.9, 3.3 at 0.9995, 5 at 0.99999; infinite at 1."""
    return math.inf if alpha >= 1.0 else -math.log10(1.0 - alpha)
