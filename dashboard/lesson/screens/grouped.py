"""Step 8: (1, 4, 4)."""

from dashboard.analysis.report import format_alpha
from dashboard.figures.lesson_models import groups
from dashboard.lesson.group_scales import GroupedScales, Groups
from dashboard.lesson.screen import Answer, Question, Screen, Table
from dashboard.rules.published import (
    GROUPS_130M,
    PA_BOUND_PRINTED,
    PA_DIFFERENCES_PRINTED,
    PA_RUN,
    QUAMBA2_130M,
    X_OUT_SCALES,
    mean_evidence,
)
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, number, percent, scale_text, signed
from kernels.int8 import QMAX

LAYERS_STEP = 6  # of the lesson: every layer's curve over α


def screen(parts: Groups, made: GroupedScales, checkpoint: str, layer: int,
           say: Language) -> Screen:  # fmt: skip
    shape = "({})".format(", ".join(map(str, X_OUT_SCALES.shape)))
    largest = max(abs(each.pa_difference) for each in QUAMBA2_130M)
    reading = say(
        "{checkpoint}, layer {layer}. The {count} scales by [[minmax|MinMax]] run from {low} to "
        "{high} and give {sqnr}, at every α. One [[percentile]] scale at α = {alpha} is {scale} "
        "and gives {tensor}: move α, and only this one moves.",
        checkpoint=checkpoint, layer=layer, count=made.scales.size,
        low=scale_text(float(made.scales.min())), high=scale_text(float(made.scales.max())),
        sqnr=decibels(made.sqnr_db, 1), alpha=format_alpha(made.alpha),
        scale=scale_text(made.tensor_scale), tensor=decibels(made.tensor_db, 1),
    )  # fmt: skip
    note = (
        say("Quamba2 sorts heads and channels by their ranges before grouping; here {heads} heads "
            "are grouped as they stand.", heads=parts.heads)
        if parts.heads
        else say("Mamba-1 has no heads; its channels are grouped as they stand.")
    )  # fmt: skip
    found = mean_evidence()
    mean = say(
        "The tables print one number for {count} scales, their mean. Of layer {layer} all are "
        "printed elsewhere, from {least} to {greatest}, and their mean is {mean}. Of the others we "
        "infer it from the digits: {top} times x_scale and wx_scale are float16 numbers in "
        "{single} of {singles} cases; none of the {distinct} distinct x_out_scales is, but {top} · "
        "{count} · 1024 times each is a whole number to within {off}. In Quamba a percentile "
        "chooses the output scale of Mamba-1, and of x in a Mamba-2 without groups; B and C are "
        "MinMax's there too.",
        layer=GROUPS_130M.layer, least=f"{GROUPS_130M.least:.4f}",
        greatest=f"{GROUPS_130M.most:.4f}", mean=f"{GROUPS_130M.mean:.4f}",
        count=X_OUT_SCALES.scales, top=QMAX, single=found.single, singles=found.singles,
        distinct=len(found.units), off=number(found.furthest, 3),
    )  # fmt: skip
    return Screen(
        title=say("What (1, 4, 4) means, and where α is not"),
        claim=say(
            "The published x_out_scales have the shape {shape}: [[ssd_group|SSD group]] × "
            "[[head_group|head group]] × [[channel_group|channel group]], {count} scales for one "
            "tensor. Each is the [[minmax|MinMax]] of its group. No [[percentile]] α is in them, "
            "so they cannot say what α does.",
            shape=shape, count=X_OUT_SCALES.scales,
        ),
        task=say("Move α. What moves?"),
        sheet=groups(made, say),
        reading=reading,
        table=Table(
            (say("layer"), say("published, pa-0.5"), say("pa-1.0"), say("difference, printed"),
             say("of these digits"), say("of the sum, in 1/1024")),
            tuple(
                (str(each.layer), f"{each.pa_0_5:.8f}", f"{each.pa_1_0:.8f}",
                 f"{signed(printed, 2)} %", percent(each.pa_difference),
                 f"{step:+d}".replace("-", "−") if step else "0")
                for each, printed, step in zip(QUAMBA2_130M, PA_DIFFERENCES_PRINTED, found.steps,
                                               strict=True)
            ),
        ),
        question=Question(
            say("The scales of the published {run} runs pa-0.5 and pa-1.0 are printed as differing "
                "by {printed} at most, “< {bound}”; their digits differ by {difference}. What "
                "follows about α?", run=PA_RUN, bound=f"{PA_BOUND_PRINTED}%",
                printed=f"{max(map(abs, PA_DIFFERENCES_PRINTED))} %",
                difference=percent(largest)),
            (
                Answer(say("That it hardly matters: both choices are safe."), False,
                       say("It was not used there, so nothing about it was tested. Where it is "
                           "used, step {step} shows what it does.", step=LAYERS_STEP)),
                Answer(say("Nothing: these scales do not use α."), True,
                       say("Yes. MinMax looks at the largest value alone; what is left is about "
                           "one float16 step of one group's maximum.")),
                Answer(say("That the larger α is better."), False,
                       say("The differences go both ways, by about one float16 step of one "
                           "group's maximum.")),
            ),
        ),
        note=f"{mean}\n\n{note}",
    )  # fmt: skip
