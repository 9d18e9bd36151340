"""Slices under number formats: measures under the names of every report, and all formats beside
each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.format_runs import NO_INPUT, WRITTEN, run_formats, run_refusal
from dashboard.analysis.report import KernelRun, QuantizedConv, scale_spread
from dashboard.calibration import LayerCalibration, SliceCalibration
from dashboard.formats import (
    REGISTERED,
    Codebook,
    FormatReport,
    NumberFormat,
    best_format,
    format_under_rule,
    report_of,
)
from dashboard.formats.least_error import least_error_points
from dashboard.rules.landscape import Measure
from dashboard.rules.observers import PUBLISHED_ALPHAS, ScaleRule

INT8 = WRITTEN  # what scales are reported for without


@dataclass(frozen=True, eq=False)
class FormatSlice:
    """One slice under a number format: with a rule's scale, and with the best it could have."""

    counted: SliceCalibration
    rule: ScaleRule
    report: FormatReport
    best: FormatReport  # by squared error

    def measures(self, kernel_sqnr_db: float | None = None) -> dict:
        """The keys of ``LayerReport.measures``, and those that another format has beside them.

        What has no meaning is None: of points that were fitted to the slice all that is a scale's,
        and everything that a search over α would give.

        Args:
            kernel_sqnr_db: of the live run; None where there was none.
        """
        output, scales, scale = self.report.output, self.counted.scales, self.report.scale
        measures_distance = self.rule.symmetric and scale is not None
        nothing = dict.fromkeys(("x_out_scale_min", "x_out_scale_mean", "x_out_scale_max"))
        nats = self.report.predicted_nats
        return {
            "x_scale": scales.x_scale,
            "w_scale": scales.w_scale,
            "b_scale": scales.b_scale,
            "scale_wx": scales.scale_wx,
            "x_out_scale": scale,
            "zero_point": self.report.zero_point,
            "shape": [],
            **(nothing if scale is None else scale_spread([scale])),
            "ratio_weight": scale / scales.w_scale if scale and measures_distance else None,
            "ratio_wx": scale / scales.scale_wx if scale and measures_distance else None,
            "saturation_rate": output.saturation_rate,
            "top_code_utilization": output.top_code_utilization if measures_distance else None,
            "code_utilization": output.code_utilization,
            "effective_bits": output.effective_bits,
            "sqnr_db": output.sqnr_db,
            "best_alpha": None,
            "gain_db": None,
            "rounding_mse": output.rounding_mse,
            "clipping_mse": output.clipping_mse,
            "kernel_sqnr_db": kernel_sqnr_db,
            "points": self.report.codebook.size,
            "bits_needed": self.report.codebook.bits_needed,
            "best_scale": self.best.scale,
            "best_sqnr_db": self.best.output.sqnr_db,
            **({} if nats is None else {"predicted_nats": nats}),
        }


@dataclass(frozen=True, eq=False)
class FormatLayer:
    """A layer's slices under a number format, and the kernel's live run with all of them.

    ``refusal`` says why there was no run; ``kernel`` is then None.
    """

    layer: int
    slices: tuple[FormatSlice, ...]
    kernel: KernelRun | None = None
    refusal: str | None = None  # a ``Message``

    def as_dict(self) -> dict:
        """The keys of ``LayerReport.as_dict``: the x slice's, with B and C nested."""
        ran = self.kernel
        live = [None] * len(self.slices) if ran is None else ran.sqnr_db
        first, *rest = (
            own.measures(sqnr_db) for own, sqnr_db in zip(self.slices, live, strict=True)
        )
        return {
            "layer": self.layer,
            **first,
            "backend": ran and ran.backend,
            "kernel_time_ms": ran and ran.time_ms,
            "kernel_codes": ran and ran.codes,
            "kernel_differing_codes": ran and ran.differing_codes,
            "kernel_refusal": self.refusal,
            "source": "calibrated",
            **{own.counted.name: entry for own, entry in zip(self.slices[1:], rest, strict=True)},
        }


def format_layers(
    layers: Sequence[LayerCalibration],
    number_format: NumberFormat,
    rule: ScaleRule,
    conv_of: Callable[[int], QuantizedConv] | None = None,
) -> list[FormatLayer]:
    """Every slice of every layer; errors as of ``format_under_rule``.

    Args:
        conv_of: what the kernel runs on in a layer; None where there is no conv input.
    """
    return [_format_layer(layer, number_format, rule, conv_of) for layer in layers]


def _format_layer(
    layer: LayerCalibration,
    number_format: NumberFormat,
    rule: ScaleRule,
    conv_of: Callable[[int], QuantizedConv] | None,
) -> FormatLayer:
    slices = tuple(
        FormatSlice(
            counted,
            rule,
            format_under_rule(number_format, rule, counted),
            best_format(number_format, counted),
        )
        for counted in layer.slices
    )
    reports = [own.report for own in slices]
    refusal = NO_INPUT if conv_of is None else run_refusal(reports)
    if conv_of is None or refusal is not None:
        return FormatLayer(layer.layer, slices, None, refusal)
    return FormatLayer(layer.layer, slices, run_formats(conv_of(layer.layer), reports))


FRONTIER_BITS = tuple(range(2, 10))  # to 9, since some formats need so many
BASELINE = ScaleRule("percentile", PUBLISHED_ALPHAS[0])  # symmetric INT8 as it was published
OPTIMAL = "optimal"  # the family that bounds all others


