"""A codebook: which values a code can stand for, and where one code ends and the next begins.

Every quantizer that looks at one value alone and never turns an order around is this: ascending
*points*, what codes are dequantized to, and ascending *thresholds* between them. INT8, FP8, a grid
of powers of two and the best 256 points of a layer differ in these two lists and in nothing else,
so one function says what any of them makes of a histogram, and one lookup computes it.

A threshold is the least float32 that gets the higher of two codes. That settles ties, however a
format breaks them (INT8 away from zero, FP8 to the even significand), and float32's own rounding of
value / scale: a value's code is the number of thresholds that are not above it, in the kernel, in a
forward pass and here, to the last bit.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dashboard.calibration.gradients import GradientSums
from dashboard.calibration.histogram import (
    Histogram,
    PrefixSums,
    prefix_sums,
    signal_to_noise_db,
    squared_errors,
)


@dataclass(frozen=True, eq=False)
class Codebook:
    """P points at some scale, and what lies between them.

    ``points`` (P,) float64, strictly ascending, real units. ``thresholds`` (P + 1,) float32,
    ascending: code i, 0 … P − 1, has the values from ``thresholds[i]`` up to, and without,
    ``thresholds[i + 1]``. The outermost two bound what counts as within the range: values beyond
    them get the outermost codes all the same, and are called saturated. They are infinite where a
    codebook was made of the values themselves.
    """

    points: np.ndarray
    thresholds: np.ndarray

    def __post_init__(self) -> None:
        if self.points.shape != (len(self.thresholds) - 1,):
            raise ValueError(
                f"{len(self.points)} points have {len(self.thresholds)} thresholds; they need one "
                "more than there are points"
            )
        if not (np.diff(self.points) > 0).all():
            raise ValueError("points must ascend strictly")
        if not (self.thresholds[1:] >= self.thresholds[:-1]).all():  # false for NaN, too
            raise ValueError("thresholds must ascend")

    @staticmethod
    def nearest(points: np.ndarray) -> Codebook:
        """Each value gets the nearest of the points (P,); none is saturated.

        A value midway between two gets the higher one.
        """
        wide = np.asarray(points, np.float64)
        middles = (wide[:-1] + wide[1:]) / 2
        thresholds = np.concatenate([[-np.inf], middles, [np.inf]])
        rounded = thresholds.astype(np.float32)
        # The least float32 that is not below the middle.
        up = np.nextafter(rounded, np.float32(np.inf))
        return Codebook(wide, np.where(rounded < thresholds, up, rounded).astype(np.float32))

    @property
    def size(self) -> int:
        """How many values the codes stand for, those of both signs counted."""
        return len(self.points)

    @property
    def bits_needed(self) -> int:
        """The least whole number of bits that tells that many codes apart."""
        return math.ceil(math.log2(self.size))

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Of float32 values of any shape, each one's code 0 … P − 1 (int64)."""
        plain = np.asarray(values, np.float32)
        return np.searchsorted(self.thresholds[1:-1], plain, side="right")

    def dequantized(self, values: np.ndarray) -> np.ndarray:
        """Values to codes and back: float64, of the values' shape."""
        return self.points[self.codes(values)]

    def quantize(self, histogram: Histogram) -> Coded:
        """What it makes of every value of a histogram, exactly."""
        edges = np.searchsorted(histogram.values, self.thresholds, side="left")
        sums = prefix_sums(histogram.values, histogram.counts)
        rounding, clipping = squared_errors(sums, edges, self.points)
        before = np.concatenate([[0], np.cumsum(histogram.counts)])
        counts = np.diff(before[edges])
        low, high = int(before[edges[0]]), int(before[-1] - before[edges[-1]])
        counts[0] += low
        counts[-1] += high
        return Coded(self, counts, low, high, float(rounding), float(clipping), float(sums[2][-1]))

    def predicted_nats(self, gradients: GradientSums) -> float:
        """½ · Σ g² · (Q(y) − y)² per token: what it is predicted to cost the model."""
        return gradients.predicted_of(self.dequantized(gradients.values))

    @cached_property
    def digest(self) -> str:
        """A name: the same for the same points and thresholds."""
        whole = hashlib.sha256(np.ascontiguousarray(self.points, "<f8").tobytes())
        whole.update(np.ascontiguousarray(self.thresholds, "<f4").tobytes())
        return whole.hexdigest()


