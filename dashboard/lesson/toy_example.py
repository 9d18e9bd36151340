"""Step 4: the published toy example, computed again, and the straw man in it.

Conv outputs on a grid go through SiLU and are quantized with two scales. The example is one of the
published analysis (``rules.published.TOY``); ``quotations`` says where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from dashboard.analysis.report import format_alpha
from dashboard.figures import lesson_toy_example as figures
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.rules.published import TOY
from dashboard.text.language import Language
from dashboard.text.numbers import number, percent
from kernels.int8 import QMAX, QMIN, dequantize, quantize, scale_from_amax
from kernels.reference import silu

FINE = 10_001  # points of the grid on which every conv output is as likely as any other
COARSE_ALPHA = 0.995  # the α whose quantile the published percentile scale is
SCALES = tuple(
    sorted(
        {round(0.02 + 0.004 * i, 3) for i in range(26)}
        | {TOY.straightforward.scale, TOY.percentile.scale}
    )
)


def grid(points: str) -> torch.Tensor:
    """Conv outputs, float32: "step" is the published grid, "six" the six listed, "fine" a fine one.

    Raises ValueError for another name.
    """
    if points == "step":
        count = round((TOY.high - TOY.low) / TOY.step) + 1
        return (TOY.low + TOY.step * torch.arange(count, dtype=torch.float64)).float()
    if points == "six":
        return torch.tensor(TOY.listed)
    if points == "fine":
        return torch.linspace(TOY.low, TOY.high, FINE, dtype=torch.float64).float()
    raise ValueError(f"points is {points!r}; allowed are step, six, fine")


@dataclass(frozen=True, eq=False)
class ToyRun:
    """The toy example at one scale, on one set of points."""

    scale: float
    v: np.ndarray  # (N,) conv outputs
    y: np.ndarray  # (N,) SiLU's outputs
    restored: np.ndarray  # (N,) the codes, dequantized
    lowest_code: int
    highest_code: int
    codes_used: int

    @property
    def errors(self) -> np.ndarray:
        """(N,) |ŷ − y|."""
        return np.abs(self.restored - self.y)

    @property
    def mean_error(self) -> float:
        """The mean of |ŷ − y| over the points."""
        return float(self.errors.mean())

    @property
    def utilization(self) -> float:
        """As published: the largest code over 127."""
        return min(max(self.highest_code, -self.lowest_code), QMAX) / QMAX

    @property
    def reachable_share(self) -> float:
        """Codes from the lowest to the highest, over 256: an even better grid could use no more."""
        return (self.highest_code - self.lowest_code + 1) / (QMAX - QMIN + 1)


def run(scale: float, points: str = "step") -> ToyRun:
    """Quantize SiLU's output on the toy example's points, as the kernel does."""
    v = grid(points)
    y = silu(v)
    codes = quantize(y, scale)
    return ToyRun(
        scale=scale,
        v=v.double().numpy(),
        y=y.double().numpy(),
        restored=dequantize(codes, scale).double().numpy(),
        lowest_code=int(codes.min()),
        highest_code=int(codes.max()),
        codes_used=len(codes.unique()),
    )


def conv_absmax_scale() -> float:
    """The plainest choice: the largest magnitude before SiLU, over 127."""
    return scale_from_amax(max(-TOY.low, TOY.high))


def outputs() -> np.ndarray:
    """SiLU's outputs on the published grid."""
    return silu(grid("step")).double().numpy()


def quantile_scale(alpha: float) -> float:
    """The α-quantile of the output's magnitude on the published grid, over 127."""
    return float(np.quantile(np.abs(outputs()), alpha)) / QMAX


@cache
def least_error_scale(points: str) -> float:
    """The slider's scale with the least mean error on these points; of equals, the finest."""
    return min(SCALES, key=lambda scale: run(scale, points).mean_error)


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("A toy example, and its straw man"),
        claim=say(
            "A [[published_analysis|published analysis]] argues for scales by a [[percentile]]; "
            "from here on its examples are computed again. The first takes convolution outputs "
            "from {low} to {high} and compares scale {plain} with a percentile's {percentile}: "
            "utilization {before} against {after}, mean error {first} against {second}. That shows "
            "that the scale matters, but not yet why it should be a percentile's.",
            low=number(TOY.low),
            high=number(TOY.high),
            plain=number(TOY.straightforward.scale),
            percentile=number(TOY.percentile.scale, 4),
            before=percent(TOY.straightforward.utilization, digits=4),
            after=percent(TOY.percentile.utilization, digits=4),
            first=number(TOY.straightforward.mean_error, 4),
            second=number(TOY.percentile.mean_error, 4),
        ),
        task=say("Drag the scale to the least mean error. Then change the points and look again."),
    )


def controls(say: Language) -> tuple[Control, ...]:
    names = {
        "step": say("step {step}", step=TOY.step),
        "six": say("the six listed"),
        "fine": say("evenly spread"),
    }
    return (
        Control(
            "points", say("Convolution outputs"), tuple(names), "step", names.__getitem__, "choices"
        ),
        Control("toy_scale", say("Scale"), SCALES, TOY.straightforward.scale),
    )


