"""Step 3: SiLU reshapes the distribution. A bell curve before and after it, at any spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from dashboard.analysis.report import SILU_MIN, codes_of, stranded_codes
from dashboard.calibration.histogram import Histogram
from dashboard.figures import lesson_silu_shape as figures
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step
from dashboard.rules.observers import range_scale
from dashboard.text.language import Language
from dashboard.text.numbers import number, percent, signed
from kernels.int8 import QMAX, QMIN, scale_from_amax

VALUES = 20_001
SPREADS = tuple(round(0.1 * i, 1) for i in range(2, 31))  # 0.2 … 3
DEFAULT_SPREAD = 1.0
ASKED_AMAX = 5.0
SMALL, LARGE = 0.2, 3.0  # the spreads that the note compares


@dataclass(frozen=True)
class Reshaped:
    """A normal distribution before and after SiLU."""

    spread: float  # its standard deviation
    silu_input: Histogram
    silu_output: Histogram

    @property
    def scale(self) -> float:
        """MinMax's, of the output."""
        return scale_from_amax(self.silu_output.absmax)

    @property
    def reach(self) -> float:
        """The output's greatest magnitude over the input's."""
        return self.silu_output.absmax / self.silu_input.absmax

    @property
    def asymmetric_gain_db(self) -> float:
        """What a scale with a zero point has over the symmetric one: no code is stranded."""
        moved = range_scale(self.silu_output.min, self.silu_output.max)
        asymmetric = self.silu_output.quantize(moved.scale, moved.zero_point)
        return float(asymmetric.sqnr_db) - float(self.silu_output.quantize(self.scale).sqnr_db)


def reshape(spread: float) -> Reshaped:
    """Count SiLU's input and output for evenly spaced quantiles of a normal distribution.

    Args:
        spread: its standard deviation, ValueError unless > 0; its mean is 0.
    """
    if not spread > 0:
        raise ValueError(f"spread is {spread}; a standard deviation must be > 0")
    shares = (torch.arange(VALUES, dtype=torch.float64) + 0.5) / VALUES
    v = (torch.special.ndtri(shares) * spread).float()
    return Reshaped(spread, Histogram.of(v), Histogram.of(F.silu(v)))


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("SiLU reshapes the distribution"),
        claim=say(
            "[[silu|SiLU]] lets positive values nearly through and folds the negative half into "
            "{least} … 0. So the output has another range and another shape than the "
            "convolution's, and how different depends on how widely the input is spread.",
            least=signed(SILU_MIN, 4),
        ),
        task=say("Drag the spread. Watch where the negative half goes, and what it leaves unused."),
    )


def controls(say: Language) -> tuple[Control, ...]:
    label = say("Spread (standard deviation) of the convolution's output")
    return (Control("spread", label, SPREADS, DEFAULT_SPREAD),)


def screen(spread: float, say: Language) -> Screen:
    shape = reshape(spread)
    stranded = stranded_codes(shape.scale)
    lowest = int(codes_of(shape.silu_output.min, shape.scale))
    small, large = reshape(SMALL).reach, reshape(LARGE).reach
    asked = stranded_codes(ASKED_AMAX / QMAX)
    usable = -QMIN - asked
    return Screen(
        figure=figures.silu_shape(shape.silu_input, shape.silu_output, shape.scale, stranded, say),
        reading=say(
            "Input: ±{input_amax}. Output: {least} to {output_amax}, {share} of the input's reach. "
            "The negative half of the values shares {bend} codes, {lowest} to 0; {stranded} codes "
            "are [[stranded]], so a [[symmetric]] scale can use {reachable} of INT8 at best.",
            input_amax=number(shape.silu_input.absmax, 2),
            least=number(shape.silu_output.min, 2),
            output_amax=number(shape.silu_output.absmax, 2),
            share=percent(shape.reach),
            bend=1 - lowest,
            lowest=number(lowest),
            stranded=stranded,
            reachable=percent(1 - stranded / (QMAX - QMIN + 1)),
        ),
        question=Question(
            say(
                "The output's range is to reach {amax}. How many of the {negative} negative codes "
                "can ever occur?",
                amax=number(ASKED_AMAX),
                negative=-QMIN,
            ),
            (
                Answer(
                    str(-QMIN),
                    False,
                    say(
                        "Code {low} would stand for {value}, but SiLU never goes below {least}.",
                        low=number(QMIN),
                        value=number(QMIN * ASKED_AMAX / QMAX, 2),
                        least=signed(SILU_MIN, 4),
                    ),
                ),
                Answer(
                    str(-QMIN // 2),
                    False,
                    say(
                        "Fewer: {least} divided by the scale {scale} is only {code}.",
                        least=signed(SILU_MIN, 4),
                        scale=number(ASKED_AMAX / QMAX, 4),
                        code=number(SILU_MIN / (ASKED_AMAX / QMAX), 1),
                    ),
                ),
                Answer(
                    str(usable),
                    True,
                    say(
                        "{stranded} codes are stranded: the price of a symmetric scale after SiLU.",
                        stranded=asked,
                    ),
                ),
            ),
        ),
        note=say(
            "The output reaches {low} of the input's range at spread {small}, and {high} of it at "
            "spread {large}: no fixed factor leads from one to the other. An [[asymmetric]] scale "
            "strands nothing: here it would gain {gain} dB.",
            small=number(SMALL),
            low=percent(small),
            large=number(LARGE),
            high=percent(large),
            gain=signed(shape.asymmetric_gain_db, 1),
        ),
    )


STEP = Step("silu_shape", introduce, controls, screen)
