"""One slice of one calibrated layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dashboard.analysis.formats import slice_formats
from dashboard.analysis.report import report_scale
from dashboard.api.formats import Format, Formats
from dashboard.api.scales import Landscape, Scale
from dashboard.api.settings import rule_of
from dashboard.calibration import LayerCalibration, SliceCalibration
from dashboard.formats import best_format, format_named, format_under_rule
from dashboard.refusals import Refusal
from dashboard.rules import landscape as alphas
from dashboard.rules.landscape import Measure
from dashboard.rules.observers import DEFAULT_ALPHA, DEFAULT_RULE, DEFAULT_SIGMA


@dataclass(frozen=True, repr=False)
class Layer:
    """One slice of a calibrated layer: x, or in a Mamba-2 also B or C."""

    record: LayerCalibration
    name: str = "x"

    @property
    def number(self) -> int:
        """The model's own number of the layer."""
        return self.record.layer

    @property
    def slices(self) -> tuple[str, ...]:
        """The names of the layer's slices."""
        return tuple(counted.name for counted in self.record.slices)

    @property
    def counted(self) -> SliceCalibration:
        """The slice's exact histograms, ``silu_input`` and ``silu_output``, and its maxima."""
        return self.record.slices[self.slices.index(self.name)]

    def slice(self, name: str) -> Layer:
        """Another slice of the same layer. Raises Refusal for one that it does not have."""
        if name not in self.slices:
            raise Refusal(
                "slice is {value}; layer {layer} has {slices}",
                value=repr(name),
                layer=self.number,
                slices=tuple(map(repr, self.slices)),
            )
        return replace(self, name=name)

    def scale(
        self,
        observer: str = DEFAULT_RULE,
        *,
        alpha: float = DEFAULT_ALPHA,
        sigma: float = DEFAULT_SIGMA,
        order: int | None = None,
        asymmetric: bool = False,
    ) -> Scale:
        """The output scale that a rule gives, with every measure of it.

        Args:
            observer: the rule: "percentile", "percentile-ema", "minmax", "mse", "entropy",
                "conv-absmax" or "scale-wx".
            alpha: in (0, 1], of the percentiles.
            sigma: in (0, 1], of the moving average.
            order: the seed that shuffles its batches; None takes them as read.
            asymmetric: whether 0 may have another code than 0.

        Raises Refusal, a ValueError, for a setting that is not allowed.
        """
        rule = rule_of(observer, alpha, sigma, order, asymmetric)
        return Scale(**vars(report_scale(self.counted, rule)), counted=self.counted)

    def format(
        self,
        name: str,
        observer: str | None = None,
        *,
        alpha: float = DEFAULT_ALPHA,
        sigma: float = DEFAULT_SIGMA,
        order: int | None = None,
        by: Measure = "sqnr_db",
    ) -> Format:
        """The slice in a number format: with the best scale there is, or with a rule's.

        Args:
            name: of a format, as ``formats`` lists them: "fp8-e4m3", "int4-asymmetric", ….
            observer, alpha, sigma, order: as of ``scale``; amax is then the format's greatest
                value. None looks for the best.
            by: what the best has: the most "sqnr_db" or the least "predicted_nats".

        Raises Refusal, a ValueError, for a setting that is not allowed.
        """
        number_format = format_named(name)
        if observer is None:
            report = best_format(number_format, self.counted, self._measure(by))
        else:
            rule = rule_of(observer, alpha, sigma, order, number_format.is_asymmetric)
            report = format_under_rule(number_format, rule, self.counted)
        return Format(**vars(report), counted=self.counted)

    def formats(self, by: Measure = "sqnr_db") -> Formats:
        """Every number format on the slice, each with its best scale; ``by`` as of ``format``."""
        return Formats(slice_formats(self.counted, self._measure(by)), self)

    def _measure(self, by: str) -> Measure:
        if by == "sqnr_db":
            return "sqnr_db"
        if by != "predicted_nats":
            raise Refusal(
                "by is {value}; allowed are {measures}",
                value=repr(by),
                measures=("sqnr_db", "predicted_nats"),
            )
        if self.counted.gradients is None:
            raise Refusal("predicted_nats needs gradients: calibrate with gradients=True")
        return "predicted_nats"

    def landscape(self, *, asymmetric: bool = False) -> Landscape:
        """What every α worth telling apart makes of the slice, and which is best.

        Best is the most SQNR, or the least predicted loss where gradients were counted.
        """
        landscape = alphas.Landscape.of(
            self.counted.silu_output, symmetric=not asymmetric, gradients=self.counted.gradients
        )
        return Landscape(**vars(landscape), counted=self.counted)

    def __repr__(self) -> str:
        return f"<layer {self.number}, slice {self.name}>"