@dataclass(frozen=True)
class FormatPoint:
    """A format on one slice, or over several: its size, and what it is worth."""

    name: str
    family: str
    size: int  # points, those of both signs counted; of several slices the most
    sqnr_db: float  # of several slices the mean, in decibels
    predicted_nats: float | None  # of several slices the sum; None without gradients

    @property
    def bits(self) -> float:
        """log2 of its size: 7.98 of 253 points."""
        return float(np.log2(self.size))

    @property
    def bits_needed(self) -> int:
        """The least whole number of bits that tells its points apart."""
        return int(np.ceil(np.log2(self.size)))

    def is_better_than(self, other: FormatPoint, by: Measure) -> bool:
        """In SQNR, or in predicted loss where ``by`` says so; both must then have it."""
        if by == "predicted_nats":
            assert self.predicted_nats is not None and other.predicted_nats is not None
            return self.predicted_nats < other.predicted_nats
        return self.sqnr_db > other.sqnr_db


@dataclass(frozen=True, eq=False)
class SliceFormats:
    """Every format on one slice, each at its best scale, what bounds them, and what was published.

    ``reports`` by name, as registered; ``frontier`` by bits: the best 2^bits points of the slice;
    ``baseline`` symmetric INT8 at α = 0.9995. Best is meant by ``by``.
    """

    by: Measure
    reports: Mapping[str, FormatReport]
    frontier: Mapping[int, FormatPoint]
    baseline: FormatReport


def slice_formats(counted: SliceCalibration, by: Measure = "sqnr_db") -> SliceFormats:
    """All formats on a slice; the best points of all sizes from one run.

    Raises ValueError for "predicted_nats" where no gradients were counted.
    """
    values, weights = counted.silu_output.values, counted.silu_output.counts.astype(np.float64)
    gradients = counted.gradients
    if by == "predicted_nats":
        if gradients is None:
            raise ValueError("the least predicted loss needs gradients, which were not counted")
        if (gradients.squares > 0).any():
            values, weights = gradients.values, gradients.squares
    sizes = [2**bits for bits in FRONTIER_BITS]
    points = least_error_points(values, weights, sizes)
    bounds = {
        bits: report_of(REGISTERED["optimal8"], Codebook.nearest(points[2**bits]), counted)
        for bits in FRONTIER_BITS
    }
    reports = {}
    for name, number_format in REGISTERED.items():
        if number_format.family == OPTIMAL:
            reports[name] = report_of(number_format, bounds[number_format.bits].codebook, counted)
        else:
            reports[name] = best_format(number_format, counted, by)
    return SliceFormats(
        by,
        reports,
        {bits: _point(report, f"optimal{bits}") for bits, report in bounds.items()},
        format_under_rule(REGISTERED["int8"], BASELINE, counted),
    )


def _point(report: FormatReport, name: str = "") -> FormatPoint:
    return FormatPoint(
        name or report.number_format.name,
        report.number_format.family,
        report.codebook.size,
        report.output.sqnr_db,
        report.predicted_nats,
    )


@dataclass(frozen=True, eq=False)
class FormatPoints:
    """Quality against bits, of one slice or of several together."""

    by: Measure
    points: tuple[FormatPoint, ...]  # without those that bound all others
    frontier: tuple[FormatPoint, ...]  # by bits, ascending
    baseline: FormatPoint
    slices: int  # how many

    def best_within(self, bits: int) -> FormatPoint | None:
        """The best format that needs no more bits; None where there is none."""
        best = None
        for point in self.points:
            if point.bits_needed <= bits and (best is None or point.is_better_than(best, self.by)):
                best = point
        return best

    def bound(self, bits: int) -> FormatPoint | None:
        """What the best points of so many bits come to."""
        return next((point for point in self.frontier if point.bits_needed == bits), None)


def format_points(studies: Sequence[SliceFormats]) -> FormatPoints:
    """Of one slice, or of the same slice of several layers: SQNR averaged, predicted loss added."""
    first = studies[0]
    return FormatPoints(
        first.by,
        tuple(
            _together([_point(study.reports[name]) for study in studies])
            for name, report in first.reports.items()
            if report.number_format.family != OPTIMAL
        ),
        tuple(_together([study.frontier[bits] for study in studies]) for bits in first.frontier),
        _together([_point(study.baseline) for study in studies]),
        len(studies),
    )


def _together(points: Sequence[FormatPoint]) -> FormatPoint:
    first = points[0]
    nats = [point.predicted_nats for point in points if point.predicted_nats is not None]
    return FormatPoint(
        first.name,
        first.family,
        max(point.size for point in points),
        float(np.mean([point.sqnr_db for point in points])),
        float(np.sum(nats)) if len(nats) == len(points) else None,
    )


def format_rows(studies: Mapping[int, SliceFormats]) -> list[dict]:
    """A row a layer and format, for files: each at its best scale."""
    return [
        {
            "layer": layer,
            "number_format": name,
            "points": report.codebook.size,
            "bits_needed": report.codebook.bits_needed,
            "best_scale": report.scale,
            "zero_point": report.zero_point,
            "sqnr_db": report.output.sqnr_db,
            "saturation_rate": report.output.saturation_rate,
            "code_utilization": report.output.code_utilization,
            "effective_bits": report.output.effective_bits,
            "rounding_mse": report.output.rounding_mse,
            "clipping_mse": report.output.clipping_mse,
            "predicted_nats": report.predicted_nats,
        }
        for layer, study in studies.items()
        for name, report in study.reports.items()
    ]
