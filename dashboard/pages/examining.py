"""A quantized checkpoint: its kernel runs with what it stores, and how sound its scales are."""

from __future__ import annotations

from collections.abc import Callable

from dashboard.analysis import health
from dashboard.analysis.stored import StoredRun, run_all
from dashboard.calibration import Progress, calibrate_in_passes
from dashboard.checkpoints import default_device
from dashboard.pages import calibrating, loading
from dashboard.pages.shelves import KEEP_BYTES, shelf
from dashboard.pages.sources import Source, edition
from dashboard.rules.channels import channels_of


def stored_runs(name: str) -> dict[int, StoredRun]:
    """The kernel, run with every layer's stored weights and scales, by the layer's number."""
    loaded = loading.checkpoint(name)
    return shelf("stored").get_or_make(
        (name, edition(name)), lambda: run_all(loaded, loaded.layers, default_device())
    )


def checked(
    name: str, against: Source | None, on_progress: Callable[[Progress], None]
) -> health.Health:
    """A quantized checkpoint examined; with ``against``, judged by its float model, too."""
    quantized = loading.checkpoint(name)

    def make() -> health.Health:
        report = health.inspect(quantized)
        if against is None:
            return report
        known = loading.checkpoint(against.checkpoint)
        health.check_same_model(quantized, known)
        if calibrating.all_layers_fit(against):
            counted = calibrating.calibration(against, on_progress)
            return health.evaluate(
                report,
                quantized,
                known,
                counted,
                lambda layer, index: calibrating.channels(against, layer, index),
            )
        loaded = loading.model(against.checkpoint)
        with loaded.lock:
            for counted in calibrate_in_passes(
                known,
                loaded.backbone,
                loading.text(against),
                quantized.stored_layers,
                KEEP_BYTES,
                on_progress,
            ):
                outputs = channels_of(counted, known)
                report = health.evaluate(report, quantized, known, counted, outputs)
        return report

    return shelf("health").get_or_make((name, edition(name), against), make)
