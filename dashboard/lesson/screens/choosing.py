"""Step 9: choose."""

from dashboard.analysis.report import format_alpha
from dashboard.figures.lesson_models import score
from dashboard.lesson.calibrated import Chosen
from dashboard.lesson.screen import Answer, Question, Screen, Table
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import signed

DEFENSIBLE_DB = 0.5  # lost on average: as good as anybody could want


def screen(chosen: Chosen, say: Language) -> Screen:
    trained = chosen.trained
    loss = chosen.mean_loss_db
    if loss < DEFENSIBLE_DB:
        verdict = say("That can be defended.")
    else:
        verdict = say("Look at layer {layer}, which loses most.", layer=chosen.worst)
    whole = trained.recommendation
    recommended = whole.alpha
    singles = list(dict.fromkeys((*PUBLISHED_ALPHAS, 1.0, recommended)))

    def lost(alpha: float) -> str:
        return signed(whole.mean_loss_db(alpha), 2)

    return Screen(
        title=say("Your turn: choose α"),
        claim=say(
            "You know what is at stake: a small α clips the [[outlier|tail]], a large one makes "
            "every step coarse, and each layer has its own tail. Choose for {checkpoint}, and say "
            "why.",
            checkpoint=trained.checkpoint,
        ),
        task=say("Set α for each layer. Lose less than {loss} dB on average.", loss=DEFENSIBLE_DB),
        sheet=score(chosen, say),
        reading=say("On average you lose **{loss} dB** against each layer's best possible α. ",
                    loss=signed(loss, 2)) + verdict,
        table=Table(
            (say("one α for all layers"), say("lost on average, these layers' x"),
             say("the whole model, every slice")),
            (
                *(
                    (say("{alpha}, MinMax", alpha=1) if alpha == 1.0 else format_alpha(alpha),
                     f"{signed(trained.mean_loss_db(alpha), 2)} dB", f"{lost(alpha)} dB")
                    for alpha in singles
                ),
                (say("yours"), f"{signed(loss, 2)} dB", "–"),
            ),
            spoils=True,
            chosen=len(singles),
        ),
        question=Question(
            say("You may set only one α for this model. Which one can you defend?"),
            tuple(
                Answer(
                    format_alpha(alpha),
                    alpha == recommended,
                    say("Yes: over every layer and slice it loses {loss} dB on average, the least "
                        "of all α tried. On another model, calibrate again.", loss=lost(alpha))
                    if alpha == recommended
                    else say("Over every layer and slice it loses {loss} dB on average; {best} "
                             "loses {least} dB.", loss=lost(alpha),
                             best=format_alpha(recommended), least=lost(recommended)),
                )
                for alpha in sorted(singles)
            ),
        ),
    )  # fmt: skip
