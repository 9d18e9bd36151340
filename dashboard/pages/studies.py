"""What rules make of a calibrated source: scales, landscapes, recommendations, groups.

All of it comes from ``dashboard.analysis`` and ``dashboard.rules`` and is kept here, so that a page
that is drawn again, or another page about the same layer, does not compute it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dashboard.analysis import kinds
from dashboard.analysis.answers import Answers, answer_all
from dashboard.analysis.compare import Column, calibrated_column, format_column
from dashboard.analysis.formats import BASELINE, SliceFormats, slice_formats
from dashboard.analysis.kinds import GroupStudy, ScaleKind
from dashboard.analysis.report import (
    LayerReport,
    ScaleReport,
    SliceReport,
    baselines,
    distinct,
    report_scale,
    report_slice,
    sweep_scales,
)
from dashboard.analysis.scale_choices import BestAlpha, FormatScales, ScaleChoice
from dashboard.calibration import Progress, SliceCalibration
from dashboard.calibration.histogram import Histogram, Quantized
from dashboard.formats import REGISTERED as FORMATS
from dashboard.formats import FormatReport, format_under_rule
from dashboard.pages import calibrating, loading
from dashboard.pages.shelves import shelf
from dashboard.pages.sources import Source
from dashboard.rules.channels import CHANNEL_RULES, channel_means
from dashboard.rules.grouping import ChannelGrouping, sort_and_cluster
from dashboard.rules.landscape import Landscape, Measure, Recommendation, recommend
from dashboard.rules.observers import ScaleRule


def sweep(source: Source, layer: int, index: int) -> Quantized:
    """Every measure over scale_out for one slice, which is the same for every α and rule."""
    return shelf("sweep").get_or_make(
        (source, layer, index), lambda: sweep_scales(_slice(source, layer, index))
    )


def _slice(source: Source, layer: int, index: int) -> SliceCalibration:
    return calibrating.calibration(source, lambda _: None).layer(layer).slices[index]


def scale_report(source: Source, layer: int, index: int, rule: ScaleRule) -> ScaleReport:
    """What a rule makes of one slice: some rules search, and most stay while α moves."""
    counted = _slice(source, layer, index)
    return shelf("scale").get_or_make(
        (source, layer, index, rule, counted.gradients is not None),
        lambda: report_scale(counted, rule),
    )


def scale_reports(
    source: Source, layer: int, index: int, rules: Iterable[ScaleRule]
) -> tuple[ScaleReport, ...]:
    """What each of some rules makes of one slice, each rule once."""
    return distinct(scale_report(source, layer, index, rule) for rule in rules)


def slice_report(source: Source, layer: int, index: int, rule: ScaleRule) -> SliceReport:
    """One slice under a rule."""
    return report_slice(_slice(source, layer, index), scale_report(source, layer, index, rule))


def landscape(
    source: Source,
    layer: int,
    index: int,
    symmetric: bool = True,
    by: Measure = "sqnr_db",
) -> Landscape:
    """Every α for one slice; with ``predicted_nats`` where gradients were counted."""
    counted = _slice(source, layer, index)
    return shelf("landscape").get_or_make(
        (source, layer, index, symmetric, by, counted.gradients is not None),
        lambda: Landscape.of(
            counted.silu_output, symmetric=symmetric, gradients=counted.gradients, by=by
        ),
    )


def landscapes(
    source: Source, layers: Sequence[int], symmetric: bool = True, by: Measure = "sqnr_db"
) -> dict[tuple[int, str], Landscape]:
    """Of every slice of some layers, by (layer, slice)."""
    counted = calibrating.calibration(source, lambda _: None)
    return {
        (layer, own.name): landscape(source, layer, i, symmetric, by)
        for layer in layers
        for i, own in enumerate(counted.layer(layer).slices)
    }


def best(
    source: Source, layer: int, index: int, symmetric: bool = True, by: Measure = "sqnr_db"
) -> ScaleReport:
    """What a slice's own best α makes of it."""
    rule = landscape(source, layer, index, symmetric, by).best_rule
    return scale_report(source, layer, index, rule)


