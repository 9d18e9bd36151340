"""One scale, every α, and the α of a whole model: each with its figure and its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

import plotly.graph_objects as go

from dashboard import figures
from dashboard.analysis.report import ScaleReport, format_alpha, report_scale, report_slice
from dashboard.api.shown import display, table
from dashboard.calibration import SliceCalibration
from dashboard.rules import landscape as alphas
from dashboard.rules.observers import ScaleRule, alpha_grid
from dashboard.text import captions, prose
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import decibels, percent, scale_text


@dataclass(frozen=True, repr=False)
class Scale(ScaleReport):
    """One output scale, and what it makes of the calibrated outputs.

    ``x_out_scale`` is in real units per code; ``output`` has the counts of all 256 codes. Shares
    lie between 0 and 1. ``predicted_nats`` is what this scale alone is predicted to cost the model,
    in nats of KL a token; None where no gradients were counted.
    """

    counted: SliceCalibration = field(kw_only=True)

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ y² / Σ (quantized − y)²): infinite without error, NaN where y is 0 alone."""
        return float(self.output.sqnr_db)

    @property
    def saturation_rate(self) -> float:
        """The share of the values beyond codes −128 … 127."""
        return float(self.output.saturation_rate)

    @property
    def code_utilization(self) -> float:
        """Distinct codes used / 256."""
        return float(self.output.code_utilization)

    @property
    def top_code_utilization(self) -> float | None:
        """The largest code's magnitude / 127, at most 1; None for an asymmetric scale."""
        return float(self.output.top_code_utilization) if self.rule.symmetric else None

    @property
    def effective_bits(self) -> float:
        """The entropy of the code histogram, in bits."""
        return float(self.output.effective_bits)

    @property
    def rounding_mse(self) -> float:
        """The squared error of the values inside the range, over all values."""
        return float(self.output.rounding_mse)

    @property
    def clipping_mse(self) -> float:
        """The squared error of the values beyond the range, over all values."""
        return float(self.output.clipping_mse)

    def figure(self) -> go.Figure:
        """From SiLU's input to the INT8 codes, MinMax and scale_wx beside the chosen cut."""
        beside = (ScaleRule(observer) for observer in ("minmax", "scale-wx"))
        others = [(report_scale(self.counted, rule), "baseline") for rule in beside]
        return figures.transfer(report_slice(self.counted, self), others, True, ENGLISH)

    def __repr__(self) -> str:
        return (
            f"<{self.label}: x_out_scale {scale_text(self.x_out_scale)}, sqnr_db "
            f"{decibels(self.sqnr_db)}, saturation_rate {percent(self.saturation_rate)}>"
        )

    def _repr_html_(self) -> str:
        row = {
            "rule": self.label,
            "x_out_scale": scale_text(self.x_out_scale),
            "zero_point": str(self.zero_point),
            "sqnr_db": decibels(self.sqnr_db),
            "saturation_rate": percent(self.saturation_rate),
            "code_utilization": percent(self.code_utilization),
            "effective_bits": f"{self.effective_bits:.2f}",
        }
        return table([row])

    def _ipython_display_(self) -> None:
        display(self)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Landscape(alphas.Landscape):
    """Every α of one slice at once: ``alphas``, ``scales`` and ``sqnr_db`` are (A,) arrays."""

    counted: SliceCalibration

    def figure(self) -> go.Figure:
        """SQNR over α, with what rounding alone and clipping alone would leave."""
        grid = alpha_grid(self.counted.silu_output.total, (self.best_alpha,))
        return figures.landscape_under_slider(self, grid, None, ENGLISH)

    def __repr__(self) -> str:
        return (
            f"<{len(self.alphas)} values of α, best {format_alpha(self.best_alpha)}: "
            f"{decibels(self.best_db)}>"
        )

    def _repr_html_(self) -> str:
        return prose.to_html(captions.landscape_caption(self, ENGLISH))

    def _ipython_display_(self) -> None:
        display(self)


@dataclass(frozen=True, repr=False)
class Recommendation(alphas.Recommendation):
    """One α for the whole model, and each layer's and slice's own best in ``layers``."""

    def __repr__(self) -> str:
        return (
            f"<α {format_alpha(self.alpha)} for {len(self.layers)} layers and slices: "
            f"{decibels(self.mean_loss_db(self.alpha))} below each one's best on average>"
        )

    def _repr_html_(self) -> str:
        rows = [
            {
                "layer": str(choice.layer),
                "slice": choice.slice,
                "best α": format_alpha(choice.alpha),
                "x_out_scale": scale_text(choice.x_out_scale),
                "sqnr_db": decibels(choice.sqnr_db),
                f"lost at α {format_alpha(self.alpha)}": decibels(choice.loss_db[self.alpha]),
            }
            for choice in self.layers
        ]
        return f"<p>{escape(repr(self)[1:-1])}</p>{table(rows)}"
