"""Batches: what the moving average remembers."""

from __future__ import annotations

import numpy as np

from dashboard.rules.observers import MovingAverage
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text
from kernels.int8 import QMAX

MANY = 512  # batches, as Quamba calibrates on


def average_verdict(average: MovingAverage, pooled: float, say: Language) -> str:
    """What the average and the pooled quantile come to, and what the first batch weighs."""
    return say(
        "It ends at {final}, the pooled quantile is {pooled}. After {batches} batches the first "
        "still weighs **{weight}**.",
        final=scale_text(average.final),
        pooled=scale_text(pooled),
        batches=len(average.order),
        weight=percent(average.weights[0]),
    )


def orders_caption(finals: np.ndarray, pooled: float, say: Language) -> str:
    """How far the order alone moves amax, and so the scale."""
    low, high = float(finals.min()), float(finals.max())
    return say(
        "The same batches in {orders} orders: amax comes out between {low} and {high}, {apart} "
        "apart, and so does the scale, amax / {top}. The pooled quantile, {pooled}, does not "
        "depend on the order.",
        orders=len(finals),
        low=scale_text(low),
        high=scale_text(high),
        apart=percent(high / low - 1 if low else 0.0),
        top=QMAX,
        pooled=scale_text(pooled),
    )


def average_headline(average: MovingAverage, pooled: float, say: Language) -> str:
    """How far the moving average ends from the quantile of everything."""
    away = average.final / pooled - 1 if pooled else 0.0
    if abs(away) < 0.0005:
        return say("Here the moving average ends where the pooled quantile is.")
    if away > 0:
        return say("The moving average ends {away} above the pooled quantile.", away=percent(away))
    return say("The moving average ends {away} below the pooled quantile.", away=percent(-away))


def average_caption(average: MovingAverage, sigma: float, say: Language) -> str:
    """The weight of the first batch, now and after many."""
    if len(average.order) == 1:
        return say("With one batch there is nothing to average.")
    return say(
        "The first batch seeds the average and keeps a weight of (1 − σ)^(n − 1): {weight} after "
        "{batches} batches, {late} after {many}. The pooled quantile weighs every value alike.",
        weight=percent(average.weights[0]),
        batches=len(average.order),
        late=percent((1 - sigma) ** (MANY - 1)),
        many=MANY,
    )
