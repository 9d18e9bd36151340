"""Which layer costs the model most, by how much, and which differences are noise.

A layer is asked in three ways: what it costs quantized by itself (*alone*), what is saved where all
are quantized and it is left in float (*saved*), and what it adds where layers are quantized one
after the other, the one with the most predicted cost first (*added*). Where errors of layers do not
meet, the three agree. Savings and additions are differences of two measurements, paired by window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.analysis.impact import Estimate, Impact
from dashboard.analysis.measurements import Measurements, Setting, Unit, difference, estimate
from dashboard.rules.observers import ScaleRule


@dataclass(frozen=True, eq=False)
class LayerCosts:
    """Every layer under one rule; entry i everywhere belongs to ``layers[i]``.

    What was not measured yet is None. ``order`` has the layers' places, the one with the most
    predicted cost first; ``added[k]`` is the measurement of the first k + 1 of them.
    """

    rule: ScaleRule
    mode: str
    layers: tuple[int, ...]
    predicted_nats: tuple[float | None, ...]
    order: tuple[int, ...]
    alone: tuple[Impact | None, ...]
    without: tuple[Impact | None, ...]  # all but the layer
    added: tuple[Impact | None, ...]

    @property
    def everything(self) -> Impact | None:
        """All layers together."""
        return self.added[-1]

    @property
    def predicted_total(self) -> float | None:
        """What all layers are predicted to cost together, in nats; None where one is not known."""
        known = [nats for nats in self.predicted_nats if nats is not None]
        return float(sum(known)) if len(known) == len(self.layers) else None

    def predicted_first(self, count: int) -> float | None:
        """What the first ``count`` layers of ``order`` are predicted to cost together."""
        known = [self.predicted_nats[place] for place in self.order[:count]]
        costs = [nats for nats in known if nats is not None]
        return float(sum(costs)) if len(costs) == count else None

    def alone_nats(self, place: int, unit: Unit) -> Estimate | None:
        """What one layer costs by itself; None where it was not measured."""
        impact = self.alone[place]
        return None if impact is None else estimate(impact, unit)

    def saved_nats(self, place: int, unit: Unit) -> Estimate | None:
        """How much less all layers cost where this one is left in float."""
        whole, rest = self.everything, self.without[place]
        return None if whole is None or rest is None else difference(whole, rest, unit)

    def total_nats(self, count: int, unit: Unit) -> Estimate | None:
        """What the first ``count`` layers of ``order`` cost together."""
        impact = self.added[count - 1]
        return None if impact is None else estimate(impact, unit)

    def step_nats(self, count: int, unit: Unit) -> Estimate | None:
        """What the last of the first ``count`` layers of ``order`` adds to those before it."""
        after = self.added[count - 1]
        if count == 1:
            return None if after is None else estimate(after, unit)
        before = self.added[count - 2]
        return None if after is None or before is None else difference(after, before, unit)


def harm_order(predicted_nats: Sequence[float | None]) -> tuple[int, ...]:
    """The places of layers, the most predicted cost first; as they stand where none is known."""
    if None in predicted_nats:
        return tuple(range(len(predicted_nats)))
    costs = [nats for nats in predicted_nats if nats is not None]
    return tuple(sorted(range(len(costs)), key=lambda place: -costs[place]))


@dataclass(frozen=True)
class LayerSettings:
    """What has to be measured for ``LayerCosts``."""

    alone: tuple[Setting, ...]
    without: tuple[Setting, ...]  # empty of a single layer, without which nothing is quantized
    added: tuple[Setting, ...]
    order: tuple[int, ...]

    @property
    def all(self) -> tuple[Setting, ...]:
        """In the order in which they are worth knowing: the whole, each alone, each left out."""
        return (self.added[-1], *self.alone, *self.without, *self.added)


def layer_settings(
    measurements: Measurements, rule: ScaleRule, layers: Sequence[int]
) -> LayerSettings:
    """Every layer alone, all but each, and one after the other."""
    planned = measurements.plan(rule)
    order = harm_order([planned[layer].predicted_nats for layer in layers])
    in_order = [layers[place] for place in order]
    return LayerSettings(
        alone=tuple(Setting(rule, (layer,)) for layer in layers),
        without=tuple(
            Setting(rule, tuple(other for other in layers if other != layer))
            for layer in layers
            if len(layers) > 1
        ),
        added=tuple(
            Setting(rule, tuple(sorted(in_order[: count + 1]))) for count in range(len(layers))
        ),
        order=order,
    )


def layer_costs(measurements: Measurements, rule: ScaleRule, layers: Sequence[int]) -> LayerCosts:
    """What is known of every layer under a rule."""
    settings = layer_settings(measurements, rule, layers)
    without = [measurements.impact(setting) for setting in settings.without]
    return LayerCosts(
        rule,
        measurements.mode,
        tuple(layers),
        tuple(measurements.predicted_nats(setting) for setting in settings.alone),
        settings.order,
        tuple(measurements.impact(setting) for setting in settings.alone),
        tuple(without or [None] * len(layers)),
        tuple(measurements.impact(setting) for setting in settings.added),
    )