def layer_report(
    source: Source, layer: int, rule: ScaleRule, by: Measure = "sqnr_db"
) -> LayerReport:
    """One layer under a rule, from the counts alone: no kernel runs.

    Args:
        by: what "best" means.
    """
    indices = range(len(calibrating.calibration(source, lambda _: None).layer(layer).slices))
    return LayerReport(
        layer,
        tuple(slice_report(source, layer, i, rule) for i in indices),
        kernel=None,
        bests=tuple(best(source, layer, i, rule.symmetric, by) for i in indices),
    )


def formats(source: Source, layer: int, index: int, by: Measure = "sqnr_db") -> SliceFormats:
    """Every number format on one slice, each at its best scale."""
    counted = _slice(source, layer, index)
    return shelf("formats").get_or_make(
        (source, layer, index, by, counted.gradients is not None),
        lambda: slice_formats(counted, by),
    )


def answers(
    source: Source, layer: int, index: int, alphas: tuple[float, ...], symmetric: bool
) -> Answers:
    """What every α of an axis makes of one slice."""
    counted = _slice(source, layer, index)
    return shelf("answers").get_or_make(
        (source, layer, index, alphas, symmetric, counted.gradients is not None),
        lambda: answer_all(counted, alphas, symmetric),
    )


def table(subject: str, make: Callable[[], bytes]) -> bytes:
    """A table of answers as the browser has it, in JSON; ``subject`` says what it is about."""
    return shelf("table").get_or_make(subject, make)


