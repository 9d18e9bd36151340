"""Many settings of one model: what each is predicted to cost, what was measured, what is missing.

A page asks for a few dozen settings at once, every layer alone, all but one, at every α, and shows
what is known of them at any moment. A setting goes by the scales that come of it and not by its
rule: two rules with the same scales are measured once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from dashboard.analysis.budget import BudgetPlan
from dashboard.analysis.impact import (
    Estimate,
    FloatRun,
    Impact,
    ImpactProgress,
    delta_difference,
    impact_key,
    kl_difference,
    measure,
)
from dashboard.analysis.prediction import PlannedLayer
from dashboard.analysis.quantized_forward import LayerQuantization
from dashboard.analysis.result_store import ResultStore
from dashboard.analysis.scale_choices import ScaleChoice
from dashboard.checkpoints import Checkpoint

Unit = Literal["kl_nats", "delta_nats"]  # which measure an estimate in nats is of


Scales = ScaleChoice | BudgetPlan  # what says which scales every layer has


@dataclass(frozen=True)
class Setting:
    """Some layers, ascending, under one rule, in one number format, or by one plan."""

    scales: Scales
    layers: tuple[int, ...]


Plan = Callable[[Scales], Mapping[int, PlannedLayer]]


@dataclass(frozen=True, eq=False)
class Measurements:
    """Settings of one model on one held-out text, in one mode.

    ``plan`` gives every layer's scales by a choice or plan; ``known`` what was measured under an
    ``impact_key``, or None.
    """

    run: FloatRun
    mode: str
    plan: Plan
    known: Callable[[str], Impact | None]

    def quantizations(self, setting: Setting) -> list[LayerQuantization]:
        """A setting's layers with their scales, as the quantized forward takes them."""
        planned = self.plan(setting.scales)
        return [planned[layer].quantization for layer in setting.layers]

    def key(self, setting: Setting) -> str:
        """Under which a setting is kept: by contents, not by names."""
        return impact_key(self.run, self.quantizations(setting), self.mode)

    def impact(self, setting: Setting) -> Impact | None:
        """What was measured of a setting; None where nothing was yet."""
        return self.known(self.key(setting))

    def predicted_nats(self, setting: Setting) -> float | None:
        """What a setting is predicted to cost: its layers added up.

        None where no gradients were counted, and where more than outputs is quantized.
        """
        if self.mode != "output":
            return None
        return predicted_total(self.plan(setting.scales), setting.layers)

    def missing(self, settings: Sequence[Setting]) -> list[Setting]:
        """Those of the settings that nothing was measured of, each once, in their order."""
        by_key = {self.key(setting): setting for setting in settings}
        return [setting for key, setting in by_key.items() if self.known(key) is None]


def predicted_total(planned: Mapping[int, PlannedLayer], layers: Sequence[int]) -> float | None:
    """The layers' predictions added up; None where one has none."""
    costs = [planned[layer].predicted_nats for layer in layers]
    known = [cost for cost in costs if cost is not None]
    return float(sum(known)) if len(known) == len(costs) else None


def estimate(impact: Impact, unit: Unit) -> Estimate:
    """One of the two measures in nats."""
    return impact.kl_nats if unit == "kl_nats" else impact.delta_nats


def difference(one: Impact, other: Impact, unit: Unit) -> Estimate:
    """How much more ``one`` costs, paired by window."""
    return (kl_difference if unit == "kl_nats" else delta_difference)(one, other)


def measure_settings(
    checkpoint: Checkpoint,
    model: nn.Module,
    measurements: Measurements,
    settings: Sequence[Setting],
    already: tuple[int, float],
    seconds: float,
    store: ResultStore | None = None,
    on_progress: Callable[[ImpactProgress], None] | None = None,
) -> Iterator[tuple[str, Impact]]:
    """Measure settings one after the other, each given with its key, until the time is over.

    Args:
        settings: that are missing.
        already: how many settings of the same study were measured before these, and in how many
            seconds; for the progress.
        seconds: after which no further setting is begun; one is measured at least.
        on_progress: called after each window; what it raises ends the setting that is being
            measured, and leaves the model as it was.
    """
    done, spent = already
    begun = time.perf_counter()
    total, windows = done + len(settings), measurements.run.text.batches
    for number, setting in enumerate(settings, done):

        def on_window(window: int, number: int = number) -> None:
            if on_progress:
                elapsed = spent + time.perf_counter() - begun
                on_progress(ImpactProgress(number, total, window, windows, elapsed))

        impact = measure(
            checkpoint,
            model,
            measurements.run,
            measurements.quantizations(setting),
            measurements.mode,
            store,
            on_window,
        )
        yield measurements.key(setting), impact
        if time.perf_counter() - begun > seconds:
            return


QUANTIZED_FORWARDS = 1.4  # what a quantized forward takes, in float ones; measured on the samples


def expected_seconds(
    settings: Sequence[Setting], measurements: Measurements, forward_s: float
) -> float:
    """About how long it takes to measure settings, from the time of one window's forward."""
    windows = measurements.run.text.batches
    return len(settings) * windows * QUANTIZED_FORWARDS * forward_s