@dataclass(frozen=True, eq=False)
class Coded:
    """What a codebook makes of a histogram: the measures of ``histogram.Quantized``, of one scale.

    ``code_counts`` (P,) int64, saturated values in the outermost; ``saturated_low`` and
    ``saturated_high`` values beyond the range; ``rounding_sse`` and ``clipping_sse``
    Σ (dequantized − v)² within the range and beyond it (squared real units); ``signal`` Σ v².
    """

    codebook: Codebook
    code_counts: np.ndarray
    saturated_low: int
    saturated_high: int
    rounding_sse: float
    clipping_sse: float
    signal: float

    @property
    def total(self) -> int:
        """How many values were coded."""
        return int(self.code_counts.sum())

    @property
    def saturated(self) -> int:
        """How many values lie beyond the range."""
        return self.saturated_low + self.saturated_high

    @property
    def saturation_rate(self) -> float:
        """The share of values beyond the range."""
        return self.saturated / self.total

    @property
    def rounding_mse(self) -> float:
        """Mean squared error of what lies within the range, over all values."""
        return self.rounding_sse / self.total

    @property
    def clipping_mse(self) -> float:
        """Mean squared error of what lies beyond, over all values."""
        return self.clipping_sse / self.total

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ v² / Σ (dequantized − v)²); infinite where there is no error."""
        return float(signal_to_noise_db(self.signal, self.rounding_sse + self.clipping_sse))

    @property
    def codes_used(self) -> int:
        """How many codes occur."""
        return int((self.code_counts > 0).sum())

    @property
    def code_utilization(self) -> float:
        """Distinct codes used, of all that the format has."""
        return self.codes_used / self.codebook.size

    @property
    def top_code_utilization(self) -> float:
        """The greatest magnitude used, of the greatest that the format has on either side.

        Of symmetric INT8, whose lowest code is one further out than its highest, of the latter, as
        ``histogram.Quantized`` has it.
        """
        used = np.abs(self.codebook.points[self.code_counts > 0]).max()
        return float(min(used / self.codebook.points[-1], 1.0))

    @property
    def effective_bits(self) -> float:
        """Entropy of the codes, in bits."""
        share = self.code_counts / self.total
        log = np.log2(share, out=np.zeros_like(share), where=share > 0)
        return float(-(share * log).sum() + 0.0)


@dataclass(frozen=True, eq=False)
class UnitGrid:
    """A format's points in units of its scale, to be stretched by any.

    ``points`` (P,) float64 ascending. ``boundaries`` (P + 1,) float64, each a float32 number, in
    the same units: between neighbours and, at both ends, where the range ends. A quotient equal to
    a boundary gets the higher code where ``ties_up`` (P + 1,), else the lower.
    """

    points: np.ndarray
    boundaries: np.ndarray
    ties_up: np.ndarray

    @staticmethod
    def nearest(points: np.ndarray, ties_up: np.ndarray | None = None) -> UnitGrid:
        """Boundaries midway; the outermost as far beyond the ends as the next ones lie within.

        Args:
            points: (P,) ascending.
            ties_up: (P + 1,); None sends ties away from zero.
        """
        wide = np.asarray(points, np.float64)
        middles = (wide[:-1] + wide[1:]) / 2
        ends = 2 * wide[0] - middles[0], 2 * wide[-1] - middles[-1]
        boundaries = np.concatenate([[ends[0]], middles, [ends[1]]])
        return UnitGrid(
            wide,
            boundaries.astype(np.float32).astype(np.float64),
            boundaries > 0 if ties_up is None else ties_up,
        )

    def thresholds(self, scales: np.ndarray) -> np.ndarray:
        """At each of the scales (S,) float32: (S, P + 1) float32, as ``Codebook`` has them.

        A value's quotient is value / scale, rounded to float32, as the kernel divides.
        """
        scale = np.asarray(scales, np.float32)[:, None]
        # Around boundary · scale: the quotient of one of these is the first to reach the boundary.
        # A boundary of a grid can lie beyond float32 at a great scale: it is then infinite.
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            guess = (self.boundaries * scale.astype(np.float64)).astype(np.float32)
            least = guess
            for _ in range(3):
                least = np.nextafter(least, np.float32(-np.inf))
            threshold = least
            candidate = least
            reached = np.zeros(guess.shape, bool)
            for _ in range(7):
                quotient = candidate / scale
                reaches = np.where(
                    self.ties_up, quotient >= self.boundaries, quotient > self.boundaries
                )
                threshold = np.where(reaches & ~reached, candidate, threshold)
                reached |= reaches
                candidate = np.nextafter(candidate, np.float32(np.inf))
        return np.where(reached, threshold, np.float32(np.inf)).astype(np.float32)

    def at(self, scale: float) -> Codebook:
        """The codebook at one scale, real units per unit of the grid, > 0, read as float32."""
        step = np.float32(scale)
        if not (step > 0 and np.isfinite(step)):
            raise ValueError(f"scale is {scale}; it must be finite and > 0 in float32")
        return Codebook(self.points * float(step), self.thresholds(np.array([scale]))[0])

    def errors(self, values: np.ndarray, sums: PrefixSums, scales: np.ndarray) -> np.ndarray:
        """Σ w · (Q(v) − v)² at each of the scales (S,): (S,) float64.

        Args:
            values: (K,) ascending; ``sums`` are ``prefix_sums`` of them with their weights.
        """
        edges = np.searchsorted(values, self.thresholds(scales), side="left")
        points = self.points * np.asarray(scales, np.float32).astype(np.float64)[:, None]
        rounding, clipping = squared_errors(sums, edges, points)
        return rounding + clipping
