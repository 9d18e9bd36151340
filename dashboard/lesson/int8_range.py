"""Step 1: what INT8 can hold. A handful of values under one scale, their codes, what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from dashboard.figures import lesson_int8_range as figures
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.text.language import Language
from dashboard.text.numbers import number
from kernels.int8 import QMAX, QMIN, dequantize, quantize

VALUES = (-1.63, -0.28, 0.07, 0.47, 1.0, 1.93, 3.1, 4.4)
CLOSE = VALUES.index(0.47)  # the value that is shown in the close-up
DEFAULT_SCALE = 0.025
SCALES = tuple(float(f"{scale:.2g}") for scale in np.geomspace(0.005, 0.2, 33))
ASKED = 0.02  # the scale that the question is about


@dataclass(frozen=True, eq=False)
class RoundedValues:
    """Values under one scale; every array is (N,), one entry a value."""

    scale: float
    values: np.ndarray  # float64, real units
    codes: np.ndarray  # int64
    restored: np.ndarray  # float64: the codes, dequantized
    saturated: np.ndarray  # bool: more than half a code beyond the range

    @property
    def low(self) -> float:
        """The value of code -128."""
        return QMIN * self.scale

    @property
    def high(self) -> float:
        """The value of code 127."""
        return QMAX * self.scale

    @property
    def errors(self) -> np.ndarray:
        """(N,) what comes back less what went in."""
        return self.restored - self.values

    @property
    def worst_rounding(self) -> float:
        """The largest error among the values inside the range; 0 where there is none."""
        return float(np.abs(self.errors[~self.saturated]).max(initial=0.0))


def round_values(scale: float, values: tuple[float, ...] = VALUES) -> RoundedValues:
    """Quantize values as the kernel does.

    Args:
        scale: real units per code; ValueError unless > 0.
    """
    real = torch.tensor(values, dtype=torch.float32)
    codes = quantize(real, scale)
    quotient = real.double().numpy() / float(np.float32(scale))
    return RoundedValues(
        scale=scale,
        values=np.array(values),
        codes=codes.numpy().astype(np.int64),
        restored=dequantize(codes, scale).double().numpy(),
        saturated=(quotient >= QMAX + 0.5) | (quotient <= QMIN - 0.5),
    )


@cache
def finest_scale() -> float:
    """The least of the slider's scales at which no value saturates."""
    return min(scale for scale in SCALES if not round_values(scale).saturated.any())


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("One number decides what INT8 can hold"),
        claim=say(
            "This lesson has one question: with which scale should a [[kernel]] write its "
            "[[int8|INT8]] output, and how can the choice be defended?"
        )
        + "\n\n"
        + say(
            "A [[scale]] is the distance between two neighbouring [[code|codes]], in real units. "
            "INT8 has {count} codes: a small scale is fine and covers a short range, a large one "
            "covers a wide range coarsely. No scale does both.",
            count=QMAX - QMIN + 1,
        ),
        task=say("Drag the scale to the finest one at which nothing saturates."),
    )


def controls(say: Language) -> tuple[Control, ...]:
    return (Control("int8_scale", say("Scale"), SCALES, DEFAULT_SCALE),)


def screen(int8_scale: float, say: Language) -> Screen:
    rounded = round_values(int8_scale)
    saturated = int(rounded.saturated.sum())
    if saturated:
        reading = say(
            "{saturated} of {count} values [[saturation|saturate]]: they come back as {high} or "
            "{low}, however large they were. Inside the range the error is {worst} at most; half a "
            "code is {half}.",
            saturated=saturated,
            count=len(VALUES),
            high=number(rounded.high),
            low=number(rounded.low),
            worst=number(rounded.worst_rounding, 4),
            half=number(rounded.scale / 2, 4),
        )
    else:
        reading = say(
            "Nothing saturates. The [[rounding|rounding error]] is {worst} at most; half a code is "
            "{half}. A finer scale rounds less, until the largest value no longer fits.",
            worst=number(rounded.worst_rounding, 4),
            half=number(rounded.scale / 2, 4),
        )
    finest = int8_scale == finest_scale()
    return Screen(
        figure=figures.int8_range(
            rounded.scale,
            rounded.values,
            rounded.codes,
            rounded.restored,
            rounded.saturated,
            CLOSE,
            say,
        ),
        reading=reading,
        success=say("This is the finest scale of the slider that holds all values.")
        if finest
        else "",
        table=Table(
            (say("value"), say("code"), say("comes back as"), say("error")),
            tuple(
                (
                    number(value),
                    number(code),
                    number(restored, 4),
                    say("saturated: {error}", error=number(restored - value, 4))
                    if beyond
                    else number(restored - value, 4),
                )
                for value, code, restored, beyond in zip(
                    rounded.values, rounded.codes, rounded.restored, rounded.saturated, strict=True
                )
            ),
        ),
        question=Question(
            say("At scale {scale}, what is the largest value that comes back?", scale=ASKED),
            (
                Answer(
                    number(ASKED),
                    False,
                    say("That is one code. The largest code is {high}.", high=QMAX),
                ),
                Answer(
                    number(QMAX * ASKED),
                    True,
                    say(
                        "{high} · {scale}: whatever is larger comes back as this.",
                        high=QMAX,
                        scale=ASKED,
                    ),
                ),
                Answer(
                    number((QMAX - QMIN + 1) * ASKED),
                    False,
                    say(
                        "That is the whole span, from the lowest code to the highest. Half of "
                        "the codes are negative."
                    ),
                ),
            ),
        ),
    )


STEP = Step("int8_range", introduce, controls, screen)
