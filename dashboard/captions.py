"""Reports -> the sentences under the figures. Every number in them is computed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.figures.style import decibels, percent, scale_text, signed
from dashboard.report import SILU_MIN, KernelRun, LayerReport, ScaleReport, SliceReport
from kernels.int8 import QMAX, scale_from_amax


def headline(report: SliceReport) -> str:
    """What the error under the chosen scale consists of."""
    output = report.chosen.output
    share = float(output.clipping_share)
    if float(output.rounding_sse + output.clipping_sse) == 0:
        return "This scale makes no error."
    if share > 0.5:
        return f"{percent(share)} of the error is clipping."
    return f"{percent(1 - share)} of the error is rounding."


def proof(report: SliceReport) -> str:
    """How many values clip, and what they cost."""
    output = report.chosen.output
    saturated, total = int(output.saturated), int(output.total)
    if not saturated:
        return f"None of {total:,} outputs lies beyond the code range, so nothing is clipped."
    return (
        f"{saturated:,} of {total:,} outputs lie beyond the code range. They are "
        f"{percent(float(output.saturation_rate))} of the values and "
        f"{percent(float(output.clipping_share))} of the squared error."
    )


@dataclass(frozen=True)
class Metric:
    """One number of the page, by its name in the definitions, with what to hold it to."""

    name: str
    value: str
    beside: str
    help: str


def metrics(report: SliceReport) -> tuple[Metric, ...]:
    """The six numbers beside the transfer figure."""
    chosen, output = report.chosen, report.chosen.output
    minmax = report.silu_output.quantize(scale_from_amax(report.silu_output.absmax))
    return (
        Metric(
            "sqnr_db",
            decibels(float(output.sqnr_db)),
            f"MinMax {decibels(float(minmax.sqnr_db))}",
            "10·log10(Σ y² / Σ (quantize(y) − y)²): the output's quantization alone.",
        ),
        Metric(
            "saturation_rate",
            percent(float(output.saturation_rate)),
            f"{int(output.saturated):,} values",
            "Share of values beyond the code range. A value saturates beyond 127.5 scales; the "
            "cut is drawn at code 127.",
        ),
        Metric(
            "x_out_scale",
            scale_text(chosen.x_out_scale),
            f"{_times(report.ratio_wx)} scale_wx",
            "Real units per code: amax / 127, amax by the scale rule.",
        ),
        Metric(
            "effective_bits",
            f"{float(output.effective_bits):.2f}",
            f"of 8; MinMax {float(minmax.effective_bits):.2f}",
            "Entropy of the code histogram. More is not better: see the SQNR beside it.",
        ),
        Metric(
            "code_utilization",
            percent(float(output.code_utilization)),
            f"{int(output.codes_used)} of 256 codes",
            "Distinct codes used / 256.",
        ),
        Metric(
            "top_code_utilization",
            percent(float(output.top_code_utilization)),
            f"top code {int(output.top_code)}",
            "max |code| / 127, the published measure: it counts the top code only.",
        ),
    )


def all_measures(report: LayerReport, name: str) -> dict[str, list[str]]:
    """Every measure of one slice by its name, with six digits, as columns of a table."""
    values = report.measures(name)
    return {
        "measure": list(values),
        "value": [str(v) if isinstance(v, list) else f"{v:.6g}" for v in values.values()],
    }


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
