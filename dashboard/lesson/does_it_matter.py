"""Step 9: SQNR tells α apart by decibels. Does the model's loss mind?"""

from __future__ import annotations

from dashboard.analysis.impact import delta_difference, kl_difference
from dashboard.analysis.loss_over_alpha import LossOverAlpha
from dashboard.analysis.report import format_alpha
from dashboard.figures import lesson_loss_over_alpha as figures
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.loss_over_alpha import activations_of, alphas_of, loss_over_alpha
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.rules.observers import DEFAULT_ALPHA
from dashboard.text.language import Language
from dashboard.text.numbers import percent, signed, with_error

FROM = 0.999  # the question is about the α from here on
MUCH = 0.01  # nats: of a loss near 1, one in a hundred


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("Does it matter?"),
        claim=say(
            "[[sqnr|SQNR]] is a proxy. What people pay for is the loss of the model, in nats a "
            "token. So the model runs with INT8 outputs in all layers, on text that it was not "
            "calibrated on, and its loss is compared with the float model's, token by token."
        ),
        task=say(
            "Guess from which α on the loss moves only within its error. Then look at what was "
            "measured."
        ),
    )


def controls(model: CalibratedModel, say: Language) -> tuple[Control, ...]:
    activations_of(model)
    alphas = alphas_of(model)
    default = DEFAULT_ALPHA if DEFAULT_ALPHA in alphas else alphas[-1]
    return (
        Control("quiet_from", say("Quiet from α"), alphas, default, format_alpha),
        Control("loss_shown", say("Show what was measured"), (False, True), False, kind="switch"),
    )


def screen(model: CalibratedModel, quiet_from: float, loss_shown: bool, say: Language) -> Screen:
    costs = loss_over_alpha(model, alphas_of(model))
    hit = costs.quiet_from == quiet_from
    return Screen(
        figure=figures.lesson_loss_over_alpha(
            costs, "delta_nats", costs.alphas.index(quiet_from), loss_shown, say
        ),
        reading=_reading(model, costs, say) if loss_shown else _before(costs, say),
        success=say("Your guess is what was measured.") if loss_shown and hit else "",
        table=_table(costs, say) if loss_shown else None,
        question=_question(costs, say),
    )


def _before(costs: LossOverAlpha, say: Language) -> str:
    return say(
        "By SQNR these α differ: on average over the layers they lose from {least} to {most} dB "
        "against each layer's best.",
        least=signed(min(costs.lost_db), 1),
        most=signed(max(costs.lost_db), 1),
    )


def _reading(model: CalibratedModel, costs: LossOverAlpha, say: Language) -> str:
    first, quiet = costs.impacts[0].delta_nats, costs.quiet_from
    windows, following = costs.impacts[0].kl.shape
    start = say(
        "{checkpoint}, {windows} windows of {tokens} tokens: at α = {alpha} the loss changes by "
        "{delta} nats.",
        checkpoint=model.checkpoint,
        windows=windows,
        tokens=following + 1,
        alpha=format_alpha(costs.alphas[0]),
        delta=with_error(first.mean, first.error),
    )
    if quiet is None:
        return say.sentences(
            start, say("Even at α = 1, which is MinMax, it moves by more than its error.")
        )
    spread = [
        lost for alpha, lost in zip(costs.alphas, costs.lost_db, strict=True) if alpha >= quiet
    ]
    return say.sentences(
        start,
        say(
            "From α = {quiet} on it moves within its error, though SQNR there differs by up to "
            "{spread} dB.",
            quiet=format_alpha(quiet),
            spread=signed(max(spread) - min(spread), 1),
        ),
    )


def _table(costs: LossOverAlpha, say: Language) -> Table:
    best = costs.impacts[costs.least]

    def kl(index: int) -> str:
        impact = costs.impacts[index]
        value = with_error(impact.kl_nats.mean, impact.kl_nats.error)
        tied = index != costs.least and kl_difference(impact, best).is_noise
        return say("{value}, as the least", value=value) if tied else value

    return Table(
        ("α", say("SQNR lost"), "delta_nats", "kl_nats", "same_top"),
        tuple(
            (
                format_alpha(alpha),
                f"{signed(costs.lost_db[i], 1)} dB",
                with_error(costs.impacts[i].delta_nats.mean, costs.impacts[i].delta_nats.error),
                kl(i),
                percent(costs.impacts[i].same_top.mean),
            )
            for i, alpha in enumerate(costs.alphas)
        ),
    )


def _question(costs: LossOverAlpha, say: Language) -> Question:
    """By how much the loss moves at most where an α from 0.999 on stands in for MinMax."""
    minmax = costs.impacts[-1]
    moves = {
        alpha: delta_difference(impact, minmax)
        for alpha, impact in zip(costs.alphas, costs.impacts, strict=True)
        if FROM <= alpha < 1.0
    }
    beyond = {alpha: move for alpha, move in moves.items() if not move.is_noise}
    shown = beyond or moves
    alpha = max(shown, key=lambda alpha: abs(shown[alpha].mean))
    values = {
        "alpha": format_alpha(alpha),
        "delta": with_error(shown[alpha].mean, shown[alpha].error),
    }
    reply = (
        say("At α = {alpha} it moves by {delta} nats, which is more than its error.", **values)
        if beyond
        else say(
            "It moves most at α = {alpha}: by {delta} nats. Below two standard errors that is "
            "noise: another text of this length could turn it round.",
            **values,
        )
    )
    much = bool(beyond) and abs(shown[alpha].mean) >= MUCH
    return Question(
        say(
            "In place of MinMax, which is α = 1, you take some α from {first} on, in all layers. "
            "By how much can that move this model's loss?",
            first=format_alpha(FROM),
        ),
        (
            Answer(say("By less than can be measured here."), not beyond, reply),
            Answer(
                say("By more than its error, but below {much} nats.", much=MUCH),
                bool(beyond) and not much,
                reply,
            ),
            Answer(say("By {much} nats or more.", much=MUCH), much, reply),
        ),
    )


STEP = Step("does_it_matter", introduce, controls, screen, on="model")
