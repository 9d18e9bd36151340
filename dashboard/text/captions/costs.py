"""Impact page: which layer costs most, what α does, how far proxies go, and where in a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.alpha_costs import AlphaCosts
from dashboard.analysis.budget import BudgetPlan
from dashboard.analysis.impact import Estimate, MeasuredSetting, kl_difference
from dashboard.analysis.layer_costs import LayerCosts
from dashboard.analysis.measurements import Unit
from dashboard.analysis.proxies import Proxies
from dashboard.analysis.report import format_alpha, rule_label
from dashboard.analysis.token_damage import TokenDamage
from dashboard.messages import Message
from dashboard.text.captions.impact import (
    KIND_PHRASES,
    budget_sentence,
    impact_ranking,
    impact_verdict,
    layers_in_words,
)
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text, small, with_error

NO_MODEL_FILE = Message(
    "A calibration file holds no model to run; choose its checkpoint to see what scales cost it."
)


def layers_cost_headline(costs: LayerCosts, unit: Unit, say: Language) -> str:
    """Which layer costs most by itself: measured where all are, else predicted."""
    if None in costs.alone:
        return _predicted_headline(costs, say)
    if unit == "delta_nats":
        return _loss_headline(costs, say)
    return impact_ranking(_alone(costs), say)


def _predicted_headline(costs: LayerCosts, say: Language) -> str:
    first = costs.order[0]
    nats, total = costs.predicted_nats[first], costs.predicted_total
    if nats is None or total is None:
        return say("What single layers cost has not been measured yet.")
    return say(
        "Layer {layer} is predicted to cost most: alone {nats} nats, of {total} in all layers.",
        layer=costs.layers[first],
        nats=small(nats),
        total=small(total),
    )


def _loss_headline(costs: LayerCosts, say: Language) -> str:
    """Where the loss changes by more than its error; the others are not ranked."""
    beyond = [
        layer
        for place, layer in enumerate(costs.layers)
        if (known := costs.alone_nats(place, "delta_nats")) is not None and not known.is_noise
    ]
    if not beyond:
        return say("No layer by itself changes the loss by more than its error.")
    if len(beyond) == len(costs.layers):
        return say("Each layer by itself changes the loss by more than its error.")
    return say(
        "By itself, {where} changes the loss by more than its error; the others do not.",
        where=layers_in_words(beyond, say),
    )


def _alone(costs: LayerCosts) -> list[MeasuredSetting]:
    return [
        MeasuredSetting((layer,), costs.rule, costs.mode, impact, nats)
        for layer, impact, nats in zip(costs.layers, costs.alone, costs.predicted_nats, strict=True)
        if impact is not None
    ]


def layers_cost_verdict(costs: LayerCosts, say: Language) -> str:
    """What all layers cost together."""
    impact, total = costs.everything, costs.predicted_total
    if impact is not None:
        predicted = total if costs.mode == "output" else None
        setting = MeasuredSetting(costs.layers, costs.rule, costs.mode, impact, predicted)
        return impact_verdict(setting, say)
    if total is None:
        return ""
    return say(
        "{rule}: all layers together are predicted to cost {nats} nats of KL.",
        rule=say(rule_label(costs.rule)),
        nats=small(total),
    )


def layers_cost_caption(costs: LayerCosts, unit: Unit, say: Language) -> str:
    """Whether layers add up, and which of the differences are noise."""
    whole = costs.total_nats(len(costs.layers), unit)
    alone = [costs.alone_nats(place, unit) for place in range(len(costs.layers))]
    known = [one for one in alone if one is not None]
    additive = ""
    if whole is not None and len(known) == len(alone) > 1:
        additive = say(
            "Alone they add up to {sum} nats; all together cost {whole}.",
            sum=small(sum(one.mean for one in known)),
            whole=with_error(whole.mean, whole.error),
        )
    saved = [
        layer
        for place, layer in enumerate(costs.layers)
        if (one := costs.saved_nats(place, unit)) is not None and one.is_noise
    ]
    steps = [
        costs.layers[costs.order[count - 1]]
        for count in range(2, len(costs.layers) + 1)
        if (one := costs.step_nats(count, unit)) is not None and one.is_noise
    ]
    return say.sentences(
        additive,
        say(
            "Within its error, and grey: what is saved where {where} stays in float.",
            where=layers_in_words(saved, say),
        )
        if saved
        else "",
        say(
            "What {where} adds to the layers before it is within its error.",
            where=layers_in_words(sorted(steps), say),
        )
        if steps
        else "",
    )


def layers_cost_rows(costs: LayerCosts, say: Language) -> list[dict]:
    """A row a layer: predicted, alone, saved; a dash for what was not measured."""

    def text(estimate: Estimate | None) -> str:
        if estimate is None:
            return "–"
        value = with_error(estimate.mean, estimate.error)
        return say("{value}, noise", value=value) if estimate.is_noise else value

    rows = []
    for place, layer in enumerate(costs.layers):
        nats, alone = costs.predicted_nats[place], costs.alone[place]
        rows.append(
            {
                say("layer"): layer,
                "predicted_nats": "–" if nats is None else small(nats),
                say("kl_nats alone"): text(costs.alone_nats(place, "kl_nats")),
                say("kl_nats saved in float"): text(costs.saved_nats(place, "kl_nats")),
                say("delta_nats alone"): text(costs.alone_nats(place, "delta_nats")),
                say("same_top alone"): "–" if alone is None else percent(alone.same_top.mean),
            }
        )
    return rows


def alpha_cost_caption(costs: AlphaCosts, say: Language) -> str:
    """What both bests cost, and whether their difference is noise."""
    by_sqnr, by_loss = costs.best_by_sqnr, costs.best_by_loss
    if by_loss is None:
        predicted = say("Best by SQNR is α {alpha}.", alpha=format_alpha(by_sqnr))
    elif by_loss == by_sqnr:
        predicted = say("SQNR and predicted loss agree on α {alpha}.", alpha=format_alpha(by_sqnr))
    else:
        predicted = say(
            "SQNR is greatest at α {sqnr}, predicted loss least at {loss}: {more} nats against "
            "{less}.",
            sqnr=format_alpha(by_sqnr),
            loss=format_alpha(by_loss),
            more=small(costs.predicted_at(by_sqnr) or 0.0),
            less=small(costs.predicted_at(by_loss) or 0.0),
        )
    return say.sentences(predicted, _measured_bests(costs, say), _cheapest(costs, say))


def _measured_bests(costs: AlphaCosts, say: Language) -> str:
    first = costs.known.get(costs.best_by_sqnr)
    second = None if costs.best_by_loss is None else costs.known.get(costs.best_by_loss)
    if first is None or second is None or costs.best_by_loss == costs.best_by_sqnr:
        return ""
    gap = kl_difference(first, second)
    value = with_error(gap.mean, gap.error)
    if gap.is_noise:
        return say("Measured, they differ by {gap} nats, which is noise.", gap=value)
    if gap.mean > 0:
        return say("Measured, SQNR's choice costs {gap} nats more.", gap=value)
    gap_text = with_error(-gap.mean, gap.error)
    return say("Measured, SQNR's choice costs {gap} nats less.", gap=gap_text)


def _cheapest(costs: AlphaCosts, say: Language) -> str:
    """The measured α that costs least, and those that it cannot be told from."""
    known = costs.known
    if len(known) < 2:
        return ""
    least = min(known, key=lambda alpha: known[alpha].kl_nats.mean)
    tied = [
        alpha
        for alpha, impact in known.items()
        if alpha != least and kl_difference(impact, known[least]).is_noise
    ]
    cost = with_error(known[least].kl_nats.mean, known[least].kl_nats.error)
    if not tied:
        return say(
            "Of those measured, α {alpha} costs least: {cost} nats.",
            alpha=format_alpha(least),
            cost=cost,
        )
    return say(
        "Of those measured, α {alpha} costs {cost} nats; {others} cannot be told from it.",
        alpha=format_alpha(least),
        cost=cost,
        others=say.both([format_alpha(alpha) for alpha in tied]),
    )


def proxies_caption(proxies: Proxies, say: Language) -> str:
    """How well each proxy ranks what was measured, and where the prediction is farthest off."""
    points = len(proxies.points)
    if proxies.sqnr_rank is None:
        return say("{points} of {asked} were measured.", points=points, asked=proxies.asked)
    values = {"points": points, "sqnr": _rank(proxies.sqnr_rank)}
    if proxies.prediction_rank is None:
        return say(
            "Over {points} pairs of layer and rule, the ranks of −SQNR and of the measured KL "
            "correlate at {sqnr}.",
            **values,
        )
    ranks = say(
        "Over {points} pairs of layer and rule, ranks correlate with those of the measured KL: "
        "prediction {prediction}, SQNR {sqnr}.",
        prediction=_rank(proxies.prediction_rank),
        **values,
    )
    far, ratio = proxies.farthest, proxies.middle_ratio
    if far is None or ratio is None:
        return ranks
    return say.sentences(
        ranks,
        say(
            "The middle one of predicted over measured is {ratio}; farthest apart they are in "
            "layer {layer} under {rule}: predicted {predicted}, measured {measured} nats.",
            ratio=f"{ratio:.2f}",
            layer=far.layer,
            rule=say(rule_label(far.rule)),
            predicted=small(far.predicted_nats or 0.0),
            measured=with_error(far.measured.mean, far.measured.error),
        ),
    )


def _rank(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def damage_caption(pieces: Sequence[TokenDamage], say: Language) -> str:
    """How the damage is spread over a text, and where it is greatest."""
    damaged = [(piece.kl_nats, piece) for piece in pieces if piece.kl_nats is not None]
    total = sum(nats for nats, _ in damaged)
    if not damaged or total == 0:
        return say("In this text nothing changes.")
    ranked = sorted(damaged, key=lambda entry: -entry[0])
    half, count = 0.0, 0
    while half < total / 2:
        half += ranked[count][0]
        count += 1
    changed = sum(not piece.keeps_top for _, piece in damaged)
    return say(
        "On average {mean} nats at a character; half of the damage falls on {count} of {pieces}, "
        "the most on one: {most}. At {changed} the most likely next token is another.",
        mean=small(total / len(damaged)),
        count=count,
        pieces=len(damaged),
        most=small(ranked[0][0]),
        changed=changed,
    )


def budget_prediction(plan: BudgetPlan, measured: MeasuredSetting | None, say: Language) -> str:
    """The plan in a sentence: as it was measured, or as it is predicted."""
    if measured is not None:
        return budget_sentence(plan, measured, say)
    ways = say.clauses(
        say(phrase, where=layers_in_words(layers, say))
        for kind, phrase in KIND_PHRASES.items()
        if (layers := plan.layers_of(kind))
    )
    values = {
        "budget": small(plan.budget_nats),
        "ways": ways,
        "predicted": small(plan.predicted_nats),
    }
    if not plan.fits:
        return say(
            "{budget} nats cannot be kept: the least that is predicted is {predicted} nats, with "
            "{ways}.",
            **values,
        )
    return say(
        "Within {budget} nats, cheapest first: {ways}. Predicted {predicted} nats.", **values
    )


KIND_NAMES = {
    "tensor": Message("one scale a slice"),
    "asymmetric": Message("one scale and a zero point a slice"),
    "groups": Message("a scale for each group of channels"),
    "channels": Message("a scale for each channel"),
}


def budget_rows(plan: BudgetPlan, say: Language) -> list[dict]:
    """A row a layer: what kind of scale, which rule a slice, and the predicted cost."""
    return [
        {
            say("layer"): option.layer,
            say("scales"): say(KIND_NAMES[option.kind]),
            say("rules"): say.listed(
                say("{slice}: {rule}", slice=name, rule=say(rule_label(rule)))
                for name, rule in option.rules.items()
            ),
            "x_out_scale": say.listed(
                _scales(entry.scale_out) for entry in option.quantization.slices
            ),
            "predicted_nats": small(option.predicted_nats),
        }
        for option in plan.options
    ]


def _scales(scale_out: np.ndarray) -> str:
    low, high = float(scale_out.min()), float(scale_out.max())
    return scale_text(low) if low == high else f"{scale_text(low)} … {scale_text(high)}"


def settings_left(settings: int, seconds: float, say: Language) -> str:
    """What a button promises: how many settings, and about how long."""
    return say(
        "Measure {settings} settings, about {seconds} s",
        settings=settings,
        seconds=f"{max(seconds, 1.0):.0f}",
    )


def measuring(setting: int, settings: int, left_s: float, say: Language) -> str:
    """What the progress bar says."""
    return say(
        "Measuring: setting {setting} of {settings}, {left} s left",
        setting=setting,
        settings=settings,
        left=f"{max(left_s, 0.0):.0f}",
    )
