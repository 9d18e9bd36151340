"""Explore: the verdict, the metrics, and what to notice in each figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.report import (
    SILU_MIN,
    KernelRun,
    LayerReport,
    ScaleReport,
    SliceReport,
    format_alpha,
)
from dashboard.rules.landscape import NEGLIGIBLE_DB, Landscape
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, signed
from kernels.int8 import QMAX


def verdict(report: SliceReport, found: Landscape, say: Language) -> str:
    """Whether there is a better percentile than the scale on show; ``found`` is of its kind."""
    _check_kind(report.chosen, found)
    chosen = report.chosen
    if float(chosen.output.rounding_sse + chosen.output.clipping_sse) == 0:
        return "This scale makes no error."
    noise = float(chosen.output.sqnr_db)
    gain = found.best_db - noise
    if gain < NEGLIGIBLE_DB:
        kind = "" if found.symmetric else "asymmetric "
        return f"No {kind}percentile does better: {decibels(noise)}."
    fault = "clips too much" if chosen.x_out_scale < found.scales[found.best] else "is too coarse"
    return f"This scale {fault}: α {format_alpha(found.best_alpha)} gains {gain:.1f} dB."


def _check_kind(chosen: ScaleReport, found: Landscape) -> None:
    if chosen.rule.symmetric != found.symmetric:
        raise ValueError("a symmetric scale and an asymmetric one are not held against each other")


def proof(report: SliceReport, found: Landscape, say: Language) -> str:
    """How many values clip, what they cost, and what the usual choices of the same kind lose."""
    _check_kind(report.chosen, found)
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
    best = "the best α" if found.symmetric else "the best α, all of them asymmetric"
    return f"{told} Against {best}, {', '.join(lost[:-1])} and {lost[-1]}."


def landscape_caption(found: Landscape, say: Language) -> str:
    """Which side is limited by what, and how wide the top is."""
    first, last = found.within(0.5)
    told = "" if found.symmetric else "Asymmetric scales. "
    share = found.output.clipping_share
    if 0 < found.best < len(share) - 1 and share[0] > 0.5 > share[-1]:
        told += "Left of the peak clipping limits, right of it rounding. "
    return (
        f"{told}From α {format_alpha(first)} to {format_alpha(last)} the loss stays within 0.5 dB."
    )


@dataclass(frozen=True)
class Metric:
    """One number of the page, by its name in the definitions, with what to hold it to."""

    name: str
    value: str
    beside: str
    help: str


def metrics(report: SliceReport, beside: ScaleReport, say: Language) -> tuple[Metric, ...]:
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
            percent(float(output.top_code_utilization)) if chosen.rule.symmetric else "–",
            f"{name} {percent(float(other.top_code_utilization))}",
            "max |code| / 127, the published measure: it counts the top code only. "
            "Not defined for an asymmetric scale, whose code of 0 lies elsewhere.",
        ),
    )


def all_measures(report: LayerReport, name: str, say: Language) -> dict[str, list[str]]:
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


def transfer_caption(report: SliceReport, say: Language) -> str:
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


def table_caption(rows: Sequence[ScaleReport], say: Language) -> str:
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


def sweep_caption(report: SliceReport, say: Language) -> str:
    """Utilization against scale_wx, in a sentence."""
    wx = report.silu_output.quantize(report.scales.scale_wx)
    chosen = report.chosen
    lies = (
        f"is {_times(report.ratio_wx)} scale_wx,"
        if chosen.rule.symmetric
        else "is asymmetric and the curves are not: it lies off them,"
    )
    told = (
        f"At scale_wx ({scale_text(report.scales.scale_wx)}) the output would use "
        f"{int(wx.codes_used)} of 256 codes and saturate {percent(float(wx.saturation_rate))} of "
        f"the values. The chosen scale {lies} uses "
        f"{int(chosen.output.codes_used)} codes and saturates "
        f"{percent(float(chosen.output.saturation_rate))}."
    )
    if wx.codes_used > chosen.output.codes_used and wx.sqnr_db < chosen.output.sqnr_db:
        told += " Utilization alone cannot choose a scale: more codes are used where more is lost."
    return told


def _times(ratio: float) -> str:
    return "exactly" if ratio == 1 else f"{ratio:,.3g} times"


def kernel_status(run: KernelRun, say: Language) -> str:
    """Which backend ran, how long it took, how many codes differ from the reference."""
    dot = ":green[●]" if run.differing_codes == 0 else ":red[●]"
    return (
        f"{dot} **{run.backend}** · kernel {run.time_ms:,.0f} ms · "
        f"**{run.differing_codes:,}** of {run.codes:,} codes differ from the reference"
    )


def kernel_sentence(report: LayerReport, run: KernelRun, name: str, say: Language) -> str:
    """What rounding the inputs costs on top of rounding the output."""
    index = next(i for i, part in enumerate(report.slices) if part.name == name)
    live = run.sqnr_db[index]
    lost = float(report.slices[index].chosen.output.sqnr_db) - live
    if not np.isfinite(live) or not np.isfinite(lost):
        return f"Live kernel: **{decibels(live)}**."
    verb = "costs another" if lost >= 0 else "happens to give back"
    return (
        f"Live kernel: **{decibels(live)}**. Rounding x, the weights and the bias {verb} "
        f"{abs(lost):.2f} dB."
    )


SYMMETRIC_HERE = "Scales on this page are symmetric; Explore and Layers have asymmetric ones."
NO_RATIOS = (
    "–: of an asymmetric scale, whose code of 0 lies elsewhere, ratios and top code say nothing."
)
NO_KERNEL_FILE = "**calibration file**: it holds counts, no conv input, so the kernel does not run"
NO_KERNEL_ASYMMETRIC = "**asymmetric**: the kernel writes symmetric codes, so it does not run"
