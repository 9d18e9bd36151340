"""Step 8: what the shape (1, 4, 4) means, and in which scales no α is.

The groups are those of the Groups page, by ``rules.grouping`` and ``rules.channels``: heads and
channels sorted and clustered by the greatest magnitude of each channel. Mamba-1 has no heads; its
channels then count as four of neighbours.
"""

from __future__ import annotations

import numpy as np

from dashboard.analysis.report import format_alpha
from dashboard.calibration.histogram import Histogram
from dashboard.figures import lesson_group_scales as figures
from dashboard.lesson.best_alpha import alpha_control
from dashboard.lesson.calibrated import Activations, CalibratedModel
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.refusals import Refusal
from dashboard.rules.channels import GroupScales, group_scales
from dashboard.rules.grouping import CHANNEL_GROUPS, HEAD_GROUPS, ChannelGrouping, sort_and_cluster
from dashboard.rules.observers import ScaleRule
from dashboard.rules.published import (
    GROUPS_130M,
    PA_BOUND_PRINTED,
    PA_DIFFERENCES_PRINTED,
    PA_RUN,
    QUAMBA2_130M,
    X_OUT_SCALES,
    MeanEvidence,
    mean_evidence,
)
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, number, percent, scale_text, signed
from kernels.int8 import QMAX

LAYERS_STEP = 6  # of the lesson: every layer's curve over α


def group_channels(
    outputs: tuple[Histogram, ...], head_dim: int | None, n_groups: int | None
) -> tuple[ChannelGrouping, GroupScales]:
    """The channels of one layer's x in groups, and MinMax's scale of each.

    A model with fewer heads or channels than the published one is given fewer groups.

    Args:
        outputs: the histogram of y of each channel, from ``channels.channel_outputs``.
        head_dim: channels of a head; None for Mamba-1.
        n_groups: SSD groups; None for Mamba-1.
    """
    size, ssd_groups = head_dim or len(outputs) // HEAD_GROUPS, n_groups or 1
    grouping = sort_and_cluster(
        np.array([output.absmax for output in outputs]),
        size,
        ssd_groups,
        min(HEAD_GROUPS, len(outputs) // size // ssd_groups),
        min(CHANNEL_GROUPS, size),
    )
    return grouping, group_scales(outputs, grouping.group, ScaleRule("minmax"))


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("What the shape (1, 4, 4) means"),
        claim=say(
            "The published x_out_scales have the shape {shape}: [[ssd_group|SSD groups]] × "
            "[[head_group|head groups]] × [[channel_group|channel groups]], {count} scales for one "
            "tensor. Each is the [[minmax|MinMax]] of its group.",
            shape="({})".format(", ".join(map(str, X_OUT_SCALES.shape))),
            count=X_OUT_SCALES.scales,
        ),
        task=say("Move α. What moves?"),
    )


def _activations(model: CalibratedModel) -> Activations:
    if model.activations is None:
        raise Refusal("A calibration file has no channels to group. Choose a checkpoint.")
    return model.activations


def controls(model: CalibratedModel, layer: int, say: Language) -> tuple[Control, ...]:
    _activations(model)
    return (alpha_control(model, layer, say),)


def evidence_values(evidence: MeanEvidence) -> dict[str, object]:
    """What speaks for a printed x_out_scale being a mean, as the messages about it take it."""
    return {
        "layer": GROUPS_130M.layer,
        "least": f"{GROUPS_130M.least:.4f}",
        "greatest": f"{GROUPS_130M.most:.4f}",
        "mean": f"{GROUPS_130M.mean:.4f}",
        "count": X_OUT_SCALES.scales,
        "top": QMAX,
        "single": evidence.single,
        "singles": evidence.singles,
        "distinct": len(evidence.units),
        "off": number(evidence.furthest, 3),
    }


