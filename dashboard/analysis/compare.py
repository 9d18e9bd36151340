"""Scales side by side, wherever they come from: calibrated, saved, stored, or published.

Each source becomes a ``Column``: the x slice of every layer under one name, with what is known of
it. Columns are compared layer by layer, by the models' own layer numbers, each with the first.

Columns may have different number formats. An output scale is then in other units, real units per
unit of its format's grid, and is shown and not compared; what quantization costs is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.formats import INT8
from dashboard.analysis.impact import Estimate, Impact, kl_difference
from dashboard.analysis.measurements import Measurements, Setting
from dashboard.analysis.report import LayerReport, report_scale, report_slice, scale_spread
from dashboard.analysis.scale_choices import FormatScales, ScaleChoice
from dashboard.calibration import LayerCalibration, SliceScales
from dashboard.checkpoints import Checkpoint
from dashboard.formats import DEFAULT_FORMAT, FormatReport
from dashboard.messages import Message
from dashboard.rules.observers import ScaleRule
from dashboard.rules.published import (
    QUAMBA2_2_7B_NAME,
    QUAMBA2_2_7B_PA_1_LAYER_0,
    QUAMBA2_130M,
    QUAMBA2_130M_NAME,
)
from kernels.int8 import scale_from_amax

SCALES = ("x_out_scale", "x_scale", "w_scale", "scale_wx", "ratio_weight", "ratio_wx")
QUANTITIES = (*SCALES, "x_out_scale_min", "x_out_scale_max", "sqnr_db")
# In units of the number format: compared within one format alone.
OF_FORMAT = ("x_out_scale", "ratio_weight", "ratio_wx", "x_out_scale_min", "x_out_scale_max")


@dataclass(frozen=True)
class LayerScales:
    """One layer of a column; None where the source does not say."""

    layer: int
    x_scale: float | None = None
    w_scale: float | None = None
    scale_wx: float | None = None
    x_out_scale: float | None = None  # of several, the mean, and so are the ratios
    ratio_weight: float | None = None
    ratio_wx: float | None = None
    sqnr_db: float | None = None
    x_out_scale_min: float | None = None
    x_out_scale_max: float | None = None


@dataclass(frozen=True)
class Column:
    """One thing to compare: its name, its layers, and the number format that its scales are of."""

    label: str
    layers: tuple[LayerScales, ...]
    number_format: str = DEFAULT_FORMAT

    def value(self, layer: int, quantity: str) -> float | None:
        """A quantity of a layer, by the model's own number; None where there is none."""
        for entry in self.layers:
            if entry.layer == layer:
                return getattr(entry, quantity)
        return None


def calibrated_column(label: str, reports: Sequence[LayerReport]) -> Column:
    """The x slice of each layer, from reports under one rule, or one rule for each."""
    first = [report.slices[0] for report in reports]
    return Column(
        label,
        tuple(
            _layer(report.layer, x.scales, x.chosen.x_out_scale, x.chosen.rule.symmetric, sqnr_db)
            for report, x in zip(reports, first, strict=True)
            for sqnr_db in [float(x.chosen.output.sqnr_db)]
        ),
        INT8[0 if first[0].chosen.rule.symmetric else 1],
    )


def format_column(
    label: str, layers: Sequence[LayerCalibration], reports: Sequence[FormatReport]
) -> Column:
    """The x slice of each layer in one number format, from a report of each."""
    number_format = reports[0].number_format
    return Column(
        label,
        tuple(
            _layer(
                counted.layer,
                counted.slices[0].scales,
                report.scale,
                not number_format.is_asymmetric,
                report.output.sqnr_db,
            )
            for counted, report in zip(layers, reports, strict=True)
        ),
        number_format.name,
    )


def chosen_column(label: str, layers: Sequence[LayerCalibration], choice: ScaleChoice) -> Column:
    """The x slice of each layer with the chosen scales; errors as of ``format_under_rule``."""
    if isinstance(choice, FormatScales):
        return format_column(label, layers, [choice.report_of(own.slices[0]) for own in layers])
    reports = []
    for own in layers:
        x = own.slices[0]
        rule = choice if isinstance(choice, ScaleRule) else choice.rule_of(x)
        reports.append(LayerReport(own.layer, (report_slice(x, report_scale(x, rule)),), None))
    return calibrated_column(label, reports)


def _layer(
    layer: int, own: SliceScales, out: float | None, symmetric: bool, sqnr_db: float
) -> LayerScales:
    """Ratios are those of symmetric scales; a fitted format has no scale at all."""
    ratio_weight = ratio_wx = None
    if out is not None and symmetric:
        ratio_weight, ratio_wx = out / own.w_scale, out / own.scale_wx
    return LayerScales(
        layer,
        own.x_scale,
        own.w_scale,
        own.scale_wx,
        out,
        ratio_weight,
        ratio_wx,
        sqnr_db,
        out,
        out,
    )


def stored_column(label: str, checkpoint: Checkpoint) -> Column:
    """Of a checkpoint that is quantized already; of grouped scales the mean, as was published."""
    layers = []
    for stored in checkpoint.stored:
        x = stored.slices[0]
        spread = scale_spread(x.out_scales)
        mean = spread["x_out_scale_mean"]
        layers.append(
            LayerScales(
                stored.layer,
                x.x_scale,
                x.w_scale,
                x.scale_wx,
                mean,
                mean / x.w_scale,
                mean / x.scale_wx,
                None,
                spread["x_out_scale_min"],
                spread["x_out_scale_max"],
            )
        )
    for conv in checkpoint.convs:
        if conv.layer not in checkpoint.stored_layers:  # float: its weights' scale alone is known
            weight = conv.weight[checkpoint.slices[0].channels]
            w_scale = scale_from_amax(float(weight.abs().amax()))
            layers.append(LayerScales(conv.layer, w_scale=w_scale))
    return Column(label, tuple(sorted(layers, key=lambda entry: entry.layer)))


