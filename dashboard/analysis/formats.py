"""A slice under a number format -> its measures, under the names that every report has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.analysis.report import scale_spread
from dashboard.calibration import LayerCalibration, SliceCalibration
from dashboard.formats import FormatReport, NumberFormat, best_format, format_under_rule
from dashboard.rules.observers import ScaleRule

INT8 = ("int8", "int8-asymmetric")  # what scales are reported for, and the kernel runs, without


@dataclass(frozen=True, eq=False)
class FormatSlice:
    """One slice under a number format: with a rule's scale, and with the best it could have."""

    counted: SliceCalibration
    rule: ScaleRule
    report: FormatReport
    best: FormatReport  # by squared error

    def measures(self) -> dict:
        """The keys of ``LayerReport.measures``, and those that another format has beside them.

        What has no meaning is None: of points that were fitted to the slice all that is a scale's,
        and everything that the kernel, or a search over α, would give.
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
            "kernel_sqnr_db": None,
            "points": self.report.codebook.size,
            "bits_needed": self.report.codebook.bits_needed,
            "best_scale": self.best.scale,
            "best_sqnr_db": self.best.output.sqnr_db,
            **({} if nats is None else {"predicted_nats": nats}),
        }


@dataclass(frozen=True, eq=False)
class FormatLayer:
    """A layer's slices under a number format."""

    layer: int
    slices: tuple[FormatSlice, ...]

    def as_dict(self) -> dict:
        """The keys of ``LayerReport.as_dict``: the x slice's, with B and C nested."""
        first, *rest = self.slices
        return {
            "layer": self.layer,
            **first.measures(),
            "backend": None,
            "kernel_time_ms": None,
            "kernel_codes": None,
            "kernel_differing_codes": None,
            "source": "calibrated",
            **{own.counted.name: own.measures() for own in rest},
        }


def format_layers(
    layers: Sequence[LayerCalibration], number_format: NumberFormat, rule: ScaleRule
) -> list[FormatLayer]:
    """Every slice of every layer; errors as of ``format_under_rule``."""
    return [
        FormatLayer(
            layer.layer,
            tuple(
                FormatSlice(
                    counted,
                    rule,
                    format_under_rule(number_format, rule, counted),
                    best_format(number_format, counted),
                )
                for counted in layer.slices
            ),
        )
        for layer in layers
    ]
