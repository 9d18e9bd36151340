"""What the figures in nats share: means with their errors, and what lies within its error, grey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dashboard.analysis.impact import Estimate
from dashboard.figures.theme import LIGHT, RAISED, hover

LEAST_SHARE = 0.1  # of a mean, where its error bar ends on an axis that knows no 0


def measured_dots(
    x: ArrayLike,
    estimates: Sequence[Estimate],
    concept: str,
    words: Sequence[str],
    size: float = 9,
    symbol: str = "circle",
    log: bool = False,
    upright: bool = True,
    grey: Sequence[bool] | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """Means with a bar of one standard error to each side; hollow and grey within the error.

    Args:
        words: what each says on hover.
        log: whether the means stand on a logarithmic axis.
        upright: whether they stand on y; else on x, and ``x`` is what stands on y.
        grey: which are hollow; None means those that ``is_noise``.
    """
    means = np.array([one.mean for one in estimates], dtype=float)
    errors = np.array([one.error or 0.0 for one in estimates])
    noise = [one.is_noise for one in estimates] if grey is None else list(grey)
    colours = [LIGHT["baseline" if own else concept] for own in noise]
    below = np.minimum(errors, means * (1 - LEAST_SHARE)) if log else errors
    bars = {
        "type": "data",
        "array": errors.tolist(),
        "arrayminus": np.maximum(below, 0.0).tolist(),
        "symmetric": False,
        "thickness": 1.5,
        "width": 3,
        "color": LIGHT["baseline" if noise and all(noise) else concept],
    }
    values, other = means.tolist(), np.asarray(x, dtype=float).tolist()
    return {
        "type": "scatter",
        "mode": "markers",
        "x": other if upright else values,
        "y": values if upright else other,
        "error_y" if upright else "error_x": bars,
        "cliponaxis": False,
        "marker": {
            "symbol": symbol,
            "size": size,
            "opacity": 1,
            "color": [
                LIGHT["page" if own else concept] for own in noise
            ],
            "line": {"color": colours, "width": 2},
        },
        **hover(list(words)),
        **rest,
    }  # fmt: skip


def legend_entry(name: str, concept: str, symbol: str, hollow: bool = False) -> dict[str, Any]:
    """A mark that stands in the legend alone, for a trace whose own marks differ."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [None],
        "y": [None],
        "name": name,
        "hoverinfo": "skip",
        "marker": {
            "symbol": symbol,
            "size": 9,
            "color": LIGHT["page"] if hollow else LIGHT[concept],
            "line": {"color": LIGHT[concept], "width": 2},
        },
    }


def powers_of_ten(low: float, high: float, most: int = 6) -> dict[str, list]:
    """Ticks of a logarithmic axis: whole powers of ten, with 2 and 5 between where they are few."""
    exponents = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    step = max(1, int(np.ceil(len(exponents) / most)))
    within = [e for e in exponents if low <= 10.0**e <= high]
    factors = (1,) if len(within) > 2 else (1, 2, 5)
    ticks = [
        (factor * 10.0**e, _power(factor, int(e)))
        for e in exponents[::step]
        for factor in factors
        if low <= factor * 10.0**e <= high
    ]
    return {"tickvals": [value for value, _ in ticks], "ticktext": [text for _, text in ticks]}


def _power(factor: int, exponent: int) -> str:
    power = f"10{str(exponent).translate(RAISED)}"
    return power if factor == 1 else f"{factor}·{power}"


def around(values: Sequence[float], zero: bool = True) -> tuple[float, float]:
    """A linear axis around values, with room above, and with 0 on it."""
    low, high = min([*values, 0.0] if zero else values), max([*values, 0.0] if zero else values)
    room = 0.06 * (high - low) or 1e-6
    return (low - room if low < 0 else low), high + room


def log_range(values: Sequence[float]) -> tuple[float, float]:
    """A logarithmic axis around values, with room on both sides; of none a decade around 10⁻³."""
    above = [value for value in values if value > 0 and np.isfinite(value)] or [1e-3]
    return min(above) / 1.6, max(above) * 1.6
