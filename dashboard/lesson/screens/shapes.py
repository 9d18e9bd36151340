"""Step 3: SiLU reshapes the distribution."""

from dashboard.analysis.report import SILU_MIN
from dashboard.figures.lesson_ideas import folded
from dashboard.lesson.screen import Answer, Question, Screen
from dashboard.lesson.silu_shape import Reshaped, reshape, stranded_codes
from dashboard.text.language import Language
from dashboard.text.numbers import number, percent, signed
from kernels.int8 import QMAX, QMIN

ASKED_AMAX = 5.0
SMALL, LARGE = 0.2, 3.0  # the spreads that the question compares


def screen(shape: Reshaped, say: Language) -> Screen:
    ratio = shape.output_amax / shape.input_amax
    reading = say(
        "Input: ±{input_amax}. Output: {least} to {output_amax}, {share} of the input's reach. The "
        "negative half of the values lies in {bend} codes, from {lowest} to 0; {stranded} codes "
        "are [[stranded]], so a [[symmetric]] scale can use {reachable} of INT8 at best.",
        input_amax=number(shape.input_amax, 2), least=number(shape.silu_output.min, 2),
        output_amax=number(shape.output_amax, 2), share=percent(ratio),
        bend=1 - shape.lowest_code, lowest=number(shape.lowest_code),
        stranded=shape.stranded_codes, reachable=percent(shape.reachable_share),
    )  # fmt: skip
    small, large = (each.output_amax / each.input_amax for each in map(reshape, (SMALL, LARGE)))
    stranded = stranded_codes(ASKED_AMAX / QMAX)
    usable = -QMIN - stranded
    return Screen(
        title=say("SiLU reshapes the distribution"),
        claim=say(
            "[[silu|SiLU]] lets positive values nearly through and folds the negative half into "
            "{least} … 0. So the output has another range and another shape than the "
            "convolution's, and how different depends on how widely the input is spread.",
            least=signed(SILU_MIN, 4),
        ),
        task=say("Drag the spread. Watch where the negative half goes, and what it leaves unused."),
        sheet=folded(shape, say),
        reading=reading,
        question=Question(
            say("The output's range is to reach {amax}. How many of the {negative} negative codes "
                "can ever occur?", amax=number(ASKED_AMAX), negative=-QMIN),
            (
                Answer(str(-QMIN), False,
                       say("Code {low} would stand for {value}, but SiLU never goes below {least}.",
                           low=number(QMIN), value=number(QMIN * ASKED_AMAX / QMAX, 2),
                           least=signed(SILU_MIN, 4))),
                Answer(str(-QMIN // 2), False,
                       say("Fewer: {least} divided by the scale {scale} is only {code}.",
                           least=signed(SILU_MIN, 4), scale=number(ASKED_AMAX / QMAX, 4),
                           code=number(SILU_MIN / (ASKED_AMAX / QMAX), 1))),
                Answer(str(usable), True,
                       say("Yes. {stranded} codes are stranded: the price of a symmetric scale "
                           "after SiLU.", stranded=stranded)),
            ),
        ),
        note=say(
            "The output reaches {low} of the input's range at spread {small}, and {high} of it at "
            "spread {large}: no fixed factor leads from one to the other. An [[asymmetric]] scale "
            "strands nothing: here it would gain {gain} dB.",
            small=number(SMALL), low=percent(small), large=number(LARGE), high=percent(large),
            gain=signed(shape.asymmetric_gain_db, 1),
        ),
    )  # fmt: skip
