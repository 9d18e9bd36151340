"""Every α at once: where the best scale of a layer lies, and which α serves a whole model.

A slice's histogram gives the error at any scale, so all α worth telling apart (1 − α with two
digits: some five hundred) are tried, and the best is named. Which α is best is a property of the
layer: it depends on how heavy the tail of the output is, and on whether the scale is symmetric. A
landscape is of one kind of scale, and whatever is held against it should be of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dashboard.calibration import Calibration
from dashboard.calibration.histogram import Histogram, Quantized, signal_to_noise_db
from dashboard.rules.observers import (
    PUBLISHED_ALPHAS,
    ScaleRule,
    fine_alphas,
    percentile_range,
    range_scale,
)
from kernels.int8 import scale_from_amax

NEGLIGIBLE_DB = 0.05  # a gain below this is none


@dataclass(frozen=True, eq=False)
class Landscape:
    """What every α makes of one slice's output: index i everywhere belongs to ``alphas[i]``.

    The scales are symmetric, or all asymmetric, each with the zero point that ``output`` has.
    """

    alphas: np.ndarray  # (A,) ascending, the last is 1
    scales: np.ndarray  # (A,) real units per code
    output: Quantized  # of shape (A,)
    symmetric: bool = True

    @staticmethod
    def of(
        output: Histogram, alphas: Sequence[float] | None = None, symmetric: bool = True
    ) -> Landscape:
        """By "percentile", over ``alphas``, or all that ``fine_alphas`` gives."""
        tried = fine_alphas(output.total) if alphas is None else np.asarray(alphas)
        if symmetric:
            scales = np.array([scale_from_amax(output.abs.quantile(float(a))) for a in tried])
            return Landscape(tried, scales, output.quantize(scales))
        made = [range_scale(*percentile_range(output, float(alpha))) for alpha in tried]
        scales = np.array([each.scale for each in made])
        zero_points = np.array([each.zero_point for each in made])
        return Landscape(tried, scales, output.quantize(scales, zero_points), symmetric=False)

    def at_least(self, alpha: float) -> Landscape:
        """The part from an α on; the whole where the best lies before it."""
        first = int(np.searchsorted(self.alphas, alpha))
        if first > self.best:
            return self
        return Landscape(
            self.alphas[first:],
            self.scales[first:],
            self.output.of(slice(first, None)),
            self.symmetric,
        )

    @cached_property
    def sqnr_db(self) -> np.ndarray:
        return self.output.sqnr_db

    @cached_property
    def rounding_ceiling_db(self) -> np.ndarray:
        """SQNR if nothing were clipped."""
        return signal_to_noise_db(self.output.signal, self.output.rounding_sse)

    @cached_property
    def clipping_ceiling_db(self) -> np.ndarray:
        """SQNR if nothing were rounded."""
        return signal_to_noise_db(self.output.signal, self.output.clipping_sse)

    @cached_property
    def best(self) -> int:
        """The index of the α with the most SQNR; of equals, the greatest."""
        return len(self.alphas) - 1 - int(np.argmax(self.sqnr_db[::-1]))

    @property
    def best_alpha(self) -> float:
        return float(self.alphas[self.best])

    @property
    def best_rule(self) -> ScaleRule:
        """The rule that gives the best scale."""
        return ScaleRule("percentile", self.best_alpha, symmetric=self.symmetric)

    @property
    def best_db(self) -> float:
        return float(self.sqnr_db[self.best])

    def index(self, alpha: float) -> int:
        """Where an α stands in ``alphas``; raises ValueError for one that was not tried."""
        index = int(np.searchsorted(self.alphas, alpha))
        if index == len(self.alphas) or self.alphas[index] != alpha:
            raise ValueError(f"alpha {alpha} was not tried; 1 − α must have two digits")
        return index

    def loss_db(self, alpha: float) -> float:
        """What one of ``alphas`` loses against the best; 0 where neither makes an error."""
        sqnr_db = float(self.sqnr_db[self.index(alpha)])
        return 0.0 if sqnr_db == self.best_db else self.best_db - sqnr_db

    def within(self, loss_db: float) -> tuple[float, float]:
        """The first and the last α around the best that lose at most ``loss_db``."""
        enough = self.sqnr_db >= self.best_db - loss_db
        first = last = self.best
        while first > 0 and enough[first - 1]:
            first -= 1
        while last < len(enough) - 1 and enough[last + 1]:
            last += 1
        return float(self.alphas[first]), float(self.alphas[last])


@dataclass(frozen=True)
class LayerChoice:
    """The best α of one slice of one layer, and what others lose there against it, in dB."""

    layer: int
    slice: str
    alpha: float
    x_out_scale: float
    sqnr_db: float
    loss_db: Mapping[float, float]  # of the recommended α, 0.9995, 0.99999 and 1 (MinMax)


@dataclass(frozen=True)
class Recommendation:
    """One α for a whole model, and the best of each of its layers and slices."""

    alpha: float
    layers: tuple[LayerChoice, ...]
    symmetric: bool = True

    def mean_loss_db(self, alpha: float) -> float:
        """What an α loses on average against each layer's own best."""
        return float(np.mean([choice.loss_db[alpha] for choice in self.layers]))

    @property
    def worst(self) -> LayerChoice:
        """Where the recommended α loses most."""
        return max(self.layers, key=lambda choice: choice.loss_db[self.alpha])


def landscapes(
    calibration: Calibration, symmetric: bool = True
) -> dict[tuple[int, str], Landscape]:
    """Of every slice of every layer, by (layer, slice)."""
    return {
        (layer.layer, part.name): Landscape.of(part.silu_output, symmetric=symmetric)
        for layer in calibration.layers
        for part in layer.slices
    }


def recommend(found: Mapping[tuple[int, str], Landscape]) -> Recommendation:
    """The α that loses least on average, over every layer and slice, against each one's best.

    Tried is each α that all of them tried. The average is over decibels, so that each slice counts
    the same however large its values are. All must be symmetric, or all asymmetric.
    """
    kinds = {each.symmetric for each in found.values()}
    if len(kinds) > 1:
        raise ValueError("some landscapes are symmetric and some are not; one α is for one kind")
    shared = set.intersection(*(set(each.alphas.tolist()) for each in found.values()))
    common = sorted(shared)
    losses = [[each.loss_db(alpha) for alpha in common] for each in found.values()]
    alpha = common[int(np.argmin(np.mean(losses, axis=0)))]
    choices = tuple(
        LayerChoice(
            layer=layer,
            slice=name,
            alpha=each.best_alpha,
            x_out_scale=float(each.scales[each.best]),
            sqnr_db=each.best_db,
            loss_db={a: each.loss_db(a) for a in (*PUBLISHED_ALPHAS, 1.0, alpha)},
        )
        for (layer, name), each in found.items()
    )
    return Recommendation(alpha, choices, kinds.pop())
