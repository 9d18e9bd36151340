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
from dashboard.messages import Message
from dashboard.rules.landscape import NEGLIGIBLE_DB, NEGLIGIBLE_SHARE, Landscape
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, signed, small
from kernels.int8 import QMAX, QMIN


def verdict(report: SliceReport, landscape: Landscape, say: Language) -> str:
    """Whether a percentile does better than the scale on show; ``landscape`` is of its kind.

    Better is what the landscape goes by: more SQNR, or less predicted loss.

    Raises ValueError where one of the two is symmetric and the other is not.
    """
    _check_kind(report.chosen, landscape)
    chosen = report.chosen
    if float(chosen.output.rounding_sse + chosen.output.clipping_sse) == 0:
        return say("This scale makes no error.")
    if landscape.by == "predicted_nats":
        return _verdict_by_loss(chosen, landscape, say)
    sqnr_db = float(chosen.output.sqnr_db)
    gain_db = landscape.best_db - sqnr_db
    if gain_db < NEGLIGIBLE_DB:
        if landscape.symmetric:
            return say("No percentile does better: {sqnr}.", sqnr=decibels(sqnr_db))
        return say("No asymmetric percentile does better: {sqnr}.", sqnr=decibels(sqnr_db))
    best = {"alpha": format_alpha(landscape.best_alpha), "gain": f"{gain_db:.1f} dB"}
    if chosen.x_out_scale < landscape.scales[landscape.best]:
        return say("This scale clips too much: α {alpha} gains {gain}.", **best)
    return say("This scale is too coarse: α {alpha} gains {gain}.", **best)


def _verdict_by_loss(chosen: ScaleReport, landscape: Landscape, say: Language) -> str:
    nats, best_nats = chosen.predicted_nats, landscape.best_nats
    assert nats is not None and best_nats is not None  # the landscape goes by them
    saved = 1 - best_nats / nats if nats else 0.0
    if saved < NEGLIGIBLE_SHARE:
        cost = small(nats)
        if landscape.symmetric:
            return say("No percentile is predicted to cost less: {nats} nats.", nats=cost)
        return say("No asymmetric percentile is predicted to cost less: {nats} nats.", nats=cost)
    best = {"alpha": format_alpha(landscape.best_alpha), "share": percent(saved)}
    if chosen.x_out_scale < landscape.scales[landscape.best]:
        return say(
            "This scale clips too much: α {alpha} is predicted to cost {share} less.", **best
        )
    return say("This scale is too coarse: α {alpha} is predicted to cost {share} less.", **best)


def _check_kind(chosen: ScaleReport, landscape: Landscape) -> None:
    if chosen.rule.symmetric != landscape.symmetric:
        raise ValueError("a symmetric scale and an asymmetric one are not held against each other")


def proof(report: SliceReport, landscape: Landscape, say: Language) -> str:
    """How many values clip, what they cost, and what the usual choices of the same kind lose.

    Raises ValueError as ``verdict`` does.
    """
    _check_kind(report.chosen, landscape)
    output = report.chosen.output
    saturated, share = int(output.saturated), float(output.clipping_share)
    if saturated:
        clipped = say(
            "{saturated} of {total} outputs clip ({rate}) and carry {share} of the error; the "
            "other {rest} is rounding.",
            saturated=f"{saturated:,}",
            total=f"{int(output.total):,}",
            rate=percent(float(output.saturation_rate)),
            share=percent(share),
            rest=percent(1 - share),
        )
    else:
        clipped = say(
            "None of {total} outputs clips: all of the error is rounding.",
            total=f"{int(output.total):,}",
        )
    low, high = PUBLISHED_ALPHAS
    if landscape.by == "predicted_nats":
        return say.sentences(clipped, _proof_by_loss(report.chosen, landscape, say))
    losses = {
        "low": format_alpha(low),
        "low_loss": decibels(landscape.loss_db(low), 1),
        "high": format_alpha(high),
        "high_loss": decibels(landscape.loss_db(high), 1),
        "minmax_loss": decibels(landscape.loss_db(1.0), 1),
    }
    if landscape.symmetric:
        usual = say(
            "Against the best α, α = {low} loses {low_loss}, α = {high} loses {high_loss} and "
            "MinMax loses {minmax_loss}.",
            **losses,
        )
    else:
        usual = say(
            "Against the best α, all of them asymmetric, α = {low} loses {low_loss}, α = {high} "
            "loses {high_loss} and MinMax loses {minmax_loss}.",
            **losses,
        )
    return say.sentences(clipped, usual)


