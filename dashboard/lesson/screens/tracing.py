"""Step 2: the kernel's four steps on real numbers."""

from dashboard.figures.lesson_ideas import four_steps
from dashboard.lesson.kernel_steps import Trace
from dashboard.lesson.screen import Answer, Question, Screen
from dashboard.text.language import Language
from dashboard.text.numbers import number, scale_text


def screen(trace: Trace, say: Language, checkpoint: str, layer: int) -> Screen:
    error = trace.back - trace.y_float
    reading = say(
        "The [[kernel]] that just ran here (`{backend}`) wrote **{code}**. It stands for {back}; "
        "the model without quantization has {real}, so all of INT8 together costs {error} here.",
        backend=trace.backend, code=number(trace.kernel_code), back=number(trace.back, 4),
        real=number(trace.y_float, 4), error=number(error, 4),
    )  # fmt: skip
    return Screen(
        title=say("Four steps, and only the last one loses"),
        claim=say(
            "In a quantized Mamba block one [[kernel]] takes codes and writes codes. It adds up "
            "whole numbers, goes back to real units by [[scale_wx]], applies [[silu|SiLU]], and "
            "divides by [[x_out_scale]]. Three of its scales come in with the data; the last has "
            "to be chosen."
        ),
        task=say("Move through a sentence that the model reads. Every number is from "
                 "{checkpoint}, layer {layer}.", checkpoint=checkpoint, layer=layer),
        sheet=four_steps(trace, say),
        reading=reading,
        question=Question(
            say("Could the kernel write its result with the scale it already has, scale_wx?"),
            (
                Answer(say("Yes: it is in real units, like the output."), False,
                       say("The units are right, the size is not: at {scale} a code, code 127 "
                           "stands for {reach}, and nearly everything would saturate.",
                           scale=scale_text(trace.scale_wx),
                           reach=number(127 * trace.scale_wx))),
                Answer(say("No: it is one unit of the sum, far too fine for the sum itself."), True,
                       say("Yes. The sum here is {acc}; INT8 stops at 127. How large sums become, "
                           "and what SiLU makes of them, only data can tell.",
                           acc=number(trace.acc))),
                Answer(say("No: SiLU needs floating point."), False,
                       say("SiLU is computed in floating point in any case. It is the writing "
                           "down that needs a scale.")),
            ),
        ),
        note=say("Rounding is exact: halves go away from zero, and the reference in plain "
                 "arithmetic gives the same code, {code}.", code=number(trace.code)),
    )  # fmt: skip
