"""Scale rules: a layer's histograms -> the scale of its INT8 output. One file a rule.

Every file here registers its rule; a new one needs no other place. What others import stands here:
the rules' records and settings from ``rules.registry``, the values of α from ``rules.alphas``, and
the searches of single rules that the lesson and the health check use by themselves.
"""

# ruff: noqa: E402 - the order of registration comes first

import pkgutil
from importlib import import_module

# As boxes and tables list them; files that are not named come after, by name.
_FIRST = ("percentile", "percentile_ema", "minmax", "mse", "entropy", "conv_absmax", "scale_wx")
_files = sorted(module.name for module in pkgutil.iter_modules(__path__))
for _name in (*_FIRST, *(name for name in _files if name not in _FIRST)):
    import_module(f"{__name__}.{_name}")

from dashboard.rules.alphas import (
    DEFAULT_ALPHA,
    PUBLISHED_ALPHAS,
    alpha_grid,
    fine_alphas,
    log_alpha,
)
from dashboard.rules.observers.entropy import entropy_amax
from dashboard.rules.observers.mse import least_error_amax, least_error_range
from dashboard.rules.observers.percentile import percentile_range
from dashboard.rules.observers.percentile_ema import (
    MovingAverage,
    averaged,
    batch_order,
    moving_average,
)
from dashboard.rules.registry import (
    ALPHA_RULES,
    ASYMMETRIC_RULES,
    CHANNEL_RULES,
    DEFAULT_RULE,
    DEFAULT_SIGMA,
    REGISTERED,
    RULES,
    SNIPPET_RULES,
    SYMMETRIC_RULES,
    Observed,
    OutputScale,
    Rule,
    ScaleRule,
    amax,
    output_scale,
    range_scale,
    register,
)

__all__ = [
    "ALPHA_RULES",
    "ASYMMETRIC_RULES",
    "CHANNEL_RULES",
    "DEFAULT_ALPHA",
    "DEFAULT_RULE",
    "DEFAULT_SIGMA",
    "PUBLISHED_ALPHAS",
    "REGISTERED",
    "RULES",
    "SNIPPET_RULES",
    "SYMMETRIC_RULES",
    "MovingAverage",
    "Observed",
    "OutputScale",
    "Rule",
    "ScaleRule",
    "alpha_grid",
    "amax",
    "averaged",
    "batch_order",
    "entropy_amax",
    "fine_alphas",
    "least_error_amax",
    "least_error_range",
    "log_alpha",
    "moving_average",
    "output_scale",
    "percentile_range",
    "range_scale",
    "register",
]
