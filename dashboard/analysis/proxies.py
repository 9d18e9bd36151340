"""How far a prediction, and SQNR, can be trusted on a model: both against what was measured.

Every layer by itself under several rules, from much too tight to much too wide. A proxy that ranks
these as the measurement does can choose between scales; one that does not, cannot. The correlation
is of ranks (Spearman), so that no scale of the proxy matters: SQNR's decibels are not nats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.impact import Estimate, spearman
from dashboard.analysis.measurements import Measurements, Setting
from dashboard.analysis.quantized_forward import LayerQuantization
from dashboard.calibration import LayerCalibration
from dashboard.rules.observers import ScaleRule

# From far too small to the greatest value, an unsigned use of all codes, and another measure of
# what is good.
RULES = (
    ScaleRule("percentile", 0.99),
    ScaleRule("percentile", 0.999),
    ScaleRule("percentile", 0.9995),
    ScaleRule("percentile", 0.99999),
    ScaleRule("minmax"),
    ScaleRule("minmax", symmetric=False),
    ScaleRule("entropy"),
)


@dataclass(frozen=True)
class ProxyPoint:
    """One layer under one rule."""

    layer: int
    rule: ScaleRule
    measured: Estimate  # kl_nats
    predicted_nats: float | None
    sqnr_db: float  # of the layer's slices together


@dataclass(frozen=True, eq=False)
class Proxies:
    """What is known so far; ``asked`` is how many points there will be."""

    points: tuple[ProxyPoint, ...]
    asked: int

    @property
    def prediction_rank(self) -> float | None:
        """Rank correlation of the prediction with the measured KL; None without predictions."""
        known = [point.predicted_nats for point in self.points]
        predicted = [nats for nats in known if nats is not None]
        if len(predicted) < max(len(known), 3):
            return None
        return spearman(predicted, self._measured)

    @property
    def sqnr_rank(self) -> float | None:
        """Rank correlation of −SQNR with the measured KL; None of fewer than three points."""
        if len(self.points) < 3:
            return None
        return spearman([-point.sqnr_db for point in self.points], self._measured)

    @property
    def middle_ratio(self) -> float | None:
        """The median of prediction over measurement, where both are above 0."""
        ratios = [
            point.predicted_nats / point.measured.mean
            for point in self.points
            if point.predicted_nats is not None and point.measured.mean > 0
        ]
        return float(np.median(ratios)) if ratios else None

    @property
    def farthest(self) -> ProxyPoint | None:
        """Where prediction and measurement lie farthest apart, as a factor."""
        points = [p for p in self.points if (p.predicted_nats or 0) > 0 and p.measured.mean > 0]

        def apart(point: ProxyPoint) -> float:
            assert point.predicted_nats is not None
            return abs(float(np.log(point.predicted_nats / point.measured.mean)))

        return max(points, key=apart, default=None)

    @property
    def _measured(self) -> list[float]:
        return [point.measured.mean for point in self.points]


def proxy_settings(layers: Sequence[int]) -> tuple[Setting, ...]:
    """Every layer by itself under each of ``RULES``."""
    return tuple(Setting(rule, (layer,)) for layer in layers for rule in RULES)


def proxies(measurements: Measurements, counted: Mapping[int, LayerCalibration]) -> Proxies:
    """What was measured of ``proxy_settings``; ``counted`` has the layers by number."""
    points = []
    for layer, own in sorted(counted.items()):
        for rule in RULES:
            setting = Setting(rule, (layer,))
            impact = measurements.impact(setting)
            if impact is None:
                continue
            (quantization,) = measurements.quantizations(setting)
            predicted = measurements.predicted_nats(setting)
            sqnr_db = layer_sqnr_db(own, quantization)
            points.append(ProxyPoint(layer, rule, impact.kl_nats, predicted, sqnr_db))
    return Proxies(tuple(points), len(counted) * len(RULES))


def layer_sqnr_db(counted: LayerCalibration, quantization: LayerQuantization) -> float:
    """SQNR of a layer's slices together: their signals, and their squared errors, added up.

    Of one scale a slice.
    """
    signal = error = 0.0
    for entry in quantization.slices:
        own = next(one for one in counted.slices if one.name == entry.conv_slice.name)
        output = own.silu_output.quantize(float(entry.scale_out), entry.zero_point)
        signal += float(output.signal)
        error += float(output.rounding_sse + output.clipping_sse)
    if error == 0:
        return float("inf")
    return float(10 * np.log10(signal / error)) if signal > 0 else float("-inf")
