"""Reports -> the sentences under the figures. Every number in them is computed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.figures.style import decibels, percent, scale_text, signed
from dashboard.landscape import NEGLIGIBLE_DB, Landscape, Recommendation
from dashboard.observers import PUBLISHED_ALPHAS, MovingAverage
from dashboard.report import (
    SILU_MIN,
    Judged,
    KernelRun,
    LayerReport,
    ScaleReport,
    SliceReport,
    format_alpha,
)
from kernels.int8 import QMAX


def verdict(report: SliceReport, found: Landscape) -> str:
    """Whether there is a better percentile than the scale on show."""
    chosen = report.chosen
    if float(chosen.output.rounding_sse + chosen.output.clipping_sse) == 0:
        return "This scale makes no error."
    noise = float(chosen.output.sqnr_db)
    gain = found.best_db - noise
    if gain < NEGLIGIBLE_DB:
        return f"No percentile does better: {decibels(noise)}."
    fault = "clips too much" if chosen.high < QMAX * _best_scale(found) else "is too coarse"
    if not chosen.rule.symmetric:
        fault = "is not the best"
    return f"This scale {fault}: α {format_alpha(found.best_alpha)} gains {gain:.1f} dB."


def _best_scale(found: Landscape) -> float:
    return float(found.scales[found.best])


def proof(report: SliceReport, found: Landscape) -> str:
    """How many values clip, what they cost, and what the usual choices lose."""
    output = report.chosen.output
    saturated, total = int(output.saturated), int(output.total)
    share = float(output.clipping_share)
    if saturated:
        told = (
            f"{saturated:,} of {total:,} outputs clip ({percent(float(output.saturation_rate))}) "
            f"and carry {percent(share)} of the error; the other {percent(1 - share)} is rounding."
        )
    else:
        told = f"None of {total:,} outputs clips: all of the error is rounding."
    lost = [
        f"{name} loses {decibels(found.loss_db(alpha), 1)}"
        for name, alpha in (*((f"α = {format_alpha(a)}", a) for a in PUBLISHED_ALPHAS),
                            ("MinMax", 1.0))
    ]  # fmt: skip
    return f"{told} Against the best α, {', '.join(lost[:-1])} and {lost[-1]}."


def landscape_caption(found: Landscape) -> str:
    """Which side is limited by what, and how wide the top is."""
    first, last = found.within(0.5)
    told = ""
    share = found.output.clipping_share
    if 0 < found.best < len(share) - 1 and share[0] > 0.5 > share[-1]:
        told = "Left of the peak clipping limits, right of it rounding. "
    return (
        f"{told}From α {format_alpha(first)} to {format_alpha(last)} the loss stays within 0.5 dB."
    )


def recommendation(found: Recommendation) -> str:
    """One α for the model, with the reason."""
    alpha = found.alpha
    worst = found.worst
    where = f"layer {worst.layer}"
    if len({choice.slice for choice in found.layers}) > 1:
        where += f", slice {worst.slice}"
    others = ", ".join(
        f"{name} {decibels(found.mean_loss_db(a), 1)}"
        for name, a in (*((f"α = {format_alpha(a)}", a) for a in PUBLISHED_ALPHAS), ("MinMax", 1.0))
    )
    return (
        f"One α for all {len({choice.layer for choice in found.layers})} layers: "
        f"**{format_alpha(alpha)}**. Against each layer's own best it "
        f"loses {decibels(found.mean_loss_db(alpha), 2)} on average and at most "
        f"{decibels(worst.loss_db[alpha], 2)} ({where}); on average the others lose: {others}."
    )


def sweep_verdict(found: Landscape) -> str:
    """The best α, and what it gains over the published two and MinMax."""
    gains = ", ".join(
        f"{decibels(found.loss_db(alpha), 2)} over {name}"
        for name, alpha in (("0.9995", 0.9995), ("0.99999", 0.99999), ("MinMax", 1.0))
    )
    return f"Best α {format_alpha(found.best_alpha)}: {decibels(found.best_db)}, {gains}."


def average_verdict(average: MovingAverage, pooled: float) -> str:
    """What the average and the pooled quantile come to, and what the first batch weighs."""
    return (
        f"It ends at {scale_text(average.final)}, the pooled quantile is {scale_text(pooled)}. "
        f"After {len(average.order)} batches the first still weighs "
        f"**{percent(average.weights[0])}**."
    )


def orders_caption(finals: np.ndarray, pooled: float) -> str:
    """How far the order alone moves the scale."""
    low, high = float(finals.min()), float(finals.max())
    return (
        f"The same batches in {len(finals)} orders: the scale comes out between "
        f"{scale_text(low / QMAX)} and {scale_text(high / QMAX)}, "
        f"{percent(high / low - 1 if low else 0.0)} apart. The pooled quantile, "
        f"{scale_text(pooled / QMAX)}, knows no order."
    )


def average_headline(average: MovingAverage, pooled: float) -> str:
    """How far the moving average ends from the quantile of everything."""
    away = average.final / pooled - 1 if pooled else 0.0
    if abs(away) < 0.0005:
        return "Here the moving average ends where the pooled quantile is."
    return (
        f"The moving average ends {percent(abs(away))} {'above' if away > 0 else 'below'} the "
        "pooled quantile."
    )


def average_caption(average: MovingAverage, sigma: float) -> str:
    """The weight of the first batch, now and after many."""
    if len(average.order) == 1:
        return "One batch is its own average."
    return (
        f"The first batch seeds the average and keeps (1 − σ)^(n − 1) of it: "
        f"{percent(average.weights[0])} of {len(average.order)} batches, "
        f"{percent((1 - sigma) ** 511)} of 512. The pooled quantile weighs every value alike."
    )


def held_out_headline(here: Judged, names: tuple[str, str], there: Landscape) -> str:
    """What the calibrated scale loses on the other text, against the best α there."""
    loss = there.best_db - float(here.there.sqnr_db)
    if loss < NEGLIGIBLE_DB:
        return f"On {names[1]} no percentile does better than this scale."
    return f"On {names[1]} this scale loses {loss:.1f} dB against the best α there."


def held_out_verdict(here: Judged, names: tuple[str, str], pair: Sequence[Landscape]) -> str:
    """The same scale on both texts: SQNR and saturation."""
    own, there = here.own.output, here.there
    return (
        f"{here.own.label}, calibrated on {names[0]}: {decibels(float(own.sqnr_db))} and "
        f"{percent(float(own.saturation_rate))} saturated there; "
        f"{decibels(float(there.sqnr_db))} and {percent(float(there.saturation_rate))} on "
        f"{names[1]}. The best α is {format_alpha(pair[0].best_alpha)} on the one and "
        f"{format_alpha(pair[1].best_alpha)} on the other."
    )


def held_out_caption(pair: Sequence[Landscape], names: tuple[str, str]) -> str:
    """What the best scale of one text would lose on the other."""
    moved = pair[0].scales[pair[0].best] / pair[1].scales[pair[1].best]
    return (
        f"The best scale is {scale_text(float(pair[0].scales[pair[0].best]))} on {names[0]} and "
        f"{scale_text(float(pair[1].scales[pair[1].best]))} on {names[1]}, a factor of "
        f"{max(moved, 1 / moved):.2f}."
    )


def held_out_rows(
    judged: Sequence[Judged],
    bests: Sequence[tuple[Landscape, Landscape]],
    names: tuple[str, str],
) -> list[dict]:
    """A row a layer: saturation, SQNR and best α on each text."""
    return [
        {
            "layer": each.layer,
            "x_out_scale": scale_text(each.own.x_out_scale),
            f"saturated, {names[0]}": percent(float(each.own.output.saturation_rate)),
            f"saturated, {names[1]}": percent(float(each.there.saturation_rate)),
            f"SQNR, {names[0]}": decibels(float(each.own.output.sqnr_db)),
            f"SQNR, {names[1]}": decibels(float(each.there.sqnr_db)),
            f"best α, {names[0]}": format_alpha(own.best_alpha),
            f"best α, {names[1]}": format_alpha(there.best_alpha),
            f"lost on {names[1]}": decibels(there.best_db - float(each.there.sqnr_db)),
        }
        for each, (own, there) in zip(judged, bests, strict=True)
    ]


def recommendation_rows(found: Recommendation) -> list[dict]:
    """A row a layer and slice: its best α, and what others lose there."""
    return [
        {
            "layer": choice.layer,
            "slice": choice.slice,
            "best α": format_alpha(choice.alpha),
            "x_out_scale": scale_text(choice.x_out_scale),
            "SQNR": decibels(choice.sqnr_db),
            f"α {format_alpha(found.alpha)} loses": decibels(choice.loss_db[found.alpha]),
            "0.9995 loses": decibels(choice.loss_db[0.9995]),
            "0.99999 loses": decibels(choice.loss_db[0.99999]),
            "MinMax loses": decibels(choice.loss_db[1.0]),
        }
        for choice in found.layers
    ]


def alpha_sweep_caption(found: Landscape, rows: Sequence[ScaleReport]) -> str:
    """Where more bits and fewer saturated values part from more signal."""
    bits = found.output.effective_bits
    richest = int(np.argmax(bits))
    told = (
        f"Effective bits are greatest at α {format_alpha(float(found.alphas[richest]))} "
        f"({float(bits[richest]):.2f}), SQNR at {format_alpha(found.best_alpha)} "
        f"({float(bits[found.best]):.2f} bits)."
    )
    beyond = [row.short for row in rows if row.x_out_scale > found.scales[-1]]
    below = [row.short for row in rows if row.x_out_scale < found.scales[0]]
    if beyond:
        told += f" In the right margin, beyond every value: {', '.join(beyond)}."
    if below:
        told += f" In the left margin, below the 0.9-quantile: {', '.join(below)}."
    return told


def kind_rows(kinds: Sequence[tuple[str, dict[str, float]]]) -> list[dict]:
    """A row a kind of scale, a column a rule: SQNR, or a dash where a rule is not defined."""
    rules = list(dict.fromkeys(rule for _, found in kinds for rule in found))
    return [
        {"scale": name} | {
            rule: decibels(found[rule]) if rule in found else "–" for rule in rules
        }
        for name, found in kinds
    ]  # fmt: skip


def kinds_caption(kinds: Sequence[tuple[str, dict[str, float]]]) -> str:
    """What each kind buys over one symmetric scale a tensor, by the least squared error."""
    base = kinds[0][1]["mse"]
    gains = [f"{name} {signed(found['mse'] - base, 1)} dB" for name, found in kinds[1:]]
    return f"By mse, against one symmetric scale a tensor: {'; '.join(gains)}."


@dataclass(frozen=True)
class Metric:
    """One number of the page, by its name in the definitions, with what to hold it to."""

    name: str
    value: str
    beside: str
    help: str


def metrics(report: SliceReport, beside: ScaleReport) -> tuple[Metric, ...]:
    """The six numbers beside the transfer figure, each held to that of another scale."""
    chosen, output = report.chosen, report.chosen.output
    name, other = beside.short, beside.output
    return (
        Metric(
            "sqnr_db",
            decibels(float(output.sqnr_db)),
            f"{name} {decibels(float(other.sqnr_db))}",
            "10·log10(Σ y² / Σ (quantize(y) − y)²): the output's quantization alone.",
        ),
        Metric(
            "saturation_rate",
            percent(float(output.saturation_rate)),
            f"{name} {percent(float(other.saturation_rate))}",
            "Share of values beyond the code range. A value saturates beyond 127.5 scales; the "
            "cut is drawn at code 127.",
        ),
        Metric(
            "x_out_scale",
            scale_text(chosen.x_out_scale),
            f"{name} {scale_text(beside.x_out_scale)}",
            "Real units per code: amax / 127, amax by the scale rule.",
        ),
        Metric(
            "effective_bits",
            f"{float(output.effective_bits):.2f}",
            f"{name} {float(other.effective_bits):.2f}",
            "Entropy of the code histogram. More is not better: see the SQNR beside it.",
        ),
        Metric(
            "code_utilization",
            percent(float(output.code_utilization)),
            f"{name} {percent(float(other.code_utilization))}",
            "Distinct codes used / 256.",
        ),
        Metric(
            "top_code_utilization",
            percent(float(output.top_code_utilization)),
            f"{name} {percent(float(other.top_code_utilization))}",
            "max |code| / 127, the published measure: it counts the top code only.",
        ),
    )


def all_measures(report: LayerReport, name: str) -> dict[str, list[str]]:
    """Every measure of one slice by its name, with six digits, as columns of a table."""
    values = report.measures(name)
    return {
        "measure": list(values),
        "value": [measure_text(v) for v in values.values()],
    }


def measure_text(value: object) -> str:
    """Six digits of a number; a shape as it is; a dash for what was not measured."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, list) else f"{value:.6g}"


