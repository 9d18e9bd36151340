"""Step 6: theory meets a trained model."""

from dashboard.analysis.report import format_alpha
from dashboard.figures.lesson_models import every_layer
from dashboard.lesson.calibrated import Trained
from dashboard.lesson.screen import Answer, Question, Screen, Table
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, signed


def screen(trained: Trained, layer: int, alpha: float, say: Language) -> Screen:
    shown = trained.layer(layer)
    low, high = PUBLISHED_ALPHAS
    growth = [each.scale(high) / each.scale(low) - 1 for each in trained.layers]
    gains = trained.gains_db
    bests = [each.landscape.best_alpha for each in trained.layers]
    reading = say(
        "Layer {layer} at α = {alpha}: {clipped} of the values are clipped, {sqnr}; its best α is "
        "{best}, {best_sqnr}. From α = {low} to {high} the scale grows by {least} to {most}, layer "
        "by layer, and the [[sqnr|SQNR]] gains {least_gain} to {most_gain} dB.",
        layer=layer, alpha=format_alpha(alpha), clipped=percent(shown.saturation_rate(alpha)),
        sqnr=decibels(shown.sqnr_db(alpha), 1), best=format_alpha(shown.landscape.best_alpha),
        best_sqnr=decibels(shown.landscape.best_db, 1), low=format_alpha(low),
        high=format_alpha(high), least=percent(min(growth)), most=percent(max(growth)),
        least_gain=signed(min(gains), 1), most_gain=signed(max(gains), 1),
    )  # fmt: skip

    def reply(value: float) -> str:
        return say(
            "On average over these layers it loses {loss} dB against each one's own best.",
            loss=signed(trained.mean_loss_db(value), 1),
        )

    return Screen(
        title=say("Theory meets a trained model"),
        claim=say(
            "In a trained model the values are neither even nor two-valued: they thin out towards "
            "a long [[outlier|tail]]. Left of each curve's top [[saturation|clipping]] limits the "
            "layer, right of it [[rounding]]. Where the top lies is a property of the layer."
        ),
        task=say("Move α along the curve, layer by layer. Find each top."),
        sheet=every_layer(trained, layer, alpha, say),
        reading=reading,
        table=Table(
            (say("layer"), say("best α"), "x_out_scale", "SQNR",
             say("loss at {alpha}", alpha=format_alpha(low)),
             say("at {alpha}", alpha=format_alpha(high)), "MinMax"),
            tuple(
                (
                    str(each.layer),
                    format_alpha(each.landscape.best_alpha),
                    scale_text(each.scale(each.landscape.best_alpha)),
                    decibels(each.landscape.best_db, 1),
                    *(f"{signed(each.landscape.loss_db(a), 1)} dB" for a in (low, high, 1.0)),
                )
                for each in trained.layers
            ),
            spoils=True,
            chosen=[each.layer for each in trained.layers].index(layer),
        ),
        question=Question(
            say("Which α is the best of every layer?"),
            (
                *(
                    Answer(name, set(bests) == {value}, reply(value))
                    for value, name in ((low, format_alpha(low)), (high, format_alpha(high)),
                                        (1.0, say("1, which is MinMax")))
                ),
                Answer(say("none of these"), not any(set(bests) == {a} for a in (low, high, 1.0)),
                       say("Yes: here the tops lie between {least} and {most}. Find a layer's α "
                           "from its own values.", least=format_alpha(min(bests)),
                           most=format_alpha(max(bests)))),
            ),
        ),
    )  # fmt: skip
