"""A calibrated model, layer by layer: every α, the ratios, and the score of a reader's choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dashboard.calibration import SliceCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.lesson.outliers import mean_error
from dashboard.rules.landscape import Landscape, Recommendation
from dashboard.rules.observers import PUBLISHED_ALPHAS, alpha_grid

MOST_LAYERS = 8  # as many as stand side by side; of a deeper model, the first


@dataclass(frozen=True)
class TrainedLayer:
    """The x slice of one layer, and what every α makes of it."""

    layer: int
    counted: SliceCalibration
    landscape: Landscape

    @property
    def silu_output(self) -> Histogram:
        return self.counted.silu_output

    def scale(self, alpha: float) -> float:
        """x_out_scale by an α that the landscape tried."""
        return float(self.landscape.scales[self.index(alpha)])

    def sqnr_db(self, alpha: float) -> float:
        return float(self.landscape.sqnr_db[self.index(alpha)])

    def saturation_rate(self, alpha: float) -> float:
        return float(self.landscape.output.saturation_rate[self.index(alpha)])

    def mean_error(self, alpha: float) -> float:
        """mean |ŷ − y|, the published example's measure of error."""
        return mean_error(self.silu_output, self.scale(alpha))

    def index(self, alpha: float) -> int:
        """Where the landscape tried an α; raises ValueError for one that it did not."""
        self.landscape.loss_db(alpha)
        return int(np.searchsorted(self.landscape.alphas, alpha))

    @property
    def best_ratio_wx(self) -> float:
        """The like-for-like ratio at the layer's best α."""
        return self.scale(self.landscape.best_alpha) / self.counted.scale_wx

    @property
    def best_ratio_weight(self) -> float:
        """The published kind of ratio at the layer's best α."""
        return self.scale(self.landscape.best_alpha) / self.counted.scales.w_scale


@dataclass(frozen=True)
class Trained:
    """The x slice of a model's layers, as many as fit, first to last.

    ``recommendation`` is of the whole model, every layer and slice: the one that every page and
    the command line give.
    """

    checkpoint: str
    layers: tuple[TrainedLayer, ...]
    recommendation: Recommendation

    def layer(self, number: int) -> TrainedLayer:
        return next(each for each in self.layers if each.layer == number)

    @property
    def grid(self) -> tuple[float, ...]:
        """The values of α that a slider offers."""
        return alpha_grid(self.layers[0].silu_output.total)

    @property
    def gains_db(self) -> tuple[float, ...]:
        """What the larger of the published α gains over the smaller, in each layer."""
        low, high = PUBLISHED_ALPHAS
        return tuple(
            each.landscape.loss_db(low) - each.landscape.loss_db(high) for each in self.layers
        )

    def mean_loss_db(self, alpha: float) -> float:
        """What one α for all these layers loses against each one's best, on average."""
        return float(np.mean([each.landscape.loss_db(alpha) for each in self.layers]))


# Predicting a ratio


@dataclass(frozen=True)
class Guess:
    """A reader's guess of one layer's like-for-like ratio, and what acting on it would cost."""

    layer: int
    guess: float
    truth: float
    loss_db: float  # against the layer's best α
    saturation_rate: float

    @property
    def off(self) -> float:
        """How far the guess is off: 0.1 is 10 % too much."""
        return self.guess / self.truth - 1


def guessed(layer: TrainedLayer, guess: float) -> Guess:
    """Quantize the layer with the scale that the guess amounts to."""
    output = layer.silu_output.quantize(guess * layer.counted.scale_wx)
    return Guess(
        layer.layer,
        guess,
        layer.best_ratio_wx,
        layer.landscape.best_db - float(output.sqnr_db),
        float(output.saturation_rate),
    )


# Choosing α


@dataclass(frozen=True)
class Chosen:
    """An α for each layer, and what it buys."""

    trained: Trained
    alphas: tuple[float, ...]

    @property
    def sqnr_db(self) -> tuple[float, ...]:
        return tuple(
            each.sqnr_db(alpha)
            for each, alpha in zip(self.trained.layers, self.alphas, strict=True)
        )

    @property
    def loss_db(self) -> tuple[float, ...]:
        return tuple(
            each.landscape.loss_db(alpha)
            for each, alpha in zip(self.trained.layers, self.alphas, strict=True)
        )

    @property
    def mean_loss_db(self) -> float:
        return float(np.mean(self.loss_db))

    @property
    def worst(self) -> int:
        """The layer that loses most."""
        return self.trained.layers[int(np.argmax(self.loss_db))].layer
