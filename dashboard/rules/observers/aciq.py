"""aciq: a clipping value from a formula, without a search: analytic clipping for a Laplace density.

R. Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment"
(arXiv 1810.05723). Of values with a Laplace density around their mean μ, b = E|x − μ|,
clipped to ±α and quantized with M bits, the expected squared error is

    2·b²·e^(−α/b)  +  α² / (3·4^M)        what clipping costs, and what rounding costs

Its derivative is 0 where α/b = 3·4^M · e^(−α/b): a number that depends on M alone, and for 8 bits
is 9.897 (tables that cut digits off have 9.89). So amax = 9.897·b.

The output of SiLU is not Laplace, nor Gaussian, the paper's other case: it is one-sided, with a
heap just below 0. The rule stands here for what a wrong distribution costs; mse, which counts the
errors that there are, shows the difference. The mean enters b only: code 127 is amax from 0, as
for every symmetric scale, and not from μ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dashboard.calibration.histogram import Histogram
from dashboard.messages import Message
from dashboard.rules.registry import ScaleRule, register


def laplace_clipping(bits: int) -> float:
    """u = α/b of the least expected error, the root of u = 3·4^bits · e^(−u).

    In logarithms u = ln(3·4^bits) − ln u: each step of that divides the distance to the root by u,
    which is above 1 from one bit on.
    """
    whole = math.log(3) + bits * math.log(4)
    u, before = whole, math.inf
    while abs(u - before) > 1e-13 * whole:
        u, before = whole - math.log(u), u
    return u


CLIPPING = laplace_clipping(8)  # 9.897


@register(
    "aciq",
    help=Message(
        "{factor} times the mean distance from the mean: the least expected error of 8 bits if "
        "values were Laplace, which SiLU's are not",
        factor=f"{CLIPPING:.3f}",
    ),
    label=Message("ACIQ, Laplace"),
    short="aciq",
    snippet=f"s = F.silu(v).half().double()\n{CLIPPING!r} * (s - s.mean()).abs().mean()",
)
def aciq_amax(rule: ScaleRule, output: Histogram, batches: Sequence[Histogram]) -> float:
    """The analytic clipping value of y, as if its density were Laplace's."""
    return CLIPPING * mean_deviation(output)


def mean_deviation(output: Histogram) -> float:
    """b = E|y − μ|, μ = E y."""
    values = output.values.astype(np.float64)
    mean = float(np.average(values, weights=output.counts))
    return float(np.average(np.abs(values - mean), weights=output.counts))
