"""Number formats on one slice, each with its values and what it makes of the outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from dashboard import figures
from dashboard.analysis.formats import BASELINE, SliceFormats, format_points, format_rows
from dashboard.api.shown import display, table
from dashboard.calibration import SliceCalibration
from dashboard.formats import REGISTERED, FormatReport, format_named, format_under_rule
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import decibels, percent, scale_text, small

if TYPE_CHECKING:
    from dashboard.api.layers import Layer

    pass


@dataclass(frozen=True, eq=False, repr=False)
class Format(FormatReport):
    """A number format on one slice, with one scale, and what it makes of the calibrated outputs.

    ``scale`` is in real units per unit of the format's grid, None of one that is fitted to the
    slice; ``codebook`` has its values and the thresholds between them, ``output`` the counts of all
    codes. Shares lie between 0 and 1. ``predicted_nats`` is as of ``Scale``.
    """

    counted: SliceCalibration = field(kw_only=True)

    @property
    def name(self) -> str:
        """As the command line has it."""
        return self.number_format.name

    @property
    def points(self) -> int:
        """How many values its codes stand for, those of both signs counted."""
        return self.codebook.size

    @property
    def bits_needed(self) -> int:
        """The least whole number of bits that tells them apart."""
        return self.codebook.bits_needed

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ y² / Σ (quantized − y)²): infinite without error, NaN where y is 0 alone."""
        return self.output.sqnr_db

    @property
    def saturation_rate(self) -> float:
        """The share of the values beyond the range."""
        return self.output.saturation_rate

    @property
    def codes_used(self) -> int:
        """How many codes occur."""
        return self.output.codes_used

    @property
    def code_utilization(self) -> float:
        """Distinct codes used, of all that the format has."""
        return self.output.code_utilization

    @property
    def effective_bits(self) -> float:
        """The entropy of the code histogram, in bits."""
        return self.output.effective_bits

    def figure(self) -> go.Figure:
        """Where its codes lie under y, beside symmetric INT8's at α = 0.9995."""
        int8 = format_under_rule(REGISTERED["int8"], BASELINE, self.counted)
        return figures.format_ruler(self.counted.silu_output, self, int8, ENGLISH)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.points} values, sqnr_db {decibels(self.sqnr_db)}>"

    def _repr_html_(self) -> str:
        return table([_format_row(self)])

    def _ipython_display_(self) -> None:
        display(self)


def _format_row(report: Format) -> dict[str, str]:
    nats = report.predicted_nats
    return {
        "number_format": report.name,
        "points": str(report.points),
        "bits_needed": str(report.bits_needed),
        "scale": "–" if report.scale is None else scale_text(report.scale),
        "sqnr_db": decibels(report.sqnr_db),
        "predicted_nats": "–" if nats is None else small(nats),
        "saturation_rate": percent(report.saturation_rate),
        "codes_used": str(report.codes_used),
        "effective_bits": f"{report.effective_bits:.2f}",
    }


@dataclass(frozen=True, eq=False, repr=False)
class Formats:
    """Every number format on one slice, each with its best scale, or its best points.

    ``formats["fp8-e4m3"]`` is one of them; to go through them gives them all, in order.
    """

    record: SliceFormats
    layer: Layer

    def __getitem__(self, name: str) -> Format:
        """One by its name; raises Refusal, a ValueError, for a name that no format has."""
        report = self.record.reports[format_named(name).name]
        return Format(**vars(report), counted=self.layer.counted)

    def __iter__(self) -> Iterator[Format]:
        return (self[name] for name in self.record.reports)

    def __len__(self) -> int:
        return len(self.record.reports)

    def best_within(self, bits: int) -> Format | None:
        """The best that needs no more bits, of those that are not fitted as best; None of none."""
        point = format_points([self.record]).best_within(bits)
        return None if point is None else self[point.name]

    def table(self) -> list[dict]:
        """A row a format: what pandas.DataFrame takes."""
        return format_rows({self.layer.number: self.record})

    def figure(self) -> go.Figure:
        """Quality against bits, below the line that the best values there are draw."""
        points = format_points([self.record])
        best = points.best_within(8)
        assert best is not None  # INT8 is one
        return figures.formats_over_bits(points, 8, best.name, "int8", ENGLISH)

    def __repr__(self) -> str:
        return f"<{len(self)} number formats on {repr(self.layer)[1:-1]}>"

    def _repr_html_(self) -> str:
        return table([_format_row(report) for report in self])

    def _ipython_display_(self) -> None:
        display(self)