def screen(points: str, toy_scale: float, say: Language) -> Screen:
    chosen = run(toy_scale, points)
    plain, percentile, absmax = (
        run(scale, points)
        for scale in (TOY.straightforward.scale, TOY.percentile.scale, conv_absmax_scale())
    )
    beside = percentile if toy_scale != TOY.percentile.scale else plain
    others = {name: run(TOY.straightforward.scale, name).mean_error for name in ("step", "fine")}
    rows = [
        (say("published: {scale}", scale=number(TOY.straightforward.scale)),
         plain, TOY.straightforward),
        (say("published percentile: {scale}", scale=number(TOY.percentile.scale, 4)),
         percentile, TOY.percentile),
        (say("absmax before SiLU: {scale}", scale=number(absmax.scale, 4)), absmax, None),
        (say("yours: {scale}", scale=number(toy_scale, 4)), chosen, None),
    ]  # fmt: skip
    least = toy_scale == least_error_scale(points)
    return Screen(
        figure=figures.toy_example(
            chosen.scale,
            chosen.v,
            chosen.errors,
            (chosen.lowest_code, chosen.highest_code),
            beside.scale,
            beside.errors,
            say,
        ),
        reading=say(
            "At scale {scale} the codes run from {low} to {high}: {top} by the "
            "[[top_code_utilization|published measure]], which looks at the largest code alone, "
            "and {reachable} of the 256 codes. The mean error is {error}.",
            scale=number(toy_scale, 4),
            low=number(chosen.lowest_code),
            high=number(chosen.highest_code),
            top=percent(chosen.utilization, digits=4),
            reachable=percent(chosen.reachable_share, digits=4),
            error=number(chosen.mean_error, 4),
        )
        + "\n\n"
        + say(
            "What differs: the published {plain} is what evenly spread values give ({fine}); the "
            "step of {step} itself gives {own}. The published {percentile} comes out on no such "
            "grid.",
            plain=number(TOY.straightforward.mean_error, 4),
            fine=number(others["fine"], 4),
            step=number(TOY.step),
            own=number(others["step"], 4),
            percentile=number(TOY.percentile.mean_error, 4),
        ),
        success=say("No scale of the slider has a smaller mean error on these points.")
        if least
        else "",
        table=Table(
            (
                say("scale"),
                say("top code"),
                say("codes spanned"),
                say("mean error"),
                say("published"),
            ),
            tuple(
                (
                    name,
                    percent(row.utilization, digits=4),
                    percent(row.reachable_share, digits=4),
                    number(row.mean_error, 4),
                    f"{percent(printed.utilization, digits=4)}, {number(printed.mean_error, 4)}"
                    if printed
                    else "–",
                )
                for name, row, printed in rows
            ),
            chosen=len(rows) - 1,
            spoils=True,
        ),
        question=Question(
            say(
                "Which scale needs no knowledge of SiLU and still errs as little as {percentile}?",
                percentile=number(TOY.percentile.scale, 4),
            ),
            (
                Answer(
                    number(TOY.straightforward.scale),
                    False,
                    say(
                        "It errs {times} times as much. Nobody would choose it: code {top} "
                        "would stand for {reach}, and nothing here exceeds {high}.",
                        times=number(plain.mean_error / percentile.mean_error, 1),
                        top=QMAX,
                        reach=number(QMAX * plain.scale),
                        high=number(TOY.high),
                    ),
                ),
                Answer(
                    say(
                        "{scale}: the largest magnitude before SiLU, over {top}",
                        scale=number(absmax.scale, 4),
                        top=QMAX,
                    ),
                    True,
                    say(
                        "{error} against {percentile}: SiLU hardly changes large positive "
                        "values, so plain absmax does as well. The comparison with {plain} "
                        "fights a straw man.",
                        error=number(absmax.mean_error, 4),
                        percentile=number(percentile.mean_error, 4),
                        plain=number(TOY.straightforward.scale),
                    ),
                ),
                Answer(
                    say("none: without SiLU there is no scale"),
                    False,
                    say(
                        "There is one: the largest magnitude before SiLU gives it, over {top}.",
                        top=QMAX,
                    ),
                ),
            ),
        ),
        note=say(
            "Blue is the chosen scale, grey {scale}; dashed, their means.",
            scale=number(beside.scale, 4),
        )
        + "\n\n"
        + say(
            "The published percentile scale is the {coarse} quantile of this grid's outputs over "
            "{top}: {scale}. That of α = {alpha} would be {proper}, nearly MinMax's, for the grid "
            "has few points.",
            coarse=percent(COARSE_ALPHA),
            top=QMAX,
            scale=number(quantile_scale(COARSE_ALPHA), 6),
            alpha=format_alpha(PUBLISHED_ALPHAS[0]),
            proper=number(quantile_scale(PUBLISHED_ALPHAS[0]), 5),
        ),
    )


STEP = Step("toy_example", introduce, controls, screen)