def _proof_by_loss(chosen: ScaleReport, landscape: Landscape, say: Language) -> str:
    assert landscape.predicted_nats is not None
    low, high = PUBLISHED_ALPHAS
    costs = [float(landscape.predicted_nats[landscape.index(a)]) for a in (low, high, 1.0)]
    values = {
        "nats": small(chosen.predicted_nats or 0.0),
        "best": format_alpha(landscape.best_alpha),
        "least": small(landscape.best_nats or 0.0),
        "low": format_alpha(low),
        "high": format_alpha(high),
        **dict(zip(("low_nats", "high_nats", "minmax_nats"), map(small, costs), strict=True)),
    }
    if landscape.symmetric:
        return say(
            "It is predicted to cost {nats} nats a token; the best α, {best}, {least}; α = {low} "
            "{low_nats}, α = {high} {high_nats}, MinMax {minmax_nats}.",
            **values,
        )
    return say(
        "It is predicted to cost {nats} nats a token; the best asymmetric α, {best}, {least}; "
        "α = {low} {low_nats}, α = {high} {high_nats}, MinMax {minmax_nats}.",
        **values,
    )


def landscape_caption(landscape: Landscape, say: Language) -> str:
    """Which side is limited by what, and how wide the top is."""
    first, last = landscape.within(0.5)
    share = landscape.output.clipping_share
    peaked = 0 < landscape.best < len(share) - 1 and share[0] > 0.5 > share[-1]
    return say.sentences(
        "" if landscape.symmetric else say("Asymmetric scales."),
        say("Left of the peak clipping limits, right of it rounding.") if peaked else "",
        say(
            "From α {first} to {last} the loss stays within 0.5 dB.",
            first=format_alpha(first),
            last=format_alpha(last),
        ),
    )


@dataclass(frozen=True)
class Metric:
    """One number of the page, by its name in the definitions, with what to hold it to."""

    name: str
    value: str
    beside: str
    help: str


def metrics(report: SliceReport, beside: ScaleReport, say: Language) -> tuple[Metric, ...]:
    """The six numbers beside the transfer figure, each held to that of another scale.

    Where gradients were counted the predicted cost comes before them.
    """
    chosen, output, other = report.chosen, report.chosen.output, beside.output
    other_nats = beside.predicted_nats

    def against(value: str) -> str:
        return f"{say(beside.short)} {value}"

    costs = []
    if chosen.predicted_nats is not None and other_nats is not None:
        costs.append(
            Metric(
                "predicted_nats",
                small(chosen.predicted_nats),
                against(small(other_nats)),
                say(
                    "½ Σ g²·(quantize(y) − y)² per token, g = d loss / d y: what the scale is "
                    "predicted to cost the model."
                ),
            )
        )
    return (
        *costs,
        Metric(
            "sqnr_db",
            decibels(float(output.sqnr_db)),
            against(decibels(float(other.sqnr_db))),
            say("10·log10(Σ y² / Σ (quantize(y) − y)²): the output's quantization alone."),
        ),
        Metric(
            "saturation_rate",
            percent(float(output.saturation_rate)),
            against(percent(float(other.saturation_rate))),
            say(
                "Share of values beyond the code range. A value saturates beyond {edge} scales; "
                "the cut is drawn at code {top}.",
                edge=QMAX + 0.5,
                top=QMAX,
            ),
        ),
        Metric(
            "x_out_scale",
            scale_text(chosen.x_out_scale),
            against(scale_text(beside.x_out_scale)),
            say("Real units per code: amax / {top}, amax by the scale rule.", top=QMAX),
        ),
        Metric(
            "effective_bits",
            f"{float(output.effective_bits):.2f}",
            against(f"{float(other.effective_bits):.2f}"),
            say("Entropy of the code histogram. More is not better: see the SQNR beside it."),
        ),
        Metric(
            "code_utilization",
            percent(float(output.code_utilization)),
            against(percent(float(other.code_utilization))),
            say("Distinct codes used / 256."),
        ),
        Metric(
            "top_code_utilization",
            percent(float(output.top_code_utilization)) if chosen.rule.symmetric else "–",
            against(percent(float(other.top_code_utilization))),
            say(
                "max |code| / {top}, the published measure: it counts the top code only. Not "
                "defined for an asymmetric scale, whose code of 0 lies elsewhere.",
                top=QMAX,
            ),
        ),
    )