def transfer_caption(report: SliceReport) -> str:
    """What to notice in the transfer figure."""
    scale = report.chosen.x_out_scale
    stranded = report.chosen.stranded_codes
    if stranded:
        floor = (
            f"**{stranded} codes hang below SiLU's floor** of {signed(SILU_MIN, 4)} and can never "
            "occur; a larger scale strands more."
        )
    else:
        floor = f"**Code −128 stands for {signed(-128 * scale, 4)}**: no code is stranded."
        if report.chosen.output.saturated_low:
            floor += " SiLU goes below it, so values saturate at the lower end too."
    top = min(int(report.chosen.output.top_code), QMAX)
    bulk = int(report.chosen.codes(report.silu_output.quantile(0.99)))
    spread = (
        f" 99 % of the outputs fit in codes up to {bulk}: the top {top - bulk} serve the last 1 %."
        if 0 <= bulk < top
        else ""
    )
    deepest = report.silu_input.min
    tail = (
        f" SiLU folds the negative input tail, to {signed(deepest, 1)}, into the few codes below 0."
        if deepest < -5 and stranded
        else ""
    )
    return floor + spread + tail


def table_caption(rows: Sequence[ScaleReport]) -> str:
    """Whether more bits were more signal, among the scales shown."""
    best = max(rows, key=lambda r: float(r.output.sqnr_db))
    fair = [r for r in rows if float(r.output.saturation_rate) < 0.5]
    richest = max(fair or rows, key=lambda r: float(r.output.effective_bits))
    gap = float(best.output.sqnr_db) - float(richest.output.sqnr_db)  # not a number without noise
    bits, best_bits = (float(r.output.effective_bits) for r in (richest, best))
    if gap > 0.05 and bits - best_bits > 0.05:
        text = (
            f"**More bits is not more signal.** {richest.label} spreads the values over the codes "
            f"most evenly ({bits:.2f} bits) and is {gap:.1f} dB worse than {best.label} "
            f"({best_bits:.2f} bits)."
        )
    else:
        most = decibels(float(best.output.sqnr_db))
        text = f"**{best.label} gives the most signal of these**, {most}."
    hungriest = max(rows, key=lambda r: int(r.output.codes_used))
    if float(hungriest.output.saturation_rate) >= 0.5:
        text += (
            f" {hungriest.label} touches {int(hungriest.output.codes_used)} codes by saturating "
            f"{percent(float(hungriest.output.saturation_rate))} of the values."
        )
    return text


