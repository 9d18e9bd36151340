"""Step 5: why not simply MinMax, and why not simply a percentile.

A few large values among many small ones, as the published example has them: two scales, and what
each costs whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dashboard.analysis.report import codes_of
from dashboard.calibration.histogram import Histogram, Quantized
from dashboard.figures import lesson_outliers as figures
from dashboard.lesson.mean_error import mean_error
from dashboard.lesson.screen import Answer, Control, Introduction, Question, Screen, Step, Table
from dashboard.rules.observers import least_error_amax
from dashboard.rules.published import OUTLIERS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, number, percent, scale_text
from kernels.int8 import QMAX, scale_from_amax

VALUES = 20_000
SHARES = (0.0, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01)
SIZES = tuple(round(3.0 + 0.5 * i, 1) for i in range(55))  # 3 … 30


@dataclass(frozen=True)
class RangeCost:
    """One scale and what it costs: the bulk, the outliers, and all together."""

    scale: float
    code: int  # of OUTLIERS.value
    bulk_error: float  # mean |v̂ − v| of the values in the bulk
    outlier_error: float  # the same of the outliers; 0 where there are none
    mean_error: float
    output: Quantized

    @property
    def mse(self) -> float:
        """Mean squared error over all values."""
        return float(self.output.rounding_mse + self.output.clipping_mse)

    @property
    def sqnr_db(self) -> float:
        """Σ y² over the squared error, in decibels."""
        return float(self.output.sqnr_db)


@dataclass(frozen=True)
class OutlierExample:
    """A bulk spread evenly over [0, 3], a share of the values at one outlier, and two scales."""

    size: float
    share: float
    values: Histogram
    minmax: RangeCost
    percentile: RangeCost  # the scale that covers the bulk and no more
    best_amax: float  # with the least squared error

    @cached_property
    def sweep(self) -> tuple[np.ndarray, Quantized]:
        """(amax, what it makes of the values), from half the bulk to a little beyond all."""
        amaxes = np.geomspace(OUTLIERS.bulk / 2, 1.15 * max(self.size, OUTLIERS.bulk), 240)
        return amaxes, self.values.quantize((amaxes / QMAX).astype(np.float32))


def with_outliers(size: float, share: float) -> OutlierExample:
    """The published outlier example with another outlier.

    Args:
        size: the outliers' value, at least that of the bulk's end.
        share: how many of the values they are, from 0 to below 1.

    Raises ValueError for a size or a share outside of these.
    """
    if not size >= OUTLIERS.bulk or not 0 <= share < 1:
        raise ValueError(
            f"size is {size} and share {share}; an outlier is at least {OUTLIERS.bulk}, and its "
            "share lies from 0 to below 1"
        )
    count = round(share * VALUES)
    spaced = np.linspace(0.0, OUTLIERS.bulk, VALUES - count).astype(np.float16).astype(np.float32)
    values, counts = np.unique(spaced, return_counts=True)
    bulk = Histogram(values, counts.astype(np.int64))
    outliers = Histogram(np.full(min(count, 1), size, np.float32), np.full(min(count, 1), count))
    both = bulk + outliers

    def cost(amax: float) -> RangeCost:
        scale = scale_from_amax(amax)
        return RangeCost(
            scale,
            int(codes_of(OUTLIERS.value, scale)),
            mean_error(bulk, scale),
            mean_error(outliers, scale),
            mean_error(both, scale),
            both.quantize(scale),
        )

    best = least_error_amax(both)
    return OutlierExample(size, share, both, cost(both.absmax), cost(OUTLIERS.bulk), best)


def introduce(say: Language) -> Introduction:
    return Introduction(
        title=say("Outliers: somebody pays"),
        claim=say(
            "[[minmax|MinMax]] stretches the range to the largest value, so a few [[outlier|"
            "outliers]] make every step coarse. A [[percentile]] ignores them, so the steps stay "
            "fine and the outliers are [[saturation|clipped]]. The example of the "
            "[[published_analysis|published analysis]] prints the fine steps, {percentile} in "
            "place of {minmax}, and not what the clipping costs.",
            minmax=number(OUTLIERS.minmax_scale, 4),
            percentile=number(OUTLIERS.percentile_scale, 4),
        ),
        task=say("Add outliers and move them away. Watch both sides of the trade."),
    )


def controls(say: Language) -> tuple[Control, ...]:
    return (
        Control("outlier_share", say("Share of outliers"), SHARES, OUTLIERS.outlier_share, percent),
        Control("outlier_size", say("Where they lie"), SIZES, OUTLIERS.outlier),
    )


def screen(outlier_share: float, outlier_size: float, say: Language) -> Screen:
    example = with_outliers(outlier_size, outlier_share)
    minmax, percentile = example.minmax, example.percentile
    value = number(OUTLIERS.value)
    asked = with_outliers(OUTLIERS.outlier, OUTLIERS.outlier_share)
    amaxes, sweep = example.sweep
    return Screen(
        figure=figures.outliers(
            example.share,
            example.size,
            (
                figures.Ruler("MinMax", minmax.scale, minmax.code, minmax.mse),
                figures.Ruler(say("percentile"), percentile.scale, percentile.code, percentile.mse),
            ),
            amaxes,
            sweep,
            example.best_amax,
            say,
        ),
        reading=_reading(example, say),
        spoiler=_by_squared_error(example, say),
        table=Table(
            ("", "MinMax", say("percentile")),
            (
                (say("scale"), scale_text(minmax.scale), scale_text(percentile.scale)),
                (say("code of {value}", value=value), str(minmax.code), str(percentile.code)),
                (
                    say("mean error, bulk"),
                    number(minmax.bulk_error, 4),
                    number(percentile.bulk_error, 4),
                ),
                (
                    say("mean error, outliers"),
                    number(minmax.outlier_error, 4),
                    number(percentile.outlier_error, 4),
                ),
                (
                    say("mean error, all"),
                    number(minmax.mean_error, 4),
                    number(percentile.mean_error, 4),
                ),
                ("[[sqnr|SQNR]]", decibels(minmax.sqnr_db, 1), decibels(percentile.sqnr_db, 1)),
            ),
            spoils=True,
        ),
        question=Question(
            say(
                "{share} of the values at {size}: which scale has the higher [[sqnr|SQNR]]?",
                share=percent(OUTLIERS.outlier_share),
                size=number(OUTLIERS.outlier),
            ),
            (
                Answer(
                    say(
                        "the percentile: its steps are {times} times finer",
                        times=number(asked.minmax.scale / asked.percentile.scale, 1),
                    ),
                    asked.percentile.mse < asked.minmax.mse,
                    say(
                        "SQNR squares the errors. Each clipped outlier is off by {lost}, and "
                        "{square} outweighs all that fine steps gain: {percentile} against "
                        "{minmax}.",
                        lost=number(asked.percentile.outlier_error, 1),
                        square=number(asked.percentile.outlier_error**2, 0),
                        percentile=decibels(asked.percentile.sqnr_db, 1),
                        minmax=decibels(asked.minmax.sqnr_db, 1),
                    ),
                ),
                Answer(
                    "MinMax",
                    asked.minmax.mse < asked.percentile.mse,
                    say(
                        "{minmax} against {percentile}. In the mean error it is the other way "
                        "round, {minmax_mean} against {percentile_mean}. Which is right depends "
                        "on what errors do to the model.",
                        minmax=decibels(asked.minmax.sqnr_db, 1),
                        percentile=decibels(asked.percentile.sqnr_db, 1),
                        minmax_mean=number(asked.minmax.mean_error, 4),
                        percentile_mean=number(asked.percentile.mean_error, 4),
                    ),
                ),
            ),
        ),
    )


def _reading(example: OutlierExample, say: Language) -> str:
    minmax, percentile = example.minmax, example.percentile
    if example.share == 0 or minmax.scale == percentile.scale:
        return say("Without outliers both scales are the same. Add some.")
    return "\n\n".join(
        (
            say(
                "{value} becomes code {minmax_code} by [[minmax|MinMax]] and {code} by the "
                "[[percentile]]: its steps are {times} times finer. The bulk gains: its mean error "
                "is {bulk} in place of {bulk_minmax}. Each outlier loses {lost}.",
                value=number(OUTLIERS.value),
                minmax_code=minmax.code,
                code=percentile.code,
                times=number(minmax.scale / percentile.scale, 1),
                bulk=number(percentile.bulk_error, 4),
                bulk_minmax=number(minmax.bulk_error, 4),
                lost=number(percentile.outlier_error, 1),
            ),
            say(
                "By the mean error of all values the percentile is {times} times better.",
                times=_times(minmax.mean_error, percentile.mean_error),
            )
            if percentile.mean_error < minmax.mean_error
            else say(
                "By the mean error of all values MinMax is {times} times better.",
                times=_times(percentile.mean_error, minmax.mean_error),
            ),
        )
    )


def _by_squared_error(example: OutlierExample, say: Language) -> str:
    """The measure that SQNR follows, and so the answer to the question."""
    minmax, percentile = example.minmax, example.percentile
    if example.share == 0 or minmax.scale == percentile.scale:
        return ""
    return (
        say(
            "By the [[mse|mean squared error]] the percentile is {times} times better. The "
            "least has a range that ends at {best}.",
            times=_times(minmax.mse, percentile.mse),
            best=number(example.best_amax, 2),
        )
        if percentile.mse < minmax.mse
        else say(
            "By the [[mse|mean squared error]] MinMax is {times} times better. The least has "
            "a range that ends at {best}.",
            times=_times(percentile.mse, minmax.mse),
            best=number(example.best_amax, 2),
        )
    )


def _times(greater: float, smaller: float) -> str:
    ratio = greater / smaller
    return number(ratio, 1 if ratio < 10 else 0)


STEP = Step("outliers", introduce, controls, screen)
