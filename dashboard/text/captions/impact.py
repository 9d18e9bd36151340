"""Impact: what quantized layers cost the model, which costs most, and what of it is noise."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.analysis.budget import BudgetPlan
from dashboard.analysis.formats import INT8
from dashboard.analysis.impact import Estimate, MeasuredSetting, kl_difference
from dashboard.analysis.report import rule_label
from dashboard.calibration.bounded_files import Holdings
from dashboard.formats import DEFAULT_FORMAT, REGISTERED
from dashboard.messages import Message
from dashboard.text.language import Language
from dashboard.text.numbers import percent, small, spans, with_error


def impact_verdict(setting: MeasuredSetting, say: Language) -> str:
    """What one setting costs: KL, top tokens, loss, and what was predicted."""
    impact = setting.impact
    kl = impact.kl_nats
    windows, following = impact.kl.shape
    values = {
        "where": layers_in_words(setting.layers, say),
        "rule": scales_in_words(setting, say),
        "kl": with_error(kl.mean, kl.error),
        "windows": windows,
        "tokens": following + 1,
        "same": percent(impact.same_top.mean),
        "format": say(REGISTERED[setting.number_format or DEFAULT_FORMAT].label),
    }
    is_int8 = setting.number_format in (None, *INT8)
    if setting.mode == "output" and not is_int8:
        cost = say(
            "{rule}, {format} output in {where}: {kl} nats of KL on {windows} windows of {tokens} "
            "tokens; {same} of the most likely next tokens stay.",
            **values,
        )
    elif setting.mode == "both" and not is_int8:
        cost = say(
            "{rule}, INT8 input and {format} output in {where}: {kl} nats of KL on {windows} "
            "windows of {tokens} tokens; {same} of the most likely next tokens stay.",
            **values,
        )
    elif setting.mode == "output":
        cost = say(
            "{rule}, INT8 output in {where}: {kl} nats of KL on {windows} windows of {tokens} "
            "tokens; {same} of the most likely next tokens stay.",
            **values,
        )
    elif setting.mode == "input":
        cost = say(
            "INT8 input, weights and bias in {where}: {kl} nats of KL on {windows} windows of "
            "{tokens} tokens; {same} of the most likely next tokens stay.",
            **values,
        )
    else:
        cost = say(
            "{rule}, INT8 input and output in {where}: {kl} nats of KL on {windows} windows of "
            "{tokens} tokens; {same} of the most likely next tokens stay.",
            **values,
        )
    predicted = ""
    if setting.predicted_nats is not None:
        predicted = say("Predicted were {nats} nats.", nats=small(setting.predicted_nats))
    return say.sentences(cost, _loss_sentence(impact.delta_nats, say), predicted)


def scales_in_words(setting: MeasuredSetting, say: Language) -> str:
    """Which rule the scales are by, or where they come from."""
    if setting.rule is not None:
        return say(rule_label(setting.rule))
    return say("stored scales") if setting.source == "stored" else say("its plan")


def layers_in_words(layers: Sequence[int], say: Language) -> str:
    """ "layer 3" or "layers 0–2, 5"."""
    if len(layers) == 1:
        return say("layer {layer}", layer=layers[0])
    return say("layers {layers}", layers=spans(layers))


def _loss_sentence(delta: Estimate, say: Language) -> str:
    """The change of the loss, or that it is noise."""
    value = with_error(delta.mean, delta.error)
    if delta.is_noise:
        return say("The loss changes by {delta} nats, which is noise.", delta=value)
    if delta.mean > 0:
        return say("The loss rises by {delta} nats.", delta=value)
    return say("The loss changes by {delta} nats.", delta=value)


def impact_ranking(settings: Sequence[MeasuredSetting], say: Language) -> str:
    """Which layer costs most by itself; what lies within its error is not told apart.

    Args:
        settings: one layer each, of one rule and mode, at least one.
    """
    ranked = sorted(settings, key=lambda one: one.impact.kl_nats.mean, reverse=True)
    first, *rest = ranked
    kl = first.impact.kl_nats
    cost = with_error(kl.mean, kl.error)
    if not rest:
        return say("Layer {layer} alone: {cost} nats.", layer=first.layers[0], cost=cost)
    tied = [one for one in rest if kl_difference(first.impact, one.impact).is_noise]
    if len(tied) == len(rest):
        return say(
            "Which layer costs most cannot be told: the differences from layer {layer} ({cost} "
            "nats) are noise.",
            layer=first.layers[0],
            cost=cost,
        )
    if tied:
        return say(
            "Layers {layers} cost most; layer {layer} alone {cost} nats, and how they differ is "
            "noise.",
            layers=spans(sorted(one.layers[0] for one in (first, *tied))),
            layer=first.layers[0],
            cost=cost,
        )
    lead = kl_difference(first.impact, rest[0].impact)
    return say(
        "Layer {layer} costs most: alone {cost} nats, {lead} more than layer {next}.",
        layer=first.layers[0],
        cost=cost,
        lead=with_error(lead.mean, lead.error),
        next=rest[0].layers[0],
    )


def budget_sentence(plan: BudgetPlan, measured: MeasuredSetting, say: Language) -> str:
    """Which way for which layers, what that was predicted to cost, and what it costs."""
    kl = measured.impact.kl_nats
    ways = [
        say(phrase, where=layers_in_words(layers, say))
        for kind, phrase in KIND_PHRASES.items()
        if (layers := plan.layers_of(kind))
    ]
    values = {
        "budget": small(plan.budget_nats),
        "ways": say.clauses(ways),
        "predicted": small(plan.predicted_nats),
        "kl": with_error(kl.mean, kl.error),
    }
    if not plan.fits:
        return say(
            "{budget} nats cannot be kept: the least that is predicted is {predicted} nats, with "
            "{ways}. Measured: {kl}.",
            **values,
        )
    if kl.mean <= plan.budget_nats:
        return say(
            "Within {budget} nats, cheapest first: {ways}. Predicted {predicted} nats, measured "
            "{kl}.",
            **values,
        )
    return say(
        "Predicted to keep to {budget} nats, and measured not to: {ways}. Predicted {predicted} "
        "nats, measured {kl}.",
        **values,
    )


KIND_PHRASES = {
    "tensor": Message("one scale a slice in {where}"),
    "asymmetric": Message("one scale and a zero point a slice in {where}"),
    "groups": Message("a scale for each group of channels in {where}"),
    "channels": Message("a scale for each channel in {where}"),
}


def holdings_line(holdings: Holdings, say: Language) -> str:
    """How many results are kept on disk, how much room they take, and where."""
    return say(
        "{results} results are kept, {size} of at most {most} MB, in {directory}.",
        results=f"{holdings.files:,}",
        size=f"{holdings.bytes / 1e6:.1f}",
        most=f"{holdings.most_bytes / 1e6:.0f}",
        directory=holdings.directory,
    )


def kept_counts_line(holdings: Holdings, say: Language) -> str:
    """How many calibrations are kept on disk, how much room they take, and where."""
    return say(
        "Calibrations kept on disk: {count}, {size} of at most {most} MB, in {directory}.",
        count=f"{holdings.files:,}",
        size=f"{holdings.bytes / 1e6:.1f}",
        most=f"{holdings.most_bytes / 1e6:.0f}",
        directory=holdings.directory,
    )
