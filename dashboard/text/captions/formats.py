"""Formats: which one is best within so many bits, what bounds it, what two of them do to y."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboard.analysis.formats import (
    FormatPoint,
    FormatPoints,
    SliceFormats,
    format_points,
)
from dashboard.analysis.report import KernelRun
from dashboard.formats import REGISTERED, FormatReport
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, small


def format_label(name: str, say: Language) -> str:
    """A format's label in the reader's language."""
    return say(REGISTERED[name].label)


def formats_headline(points: FormatPoints, bits: int, say: Language) -> str:
    """The best format of a budget, and what it has over published INT8."""
    best = points.best_within(bits)
    if best is None:
        return say("No format has values that fit {bits} bits.", bits=bits)
    label = format_label(best.name, say)
    if points.by == "predicted_nats":
        nats, before = _nats(best), _nats(points.baseline)
        if before == 0 or nats == 0:
            return say(
                "Within {bits} bits, {format} does best: predicted {nats} nats.",
                bits=bits,
                format=label,
                nats=small(nats),
            )
        if nats <= before:
            return say(
                "Within {bits} bits, {format} does best: predicted {nats} nats, {times} times less "
                "than symmetric INT8 at α = 0.9995.",
                bits=bits,
                format=label,
                nats=small(nats),
                times=f"{before / nats:.2g}",
            )
        return say(
            "Within {bits} bits, {format} does best: predicted {nats} nats, {times} times as much "
            "as symmetric INT8 at α = 0.9995.",
            bits=bits,
            format=label,
            nats=small(nats),
            times=f"{nats / before:.2g}",
        )
    gain = best.sqnr_db - points.baseline.sqnr_db
    words = {"bits": bits, "format": label, "sqnr": decibels(best.sqnr_db, 1)}
    if gain >= 0:
        return say(
            "Within {bits} bits, {format} does best: {sqnr}, {gain} more than symmetric INT8 at "
            "α = 0.9995.",
            **words,
            gain=decibels(gain, 1),
        )
    return say(
        "Within {bits} bits, {format} does best: {sqnr}, {loss} less than symmetric INT8 at "
        "α = 0.9995.",
        **words,
        loss=decibels(-gain, 1),
    )


def _nats(point: FormatPoint) -> float:
    assert point.predicted_nats is not None  # where formats are judged by loss
    return point.predicted_nats


def formats_verdict(points: FormatPoints, bits: int, say: Language) -> str:
    """How far the best format is from what any could do with as many values."""
    best, bound = points.best_within(bits), points.bound(bits)
    if best is None or bound is None:
        return say("A format needs as many bits as tell all of its values apart, with both signs.")
    if points.by == "predicted_nats":
        return say(
            "The best {count} values there are would be predicted to cost {nats} nats, and no "
            "quantizer that looks at one value alone does better with as many.",
            count=2**bits,
            nats=small(_nats(bound)),
        )
    return say(
        "The best {count} values there are would have {sqnr}, {gap} more: no quantizer that looks "
        "at one value alone does better with as many.",
        count=2**bits,
        sqnr=decibels(bound.sqnr_db, 1),
        gap=decibels(bound.sqnr_db - best.sqnr_db, 1),
    )


def formats_caption(points: FormatPoints, say: Language) -> str:
    """What the drawing of quality over bits shows, and what to notice."""
    over = [
        point
        for point in points.points
        if point.bits_needed > REGISTERED[point.name].bits and point.family == "soft-edge"
    ]
    where = (
        say("Each format at its own best scale, on this layer.")
        if points.slices == 1
        else say("Each format at its own best scale, over {count} layers.", count=points.slices)
    )
    if not over:
        return where
    return say.sentences(
        where,
        say(
            "{count} soft edges are published for 8 bits and need more, once values of both signs "
            "are counted: {formats}.",
            count=len(over),
            formats=say.listed(f"{point.name} {point.size}" for point in over),
        ),
    )


def ruler_caption(report: FormatReport, say: Language) -> str:
    """What the chosen format rounds, what it clips, and how many of its codes are used."""
    output, label = report.output, format_label(report.number_format.name, say)
    error = output.rounding_sse + output.clipping_sse
    used = say(
        "{format}: {used} of {size} codes occur, which is worth {bits} bits.",
        format=label,
        used=output.codes_used,
        size=report.codebook.size,
        bits=f"{output.effective_bits:.2f}",
    )
    if report.number_format.is_fitted or error == 0:
        return used
    return say.sentences(
        used,
        say(
            "{saturated} of the values are clipped, and make {share} of its squared error; "
            "rounding makes the rest.",
            saturated=percent(output.saturation_rate),
            share=percent(output.clipping_sse / error),
        ),
    )


def format_kernel(report: FormatReport, run: KernelRun, say: Language) -> str:
    """That the kernel wrote the chosen format just now, and what its codes are worth."""
    return say(
        "{format}, written by the kernel just now: {differing} of {codes} codes differ from the "
        "specification; sqnr_db {sqnr} with x, the weights and the bias in INT8, too.",
        format=format_label(report.number_format.name, say),
        differing=f"{run.differing_codes:,}",
        codes=f"{run.codes:,}",
        sqnr=decibels(run.sqnr_db[0]),
    )


def format_columns(
    reports: Sequence[FormatReport], baseline: FormatReport, say: Language
) -> list[dict]:
    """Formats side by side: a row a measure, a column a format, the published INT8 last."""
    columns = {
        format_label(report.number_format.name, say): _measures(report) for report in reports
    }
    columns[say("INT8, α = 0.9995")] = _measures(baseline)
    names = list(next(iter(columns.values())))
    return [
        {say("measure"): name, **{label: own[name] for label, own in columns.items()}}
        for name in names
    ]


def _measures(report: FormatReport) -> dict[str, str]:
    output = report.output
    nats = report.predicted_nats
    return {
        "sqnr_db": decibels(output.sqnr_db),
        "predicted_nats": "–" if nats is None else small(nats),
        "points": str(report.codebook.size),
        "bits_needed": str(report.codebook.bits_needed),
        "x_out_scale": "–" if report.scale is None else scale_text(report.scale),
        "zero_point": str(report.zero_point),
        "saturation_rate": percent(output.saturation_rate),
        "code_utilization": percent(output.code_utilization),
        "effective_bits": f"{output.effective_bits:.2f}",
        "rounding_mse": small(output.rounding_mse),
        "clipping_mse": small(output.clipping_mse),
    }


def format_layers_caption(studies: Mapping[int, SliceFormats], bits: int, say: Language) -> str:
    """Which format is best in how many layers."""
    wins: dict[str, int] = {}
    for study in studies.values():
        best = _best_of(study, bits)
        if best is not None:
            wins[best] = wins.get(best, 0) + 1
    if not wins:
        return say("No format has values that fit {bits} bits.", bits=bits)
    name = max(wins, key=lambda known: wins[known])
    return say(
        "Within {bits} bits, {format} is best in {count} of {layers} layers.",
        bits=bits,
        format=format_label(name, say),
        count=wins[name],
        layers=len(studies),
    )


def _best_of(study: SliceFormats, bits: int) -> str | None:
    best = format_points([study]).best_within(bits)
    return None if best is None else best.name