def sweep_caption(report: SliceReport) -> str:
    """Utilization against scale_wx, in a sentence."""
    wx = report.silu_output.quantize(report.scales.scale_wx)
    chosen = report.chosen
    told = (
        f"At scale_wx ({scale_text(report.scales.scale_wx)}) the output would use "
        f"{int(wx.codes_used)} of 256 codes and saturate {percent(float(wx.saturation_rate))} of "
        f"the values. The chosen scale is {_times(report.ratio_wx)} scale_wx, uses "
        f"{int(chosen.output.codes_used)} codes and saturates "
        f"{percent(float(chosen.output.saturation_rate))}."
    )
    if wx.codes_used > chosen.output.codes_used and wx.sqnr_db < chosen.output.sqnr_db:
        told += " Utilization alone cannot choose a scale: more codes are used where more is lost."
    return told


def _times(ratio: float) -> str:
    return "exactly" if ratio == 1 else f"{ratio:,.3g} times"


def kernel_status(run: KernelRun) -> str:
    """Which backend ran, how long it took, how many codes differ from the reference."""
    dot = ":green[●]" if run.differing_codes == 0 else ":red[●]"
    return (
        f"{dot} **{run.backend}** · kernel {run.time_ms:,.0f} ms · "
        f"**{run.differing_codes:,}** of {run.codes:,} codes differ from the reference"
    )


def kernel_sentence(report: LayerReport, name: str) -> str:
    """What rounding the inputs costs on top of rounding the output."""
    index = next(i for i, part in enumerate(report.slices) if part.name == name)
    live = report.kernel.sqnr_db[index]
    lost = float(report.slices[index].chosen.output.sqnr_db) - live
    if not np.isfinite(live) or not np.isfinite(lost):
        return f"Live kernel: **{decibels(live)}**."
    verb = "costs another" if lost >= 0 else "happens to give back"
    return (
        f"Live kernel: **{decibels(live)}**. Rounding x, the weights and the bias {verb} "
        f"{abs(lost):.2f} dB."
    )


NO_KERNEL_FILE = "**calibration file**: it holds counts, no conv input, so the kernel does not run"
NO_KERNEL_ASYMMETRIC = "**asymmetric**: the kernel writes symmetric codes, so it does not run"
NO_CHANNELS = "A calibration file holds no single channels; choose its checkpoint to see them."
NO_SECOND_TEXT = "A calibration file knows one text; choose its checkpoint to judge on another."