def screen(model: CalibratedModel, layer: int, lesson_alpha: float, say: Language) -> Screen:
    activations = _activations(model)
    grouping, grouped = activations.groups(layer)
    scales = grouped.scales.reshape(grouping.shape)
    tensor = model.layer(layer)
    tensor_scale = tensor.scale(lesson_alpha)
    largest = max(abs(row.pa_difference) for row in QUAMBA2_130M)
    evidence = mean_evidence()
    note = (
        say(
            "Here {heads} heads are grouped, sorted and clustered by the maximum of each channel; "
            "Quamba2 takes its mean.",
            heads=len(grouping.head_order),
        )
        if activations.has_heads
        else say(
            "Mamba-1 has no heads; its channels count as {heads} heads of neighbours.",
            heads=HEAD_GROUPS,
        )
    )
    mean = say(
        "The tables print one number for {count} scales, their mean. Of layer {layer} all are "
        "printed elsewhere, from {least} to {greatest}, and their mean is {mean}. Of the others we "
        "infer it from the digits: {top} times x_scale and wx_scale are float16 numbers in "
        "{single} of {singles} cases; none of the {distinct} distinct x_out_scales is, but {top} · "
        "{count} · 1024 times each is a whole number to within {off}. In Quamba a percentile "
        "chooses the output scale of Mamba-1, and of x in a Mamba-2 without groups; B and C are "
        "MinMax's there too.",
        **evidence_values(evidence),
    )
    return Screen(
        figure=figures.group_scales(scales, tensor_scale, lesson_alpha, say),
        reading=say(
            "{checkpoint}, layer {layer}. The {shape} scales by [[minmax|MinMax]] run from {low} "
            "to {high} and give {sqnr}, at every α. One [[percentile]] scale at α = {alpha} is "
            "{scale} and gives {tensor}: move α, and only this one moves.",
            checkpoint=model.checkpoint,
            layer=layer,
            shape=" × ".join(map(str, scales.shape)),
            low=scale_text(float(scales.min())),
            high=scale_text(float(scales.max())),
            sqnr=decibels(grouped.sqnr_db, 1),
            alpha=format_alpha(lesson_alpha),
            scale=scale_text(tensor_scale),
            tensor=decibels(tensor.sqnr_db(lesson_alpha), 1),
        ),
        table=Table(
            (
                say("layer"),
                say("published, pa-0.5"),
                "pa-1.0",
                say("difference, printed"),
                say("of these digits"),
                say("of the sum, in 1/1024"),
            ),
            tuple(
                (
                    str(row.layer),
                    f"{row.pa_0_5:.8f}",
                    f"{row.pa_1_0:.8f}",
                    f"{signed(printed, 2)} %",
                    percent(row.pa_difference),
                    f"{step:+d}".replace("-", "−") if step else "0",
                )
                for row, printed, step in zip(
                    QUAMBA2_130M, PA_DIFFERENCES_PRINTED, evidence.steps, strict=True
                )
            ),
        ),
        question=Question(
            say(
                "The scales of the published {run} runs pa-0.5 and pa-1.0 are printed as differing "
                "by {printed} at most, “< {bound}”; their digits differ by {difference}. What "
                "follows about α?",
                run=PA_RUN,
                bound=f"{PA_BOUND_PRINTED} %",
                printed=f"{max(map(abs, PA_DIFFERENCES_PRINTED))} %",
                difference=percent(largest),
            ),
            (
                Answer(
                    say("That it hardly matters: both choices are safe."),
                    False,
                    say(
                        "It was not used there, so nothing about it was tested. Where it is "
                        "used, step {step} shows what it does.",
                        step=LAYERS_STEP,
                    ),
                ),
                Answer(
                    say("Nothing: these scales do not use α."),
                    True,
                    say(
                        "MinMax looks at the largest value alone; what is left is about one "
                        "float16 step of one group's maximum."
                    ),
                ),
                Answer(
                    say("That the larger α is better."),
                    False,
                    say(
                        "The differences go both ways, by about one float16 step of one "
                        "group's maximum."
                    ),
                ),
            ),
        ),
        note=f"{mean}\n\n{note}",
    )


STEP = Step("group_scales", introduce, controls, screen, on="layer")