def side_by_side(pinned: SliceReport, chosen: SliceReport, say: Language) -> dict[str, list[str]]:
    """The six numbers of two settings, as columns of a table."""
    both = [metrics(report, report.chosen, say) for report in (pinned, chosen)]
    return {
        say("measure"): [metric.name for metric in both[0]],
        say("Pinned"): [metric.value for metric in both[0]],
        say("Chosen"): [metric.value for metric in both[1]],
    }


def all_measures(report: LayerReport, name: str, say: Language) -> dict[str, list[str]]:
    """Every measure of one slice by its name, with six digits, as columns of a table."""
    values = report.measures(name)
    return {
        say("measure"): list(values),
        say("value"): [measure_text(v) for v in values.values()],
    }


def measure_text(value: object) -> str:
    """Six digits of a number; a shape as it is; a dash for what was not measured."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, list) else f"{value:.6g}"


def transfer_caption(report: SliceReport, say: Language) -> str:
    """What to notice in the transfer figure."""
    scale, stranded = report.chosen.x_out_scale, report.chosen.stranded_codes
    if stranded:
        floor = say(
            "**{count} codes lie below SiLU's least value**, {least}, and can never occur; a "
            "larger scale strands more.",
            count=stranded,
            least=signed(SILU_MIN, 4),
        )
    else:
        floor = say(
            "**Code {low} stands for {value}**: no code is stranded.",
            low=signed(QMIN, 0),
            value=signed(QMIN * scale, 4),
        )
        if report.chosen.output.saturated_low:
            floor = say.sentences(
                floor, say("SiLU goes below it, so values saturate at the lower end too.")
            )
    top = min(int(report.chosen.output.top_code), QMAX)
    bulk = int(report.chosen.codes(report.silu_output.quantile(0.99)))
    spread = say(
        "99 % of the outputs fit in codes up to {bulk}: the top {rest} serve the last 1 %.",
        bulk=bulk,
        rest=top - bulk,
    )
    deepest = report.silu_input.min
    tail = say(
        "SiLU folds the negative input tail, to {deepest}, into the few codes below 0.",
        deepest=signed(deepest, 1),
    )
    return say.sentences(
        floor,
        spread if 0 <= bulk < top else "",
        tail if deepest < -5 and stranded else "",
    )


def table_caption(rows: Sequence[ScaleReport], say: Language) -> str:
    """Whether more bits were more signal, among the scales shown."""
    best = max(rows, key=lambda r: float(r.output.sqnr_db))
    fair = [r for r in rows if float(r.output.saturation_rate) < 0.5]
    richest = max(fair or rows, key=lambda r: float(r.output.effective_bits))
    # Not a number where neither makes an error.
    gap_db = float(best.output.sqnr_db) - float(richest.output.sqnr_db)
    bits, best_bits = (float(r.output.effective_bits) for r in (richest, best))
    if gap_db > 0.05 and bits - best_bits > 0.05:
        first = say(
            "**More bits is not more signal.** {richest} spreads the values over the codes most "
            "evenly ({bits} bits) and is {gap} worse than {best} ({best_bits} bits).",
            richest=say(richest.label),
            bits=f"{bits:.2f}",
            gap=f"{gap_db:.1f} dB",
            best=say(best.label),
            best_bits=f"{best_bits:.2f}",
        )
    else:
        first = say(
            "**{best} gives the most signal of these**, {sqnr}.",
            best=say(best.label),
            sqnr=decibels(float(best.output.sqnr_db)),
        )
    most_codes = max(rows, key=lambda r: int(r.output.codes_used))
    rate = float(most_codes.output.saturation_rate)
    if rate < 0.5:
        return first
    return say.sentences(
        first,
        say(
            "{rule} touches {codes} codes by saturating {rate} of the values.",
            rule=say(most_codes.label),
            codes=int(most_codes.output.codes_used),
            rate=percent(rate),
        ),
    )


def sweep_caption(report: SliceReport, say: Language) -> str:
    """Utilization against scale_wx, in a sentence."""
    wx, chosen = report.silu_output.quantize(report.scales.scale_wx), report.chosen
    at_wx = say(
        "At scale_wx ({scale}) the output would use {codes} of 256 codes and saturate {rate} of "
        "the values.",
        scale=scale_text(report.scales.scale_wx),
        codes=int(wx.codes_used),
        rate=percent(float(wx.saturation_rate)),
    )
    used = {
        "codes": int(chosen.output.codes_used),
        "rate": percent(float(chosen.output.saturation_rate)),
    }
    if not chosen.rule.symmetric:
        of_chosen = say(
            "The chosen scale is asymmetric and the curves are not: it lies off them, uses {codes} "
            "codes and saturates {rate}.",
            **used,
        )
    elif report.ratio_wx == 1:
        of_chosen = say(
            "The chosen scale is exactly scale_wx, uses {codes} codes and saturates {rate}.", **used
        )
    else:
        of_chosen = say(
            "The chosen scale is {ratio} times scale_wx, uses {codes} codes and saturates {rate}.",
            ratio=f"{report.ratio_wx:,.3g}",
            **used,
        )
    misled = wx.codes_used > chosen.output.codes_used and wx.sqnr_db < chosen.output.sqnr_db
    return say.sentences(
        at_wx,
        of_chosen,
        say("Utilization alone cannot choose a scale: more codes are used where more is lost.")
        if misled
        else "",
    )


def kernel_status(run: KernelRun, say: Language) -> str:
    """Which backend ran, how long it took, how many codes differ from the reference."""
    dot = ":green[●]" if run.differing_codes == 0 else ":red[●]"
    status = say(
        "**{backend}** · kernel {time} ms · **{differing}** of {codes} codes differ from the "
        "reference",
        backend=run.backend,
        time=f"{run.time_ms:,.0f}",
        differing=f"{run.differing_codes:,}",
        codes=f"{run.codes:,}",
    )
    return f"{dot} {status}"


def kernel_sentence(report: LayerReport, run: KernelRun, name: str, say: Language) -> str:
    """What rounding the inputs costs on top of rounding the output."""
    index = next(i for i, conv_slice in enumerate(report.slices) if conv_slice.name == name)
    live_db = run.sqnr_db[index]
    lost_db = float(report.slices[index].chosen.output.sqnr_db) - live_db
    live = say("Live kernel: **{sqnr}**.", sqnr=decibels(live_db))
    if not np.isfinite(live_db) or not np.isfinite(lost_db):
        return live
    difference = f"{abs(lost_db):.2f} dB"
    if lost_db >= 0:
        inputs = say("Rounding x, the weights and the bias costs another {loss}.", loss=difference)
    else:
        inputs = say(
            "Rounding x, the weights and the bias happens to give back {gain}.", gain=difference
        )
    return say.sentences(live, inputs)


NO_RATIOS = Message(
    "–: of an asymmetric scale, whose code of 0 lies elsewhere, ratios and top code say nothing."
)
NO_KERNEL_FILE = Message(
    "**calibration file**: it holds counts, no conv input, so the kernel does not run"
)


def whence_words(how: str, day: str, say: Language) -> str:
    """Whether counts were made now or before; "" where it goes without saying.

    Args:
        how: "now", "kept", "carried" or "file".
        day: on which they were made, of those that were kept.
    """
    words = {
        "now": say("counted now"),
        "kept": say("counted on {day}, kept", day=day),
        "carried": say("counts that come with the sample"),
    }
    return words.get(how, "")


def whence_help(how: str, say: Language) -> str:
    """What it means, in a sentence or two."""
    sentences = {
        "now": say("The model ran on this server, and what it made was counted and is kept."),
        "kept": say(
            "These files were calibrated before with this text: the counts were read from disk. "
            "The live kernel runs the model anew."
        ),
        "carried": say(
            "This sample comes with its counts, made in float32 on a CPU. The live kernel runs "
            "the model anew."
        ),
    }
    return sentences.get(how, "")
