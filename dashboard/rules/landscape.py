"""Every α at once: where the best scale of a layer lies, and which α serves a whole model.

A slice's histogram gives the error at any scale, so all α worth telling apart (1 − α with two
digits: some five hundred) are tried, and the best is named. Which α is best is a property of the
layer: it depends on how heavy the tail of the output is, and on whether the scale is symmetric. A
landscape is of one kind of scale, and whatever is held against it should be of the same kind.

"Best" has two meanings, and a landscape says by which it goes: the most ``sqnr_db``, or, where
gradients of the loss were counted, the least ``predicted_nats``, which asks what an error does to
the model's predictions and not only how large it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from dashboard.calibration import Calibration
from dashboard.calibration.gradients import GradientSums
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
NEGLIGIBLE_SHARE = 0.01  # of a predicted cost: less than this saved is nothing

Measure = Literal["sqnr_db", "predicted_nats"]


@dataclass(frozen=True, eq=False)
class Landscape:
    """What every α makes of one slice's output: index i everywhere belongs to ``alphas[i]``.

    The scales are symmetric, or all asymmetric, each with the zero point that ``output`` has.
    """

    alphas: np.ndarray  # (A,) ascending, the last is 1
    scales: np.ndarray  # (A,) real units per code
    output: Quantized  # of shape (A,)
    symmetric: bool = True
    predicted_nats: np.ndarray | None = None  # (A,) where gradients were counted
    by: Measure = "sqnr_db"  # what the best has the most, or the least, of
    clipping_nats: np.ndarray | None = None  # (A,) what of the predicted cost clipping has

    @staticmethod
    def of(
        output: Histogram,
        alphas: Sequence[float] | None = None,
        symmetric: bool = True,
        gradients: GradientSums | None = None,
        by: Measure | None = None,
    ) -> Landscape:
        """By "percentile", over ``alphas``, or all that ``fine_alphas`` gives.

        Args:
            gradients: of the same slice, where they were counted.
            by: what "best" means; None is "predicted_nats" with gradients, else "sqnr_db".

        Raises ValueError for "predicted_nats" without gradients.
        """
        if by == "predicted_nats" and gradients is None:
            raise ValueError("the best by predicted_nats needs gradients, which were not counted")
        tried = fine_alphas(output.total) if alphas is None else np.asarray(alphas)
        if symmetric:
            scales = np.array([scale_from_amax(output.abs.quantile(float(a))) for a in tried])
            zero_points = np.zeros(len(tried), np.int64)
        else:
            made = [range_scale(*percentile_range(output, float(alpha))) for alpha in tried]
            scales = np.array([chosen.scale for chosen in made])
            zero_points = np.array([chosen.zero_point for chosen in made])
        rounding_nats = clipping_nats = None
        if gradients is not None:
            rounding_nats, clipping_nats = gradients.predicted_parts(scales, zero_points)
        return Landscape(
            tried,
            scales,
            output.quantize(scales, zero_points),
            symmetric,
            None if rounding_nats is None else rounding_nats + clipping_nats,
            by or ("sqnr_db" if gradients is None else "predicted_nats"),
            clipping_nats,
        )

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
            None if self.predicted_nats is None else self.predicted_nats[first:],
            self.by,
            None if self.clipping_nats is None else self.clipping_nats[first:],
        )

    @cached_property
    def sqnr_db(self) -> np.ndarray:
        """(n,) the SQNR at each α, in decibels."""
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
        """The index of the best α: the most SQNR or the least predicted loss, as ``by`` says.

        Of equally good ones the greatest.
        """
        merit = self.sqnr_db
        if self.by == "predicted_nats":
            assert self.predicted_nats is not None  # ``of`` refuses to go by it without gradients
            merit = -self.predicted_nats
        return len(self.alphas) - 1 - int(np.argmax(merit[::-1]))

    @property
    def best_alpha(self) -> float:
        """The α of the best point."""
        return float(self.alphas[self.best])

    @property
    def best_rule(self) -> ScaleRule:
        """The rule that gives the best scale."""
        return ScaleRule("percentile", self.best_alpha, symmetric=self.symmetric)

    @property
    def best_db(self) -> float:
        """The SQNR at the best point, in decibels."""
        return float(self.sqnr_db[self.best])

    @property
    def best_nats(self) -> float | None:
        """What the best α is predicted to cost; None where no gradients were counted."""
        return None if self.predicted_nats is None else float(self.predicted_nats[self.best])

    def index(self, alpha: float) -> int:
        """Where an α stands in ``alphas``; raises ValueError for one that was not tried."""
        index = int(np.searchsorted(self.alphas, alpha))
        if index == len(self.alphas) or self.alphas[index] != alpha:
            raise ValueError(f"alpha {alpha} was not tried; 1 − α must have two digits")
        return index

    def loss_db(self, alpha: float) -> float:
        """What one of ``alphas`` loses against the best; 0 where neither makes an error.

        Where the best goes by predicted loss, another may have more SQNR, and this be negative.
        """
        sqnr_db = float(self.sqnr_db[self.index(alpha)])
        return 0.0 if sqnr_db == self.best_db else self.best_db - sqnr_db

    def excess_nats(self, alpha: float) -> float | None:
        """How much more one of ``alphas`` is predicted to cost than the best; None as above."""
        if self.predicted_nats is None:
            return None
        return float(self.predicted_nats[self.index(alpha)] - self.predicted_nats[self.best])

    def within(self, loss_db: float) -> tuple[float, float]:
        """The first and the last α around the best that lose at most ``loss_db`` of SQNR."""
        enough = self.sqnr_db >= self.best_db - loss_db
        first = last = self.best
        while first > 0 and enough[first - 1]:
            first -= 1
        while last < len(enough) - 1 and enough[last + 1]:
            last += 1
        return float(self.alphas[first]), float(self.alphas[last])

    def costs_at_most(self, share: float) -> tuple[float, float]:
        """The first and the last α around the best that are predicted to cost at most so much more.

        Args:
            share: of the best's cost: 0.1 for a tenth more.

        Raises ValueError where no gradients were counted.
        """
        if self.predicted_nats is None:
            raise ValueError("what an α costs needs gradients, which were not counted")
        enough = self.predicted_nats <= (1 + share) * self.predicted_nats[self.best]
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
    predicted_nats: float | None = None  # at its own best α
    excess_nats: Mapping[float, float] | None = None  # as loss_db, predicted: more than the best


@dataclass(frozen=True)
class Recommendation:
    """One α for a whole model, and the best of each of its layers and slices."""

    alpha: float
    layers: tuple[LayerChoice, ...]
    symmetric: bool = True
    by: Measure = "sqnr_db"

    def total_excess_nats(self, alpha: float) -> float | None:
        """What an α is predicted to cost beyond each layer's own best, all layers added up.

        None where no gradients were counted.
        """
        excesses = [choice.excess_nats[alpha] for choice in self.layers if choice.excess_nats]
        return float(np.sum(excesses)) if excesses else None

    def mean_loss_db(self, alpha: float) -> float:
        """What an α loses on average against each layer's own best."""
        return float(np.mean([choice.loss_db[alpha] for choice in self.layers]))

    @property
    def worst(self) -> LayerChoice:
        """Where the recommended α loses most, in what ``by`` names."""

        def loss(choice: LayerChoice) -> float:
            lost = choice.excess_nats if self.by == "predicted_nats" else choice.loss_db
            assert lost is not None
            return lost[self.alpha]

        return max(self.layers, key=loss)


