"""Batches: what the moving average remembers."""

from __future__ import annotations

import numpy as np

from dashboard.rules.observers import MovingAverage
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text
from kernels.int8 import QMAX


def average_verdict(average: MovingAverage, pooled: float, say: Language) -> str:
    """What the average and the pooled quantile come to, and what the first batch weighs."""
    return (
        f"It ends at {scale_text(average.final)}, the pooled quantile is {scale_text(pooled)}. "
        f"After {len(average.order)} batches the first still weighs "
        f"**{percent(average.weights[0])}**."
    )


def orders_caption(finals: np.ndarray, pooled: float, say: Language) -> str:
    """How far the order alone moves amax, and so the scale."""
    low, high = float(finals.min()), float(finals.max())
    return (
        f"The same batches in {len(finals)} orders: amax comes out between {scale_text(low)} and "
        f"{scale_text(high)}, {percent(high / low - 1 if low else 0.0)} apart, and so does the "
        f"scale, amax / {QMAX}. The pooled quantile, {scale_text(pooled)}, knows no order."
    )


def average_headline(average: MovingAverage, pooled: float, say: Language) -> str:
    """How far the moving average ends from the quantile of everything."""
    away = average.final / pooled - 1 if pooled else 0.0
    if abs(away) < 0.0005:
        return "Here the moving average ends where the pooled quantile is."
    return (
        f"The moving average ends {percent(abs(away))} {'above' if away > 0 else 'below'} the "
        "pooled quantile."
    )


def average_caption(average: MovingAverage, sigma: float, say: Language) -> str:
    """The weight of the first batch, now and after many."""
    if len(average.order) == 1:
        return "One batch is its own average."
    return (
        f"The first batch seeds the average and keeps (1 − σ)^(n − 1) of it: "
        f"{percent(average.weights[0])} of {len(average.order)} batches, "
        f"{percent((1 - sigma) ** 511)} of 512. The pooled quantile weighs every value alike."
    )
