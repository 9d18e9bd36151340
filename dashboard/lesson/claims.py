"""Every claim of the published analysis, beside what a model measured here and now says.

A verdict is decided by what stands beside it as ``criterion``, on the checkpoint that was chosen:
on another it may be another. The claims are ``quoted``; what their figures are is in ``published``.
What we have to say beyond them stands apart, with no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dashboard.analysis.report import KernelRun, format_alpha
from dashboard.formats import REGISTERED, best_format, format_under_rule
from dashboard.lesson import toy_example as toy
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.costs import (
    HIGH,
    LOW,
    MINMAX,
    SCALE_WX,
    SHIFTED,
    SOFT_EDGES,
    THREE_SEGMENTS,
    ModelCosts,
    costed_rules,
)
from dashboard.lesson.group_scales import evidence_values
from dashboard.lesson.outliers import with_outliers
from dashboard.lesson.quotations import QUOTES, Quote
from dashboard.lesson.ratios import evaluate_guess
from dashboard.rules.landscape import NEGLIGIBLE_DB
from dashboard.rules.observers import DEFAULT_SIGMA, PUBLISHED_ALPHAS, ScaleRule, averaged
from dashboard.rules.published import (
    GROUPS_130M,
    OUTLIER_GUIDE,
    OUTLIERS,
    PA_BOUND_PRINTED,
    PA_DIFFERENCES_PRINTED,
    PA_RUN,
    QUAMBA2_2_7B_PA_1_LAYER_0,
    QUAMBA2_130M,
    TOY,
    X_OUT_SCALES,
    mean_evidence,
)
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, number, percent, scale_text, signed, small
from kernels.int8 import QMAX

HOLDS, IN_PART, DOES_NOT_FOLLOW = "holds", "in part", "does not follow"
ORDERS = 200  # in which a moving average takes the batches
MUCH_DB = 6.0  # a loss that nobody would overlook: the error's energy is four times as large
ALIKE = 0.01  # of two quantiles that are said to be about the same


@dataclass(frozen=True)
class Claim:
    """One claim, what was measured, and whether it bears the claim out.

    ``page`` is the url_path of the page that shows it, ``settings`` what the link sets there.
    What we add has a ``statement`` in place of quotes, and neither criterion nor verdict.
    """

    key: str
    measured: str
    page: str
    settings: Mapping[str, str] = field(default_factory=dict)
    criterion: str = ""
    verdict: str = ""
    statement: str = ""

    @property
    def quotes(self) -> tuple[Quote, ...]:
        """Where the claim is made, word for word."""
        return QUOTES.get(self.key, ())


def verdict_of(points: list[bool]) -> str:
    """All hold, some, or none."""
    return HOLDS if all(points) else IN_PART if any(points) else DOES_NOT_FOLLOW


NOT_MEASURED = ModelCosts({})


def claims(
    model: CalibratedModel,
    kernel: KernelRun | None,
    say: Language,
    costs: ModelCosts = NOT_MEASURED,
) -> tuple[Claim, ...]:
    """Each published claim measured.

    Args:
        model: the chosen checkpoint, calibrated.
        kernel: a live run on its first layer, where its input is at hand.
        costs: what scales cost the model, as far as that was measured; no verdict goes by it.
    """
    best = ScaleRule("percentile", model.recommendation.alpha)
    by_loss = {
        "saturates": costs.sentence((SCALE_WX, MINMAX), say),
        "alphas": costs.comparison(LOW, HIGH, say),
        "default": say.sentences(
            costs.sentence((LOW, best), say), costs.comparison(LOW, best, say)
        ),
        "minmax": say.sentences(
            costs.sentence((MINMAX, LOW, HIGH), say),
            costs.comparison(MINMAX, LOW, say),
            costs.comparison(MINMAX, HIGH, say),
        ),
        "soft_edge": say.sentences(
            costs.formats_sentence((LOW, *SOFT_EDGES, SHIFTED), say),
            costs.comparison(THREE_SEGMENTS, LOW, say),
            costs.comparison(THREE_SEGMENTS, SHIFTED, say),
        ),
    }
    return tuple(
        replace(claim, measured=paragraphs(claim.measured, by_loss.get(claim.key, "")))
        for claim in _claims(model, kernel, say)
    )


def _claims(model: CalibratedModel, kernel: KernelRun | None, say: Language) -> tuple[Claim, ...]:
    return (
        _calibrate(model, say),
        _saturates(model, say),
        _too_large_too_small(model, say),
        _compresses(model, say),
        _utilization(model, say),
        _toy_error(say),
        _outlier(say),
        _widens(model, say),
        _first_layer(model, say),
        _larger_models(say),
        _shape(say),
        _alphas(model, say),
        _quantiles(model, say),
        _default(model, say),
        _minmax(model, say),
        _soft_edge(model, say),
        _outlier_aware(say),
        _direct(kernel, say),
    )


def additions(
    model: CalibratedModel, say: Language, costs: ModelCosts = NOT_MEASURED
) -> tuple[Claim, ...]:
    """What the analysis does not say, and a reader of it should know."""
    known = (_conv_absmax(model, say), _average(model, say))
    rules = costed_rules(model.recommendation.alpha)
    return (*known, _loss(costs, rules, say)) if costs.knows(*rules) else known


def _loss(costs: ModelCosts, rules: Sequence[ScaleRule], say: Language) -> Claim:
    return Claim(
        "loss",
        paragraphs(costs.sentence(rules, say), costs.verdict(rules, say)),
        "impact",
        {},
        statement=say("SQNR stands for what a scale costs; the model's loss is what it costs."),
    )


def paragraphs(*texts: str) -> str:
    """Those that say something, one below the other."""
    return "\n\n".join(text for text in texts if text)


def _calibrate(model: CalibratedModel, say: Language) -> Claim:
    ratios = [layer.best_ratio_wx for layer in model.layers]
    scales = [layer.scale(layer.landscape.best_alpha) for layer in model.layers]
    factor, scale = float(np.median(ratios)), float(np.median(scales))
    losses = [evaluate_guess(layer, factor).loss_db for layer in model.layers]
    common = [layer.loss_at_scale_db(scale) for layer in model.layers]
    return Claim(
        "calibrate",
        say(
            "Over {layers} layers the best x_out_scale is {low} to {high} times scale_wx. One "
            "factor for all, {factor}, would lose up to {loss} dB; one scale for all, {scale}, up "
            "to {common} dB.",
            layers=len(ratios),
            low=number(min(ratios), 1),
            high=number(max(ratios), 1),
            factor=number(factor, 1),
            loss=signed(max(losses), 1),
            scale=scale_text(scale),
            common=signed(max(common), 1),
        ),
        "lesson",
        {"step": "7"},
        say("Holds if both lose more than {loss} dB in some layer.", loss=NEGLIGIBLE_DB),
        verdict_of([max(losses) > NEGLIGIBLE_DB, max(common) > NEGLIGIBLE_DB]),
    )


def _saturates(model: CalibratedModel, say: Language) -> Claim:
    outputs = [layer.silu_output.quantize(layer.calibration.scale_wx) for layer in model.layers]
    losses = [layer.loss_at_scale_db(layer.calibration.scale_wx) for layer in model.layers]
    return Claim(
        "saturates",
        say(
            "With scale_wx itself {least} to {most} of the values saturate, the SQNR is {worst} "
            "at most, and {low} to {high} dB are lost against the best α.",
            least=percent(min(float(output.saturation_rate) for output in outputs)),
            most=percent(max(float(output.saturation_rate) for output in outputs)),
            worst=decibels(max(float(output.sqnr_db) for output in outputs), 1),
            low=signed(min(losses), 1),
            high=signed(max(losses), 1),
        ),
        "explore",
        {"rule": "scale-wx"},
        say("Holds if it loses more than {loss} dB in every layer.", loss=number(MUCH_DB)),
        verdict_of([min(losses) > MUCH_DB]),
    )


def _too_large_too_small(model: CalibratedModel, say: Language) -> Claim:
    reach = [QMAX * layer.calibration.scale_wx / layer.silu_output.absmax for layer in model.layers]
    small = sum(share < 1 for share in reach)
    return Claim(
        "too_large_too_small",
        say(
            "Both are said of scale_wx. The toy example takes {toy} for it, where code {top} "
            "stands for {toy_reach} and the outputs end at {toy_end}: too large. But a product of "
            "two scales is no spacing of outputs: in this model code {top} · scale_wx reaches "
            "{least} to {most} of the largest output, too small in {small} of {layers} layers.",
            toy=number(TOY.straightforward.scale),
            top=QMAX,
            toy_reach=number(QMAX * TOY.straightforward.scale, 1),
            toy_end=number(float(toy.outputs().max()), 2),
            least=percent(min(reach)),
            most=percent(max(reach)),
            small=small,
            layers=len(reach),
        ),
        "explore",
        {"rule": "scale-wx"},
        say("Each half holds if it does in every layer of this model."),
        verdict_of([small == 0, small == len(reach)]),
    )


def _compresses(model: CalibratedModel, say: Language) -> Claim:
    y = toy.outputs()
    spanned, wide = float(y.max() - y.min()), TOY.high - TOY.low
    inside = int(((y >= 0) & (y <= OUTLIERS.bulk)).sum())
    shares = [layer.silu_output.share_within(0.0, OUTLIERS.bulk) for layer in model.layers]
    return Claim(
        "compresses",
        say(
            "Computed again, the toy's outputs span {spanned}, {compressed} less than the inputs' "
            "{wide}. But {inside} of its {count} values, {share}, lie in [0, {end}]: not most. In "
            "this model's layers {least} to {most} do.",
            spanned=number(spanned, 2),
            compressed=percent(1 - spanned / wide, digits=3),
            wide=number(wide),
            inside=inside,
            count=len(y),
            share=percent(inside / len(y)),
            end=number(OUTLIERS.bulk),
            least=percent(min(shares)),
            most=percent(max(shares)),
        ),
        "lesson",
        {"step": "3"},
        say(
            "Holds if the range comes out again, and more than half of the toy's values lie in "
            "[0, {end}].",
            end=number(OUTLIERS.bulk),
        ),
        verdict_of([abs(spanned - 5.24) < 0.01, inside / len(y) > 0.5]),
    )


def _utilization(model: CalibratedModel, say: Language) -> Claim:
    plain, fine = (toy.run(use.scale) for use in (TOY.straightforward, TOY.percentile))
    alpha = PUBLISHED_ALPHAS[0]
    used = [
        float(layer.landscape.output.code_utilization[layer.landscape.index(alpha)])
        for layer in model.layers
    ]
    return Claim(
        "utilization",
        say(
            "Computed again: {before} and {after} by the largest code alone; {low} and {high} of "
            "the 256 codes. In this model's layers {least} to {most} of the codes occur at α = "
            "{alpha}: SiLU strands the rest.",
            before=percent(plain.utilization, digits=4),
            after=percent(fine.utilization, digits=4),
            low=percent(plain.reachable_share, digits=4),
            high=percent(fine.reachable_share, digits=4),
            least=percent(min(used)),
            most=percent(max(used)),
            alpha=format_alpha(alpha),
        ),
        "lesson",
        {"step": "4"},
        say("Holds if both figures come out again, and the finer scale reaches all 256 codes."),
        verdict_of(
            [
                abs(plain.utilization - TOY.straightforward.utilization) < 5e-4
                and fine.utilization == TOY.percentile.utilization,
                fine.reachable_share == 1,
            ]
        ),
    )


def _toy_error(say: Language) -> Claim:
    times = {
        points: toy.run(TOY.straightforward.scale, points).mean_error
        / toy.run(TOY.percentile.scale, points).mean_error
        for points in ("step", "six", "fine")
    }
    plain = (
        toy.run(TOY.straightforward.scale).mean_error / toy.run(toy.conv_absmax_scale()).mean_error
    )
    alpha = PUBLISHED_ALPHAS[0]
    return Claim(
        "toy_error",
        say(
            "The mean error is {step} times smaller on the published grid, {six} on the six listed "
            "values, {fine} on evenly spread ones. The plain absmax of the convolution's output "
            "gives {plain} times: the gain is over a poor scale, not from the percentile. And "
            "{scale} is the {coarse} quantile of the grid's outputs over {top}, {quantile}; α = "
            "{alpha} would give {proper}.",
            step=number(times["step"], 2),
            six=number(times["six"], 2),
            fine=number(times["fine"], 2),
            plain=number(plain, 2),
            scale=number(TOY.percentile.scale, 4),
            coarse=percent(toy.COARSE_ALPHA),
            top=QMAX,
            quantile=number(toy.quantile_scale(toy.COARSE_ALPHA), 6),
            alpha=format_alpha(alpha),
            proper=number(toy.quantile_scale(alpha), 5),
        ),
        "lesson",
        {"step": "4"},
        say(
            "Holds if it is smaller on all three, and {times} times to within 1 % on one of them.",
            times=TOY.times_better,
        ),
        verdict_of(
            [
                min(times.values()) > 1,
                any(abs(t / TOY.times_better - 1) < 0.01 for t in times.values()),
            ]
        ),
    )


def _outlier(say: Language) -> Claim:
    example = with_outliers(OUTLIERS.outlier, OUTLIERS.outlier_share)
    minmax, cut = example.minmax, example.percentile
    return Claim(
        "outlier",
        say(
            "With {share} of the values at {outlier}, the value {value} becomes code {code} in "
            "place of {minmax}, as printed: the steps are {times} times finer and the mean error "
            "is {mean} times smaller. But the clipped outliers cost more than that gains: the SQNR "
            "falls from {before} to {after}.",
            share=percent(OUTLIERS.outlier_share),
            outlier=number(OUTLIERS.outlier),
            value=number(OUTLIERS.value),
            code=cut.code,
            minmax=minmax.code,
            times=number(minmax.scale / cut.scale, 1),
            mean=number(minmax.mean_error / cut.mean_error, 1),
            before=decibels(float(minmax.output.sqnr_db), 1),
            after=decibels(float(cut.output.sqnr_db), 1),
        ),
        "lesson",
        {"step": "5"},
        say(
            "Holds if the codes come out again, and both the mean error, which is the analysis' "
            "measure, and the SQNR, which is ours, gain."
        ),
        verdict_of(
            [
                cut.code == OUTLIERS.percentile_code and minmax.code == OUTLIERS.minmax_code,
                cut.mean_error < minmax.mean_error,
                cut.mse < minmax.mse,
            ]
        ),
    )


def _widens(model: CalibratedModel, say: Language) -> Claim:
    shares = [
        layer.silu_output.absmax / layer.calibration.silu_input.absmax for layer in model.layers
    ]
    weights = [layer.best_ratio_weight for layer in model.layers]
    return Claim(
        "widens",
        say(
            "|SiLU(v)| ≤ |v|: here the output reaches {least} to {most} of the input's range, "
            "while the published kind of ratio is {low} to {high}. What a Quamba2 checkpoint "
            "stores as wx_scale is not that product but the scale of the weights alone; its kernel "
            "multiplies it by x_scale. Like for like the published rows are {first} to {last}, and "
            "those are ratios of means.",
            least=percent(min(shares)),
            most=percent(max(shares)),
            low=number(min(weights), 2),
            high=number(max(weights), 2),
            first=number(min(row.ratio_wx for row in QUAMBA2_130M), 0),
            last=number(max(row.ratio_wx for row in QUAMBA2_130M), 0),
        ),
        "lesson",
        {"step": "7"},
        say("Holds if the output's range exceeds the input's in every layer."),
        verdict_of([share > 1 for share in shares]),
    )


def _first_layer(model: CalibratedModel, say: Language) -> Claim:
    weights = [layer.best_ratio_weight for layer in model.layers]
    least = model.layers[int(np.argmin(weights))].number
    first = model.layers[0]
    middle = float(np.median(weights))
    return Claim(
        "first_layer",
        say(
            "Here layer {first} has {ratio}; the smallest is layer {least}'s, {smallest}, and the "
            "median {middle}.",
            first=first.number,
            ratio=number(first.best_ratio_weight, 2),
            least=least,
            smallest=number(min(weights), 2),
            middle=number(middle, 2),
        ),
        "lesson",
        {"step": "7"},
        say(
            "Holds if the first layer's ratio is the smallest, and below half the median. The "
            "threshold is ours."
        ),
        verdict_of([least == first.number, first.best_ratio_weight < 0.5 * middle]),
    )


def _larger_models(say: Language) -> Claim:
    first = QUAMBA2_130M[0]
    against = [row for row in QUAMBA2_130M if row.ratio_2_7b <= row.ratio]
    x_out_scale = QUAMBA2_2_7B_PA_1_LAYER_0
    w_scale = x_out_scale / first.ratio_2_7b
    return Claim(
        "larger_models",
        say(
            "The analysis' own table contradicts it in layer {layer}: {large} in the 2.7b model, "
            "{small} in the 130m. And in layer {first} the output's scale grew by {grew}, from "
            "{scale} to {scale_2_7b}, while the weights' scale that the ratio implies fell by "
            "{fell}, from {weights} to {weights_2_7b}: most of it is the weights, and none of it "
            "SiLU's.",
            grew=percent(x_out_scale / first.x_out_scale - 1),
            fell=percent(1 - w_scale / first.w_scale),
            layer=", ".join(str(row.layer) for row in against),
            large=", ".join(number(row.ratio_2_7b, 2) for row in against),
            small=", ".join(number(row.ratio, 2) for row in against),
            first=first.layer,
            scale=f"{first.x_out_scale:.5f}",
            scale_2_7b=f"{x_out_scale:.5f}",
            weights=f"{first.w_scale:.5f}",
            weights_2_7b=f"{w_scale:.5f}",
        ),
        "lesson",
        {"step": "7"},
        say("Holds if every printed layer has the larger ratio in the larger model."),
        verdict_of([row not in against for row in QUAMBA2_130M]),
    )


def _shape(say: Language) -> Claim:
    evidence = mean_evidence()
    return Claim(
        "shape",
        say(
            "So it is, in Quamba's code: each SSD group, head group and channel group has a scale "
            "of its own. The tables print one number in place of {count}, their mean: the note on "
            "groups calls it so, and prints those of layer {layer}, from {least} to {greatest}, "
            "whose mean is {mean}. Of the other layers we infer it from the digits: {top} times "
            "x_scale and wx_scale are float16 numbers, as maxima are, in {single} of {singles} "
            "cases; of the {distinct} distinct x_out_scales none is, but {top} · {count} · 1024 "
            "times each is a whole number to within {off}, which has a chance of less than 1 in "
            "{odds}. So the published ratios are ratios of means.",
            **evidence_values(evidence),
            odds=odds(evidence.chance),
        ),
        "lesson",
        {"step": "8"},
        say(
            "Decided by Quamba's code (quamba/qConvLayer.py, quamba/observer.py), the printed "
            "groups and the digits."
        ),
        verdict_of(
            [
                X_OUT_SCALES.scales > 1,
                evidence.grouped == 0,
                abs(GROUPS_130M.mean - QUAMBA2_130M[0].x_out_scale) < 5e-5,
            ]
        ),
    )


def odds(chance: float) -> str:
    """A power of ten that a small chance is still less than one in: 2e-13 -> 10¹²."""
    power = int(np.floor(-np.log10(chance)))
    return "10" + str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _alphas(model: CalibratedModel, say: Language) -> Claim:
    low, high = PUBLISHED_ALPHAS
    growth = [layer.scale(high) / layer.scale(low) - 1 for layer in model.layers]
    gains = model.gains_db
    return Claim(
        "alphas",
        say(
            "The table of {run} prints differences of {printed}; its own digits give {own}: ten "
            "times less. Scales of the shape {shape} are MinMax's, as a note beside it says and "
            "Quamba's code has it, and α is not used in them: the sums of the {count} maxima "
            "differ by {steps} of 1/1024, about one float16 step of one maximum. Where α is used, "
            "here, the scale grows by {least} to {most} and the SQNR changes by {worse} to "
            "{better} dB.",
            run=PA_RUN,
            printed=tuple(f"{signed(printed, 2)} %" for printed in PA_DIFFERENCES_PRINTED[1:]),
            own=tuple(percent(row.pa_difference) for row in QUAMBA2_130M[1:]),
            shape="({})".format(", ".join(map(str, X_OUT_SCALES.shape))),
            count=X_OUT_SCALES.scales,
            steps=tuple(f"{step:+d}".replace("-", "−") for step in mean_evidence().steps[1:]),
            least=percent(min(growth)),
            most=percent(max(growth)),
            worse=signed(min(gains), 1),
            better=signed(max(gains), 1),
        ),
        "lesson",
        {"step": "8"},
        say(
            "Holds if, where α is used, the scale changes by less than {bound} and the SQNR by "
            "less than {loss} dB in every layer.",
            bound=f"{PA_BOUND_PRINTED} %",
            loss=NEGLIGIBLE_DB,
        ),
        verdict_of(
            [max(map(abs, growth)) < PA_BOUND_PRINTED / 100, max(map(abs, gains)) < NEGLIGIBLE_DB]
        ),
    )


def _quantiles(model: CalibratedModel, say: Language) -> Claim:
    low, high = PUBLISHED_ALPHAS

    def growth(alpha: float) -> list[float]:
        magnitudes = [layer.silu_output.abs for layer in model.layers]
        return [m.quantile(high) / m.quantile(alpha) - 1 for m in magnitudes]

    meant, named = growth(low), growth(toy.COARSE_ALPHA)
    return Claim(
        "quantiles",
        say(
            "α = {low} is the {proper} quantile, not the {coarse} one. Here the {high} quantile is "
            "{least} to {most} above the {proper} one, and {least_named} to {most_named} above the "
            "{coarse} one. The published scales are maxima and know no quantile.",
            low=format_alpha(low),
            proper=percent(low),
            coarse=percent(toy.COARSE_ALPHA),
            high=percent(high),
            least=percent(min(meant)),
            most=percent(max(meant)),
            least_named=percent(min(named)),
            most_named=percent(max(named)),
        ),
        "lesson",
        {"step": "6"},
        say(
            "Holds if they are within {alike} of each other in every layer, whichever is meant.",
            alike=percent(ALIKE),
        ),
        verdict_of([max(meant) < ALIKE, max(named) < ALIKE]),
    )


def _default(model: CalibratedModel, say: Language) -> Claim:
    low, high = PUBLISHED_ALPHAS
    losses = [layer.landscape.loss_db(low) for layer in model.layers]
    return Claim(
        "default",
        say(
            "Here α = {low} loses {least} to {most} dB against each layer's own best; {high} is "
            "better in {wins} of {layers} layers. Quamba's own remark beside its {low} names "
            "{high} for smaller models such as the 130m, of which these figures are "
            "(quamba/modelutils_mamba.py, lines 124 and 132).",
            low=format_alpha(low),
            high=format_alpha(high),
            least=signed(min(losses), 1),
            most=signed(max(losses), 1),
            wins=sum(gain > 0 for gain in model.gains_db),
            layers=len(losses),
        ),
        "sweep",
        {},
        say("Holds if it loses less than {loss} dB in every layer.", loss=NEGLIGIBLE_DB),
        verdict_of([loss < NEGLIGIBLE_DB for loss in losses]),
    )


def _minmax(model: CalibratedModel, say: Language) -> Claim:
    low, high = PUBLISHED_ALPHAS
    layers = model.layers
    wider = [layer.scale(1.0) / layer.scale(low) for layer in layers]

    def gains(alpha: float) -> list[float]:
        return [layer.landscape.loss_db(1.0) - layer.landscape.loss_db(alpha) for layer in layers]

    def closer(alpha: float) -> list[bool]:
        return [layer.mean_error(alpha) < layer.mean_error(1.0) for layer in layers]

    best = model.recommendation.alpha
    return Claim(
        "minmax",
        say(
            "The published scales are MinMax's: nothing was filtered there. Here MinMax's scale "
            "is {least_wider} to {most_wider} times that of α = {low}. By SQNR α = {low} beats it "
            "in {low_wins} of {layers} layers and α = {high} in {high_wins}; by the mean error in "
            "{low_closer} and {high_closer}. The α that serves this model best, {best}, gains "
            "{least} to {most} dB.",
            least_wider=number(min(wider), 2),
            most_wider=number(max(wider), 2),
            low=format_alpha(low),
            low_wins=sum(g > 0 for g in gains(low)),
            layers=len(layers),
            high=format_alpha(high),
            high_wins=sum(g > 0 for g in gains(high)),
            low_closer=sum(closer(low)),
            high_closer=sum(closer(high)),
            best=format_alpha(best),
            least=signed(min(gains(best)), 1),
            most=signed(max(gains(best)), 1),
        ),
        "sweep",
        {},
        say(
            "Holds if MinMax's scale is larger, and both α are better by the mean error, which is "
            "the analysis' measure, and by the SQNR, which is ours, in every layer."
        ),
        verdict_of(
            [
                min(wider) > 1,
                *(g > 0 for g in (*gains(low), *gains(high))),
                *closer(low),
                *closer(high),
            ]
        ),
    )


def _soft_edge(model: CalibratedModel, say: Language) -> Claim:
    rule = ScaleRule("percentile", PUBLISHED_ALPHAS[0])
    soft = [
        format_under_rule(REGISTERED["soft-edge-three-segments"], rule, layer.calibration)
        for layer in model.layers
    ]
    gains = [
        report.output.sqnr_db - layer.sqnr_db(rule.alpha)
        for report, layer in zip(soft, model.layers, strict=True)
    ]
    shifted = [
        float(best_format(REGISTERED["int8-asymmetric"], layer.calibration).output.sqnr_db)
        - layer.sqnr_db(rule.alpha)
        for layer in model.layers
    ]
    book = soft[0].codebook
    return Claim(
        "soft_edge",
        say(
            "Counted with both signs the three segments have {size} values, which take {bits} "
            "bits; of one sign alone there are {sum}. On α = {alpha} they gain {low} to {high} dB "
            "over INT8 with the same scale. INT8 with a zero point, whose 256 values do fit 8 "
            "bits, gains {shifted_low} to {shifted_high} dB at its best scale.",
            size=book.size,
            bits=book.bits_needed,
            sum=int((book.points > 0).sum()),
            alpha=format_alpha(rule.alpha),
            low=signed(min(gains), 1),
            high=signed(max(gains), 1),
            shifted_low=signed(min(shifted), 1),
            shifted_high=signed(max(shifted), 1),
        ),
        "formats",
        {"number_format": "soft-edge-three-segments", "bits": "9"},
        say(
            "Holds if 8 bits tell its values apart, and if it has more SQNR than INT8 with the "
            "same scale in every layer."
        ),
        verdict_of([book.size <= 256, min(gains) > 0]),
    )


def _outlier_aware(say: Language) -> Claim:
    guide = OUTLIER_GUIDE
    most = (guide.minmax_scale / 2) ** 2  # no value is off by more than half a step
    beyond = (1 - guide.alpha) * guide.values
    # Its own example: a scale of normal / 120, and what lies beyond squeezed into 121 … 127.
    step = guide.normal / guide.normal_code
    squeezed = abs(guide.outlier - guide.outlier_code * step)
    clipped = abs(guide.outlier - QMAX * step)
    return Claim(
        "outlier_aware",
        say(
            "Rounding in steps of {scale} with nothing beyond the range cannot have a mean "
            "squared error above {most}, a quarter of the step squared; {printed} is printed. And "
            "α = {alpha} leaves {beyond} of {values} values out, not {overflow}. In the guide's "
            "own example squeezing {outlier} into code {code} leaves it off by {squeezed}; "
            "clipping it to {top} at the same scale leaves {clipped}.",
            scale=number(guide.minmax_scale, 6),
            most=small(most),
            printed=number(guide.minmax_mse, 6),
            alpha=format_alpha(guide.alpha),
            beyond=round(beyond),
            values=f"{guide.values:,}",
            overflow=guide.overflow,
            outlier=number(guide.outlier),
            code=guide.outlier_code,
            squeezed=number(squeezed, 2),
            top=QMAX,
            clipped=number(clipped, 2),
        ),
        "formats",
        {},
        say(
            "Holds if the printed error and overflow can be, and if the squeezed outlier is off by "
            "less than a clipped one."
        ),
        verdict_of(
            [
                guide.minmax_mse <= most,
                round(beyond) == guide.overflow,
                squeezed < clipped,
            ]
        ),
    )


def _direct(kernel: KernelRun | None, say: Language) -> Claim:
    measured = say(
        "So it is, in Quamba's source (csrc/causal_conv1d): codes are widened, the sum, "
        "SiLU and the division by the scale are FP32, and INT8 is stored."
    )
    if kernel:
        measured += "\n\n" + say(
            "Our kernel ran just now (`{backend}`) on {codes} values of the first layer, and "
            "{differing} codes differ from our specification of these steps. That shows that it "
            "computes what we say; it says nothing of Quamba's own rounding.",
            backend=kernel.backend,
            codes=f"{kernel.codes:,}",
            differing=kernel.differing_codes,
        )
    return Claim(
        "direct",
        measured,
        "lesson",
        {"step": "2"},
        say("Decided by Quamba's source; it holds in part if our kernel leaves its specification."),
        verdict_of([True, kernel is None or kernel.differing_codes == 0]),
    )


# What we add


def _conv_absmax(model: CalibratedModel, say: Language) -> Claim:
    losses = [
        layer.loss_at_scale_db(layer.calibration.silu_input.absmax / QMAX) for layer in model.layers
    ]
    return Claim(
        "conv_absmax",
        say(
            "The absmax of the convolution's output over {top} loses {low} to {high} dB against "
            "the best α. It too has to be calibrated, on the values before SiLU: what the analysis "
            "shows is the loss of a scale that was never calibrated.",
            top=QMAX,
            low=signed(min(losses), 1),
            high=signed(max(losses), 1),
        ),
        "explore",
        {"rule": "conv-absmax"},
        statement=say("A scale can be calibrated and still know nothing of SiLU."),
    )


def _average(model: CalibratedModel, say: Language) -> Claim:
    first = model.layers[0]
    batches = len(first.calibration.batches)
    weight = (1 - DEFAULT_SIGMA) ** (batches - 1)
    quantiles = [batch.abs.quantile(PUBLISHED_ALPHAS[0]) for batch in first.calibration.batches]
    orders = range(ORDERS if batches > 1 else 1)
    ends = [averaged(quantiles, DEFAULT_SIGMA, order).final for order in orders]
    apart = max(ends) / min(ends) - 1 if min(ends) > 0 else 0.0
    return Claim(
        "average",
        say(
            "Quamba's moving average, σ = {sigma}, gives the first of {batches} batches {weight} "
            "of the weight; after 512 it still has {late}. The same batches in {orders} orders put "
            "layer {layer}'s scale up to {apart} apart.",
            sigma=DEFAULT_SIGMA,
            batches=batches,
            weight=percent(weight),
            late=percent((1 - DEFAULT_SIGMA) ** 511),
            orders=len(ends),
            layer=first.number,
            apart=percent(apart),
        ),
        "batches",
        {},
        statement=say("A moving average does not weigh all calibration batches alike."),
    )
