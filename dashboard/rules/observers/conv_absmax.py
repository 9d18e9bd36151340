"""conv-absmax: a baseline, the range of the convolution before SiLU reshapes it."""

from __future__ import annotations

from dashboard.messages import Message
from dashboard.rules.registry import Observed, ScaleRule, register
from kernels.int8 import scale_from_amax


@register(
    "conv-absmax",
    help=Message("a baseline: the greatest magnitude before SiLU"),
    label=Message("conv-absmax, before SiLU"),
    short="conv-absmax",
    gives="scale",
    baseline=True,
    snippet="v.half().float().abs().max()",
)
def conv_absmax_scale(rule: ScaleRule, observed: Observed) -> float:
    """max |v| / 127."""
    return scale_from_amax(observed.silu_input.absmax)