def published_columns() -> dict[str, Column]:
    """The published tables, by name.

    Of the 2.7b model the ratios were printed, and of another run of it one output scale, layer 0's.
    """
    tables = {
        QUAMBA2_130M_NAME: [(row, row.x_out_scale) for row in QUAMBA2_130M],
        "Quamba2-130m-w4a8, pa-0.5": [(row, row.pa_0_5) for row in QUAMBA2_130M],
        "Quamba2-130m-w4a8, pa-1.0": [(row, row.pa_1_0) for row in QUAMBA2_130M],
    }
    columns: dict[str, Column] = {}
    for name, rows in tables.items():
        label = Message("{name} (published)", name=name)
        whole = name == QUAMBA2_130M_NAME  # the other runs' input and weight scales are not known
        columns[label] = Column(
            label,
            tuple(
                LayerScales(
                    row.layer,
                    row.x_scale,
                    row.w_scale,
                    row.scale_wx,
                    out,
                    row.ratio_weight,
                    row.ratio_wx,
                )
                if whole
                else LayerScales(row.layer, x_out_scale=out)
                for row, out in rows
            ),
        )
    label = Message("{name} (published ratios)", name=QUAMBA2_2_7B_NAME)
    columns[label] = Column(
        label, tuple(LayerScales(row.layer, ratio_weight=row.ratio_2_7b) for row in QUAMBA2_130M)
    )
    label = Message("{name} (published)", name=f"{QUAMBA2_2_7B_NAME}, pa-1")
    columns[label] = Column(label, (LayerScales(0, x_out_scale=QUAMBA2_2_7B_PA_1_LAYER_0),))
    return columns


@dataclass(frozen=True)
class Difference:
    """A column's quantity of one layer, against the first column's."""

    quantity: str
    layer: int
    column: int
    first: float
    value: float

    @property
    def relative(self) -> float:
        """How much more, as a share of the first; of decibels simply how many more."""
        return (
            self.value - self.first if self.quantity == "sqnr_db" else self.value / self.first - 1
        )


def layer_numbers(columns: Sequence[Column]) -> list[int]:
    """Every layer of any column, ascending."""
    return sorted({entry.layer for column in columns for entry in column.layers})


def are_comparable(one: Column, other: Column, quantity: str) -> bool:
    """Whether a quantity is in the same units in both: INT8's steps are those of either kind."""
    same = one.number_format == other.number_format or {one.number_format, other.number_format} <= {
        *INT8
    }
    return same or quantity not in OF_FORMAT


def differences(columns: Sequence[Column], quantity: str) -> list[Difference]:
    """The differences of every layer for which the first column and another have the quantity.

    Scales of different number formats are not among them.
    """
    differing = []
    for layer in layer_numbers(columns):
        first = columns[0].value(layer, quantity)
        for i, column in enumerate(columns[1:], start=1):
            value = column.value(layer, quantity)
            comparable = are_comparable(columns[0], column, quantity)
            if first is not None and value is not None and comparable:
                differing.append(Difference(quantity, layer, i, first, value))
    return differing


def largest(columns: Sequence[Column]) -> Difference | None:
    """The scale or ratio that differs by the greatest factor; None where nothing is shared."""
    differing = [difference for quantity in SCALES for difference in differences(columns, quantity)]
    return max(differing, key=lambda d: abs(np.log(d.value / d.first)), default=None)


def compared_rows(columns: Sequence[Column]) -> list[dict]:
    """A flat row a layer, quantity and column: what leaves as CSV and JSON."""
    return [
        {
            "layer": layer,
            "quantity": quantity,
            "column": column.label,
            "number_format": column.number_format,
            "value": value,
            "relative_difference": None
            if first in (None, 0)
            or quantity == "sqnr_db"
            or not are_comparable(columns[0], column, quantity)
            else value / first - 1,
        }
        for layer in layer_numbers(columns)
        for quantity in QUANTITIES
        for first in [columns[0].value(layer, quantity)]
        for column in columns
        for value in [column.value(layer, quantity)]
        if value is not None
    ]


@dataclass(frozen=True, eq=False)
class ColumnCost:
    """What a column's scales in all layers and slices cost the model, as far as that is known."""

    column: Column
    predicted_nats: float | None = None  # None where no gradients were counted
    impact: Impact | None = None  # None until it is measured, and of another model's columns
    against_first: Estimate | None = None  # how much more KL than the first, paired by window

    def as_dict(self) -> dict:
        """For a file: names, and the measures under the names of the definitions."""
        measured = {} if self.impact is None else self.impact.measures()
        return {
            "column": self.column.label,
            "number_format": self.column.number_format,
            "predicted_nats": self.predicted_nats,
            **measured,
        }


def column_costs(
    columns: Sequence[Column],
    asked: Sequence[Measurements | None],
    settings: Sequence[Setting | None],
) -> list[ColumnCost]:
    """Of each column what is predicted and was measured; all on one held-out text.

    Args:
        asked, settings: of each column; None where it cannot be measured.
    """
    costs: list[ColumnCost] = []
    for column, own, setting in zip(columns, asked, settings, strict=True):
        if own is None or setting is None:
            costs.append(ColumnCost(column))
            continue
        impact, first = own.impact(setting), costs[0].impact if costs else None
        against = None
        if impact is not None and first is not None:
            against = kl_difference(impact, first)
        costs.append(ColumnCost(column, own.predicted_nats(setting), impact, against))
    return costs
