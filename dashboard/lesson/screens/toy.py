"""Step 4: the published toy example, computed again."""

from dashboard.analysis.report import format_alpha
from dashboard.figures.lesson_ideas import toy_errors
from dashboard.lesson.screen import Answer, Question, Screen, Table
from dashboard.lesson.toy_example import COARSE_ALPHA, conv_absmax_scale, quantile_scale, run
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.rules.published import TOY
from dashboard.text.language import Language
from dashboard.text.numbers import number, percent
from kernels.int8 import QMAX


def screen(scale: float, points: str, say: Language) -> Screen:
    chosen = run(scale, points)
    plain, percentile, absmax = (
        run(each, points)
        for each in (TOY.straightforward.scale, TOY.percentile.scale, conv_absmax_scale())
    )
    beside = percentile if scale != TOY.percentile.scale else plain
    others = {name: run(TOY.straightforward.scale, name).mean_error for name in ("step", "fine")}
    reading = say(
        "At scale {scale} the codes run from {low} to {high}: {top} by the "
        "[[top_code_utilization|published measure]], which looks at the largest code alone, and "
        "{reachable} of the 256 codes. The mean error is {error}.\n\n"
        "What differs: the published {plain} is what evenly spread values give ({fine}), the "
        "step of {step} itself gives {own}. The published {percentile} we find on no such grid.",
        scale=number(scale, 4), low=number(chosen.lowest_code), high=number(chosen.highest_code),
        top=percent(chosen.utilization, digits=4),
        reachable=percent(chosen.reachable_share, digits=4),
        error=number(chosen.mean_error, 4), plain=number(TOY.straightforward.mean_error, 4),
        fine=number(others["fine"], 4), step=number(TOY.step), own=number(others["step"], 4),
        percentile=number(TOY.percentile.mean_error, 4),
    )  # fmt: skip
    rows = [
        (say("published: {scale}", scale=number(TOY.straightforward.scale)),
         plain, TOY.straightforward),
        (say("published percentile: {scale}", scale=number(TOY.percentile.scale, 4)),
         percentile, TOY.percentile),
        (say("absmax before SiLU: {scale}", scale=number(absmax.scale, 4)), absmax, None),
        (say("yours: {scale}", scale=number(scale, 4)), chosen, None),
    ]  # fmt: skip
    return Screen(
        title=say("A toy example, and its straw man"),
        claim=say(
            "The published example takes convolution outputs from {low} to {high} and compares "
            "scale {plain} with a percentile's {percentile}: utilization {before} against {after}, "
            "mean error {first} against {second}. Here it is computed again. It shows that the "
            "scale matters, but not yet why it should be a percentile's.",
            low=number(TOY.low), high=number(TOY.high), plain=number(TOY.straightforward.scale),
            percentile=number(TOY.percentile.scale, 4),
            before=percent(TOY.straightforward.utilization, digits=4),
            after=percent(TOY.percentile.utilization, digits=4),
            first=number(TOY.straightforward.mean_error, 4),
            second=number(TOY.percentile.mean_error, 4),
        ),
        task=say("Drag the scale to the least mean error. Then change the points and look again."),
        sheet=toy_errors(chosen, beside, say),
        reading=reading,
        table=Table(
            (say("scale"), say("top code"), say("codes spanned"), say("mean error"),
             say("published")),
            tuple(
                (
                    name,
                    percent(made.utilization, digits=4),
                    percent(made.reachable_share, digits=4),
                    number(made.mean_error, 4),
                    f"{percent(printed.utilization, digits=4)}, {number(printed.mean_error, 4)}"
                    if printed
                    else "–",
                )
                for name, made, printed in rows
            ),
            chosen=len(rows) - 1,
        ),
        question=Question(
            say("Which scale needs no knowledge of SiLU and still errs as little as {percentile}?",
                percentile=number(TOY.percentile.scale, 4)),
            (
                Answer(number(TOY.straightforward.scale), False,
                       say("It errs {times} times as much. Nobody would choose it: code 127 would "
                           "stand for {reach}, and nothing here exceeds {high}.",
                           times=number(plain.mean_error / percentile.mean_error, 1),
                           reach=number(127 * plain.scale), high=number(TOY.high))),
                Answer(say("{scale}: the largest magnitude before SiLU, over 127",
                           scale=number(absmax.scale, 4)), True,
                       say("Yes: {error} against {percentile}. SiLU hardly changes large positive "
                           "values, so plain absmax does as well. The comparison with {plain} "
                           "fights a straw man.", error=number(absmax.mean_error, 4),
                           percentile=number(percentile.mean_error, 4),
                           plain=number(TOY.straightforward.scale))),
                Answer(say("none: without SiLU there is no scale"), False,
                       say("Try the largest magnitude before SiLU: it stands in the table.")),
            ),
        ),
        note=say("The solid lines are the chosen scale, the grey ones {scale}; dashed, "
                 "their means.",
                 scale=number(beside.scale, 4)) + "\n\n" + say(
            "The published percentile scale is the {coarse} quantile of this grid's outputs over "
            "{top}: {found}. That of α = {alpha} would be {proper}, nearly MinMax's, for the grid "
            "has few points.",
            coarse=percent(COARSE_ALPHA), top=QMAX, found=number(quantile_scale(COARSE_ALPHA), 6),
            alpha=format_alpha(PUBLISHED_ALPHAS[0]),
            proper=number(quantile_scale(PUBLISHED_ALPHAS[0]), 5)),
    )  # fmt: skip
