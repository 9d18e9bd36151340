"""A rule from its settings."""

from __future__ import annotations

import math
from numbers import Real

from dashboard.analysis.formats import INT8
from dashboard.formats import REGISTERED, NumberFormat, format_named
from dashboard.refusals import Refusal
from dashboard.rules.observers import ScaleRule


def rule_of(
    observer: str, alpha: float, sigma: float, order: int | None, asymmetric: bool
) -> ScaleRule:
    """The rule with these settings; raises Refusal for one that is not allowed."""
    for name, value in (("alpha", alpha), ("sigma", sigma)):
        if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
            raise Refusal(
                "{field} is {value}; it must be a number above 0 and at most 1",
                field=name,
                value=repr(value),
            )
    return ScaleRule(observer, float(alpha), float(sigma), order, not asymmetric)


def rule_in(
    name: str,
    observer: str,
    alpha: float,
    sigma: float,
    order: int | None,
    asymmetric: bool,
) -> tuple[ScaleRule, NumberFormat | None]:
    """A rule as the format needs it, and the format where it is another than INT8."""
    number_format = format_named(name)
    if asymmetric and name not in INT8:
        raise Refusal(
            "asymmetric is for number_format int8, not for {value}; formats with a zero point are "
            "{formats}",
            value=repr(name),
            formats=tuple(own.name for own in REGISTERED.values() if own.is_asymmetric),
        )
    rule = rule_of(observer, alpha, sigma, order, asymmetric or number_format.is_asymmetric)
    return rule, None if name in INT8 else number_format
