"""Step 2: the kernel's four steps, on the real numbers of one position of one channel."""

from __future__ import annotations

from dashboard.analysis.pipeline import trace_channel
from dashboard.analysis.report import format_alpha
from dashboard.figures import lesson_kernel_steps as figures
from dashboard.lesson.calibrated import Activations, CalibratedModel
from dashboard.lesson.screen import Answer, Control, Excerpt, Introduction, Question, Screen, Step
from dashboard.refusals import Refusal
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import number, scale_text
from kernels.int8 import QMAX

BATCH = 0  # of the calibration batches, the one that is followed
AROUND = 24  # bytes of the text on each side of the position
DEFAULT_CHANNEL, DEFAULT_POSITION = 33, 112  # a large value, within a word


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("Four steps, and only the last one loses"),
        claim=say(
            "In a quantized Mamba block one [[kernel]] reads codes and writes codes. It adds up "
            "whole numbers, goes back to real units by [[scale_wx]], applies [[silu|SiLU]], and "
            "divides by [[x_out_scale]]. Its other scales come with the input and the weights; "
            "the last one has to be chosen."
        ),
        task=say("Move through a sentence that the model reads, and follow one value."),
    )


def _activations(model: CalibratedModel) -> Activations:
    if model.activations is None:
        raise Refusal("A calibration file has no activations to follow. Choose a checkpoint.")
    return model.activations


def controls(model: CalibratedModel, layer: int, say: Language) -> tuple[Control, ...]:
    _, channels, length = _activations(model).conv(layer).x_q.shape
    alphas = (*PUBLISHED_ALPHAS, 1.0)
    return (
        Control(
            "channel",
            say("Channel"),
            range(channels),
            min(DEFAULT_CHANNEL, channels - 1),
            kind="number",
        ),
        Control(
            "position",
            say("Position in the text"),
            range(length),
            min(DEFAULT_POSITION, length - 1),
        ),
        Control(
            "trace_alpha",
            say("Output scale by percentile α"),
            alphas,
            alphas[0],
            format_alpha,
            "choices",
        ),
    )


def excerpt(text: bytes, position: int) -> Excerpt:
    """A byte of the text and what stands around it; bytes that are no character show as such."""
    before, here, after = (
        cut.decode("utf-8", "replace").replace("\n", "⏎")
        for cut in (
            text[max(0, position - AROUND) : position],
            text[position : position + 1],
            text[position + 1 : position + 1 + AROUND],
        )
    )
    return Excerpt(before, here, after)


def screen(
    model: CalibratedModel,
    layer: int,
    channel: int,
    position: int,
    trace_alpha: float,
    say: Language,
) -> Screen:
    activations = _activations(model)
    conv = activations.conv(layer)
    scale_out = model.layer(layer).scale(trace_alpha)
    trace = trace_channel(conv, scale_out, BATCH, channel, first=position, count=1)
    restored = float(trace.written[0]) * trace.scale_out
    y = float(conv.y[BATCH, channel, position])
    return Screen(
        excerpt=None if activations.text is None else excerpt(activations.text, position),
        figure=figures.kernel_steps(trace, say),
        reading=say(
            "The [[kernel]] that just ran here (`{backend}`) wrote **{code}**, which stands for "
            "{restored}. Without quantization the model has {y} there, so INT8, from the input to "
            "the output, is off by {error}. All numbers are {checkpoint}'s, layer {layer}.",
            backend=trace.backend,
            code=number(trace.written[0]),
            restored=number(restored, 4),
            y=number(y, 4),
            error=number(abs(restored - y), 4),
            checkpoint=model.checkpoint,
            layer=layer,
        ),
        question=Question(
            say("Could the kernel write its result with the scale it already has, scale_wx?"),
            (
                Answer(
                    say("Yes: it is in real units, like the output."),
                    False,
                    say(
                        "The units are right, the size is not: at {scale} per code, code {top} "
                        "stands for {reach}, and nearly everything would saturate.",
                        scale=scale_text(trace.scale_wx),
                        top=QMAX,
                        reach=number(QMAX * trace.scale_wx),
                    ),
                ),
                Answer(
                    say("No: it is one unit of the sum, far too fine for the sum itself."),
                    True,
                    say(
                        "The sum here is {acc}, and INT8 stops at {top}. How large sums become, "
                        "and what SiLU makes of them, only data can tell.",
                        acc=number(trace.acc[0]),
                        top=QMAX,
                    ),
                ),
                Answer(
                    say("No: SiLU needs floating point."),
                    False,
                    say(
                        "SiLU is computed in floating point in any case. It is the writing "
                        "down that needs a scale."
                    ),
                ),
            ),
        ),
        note=say(
            "Rounding is exact: halves go away from zero, and the specification in plain "
            "arithmetic gives the same code, {code}.",
            code=number(trace.code[0]),
        ),
    )


STEP = Step("kernel_steps", introduce, controls, screen, on="layer")