def column(
    source: Source,
    scales: ScaleChoice,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Column:
    """The x slice of every layer with the chosen scales, without a label.

    A few numbers a layer: they stay when the calibration that they came from has been dropped.
    """

    def make() -> Column:
        layers = calibrating.calibration(source, on_progress).layers
        if isinstance(scales, FormatScales):
            reports = [format_report(source, own.layer, 0, scales) for own in layers]
            return format_column("", layers, reports)
        rules = [column_rule(source, own.layer, scales) for own in layers]
        return calibrated_column(
            "",
            [
                layer_report(source, own.layer, rule)
                for own, rule in zip(layers, rules, strict=True)
            ],
        )

    return shelf("column").get_or_make((source, scales), make)


def column_rule(source: Source, layer: int, scales: ScaleRule | BestAlpha) -> ScaleRule:
    """The rule of a layer's x slice."""
    if isinstance(scales, ScaleRule):
        return scales
    alpha = landscape(source, layer, 0, scales.symmetric).best_alpha
    return ScaleRule(scales.observer, alpha, symmetric=scales.symmetric)


def format_report(source: Source, layer: int, index: int, scales: FormatScales) -> FormatReport:
    """A number format on one slice, with the chosen scale."""
    return shelf("format").get_or_make(
        (source, layer, index, scales), lambda: scales.report_of(_slice(source, layer, index))
    )


def int8_report(source: Source, layer: int, index: int) -> FormatReport:
    """Symmetric INT8 as it was published, on one slice: what a format is held against."""
    return shelf("format").get_or_make(
        (source, layer, index, BASELINE),
        lambda: format_under_rule(FORMATS["int8"], BASELINE, _slice(source, layer, index)),
    )


def slice_output(source: Source, layer: int, index: int) -> Histogram:
    """The histogram of y of one slice."""
    return _slice(source, layer, index).silu_output


@dataclass(frozen=True, eq=False)
class SliceStudy:
    """One slice under one rule, and what it is held to."""

    layer: LayerReport  # all slices of its layer; no kernel ran
    report: SliceReport  # the one on show
    beside: ScaleReport  # under the rule that was asked for as a companion
    best: ScaleReport  # under its best α
    limits: tuple[ScaleReport, ...]  # under MinMax and under scale_wx
    rivals: Callable[[], tuple[ScaleReport, ...]]  # under every rule; some search for a moment
    landscape: Landscape  # every α, symmetric or not as the rule is
    sweep: Quantized  # every scale from scale_wx up

    @cached_property
    def rows(self) -> tuple[ScaleReport, ...]:
        """Under every rule: the chosen first, then the other two, then the rest."""
        return distinct([self.report.chosen, self.beside, self.best, *self.rivals()])

    @property
    def has_beside(self) -> bool:
        """Whether the companion has a row of its own, the second."""
        return len(self.rows) > 1 and self.rows[1] is self.beside

    @property
    def held_to(self) -> tuple[ScaleReport, ...]:
        """The few scales that fit into a small drawing."""
        return distinct([self.report.chosen, self.best, *self.limits])


def study_slice(
    source: Source,
    layer: int,
    index: int,
    rule: ScaleRule,
    beside: ScaleRule,
    by: Measure = "sqnr_db",
) -> SliceStudy:
    """All that Explore shows of one slice; ``by`` says what "best" means."""
    report = layer_report(source, layer, rule, by)
    other, top = scale_report(source, layer, index, beside), report.bests[index]
    limits = (ScaleRule("minmax"), ScaleRule("scale-wx"))
    return SliceStudy(
        report,
        report.slices[index],
        other,
        top,
        scale_reports(source, layer, index, limits),
        lambda: scale_reports(source, layer, index, baselines(rule)),
        landscape(source, layer, index, rule.symmetric, by),
        sweep(source, layer, index),
    )


def recommendation(
    source: Source, symmetric: bool = True, by: Measure = "sqnr_db"
) -> Recommendation:
    """The best α of every slice of every layer, and one for the whole model."""

    def make() -> Recommendation:
        layers = [layer.layer for layer in calibrating.calibration(source, lambda _: None).layers]
        return recommend(landscapes(source, layers, symmetric, by))

    key = (source, symmetric, by, calibrating.has_gradients(source))
    return shelf("recommendation").get_or_make(key, make)


def grouping(
    source: Source, layer: int, head_groups: int, channel_groups: int, as_quamba2: bool = False
) -> ChannelGrouping:
    """The x slice's own groups, by the maxima of its output; or by its means, as Quamba2 has them.

    Raises CalibrationError where the conv input, which the means are taken of, cannot be had.
    """

    def make() -> ChannelGrouping:
        architecture = loading.checkpoint(source.checkpoint).architecture
        assert architecture.head_dim and architecture.n_groups  # the page groups Mamba-2's alone
        if as_quamba2:
            capture = calibrating.captured(source, layer, lambda _: None)
            sizes = channel_means(capture, loading.checkpoint(source.checkpoint).slices[0])
        else:
            sizes = np.array([output.absmax for output in calibrating.channels(source, layer, 0)])
        return sort_and_cluster(
            sizes,
            architecture.head_dim,
            architecture.n_groups,
            head_groups,
            channel_groups,
            as_quamba2,
        )

    key = (source, layer, head_groups, channel_groups, as_quamba2)
    return shelf("grouping").get_or_make(key, make)


def channel_kinds(
    source: Source, layer: int, index: int, group_size: int, alpha: float
) -> list[ScaleKind]:
    """What scales for groups of neighbouring channels, and for each channel, give a slice."""
    return shelf("kinds").get_or_make(
        (source, layer, index, group_size, alpha),
        lambda: kinds.channel_kinds(calibrating.channels(source, layer, index), group_size, alpha),
    )


def group_study(
    source: Source, layer: int, head_groups: int, channel_groups: int, alpha: float
) -> GroupStudy:
    """The x slice in its own groups, under each rule, against other kinds of scale."""

    def make() -> GroupStudy:
        rules = {name: ScaleRule(name, alpha) for name in CHANNEL_RULES}
        tensor = {name: scale_report(source, layer, 0, rule) for name, rule in rules.items()}
        return kinds.study_groups(
            calibrating.channels(source, layer, 0),
            grouping(source, layer, head_groups, channel_groups),
            grouping(source, layer, head_groups, channel_groups, as_quamba2=True),
            {name: float(report.output.sqnr_db) for name, report in tensor.items()},
            alpha,
        )

    key = (source, layer, head_groups, channel_groups, alpha)
    return shelf("kinds").get_or_make(key, make)
