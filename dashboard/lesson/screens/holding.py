"""Step 1: what INT8 can hold."""

from dashboard.figures.lesson_ideas import handful
from dashboard.lesson.int8_range import Holding
from dashboard.lesson.screen import Answer, Question, Screen, Table
from dashboard.text.language import Language
from dashboard.text.numbers import number
from kernels.int8 import QMAX

ASKED = 0.02  # the scale that the question speaks of


def screen(holding: Holding, say: Language) -> Screen:
    count, saturated = len(holding.values), holding.saturated
    if saturated:
        reading = say(
            "{saturated} of {count} values [[saturation|saturate]]: they come back as {high} or "
            "{low}, however large they were. Inside, the error is {worst} at most: half a code is "
            "{half}.",
            saturated=saturated, count=count, high=number(holding.high), low=number(holding.low),
            worst=number(holding.worst_rounding, 4), half=number(holding.scale / 2, 4),
        )  # fmt: skip
    else:
        reading = say(
            "Nothing saturates. The [[rounding|rounding error]] is {worst} at most: half a code is "
            "{half}. A finer scale would round less, until the largest value no longer fits.",
            worst=number(holding.worst_rounding, 4), half=number(holding.scale / 2, 4),
        )  # fmt: skip
    return Screen(
        title=say("One number decides what INT8 can hold"),
        claim=say(
            "Nine short screens on one question: with which scale should a [[kernel]] write its "
            "[[int8|INT8]] output, and how do you defend the choice?"
        )
        + "\n\n"
        + say(
            "A [[scale]] is the worth of one [[code]]. INT8 has {count} codes, so a small "
            "scale is fine but reaches a short way, and a large one reaches far but is coarse. No "
            "scale is both.",
            count=2 * (QMAX + 1),
        ),
        task=say("Drag the scale. Find one at which nothing saturates; then the finest such one."),
        sheet=handful(holding, say),
        reading=reading,
        table=Table(
            (say("value"), say("code"), say("comes back as"), say("error")),
            tuple(
                (
                    number(held.value),
                    number(held.code),
                    number(held.back, 4),
                    say("saturated: {error}", error=number(held.error, 4))
                    if held.saturated
                    else number(held.error, 4),
                )
                for held in holding.values
            ),
        ),
        question=Question(
            say("At scale {scale}, what is the largest value that comes back?", scale=ASKED),
            (
                Answer(number(ASKED), False,
                       say("That is one code. The largest code is {high}.", high=QMAX)),
                Answer(number(QMAX * ASKED), True,
                       say("Yes: {high} · {scale}. Whatever is larger comes back as this.",
                           high=QMAX, scale=ASKED)),
                Answer(number(2 * (QMAX + 1) * ASKED), False,
                       say("That is the whole span, from the lowest code to the highest. Half of "
                           "the codes are negative.")),
            ),
        ),
    )  # fmt: skip
