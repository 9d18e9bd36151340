"""Layers: which layers a choice of scale costs most, and by which rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.report import LayerReport, ScaleReport, format_alpha, gain_db
from dashboard.rules.landscape import NEGLIGIBLE_DB
from dashboard.text.language import Language
from dashboard.text.numbers import decibels

NO_ROW = "No layer lies in this range."


def layers_headline(reports: Sequence[LayerReport], part: int, say: Language) -> str:
    """The layer that loses most under the chosen rule, in a sentence."""
    gains = _gains(reports, part)
    most = int(np.argmax(gains))
    if gains[most] < NEGLIGIBLE_DB:
        return "In no layer does another α gain 0.05 dB."
    return f"Layer {reports[most].layer} loses most: {gains[most]:.1f} dB against its best α."


def layers_verdict(reports: Sequence[LayerReport], part: int, say: Language) -> str:
    """How the losses and the best α are spread over the layers."""
    gains = _gains(reports, part)
    near = sum(gain < 0.5 for gain in gains)
    middle = float(np.median(gains))
    middle_words = "loses" if middle > -NEGLIGIBLE_DB else "is better than it by"
    kind = "" if reports[0].bests[part].rule.symmetric else " asymmetric"
    alphas = [report.bests[part].rule.alpha for report in reports]
    loud = [report.slices[part].chosen.x_out_scale for report in reports]
    return (
        f"{reports[0].slices[part].chosen.label}: {near} of {len(gains)} layers lose less than 0.5 "
        f"dB against their best{kind} α, the middle one {middle_words} {decibels(abs(middle), 1)}. "
        f"The best{kind} α lies between {format_alpha(min(alphas))} and "
        f"{format_alpha(max(alphas))}; x_out_scale differs by a factor of "
        f"{max(loud) / min(loud):.1f} between layers."
    )


def _gains(reports: Sequence[LayerReport], part: int) -> list[float]:
    return [gain_db(each.slices[part].chosen, each.bests[part]) for each in reports]


def rules_caption(
    layers: Sequence[int], scales: Sequence[Sequence[ScaleReport]], say: Language
) -> str:
    """Which rule does best in how many layers, and which costs most on average.

    ``scales[i]`` holds every rule's scale of ``layers[i]``, in the same order.
    """
    sqnr = np.array([[float(scale.output.sqnr_db) for scale in row] for row in scales])
    labels = [scale.short for scale in scales[0]]
    best = sqnr >= sqnr.max(axis=1, keepdims=True) - NEGLIGIBLE_DB
    leading = int(best.sum(axis=0).argmax())
    with np.errstate(invalid="ignore"):
        lost = np.nan_to_num(sqnr.max(axis=1, keepdims=True) - sqnr, nan=0.0)
    worst = int(lost.mean(axis=0).argmax())
    return (
        f"{labels[leading]} is within 0.05 dB of the best of these in "
        f"{int(best[:, leading].sum())} of {len(layers)} layers. {labels[worst]} costs most, "
        f"{decibels(float(lost[:, worst].mean()), 1)} on average."
    )
