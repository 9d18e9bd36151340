"""A calibrated model as the lesson and the claims look at it: the x slice, layer by layer.

Everything in it was computed by the rooms before this one, and once: every α by
``rules.landscape``, the recommendation by ``landscape.recommend``, the INT8 convolution by
``analysis.report``. Here it only stands together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.impact import Impact
from dashboard.analysis.report import QuantizedConv
from dashboard.calibration import SliceCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.lesson.mean_error import mean_error
from dashboard.rules.channels import GroupScales
from dashboard.rules.grouping import ChannelGrouping
from dashboard.rules.landscape import Landscape, Recommendation
from dashboard.rules.observers import PUBLISHED_ALPHAS, ScaleRule, alpha_grid

MOST_LAYERS = 8  # as many as stand side by side; of a deeper model, the first


@dataclass(frozen=True)
class CalibratedLayer:
    """The x slice of one layer, and what every α makes of it."""

    number: int
    calibration: SliceCalibration
    landscape: Landscape

    @property
    def silu_output(self) -> Histogram:
        """The histogram of SiLU's output y."""
        return self.calibration.silu_output

    def scale(self, alpha: float) -> float:
        """x_out_scale by an α that the landscape tried."""
        return float(self.landscape.scales[self.landscape.index(alpha)])

    def sqnr_db(self, alpha: float) -> float:
        """The SQNR at an α that the landscape tried, in decibels."""
        return float(self.landscape.sqnr_db[self.landscape.index(alpha)])

    def saturation_rate(self, alpha: float) -> float:
        """The share of values beyond the codes at such an α, in [0, 1]."""
        return float(self.landscape.output.saturation_rate[self.landscape.index(alpha)])

    def mean_error(self, alpha: float) -> float:
        """mean |ŷ − y|, the published examples' measure of error."""
        return mean_error(self.silu_output, self.scale(alpha))

    @property
    def best_ratio_wx(self) -> float:
        """The like-for-like ratio at the layer's best α."""
        return self.scale(self.landscape.best_alpha) / self.calibration.scale_wx

    @property
    def best_ratio_weight(self) -> float:
        """The published kind of ratio at the layer's best α."""
        return self.scale(self.landscape.best_alpha) / self.calibration.scales.w_scale

    def loss_at_scale_db(self, scale: float) -> float:
        """What any scale loses against the best α, in dB."""
        return self.landscape.best_db - float(self.silu_output.quantize(scale).sqnr_db)


@dataclass(frozen=True, eq=False)
class Activations:
    """What a calibration file does not keep: the conv inputs, and what is computed from them."""

    conv: Callable[[int], QuantizedConv]  # of a layer
    minmax: Callable[[int], list[float]]  # of a layer, MinMax's scale of each slice
    groups: Callable[[int], tuple[ChannelGrouping, GroupScales]]  # of a layer's x, by MinMax
    has_heads: bool  # Mamba-2's channels are in heads
    text: bytes | None  # the first calibration batch, where the model reads bytes
    # of rules for all layers and slices, on held-out text; measured now where it was not before
    costs: Callable[[Sequence[ScaleRule]], Mapping[ScaleRule, Impact]]


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """The x slice of a model's layers, as many as fit, first to last.

    ``recommendation`` is of the whole model, every layer and slice: the one that every page and
    the command line give. ``activations`` is None for a calibration file.
    """

    checkpoint: str
    layers: tuple[CalibratedLayer, ...]
    recommendation: Recommendation
    activations: Activations | None = None

    def layer(self, number: int) -> CalibratedLayer:
        """A layer by the model's own number."""
        return next(layer for layer in self.layers if layer.number == number)

    def grid(self, number: int | None = None) -> tuple[float, ...]:
        """The values of α that a slider offers; of one layer, with its best among them."""
        best = [] if number is None else [self.layer(number).landscape.best_alpha]
        return alpha_grid(self.layers[0].silu_output.total, best)

    @property
    def gains_db(self) -> tuple[float, ...]:
        """What the larger of the published α gains over the smaller, in each layer."""
        low, high = PUBLISHED_ALPHAS
        return tuple(
            layer.landscape.loss_db(low) - layer.landscape.loss_db(high) for layer in self.layers
        )

    def mean_loss_db(self, alpha: float) -> float:
        """What one α for all these layers loses against each one's best, on average."""
        return float(np.mean([layer.landscape.loss_db(alpha) for layer in self.layers]))
