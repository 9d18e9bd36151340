"""Step 9: choose."""

from dashboard.figures.lesson_models import score
from dashboard.figures.style import signed
from dashboard.language import Language
from dashboard.lesson.trained import Chosen
from dashboard.observers import PUBLISHED_ALPHAS
from dashboard.report import format_alpha
from dashboard.screens import Answer, Question, Screen, Table

DEFENSIBLE_DB = 0.5  # lost on average: as good as anybody could want


def screen(chosen: Chosen, say: Language) -> Screen:
    trained = chosen.trained
    loss = chosen.mean_loss_db
    if loss < DEFENSIBLE_DB:
        verdict = say("That can be defended.")
    else:
        verdict = say("Look at layer {layer}, which loses most.", layer=chosen.worst)
    recommended = trained.recommended_alpha
    singles = [*PUBLISHED_ALPHAS, 1.0, recommended]
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
            (say("one α for all layers"), say("lost on average")),
            (
                *(
                    (say("{alpha}, MinMax", alpha=1) if alpha == 1.0 else format_alpha(alpha),
                     f"{signed(trained.mean_loss_db(alpha), 2)} dB")
                    for alpha in singles
                ),
                (say("yours"), f"{signed(loss, 2)} dB"),
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
                    say("Yes: it loses {loss} dB on average, the least of all α tried. On another "
                        "model, calibrate again.", loss=signed(trained.mean_loss_db(alpha), 2))
                    if alpha == recommended
                    else say("It loses {loss} dB on average; {best} loses {least} dB.",
                             loss=signed(trained.mean_loss_db(alpha), 2),
                             best=format_alpha(recommended),
                             least=signed(trained.mean_loss_db(recommended), 2)),
                )
                for alpha in sorted(set(singles))
            ),
        ),
    )  # fmt: skip
