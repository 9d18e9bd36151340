"""Measured costs -> flat rows, under the names of the definitions; null where none is known."""

from __future__ import annotations

from dashboard.analysis.impact import Estimate
from dashboard.analysis.layer_costs import LayerCosts


def layer_cost_rows(costs: LayerCosts) -> list[dict]:
    """A row a layer: alone, saved where it stays in float, added to those that cost more."""
    rows = []
    for place, layer in enumerate(costs.layers):
        alone = costs.alone[place]
        measured = {} if alone is None else alone.measures()
        names = ("kl_nats", "kl_nats_error", "delta_nats", "delta_nats_error",
                 "same_top", "same_top_error")  # fmt: skip
        rank = costs.order.index(place) + 1
        rows.append(
            {
                "layer": layer,
                "mode": costs.mode,
                "predicted_nats": costs.predicted_nats[place],
                **{name: measured.get(name) for name in names},
                **_estimate("saved_kl_nats", costs.saved_nats(place, "kl_nats")),
                "rank": rank,
                **_estimate("first_kl_nats", costs.total_nats(rank, "kl_nats")),
                **_estimate("added_kl_nats", costs.step_nats(rank, "kl_nats")),
            }
        )
    return rows


def _estimate(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}_error": None}
    return {name: estimate.mean, f"{name}_error": estimate.error}
