"""Layers: which layers a choice of scale costs most, and by which rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.report import LayerReport, ScaleReport, format_alpha, gain_db
from dashboard.messages import Message
from dashboard.rules.landscape import NEGLIGIBLE_DB
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, small

NO_ROW = Message("No layer lies in this range.")


def layers_headline(reports: Sequence[LayerReport], index: int, say: Language) -> str:
    """The layer that loses most under the chosen rule, in a sentence.

    ``index`` is the slice's, in each report.
    """
    gains = _gains(reports, index)
    most = int(np.argmax(gains))
    if gains[most] < NEGLIGIBLE_DB:
        return say("In no layer does another α gain {gain}.", gain=f"{NEGLIGIBLE_DB} dB")
    return say(
        "Layer {layer} loses most: {loss} against its best α.",
        layer=reports[most].layer,
        loss=f"{gains[most]:.1f} dB",
    )


def layers_verdict(reports: Sequence[LayerReport], index: int, say: Language) -> str:
    """How the losses and the best α are spread over the layers; ``index`` is the slice's."""
    gains = _gains(reports, index)
    middle = float(np.median(gains))
    alphas = [report.bests[index].rule.alpha for report in reports]
    scales = [report.slices[index].chosen.x_out_scale for report in reports]
    losses = {
        "rule": say(reports[0].slices[index].chosen.label),
        "near": sum(gain < 0.5 for gain in gains),
        "layers": len(gains),
        "middle": decibels(abs(middle), 1),
    }
    spread = {
        "low": format_alpha(min(alphas)),
        "high": format_alpha(max(alphas)),
        "factor": f"{max(scales) / min(scales):.1f}",
    }
    if not reports[0].bests[index].rule.symmetric:
        return say.sentences(
            say(
                "{rule}: {near} of {layers} layers lose less than 0.5 dB against their best "
                "asymmetric α, the median layer loses {middle}.",
                **losses,
            )
            if middle > -NEGLIGIBLE_DB
            else say(
                "{rule}: {near} of {layers} layers lose less than 0.5 dB against their best "
                "asymmetric α, the median layer is better than it by {middle}.",
                **losses,
            ),
            say(
                "The best asymmetric α lies between {low} and {high}; x_out_scale differs by a "
                "factor of {factor} between layers.",
                **spread,
            ),
        )
    return say.sentences(
        say(
            "{rule}: {near} of {layers} layers lose less than 0.5 dB against their best α, the "
            "median layer loses {middle}.",
            **losses,
        )
        if middle > -NEGLIGIBLE_DB
        else say(
            "{rule}: {near} of {layers} layers lose less than 0.5 dB against their best α, the "
            "median layer is better than it by {middle}.",
            **losses,
        ),
        say(
            "The best α lies between {low} and {high}; x_out_scale differs by a factor of {factor} "
            "between layers.",
            **spread,
        ),
    )


def layers_headline_by_loss(reports: Sequence[LayerReport], index: int, say: Language) -> str:
    """The layer that is predicted to pay most beyond its best α; ``index`` is the slice's."""
    excess = _excess(reports, index)
    most = int(np.argmax(excess))
    if excess[most] <= 0:
        return say("In no layer is another α predicted to cost less.")
    return say(
        "Layer {layer} loses most: {nats} nats against its best α, as predicted.",
        layer=reports[most].layer,
        nats=small(excess[most]),
    )


def layers_verdict_by_loss(reports: Sequence[LayerReport], index: int, say: Language) -> str:
    """What all layers are predicted to pay under the rule, and at their best α."""
    costs = [report.slices[index].chosen.predicted_nats or 0.0 for report in reports]
    bests = [report.bests[index].predicted_nats or 0.0 for report in reports]
    alphas = [report.bests[index].rule.alpha for report in reports]
    return say(
        "{rule}: slice {slice} of all layers is predicted to cost {nats} nats, and {least} at each "
        "one's best α, which lies between {low} and {high}.",
        rule=say(reports[0].slices[index].chosen.label),
        slice=reports[0].slices[index].name,
        nats=small(sum(costs)),
        least=small(sum(bests)),
        low=format_alpha(min(alphas)),
        high=format_alpha(max(alphas)),
    )


def _excess(reports: Sequence[LayerReport], index: int) -> list[float]:
    return [
        (report.slices[index].chosen.predicted_nats or 0.0)
        - (report.bests[index].predicted_nats or 0.0)
        for report in reports
    ]


def rules_caption_by_loss(
    layers: Sequence[int], scales: Sequence[Sequence[ScaleReport]], say: Language
) -> str:
    """Which rule is predicted to cost least and most, all layers added up."""
    nats = np.array([[scale.predicted_nats or 0.0 for scale in row] for row in scales])
    labels = [say(scale.short) for scale in scales[0]]
    totals = nats.sum(axis=0)
    least, most = int(totals.argmin()), int(totals.argmax())
    return say(
        "Over {layers} layers {least} is predicted to cost least, {less} nats, and {most} most, "
        "{more}.",
        layers=len(layers),
        least=labels[least],
        less=small(float(totals[least])),
        most=labels[most],
        more=small(float(totals[most])),
    )


def _gains(reports: Sequence[LayerReport], index: int) -> list[float]:
    return [gain_db(report.slices[index].chosen, report.bests[index]) for report in reports]


def rules_caption(
    layers: Sequence[int], scales: Sequence[Sequence[ScaleReport]], say: Language
) -> str:
    """Which rule does best in how many layers, and which costs most on average.

    ``scales[i]`` holds every rule's scale of ``layers[i]``, in the same order.
    """
    sqnr = np.array([[float(scale.output.sqnr_db) for scale in row] for row in scales])
    labels = [say(scale.short) for scale in scales[0]]
    best = sqnr >= sqnr.max(axis=1, keepdims=True) - NEGLIGIBLE_DB
    leading = int(best.sum(axis=0).argmax())
    with np.errstate(invalid="ignore"):
        losses = np.nan_to_num(sqnr.max(axis=1, keepdims=True) - sqnr, nan=0.0)
    worst = int(losses.mean(axis=0).argmax())
    return say(
        "{leading} is within {near} of the best of these in {count} of {layers} layers. {worst} "
        "costs most, {loss} on average.",
        leading=labels[leading],
        near=f"{NEGLIGIBLE_DB} dB",
        count=int(best[:, leading].sum()),
        layers=len(layers),
        worst=labels[worst],
        loss=decibels(float(losses[:, worst].mean()), 1),
    )
