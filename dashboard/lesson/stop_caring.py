"""Step 10: a sample on which α decides, and by what one knows that one may stop caring."""

from __future__ import annotations

from dashboard.analysis.impact import kl_difference
from dashboard.analysis.loss_over_alpha import LossOverAlpha
from dashboard.analysis.report import format_alpha
from dashboard.figures import lesson_loss_over_alpha as figures
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.loss_over_alpha import activations_of, alphas_of, loss_over_alpha
from dashboard.lesson.screen import (
    Answer,
    Control,
    Introduction,
    Question,
    Screen,
    Step,
    StepSample,
)
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, with_error

SAMPLE = StepSample("mamba2-dictionary", "dictionary.txt")


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("When to stop caring"),
        claim=say(
            "This sample, {checkpoint}, was trained on a pronouncing dictionary. It is as large as "
            "the others, and its SQNR over α looks like theirs.",
            checkpoint=SAMPLE.checkpoint,
        ),
        task=say("Choose the α that you would ship. Then look at what it costs."),
    )


def _alphas(model: CalibratedModel) -> tuple[float, ...]:
    return alphas_of(model, [model.recommendation.alpha])


def controls(model: CalibratedModel, say: Language) -> tuple[Control, ...]:
    activations_of(model)
    alphas = _alphas(model)
    low = PUBLISHED_ALPHAS[0]
    default = low if low in alphas else alphas[-1]
    return (
        Control("shipped_alpha", say("Percentile α"), alphas, default, format_alpha),
        Control("cost_shown", say("Show what was measured"), (False, True), False, kind="switch"),
    )


def screen(model: CalibratedModel, shipped_alpha: float, cost_shown: bool, say: Language) -> Screen:
    costs = loss_over_alpha(model, _alphas(model))
    index = costs.alphas.index(shipped_alpha)
    reached = cost_shown and costs.is_least(index)
    return Screen(
        figure=figures.lesson_loss_over_alpha(costs, "kl_nats", index, cost_shown, say),
        reading=_reading(costs, index, say)
        if cost_shown
        else say(
            "At α = {alpha} the layers lose {lost} of SQNR on average against each one's best.",
            alpha=format_alpha(shipped_alpha),
            lost=decibels(costs.lost_db[index], 1),
        ),
        success=say("No α that was measured costs less, as far as this text can tell.")
        if reached
        else "",
        question=_question(model, costs, say),
        note=say(
            "When may one stop caring? Where the differences, paired by window, lie within two of "
            "their standard errors, or where all of them lie below what one is ready to pay. Both "
            "have to be measured: a few clipped values in one channel can move single tokens by "
            "nats, and neither SQNR nor a prediction sees it coming."
        )
        if cost_shown
        else "",
    )


def _reading(costs: LossOverAlpha, index: int, say: Language) -> str:
    impact, best = costs.impacts[index], costs.impacts[costs.least]
    cost = say(
        "At α = {alpha} all layers in INT8 cost {kl} nats of KL a token, and the loss changes by "
        "{delta}.",
        alpha=format_alpha(costs.alphas[index]),
        kl=with_error(impact.kl_nats.mean, impact.kl_nats.error),
        delta=with_error(impact.delta_nats.mean, impact.delta_nats.error),
    )
    if index == costs.least:
        return cost
    gap = kl_difference(impact, best)
    values = {
        "gap": with_error(gap.mean, gap.error),
        "least": format_alpha(costs.alphas[costs.least]),
    }
    if gap.is_noise:
        more = say("That is {gap} more than at α = {least}, which is noise.", **values)
    else:
        more = say("That is {gap} more than at α = {least}.", **values)
    return say.sentences(cost, more)


def _question(model: CalibratedModel, costs: LossOverAlpha, say: Language) -> Question:
    """Whether what SQNR recommends can be shipped."""
    recommended = model.recommendation.alpha
    index = costs.alphas.index(recommended)
    gap = kl_difference(costs.impacts[index], costs.impacts[costs.least])
    costly = index != costs.least and not gap.is_noise
    impact = costs.impacts[index].kl_nats
    reply = say(
        "It costs {kl} nats, {gap} more than α = {least}, the least that was measured.",
        kl=with_error(impact.mean, impact.error),
        gap=with_error(gap.mean, gap.error),
        least=format_alpha(costs.alphas[costs.least]),
    )
    return Question(
        say(
            "By SQNR, α = {alpha} serves this model best. Would you ship it?",
            alpha=format_alpha(recommended),
        ),
        (
            Answer(say("Yes: it has the most SQNR."), False, reply),
            Answer(say("Yes: measured, no other α costs less."), not costly, reply),
            Answer(say("No: measured, another α costs less."), costly, reply),
        ),
    )


STEP = Step("stop_caring", introduce, controls, screen, on="model", sample=SAMPLE)