def landscapes(
    calibration: Calibration, symmetric: bool = True, by: Measure | None = None
) -> dict[tuple[int, str], Landscape]:
    """Of every slice of every layer, by (layer, slice); ``by`` as ``Landscape.of`` has it."""
    return {
        (layer.layer, counted.name): Landscape.of(
            counted.silu_output, symmetric=symmetric, gradients=counted.gradients, by=by
        )
        for layer in calibration.layers
        for counted in layer.slices
    }


def recommend(by_slice: Mapping[tuple[int, str], Landscape]) -> Recommendation:
    """The α that loses least over every layer and slice, against each one's best.

    Tried is each α that all of them tried. By SQNR the average is over decibels, so that each slice
    counts the same however large its values are; by predicted loss the nats are added up, so that
    each counts by what it costs. All must be symmetric or all asymmetric, and go by one measure.
    """
    kinds = {landscape.symmetric for landscape in by_slice.values()}
    if len(kinds) > 1:
        raise ValueError("some landscapes are symmetric and some are not; one α is for one kind")
    measures = {landscape.by for landscape in by_slice.values()}
    if len(measures) > 1:
        raise ValueError("some landscapes go by SQNR and some by predicted loss; one α is by one")
    (by,) = measures
    shared = set.intersection(*(set(landscape.alphas.tolist()) for landscape in by_slice.values()))
    common = sorted(shared)
    lose = Landscape.excess_nats if by == "predicted_nats" else Landscape.loss_db
    losses = [[lose(landscape, alpha) for alpha in common] for landscape in by_slice.values()]
    alpha = common[int(np.argmin(np.mean(np.array(losses, dtype=float), axis=0)))]
    asked = (*PUBLISHED_ALPHAS, 1.0, alpha)
    choices = tuple(
        LayerChoice(
            layer=layer,
            slice=name,
            alpha=landscape.best_alpha,
            x_out_scale=float(landscape.scales[landscape.best]),
            sqnr_db=landscape.best_db,
            loss_db={a: landscape.loss_db(a) for a in asked},
            predicted_nats=landscape.best_nats,
            excess_nats={
                a: excess for a in asked if (excess := landscape.excess_nats(a)) is not None
            }
            or None,
        )
        for (layer, name), landscape in by_slice.items()
    )
    return Recommendation(alpha, choices, kinds.pop(), by)
