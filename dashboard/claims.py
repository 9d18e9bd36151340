"""Every claim of the published analysis, beside what a model measured here and now says.

A verdict is decided by the measurement, on the checkpoint that was chosen: on another it may be
another. What each claim rests on is in ``published``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dashboard.figures.lesson_ideas import change, number, share
from dashboard.figures.style import decibels, percent, signed
from dashboard.landscape import NEGLIGIBLE_DB
from dashboard.language import Language
from dashboard.lesson import outliers, toy
from dashboard.lesson.trained import Trained, guessed
from dashboard.observers import DEFAULT_SIGMA, PUBLISHED_ALPHAS, averaged
from dashboard.published import OUTLIERS, QUAMBA2_130M, TOY, X_OUT_SCALES
from dashboard.report import KernelRun, format_alpha

HOLDS, IN_PART, DOES_NOT_FOLLOW = "holds", "in part", "does not follow"
ORDERS = 200  # in which a moving average takes the batches


@dataclass(frozen=True)
class Claim:
    """One claim, what was measured, and whether it bears the claim out.

    ``page`` is the url_path of the page that shows it, ``settings`` what the link sets there.
    """

    said: str
    measured: str
    verdict: str
    page: str
    settings: Mapping[str, str] = field(default_factory=dict)


def verdict_of(points: list[bool]) -> str:
    """All hold, some, or none."""
    return HOLDS if all(points) else IN_PART if any(points) else DOES_NOT_FOLLOW


def claims(trained: Trained, kernel: KernelRun | None, say: Language) -> tuple[Claim, ...]:
    """Each claim measured.

    Args:
        trained: the chosen checkpoint, calibrated.
        kernel: a live run on its first layer, where its input is at hand.
    """
    return (
        _calibrate(trained, say),
        _naive(trained, say),
        _toy_utilization(trained, say),
        _toy_error(say),
        _widens(trained, say),
        _first_layer(trained, say),
        _outlier(say),
        _minmax(trained, say),
        _alphas(trained, say),
        _average(trained, say),
        *([_direct(kernel, say)] if kernel else []),
    )


def _calibrate(trained: Trained, say: Language) -> Claim:
    ratios = [each.best_ratio_wx for each in trained.layers]
    middle = float(np.median(ratios))
    losses = [guessed(each, middle).loss_db for each in trained.layers]
    return Claim(
        say("The output scale cannot be derived from scale_wx; it has to be calibrated on SiLU's "
            "real output."),
        say("Over {layers} layers the best x_out_scale is {low} to {high} times scale_wx. One "
            "factor for all, {middle}, would lose up to {loss} dB.",
            layers=len(ratios), low=number(min(ratios), 1), high=number(max(ratios), 1),
            middle=number(middle, 1), loss=signed(max(losses), 1)),
        verdict_of([max(losses) > NEGLIGIBLE_DB]),
        "lesson", {"step": "7"},
    )  # fmt: skip


def _naive(trained: Trained, say: Language) -> Claim:
    naive = [each.silu_output.quantize(each.counted.scale_wx) for each in trained.layers]
    absmax = [each.silu_output.quantize(each.counted.silu_input.absmax / 127)
              for each in trained.layers]  # fmt: skip
    losses = [each.landscape.best_db - float(made.sqnr_db)
              for each, made in zip(trained.layers, absmax, strict=True)]  # fmt: skip
    return Claim(
        say("Without a calibrated scale the output is quantized badly."),
        say("With scale_wx itself {least} to {most} of the values saturate, and the SQNR is "
            "{worst} at most. But the plain absmax of the convolution's output, which nobody has "
            "to calibrate on SiLU, loses only {low} to {high} dB against the best α.",
            least=percent(min(float(made.saturation_rate) for made in naive)),
            most=percent(max(float(made.saturation_rate) for made in naive)),
            worst=decibels(max(float(made.sqnr_db) for made in naive), 1),
            low=signed(min(losses), 1), high=signed(max(losses), 1)),
        verdict_of([
            all(float(made.sqnr_db) < each.landscape.best_db - 6
                for each, made in zip(trained.layers, naive, strict=True)),
            min(losses) > 6,
        ]),
        "explore", {"rule": "scale-wx", "beside": "conv-absmax"},
    )  # fmt: skip


def _toy_utilization(trained: Trained, say: Language) -> Claim:
    plain, fine = (toy.run(each.scale) for each in (TOY.straightforward, TOY.percentile))
    alpha = PUBLISHED_ALPHAS[0]
    used = [float(each.landscape.output.code_utilization[each.index(alpha)])
            for each in trained.layers]  # fmt: skip
    return Claim(
        say("A percentile raises the utilization of INT8 from {before} to {after}.",
            before=share(TOY.straightforward.utilization), after=share(TOY.percentile.utilization)),
        say("Computed again: {before} and {after} by the largest code alone; {low} and {high} of "
            "the 256 codes. In this model's layers {least} to {most} of the codes occur at α = "
            "{alpha}: SiLU strands the rest.",
            before=share(plain.utilization), after=share(fine.utilization),
            low=share(plain.reachable_share), high=share(fine.reachable_share),
            least=percent(min(used)), most=percent(max(used)), alpha=format_alpha(alpha)),
        verdict_of([
            abs(plain.utilization - TOY.straightforward.utilization) < 5e-4
            and fine.utilization == TOY.percentile.utilization,
            fine.reachable_share > 0.995,
        ]),
        "lesson", {"step": "4"},
    )  # fmt: skip


def _toy_error(say: Language) -> Claim:
    times = {
        points: toy.run(TOY.straightforward.scale, points).mean_error
        / toy.run(TOY.percentile.scale, points).mean_error
        for points in ("step", "six", "fine")
    }
    plain = (
        toy.run(TOY.straightforward.scale).mean_error / toy.run(toy.conv_absmax_scale()).mean_error
    )
    return Claim(
        say("The percentile's mean error is {times} times smaller.", times=TOY.times_better),
        say("It is {step} times smaller on the published grid, {six} on the six listed values, "
            "{fine} on evenly spread ones. The plain absmax of the convolution's output gives "
            "{plain} times: the gain is over a poor scale, not from the percentile.",
            step=number(times["step"], 2), six=number(times["six"], 2),
            fine=number(times["fine"], 2), plain=number(plain, 2)),
        verdict_of([min(times.values()) > 1,
                    any(abs(t / TOY.times_better - 1) < 0.01 for t in times.values())]),
        "lesson", {"step": "4"},
    )  # fmt: skip


def _widens(trained: Trained, say: Language) -> Claim:
    shares = [each.silu_output.absmax / each.counted.silu_input.absmax for each in trained.layers]
    weights = [each.best_ratio_weight for each in trained.layers]
    return Claim(
        say("A ratio above 1 ({low} to {high}) means that SiLU widens the range.",
            low=number(min(each.ratio for each in QUAMBA2_130M), 2),
            high=number(max(each.ratio for each in QUAMBA2_130M), 2)),
        say("|SiLU(v)| ≤ |v|: here the output reaches {least} to {most} of the input's range, "
            "while the published kind of ratio is {low} to {high}. It divides an activation's "
            "scale by a weight's; like for like the published rows are {first} to {last}.",
            least=percent(min(shares)), most=percent(max(shares)), low=number(min(weights), 2),
            high=number(max(weights), 2),
            first=number(min(each.ratio_wx for each in QUAMBA2_130M), 0),
            last=number(max(each.ratio_wx for each in QUAMBA2_130M), 0)),
        verdict_of([each > 1 for each in shares]),
        "lesson", {"step": "7"},
    )  # fmt: skip


def _first_layer(trained: Trained, say: Language) -> Claim:
    weights = [each.best_ratio_weight for each in trained.layers]
    least = trained.layers[int(np.argmin(weights))].layer
    first = trained.layers[0]
    return Claim(
        say("The first layer's ratio is by far the smallest: {small}, then {low} to {high}; in the "
            "2.7b model {small_2_7b}, then {low_2_7b} to {high_2_7b}.",
            small=number(QUAMBA2_130M[0].ratio, 2),
            low=number(min(each.ratio for each in QUAMBA2_130M[1:]), 2),
            high=number(max(each.ratio for each in QUAMBA2_130M[1:]), 2),
            small_2_7b=number(QUAMBA2_130M[0].ratio_2_7b, 2),
            low_2_7b=number(min(each.ratio_2_7b for each in QUAMBA2_130M[1:]), 2),
            high_2_7b=number(max(each.ratio_2_7b for each in QUAMBA2_130M[1:]), 2)),
        say("Here layer {first} has {ratio}; the smallest is layer {least}'s, {smallest}.",
            first=first.layer, ratio=number(first.best_ratio_weight, 2), least=least,
            smallest=number(min(weights), 2)),
        verdict_of([least == first.layer,
                    first.best_ratio_weight < 0.5 * float(np.median(weights))]),
        "lesson", {"step": "7"},
    )  # fmt: skip


def _outlier(say: Language) -> Claim:
    found = outliers.outlying(OUTLIERS.outlier, OUTLIERS.outlier_share)
    minmax, cut = found.minmax, found.percentile
    return Claim(
        say("With {share} of the values at {outlier}, a percentile is {times} times finer than "
            "MinMax: {value} becomes code {code} in place of {minmax}.",
            share=share(OUTLIERS.outlier_share), outlier=number(OUTLIERS.outlier),
            times=number(OUTLIERS.times_finer, 1), value=number(OUTLIERS.value),
            code=OUTLIERS.percentile_code, minmax=OUTLIERS.minmax_code),
        say("The codes are {code} and {minmax}, the steps {times} times finer, the mean error "
            "{mean} times smaller. But the clipped outliers cost more than that gains: SQNR falls "
            "from {before} to {after}.",
            code=cut.code, minmax=minmax.code, times=number(minmax.scale / cut.scale, 1),
            mean=number(minmax.mean_error / cut.mean_error, 1),
            before=decibels(float(minmax.output.sqnr_db), 1),
            after=decibels(float(cut.output.sqnr_db), 1)),
        verdict_of([cut.code == OUTLIERS.percentile_code and minmax.code == OUTLIERS.minmax_code,
                    cut.mse < minmax.mse]),
        "lesson", {"step": "5"},
    )  # fmt: skip


def _minmax(trained: Trained, say: Language) -> Claim:
    def gains(alpha: float) -> list[float]:
        found = [each.landscape for each in trained.layers]
        return [each.loss_db(1.0) - each.loss_db(alpha) for each in found]

    low, high = PUBLISHED_ALPHAS
    better, best = gains(high), gains(trained.recommended_alpha)
    return Claim(
        say("A percentile is better than MinMax."),
        say("α = {low} beats MinMax in {low_wins} of {layers} layers, α = {high} in {high_wins}. "
            "The α that serves this model best, {best}, gains {least} to {most} dB.",
            low=format_alpha(low), low_wins=sum(g > 0 for g in gains(low)),
            layers=len(trained.layers), high=format_alpha(high),
            high_wins=sum(g > 0 for g in better), best=format_alpha(trained.recommended_alpha),
            least=signed(min(best), 1), most=signed(max(best), 1)),
        verdict_of([g > 0 for g in (*gains(low), *better)]),
        "sweep", {},
    )  # fmt: skip


def _alphas(trained: Trained, say: Language) -> Claim:
    low, high = PUBLISHED_ALPHAS
    growth = [each.scale(high) / each.scale(low) - 1 for each in trained.layers]
    gains = trained.gains_db
    largest = max(abs(each.pa_difference) for each in QUAMBA2_130M)
    return Claim(
        say("α hardly matters: the scales for {low} and {high} differ by at most {largest}.",
            low=format_alpha(low), high=format_alpha(high), largest=percent(largest)),
        say("Those scales have the shape {shape} and are MinMax's: α is not used in them. Where it "
            "is used, here, the scale grows by {least} to {most} and the SQNR changes by {worse} "
            "to {better} dB.",
            shape="({})".format(", ".join(map(str, X_OUT_SCALES.shape))),
            least=change(min(growth)), most=change(max(growth)), worse=signed(min(gains), 1),
            better=signed(max(gains), 1)),
        verdict_of([abs(gain) < NEGLIGIBLE_DB for gain in gains]),
        "lesson", {"step": "8"},
    )  # fmt: skip


def _average(trained: Trained, say: Language) -> Claim:
    first = trained.layers[0]
    batches = len(first.counted.batches)
    weight = (1 - DEFAULT_SIGMA) ** (batches - 1)
    quantiles = [batch.abs.quantile(PUBLISHED_ALPHAS[0]) for batch in first.counted.batches]
    orders = range(ORDERS if batches > 1 else 1)
    ends = [averaged(quantiles, DEFAULT_SIGMA, order).final for order in orders]
    apart = max(ends) / min(ends) - 1 if min(ends) > 0 else 0.0
    return Claim(
        say("The calibrated scale sums up all calibration batches."),
        say("Quamba's moving average, σ = {sigma}, gives the first of {batches} batches {weight} "
            "of the weight; after 512 it still has {late}. The same batches in {orders} orders put "
            "layer {layer}'s scale up to {apart} apart.",
            sigma=DEFAULT_SIGMA, batches=batches, weight=percent(weight),
            late=percent((1 - DEFAULT_SIGMA) ** 511), orders=len(ends), layer=first.layer,
            apart=change(apart)),
        verdict_of([True, apart < 0.01 and weight < 2 / batches]),
        "batches", {},
    )  # fmt: skip


def _direct(kernel: KernelRun, say: Language) -> Claim:
    return Claim(
        say("The kernel adds up exactly and writes INT8 directly, without a second pass."),
        say("It ran just now (`{backend}`) on {codes} values of the first layer: {differing} codes "
            "differ from the specification.", backend=kernel.backend, codes=f"{kernel.codes:,}",
            differing=kernel.differing_codes),
        verdict_of([kernel.differing_codes == 0]),
        "lesson", {"step": "2"},
    )  # fmt: skip
