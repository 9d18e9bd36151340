"""Step 6: theory meets a trained model. Every layer's SQNR over α, each with its own best."""

from __future__ import annotations

from dashboard.analysis.report import format_alpha
from dashboard.figures import lesson_best_alpha as figures
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.rules.observers import DEFAULT_ALPHA, PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, signed


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("Theory meets a trained model"),
        claim=say(
            "In a trained model the values are neither even nor two-valued: they thin out towards "
            "a long [[outlier|tail]]. Left of each curve's top [[saturation|clipping]] limits the "
            "layer, right of it [[rounding]]."
        ),
        task=say("Move α along the curve to its top. Then choose another layer."),
    )


def controls(model: CalibratedModel, layer: int, say: Language) -> tuple[Control, ...]:
    return (alpha_control(model, layer, say),)


def alpha_control(model: CalibratedModel, layer: int, say: Language) -> Control:
    """α, each layer's best among its values; two steps share what is chosen."""
    return Control(
        "lesson_alpha", say("Percentile α"), model.grid(layer), DEFAULT_ALPHA, format_alpha
    )


def screen(model: CalibratedModel, layer: int, lesson_alpha: float, say: Language) -> Screen:
    shown = model.layer(layer)
    low, high = PUBLISHED_ALPHAS
    growth = [other.scale(high) / other.scale(low) - 1 for other in model.layers]
    gains = model.gains_db
    bests = {other.landscape.best_alpha for other in model.layers}
    at_best = lesson_alpha == shown.landscape.best_alpha

    def reply(alpha: float) -> str:
        return say(
            "On average over these layers it loses {loss} dB against each one's own best.",
            loss=signed(model.mean_loss_db(alpha), 1),
        )

    return Screen(
        figure=figures.best_alpha(
            {other.number: other.landscape for other in model.layers},
            layer,
            lesson_alpha,
            shown.silu_output,
            say,
        ),
        reading=say(
            "Layer {layer} at α = {alpha}: {clipped} of the values are clipped, {sqnr}; its best α "
            "is {best}, {best_sqnr}. From α = {low} to {high} the scale grows by {least} to "
            "{most}, layer by layer, and the [[sqnr|SQNR]] gains {least_gain} to {most_gain} dB.",
            layer=layer,
            alpha=format_alpha(lesson_alpha),
            clipped=percent(shown.saturation_rate(lesson_alpha)),
            sqnr=decibels(shown.sqnr_db(lesson_alpha), 1),
            best=format_alpha(shown.landscape.best_alpha),
            best_sqnr=decibels(shown.landscape.best_db, 1),
            low=format_alpha(low),
            high=format_alpha(high),
            least=percent(min(growth)),
            most=percent(max(growth)),
            least_gain=signed(min(gains), 1),
            most_gain=signed(max(gains), 1),
        ),
        success=say("This is the top of layer {layer}'s curve.", layer=layer) if at_best else "",
        table=Table(
            (
                say("layer"),
                say("best α"),
                "x_out_scale",
                "SQNR",
                say("loss at {alpha}", alpha=format_alpha(low)),
                say("at {alpha}", alpha=format_alpha(high)),
                "MinMax",
            ),
            tuple(
                (
                    str(other.number),
                    format_alpha(other.landscape.best_alpha),
                    scale_text(other.scale(other.landscape.best_alpha)),
                    decibels(other.landscape.best_db, 1),
                    *(f"{signed(other.landscape.loss_db(a), 1)} dB" for a in (low, high, 1.0)),
                )
                for other in model.layers
            ),
            spoils=True,
            chosen=[other.number for other in model.layers].index(layer),
        ),
        question=Question(
            say("Which α is the best of every layer?"),
            (
                *(
                    Answer(name, bests == {alpha}, reply(alpha))
                    for alpha, name in (
                        (low, format_alpha(low)),
                        (high, format_alpha(high)),
                        (1.0, say("1, which is MinMax")),
                    )
                ),
                Answer(
                    say("none of these"),
                    not any(bests == {a} for a in (low, high, 1.0)),
                    say(
                        "Where the top lies is a property of the layer: here from {least} to "
                        "{most}. A layer's α has to come from its own values.",
                        least=format_alpha(min(bests)),
                        most=format_alpha(max(bests)),
                    ),
                ),
            ),
        ),
    )


STEP = Step("best_alpha", introduce, controls, screen, on="layer")
