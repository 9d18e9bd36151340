"""A format and a layer's counts -> its scale, by a rule or the best there is, and what it makes.

The best is meant by squared error, or by predicted loss: the same search over the same values, each
counted as often as it occurred, or as much as the model minds (Σ g²).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dashboard.calibration.gradients import GradientSums
from dashboard.calibration.histogram import Histogram, PrefixSums, prefix_sums
from dashboard.formats.codebook import Codebook, Coded
from dashboard.formats.registry import NumberFormat
from dashboard.rules.landscape import Measure
from dashboard.rules.observers import Observed, OutputScale, ScaleRule, amax, output_scale
from kernels.int8 import QMAX, QMIN, SCALE_MIN

OCTAVES = 10  # below max|y| in which a best amax is looked for
PER_OCTAVE = 12


class Counted(Observed, Protocol):
    """What a format may know of a slice: see ``calibration.SliceCalibration``."""

    @property
    def gradients(self) -> GradientSums | None: ...


@dataclass(frozen=True, eq=False)
class FormatReport:
    """A format with its scale, and what it does to one slice's output."""

    number_format: NumberFormat
    scale: float | None  # real units per unit of its grid, a float32; None of a fitted one
    zero_point: int
    codebook: Codebook
    output: Coded
    predicted_nats: float | None  # None where no gradients were counted


def format_under_rule(
    number_format: NumberFormat, rule: ScaleRule, counted: Counted
) -> FormatReport:
    """With the scale that a rule gives it: amax over ``amax_units``; a fitted format has no use.

    Asymmetric integers span the range that the rule's asymmetric INT8 spans, in fewer steps.

    Raises ValueError where one of rule and format is asymmetric and the other is not.
    """
    if number_format.is_fitted:
        return best_format(number_format, counted)
    if rule.symmetric == number_format.is_asymmetric:
        kinds = {True: "symmetric", False: "asymmetric"}
        raise ValueError(
            f"{number_format.name} is {kinds[not number_format.is_asymmetric]}, and the rule's "
            f"scale is {kinds[rule.symmetric]}"
        )
    eight_bits = output_scale(rule, counted)
    if number_format.is_asymmetric:
        chosen = _narrowed(eight_bits, number_format.bits)
    elif number_format.amax_units == QMAX:
        chosen = eight_bits
    else:
        chosen = OutputScale(_scale_of(number_format, _amax_of(rule, counted, eight_bits)))
    return report_of(number_format, chosen, counted)


def _amax_of(rule: ScaleRule, counted: Counted, eight_bits: OutputScale) -> float:
    if rule.registered.amax is None:  # a rule that gives a scale
        return eight_bits.scale * QMAX
    return amax(rule, counted.silu_output, counted.batches)


def _scale_of(number_format: NumberFormat, amax: float) -> float:
    """In float32, and never 0; of INT8 as ``kernels.int8.scale_from_amax`` has it."""
    units = np.float32(number_format.amax_units)
    return float(max(np.float32(amax) / units, np.float32(SCALE_MIN * QMAX) / units))


def _narrowed(eight_bits: OutputScale, bits: int) -> OutputScale:
    """The same range in 2^bits codes."""
    if bits == 8:
        return eight_bits
    scale, zero_point = eight_bits.scale, eight_bits.zero_point
    return integer_range((QMIN - zero_point) * scale, (QMAX - zero_point) * scale, bits)


def integer_range(low: float, high: float, bits: int) -> OutputScale:
    """The scale and the code of 0 that spread 2^bits codes over low … high, widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    lowest = -(2 ** (bits - 1))
    scale = max(np.float32((high - low) / (2**bits - 1)), np.float32(SCALE_MIN))
    zero_point = lowest + int(np.floor(-low / float(scale) + 0.5))
    return OutputScale(float(scale), min(max(zero_point, lowest), -lowest - 1))


def report_of(
    number_format: NumberFormat, chosen: OutputScale | Codebook, counted: Counted
) -> FormatReport:
    """What a format does at a scale, or, of a fitted one, with the points that were found."""
    if isinstance(chosen, Codebook):
        codebook, scale, zero_point = chosen, None, 0
    else:
        scale, zero_point = chosen.scale, chosen.zero_point
        codebook = codebook_at(number_format, chosen, counted.silu_output)
    gradients = counted.gradients
    nats = None if gradients is None else codebook.predicted_nats(gradients)
    output = codebook.quantize(counted.silu_output)
    return FormatReport(number_format, scale, zero_point, codebook, output, nats)


def codebook_at(number_format: NumberFormat, chosen: OutputScale, output: Histogram) -> Codebook:
    """The points at a scale; a second scale, where there is one, is MinMax's: max|y| / 127."""
    ratio = _outer_ratio(chosen.scale, output)
    return number_format.grid_at(chosen.zero_point, ratio).at(chosen.scale)


def _outer_ratio(scale: float, output: Histogram) -> float:
    return max(output.absmax / QMAX / scale, 1.0)


def best_format(
    number_format: NumberFormat, counted: Counted, by: Measure = "sqnr_db"
) -> FormatReport:
    """With the scale, or the points, that make the least error on what was counted.

    Args:
        by: "sqnr_db", the least squared error; "predicted_nats", the least predicted loss.

    Scales are tried over ``OCTAVES`` octaves below max|y|, then closer and closer around the best:
    to within a thousandth of the scale, unless two far ones are as good.

    Raises ValueError for the least predicted loss where no gradients were counted.
    """
    output, gradients = counted.silu_output, counted.gradients
    if by == "predicted_nats":
        if gradients is None:
            raise ValueError("the least predicted loss needs gradients, which were not counted")
        values, weights = gradients.values, gradients.squares
    else:
        values, weights = output.values, output.counts.astype(np.float64)
    if not (weights > 0).any():  # nothing minds: any codebook does
        values, weights = output.values, output.counts.astype(np.float64)
    if number_format.fit is not None:
        return report_of(number_format, number_format.fit(values, weights), counted)
    sums = prefix_sums(values, weights)
    if number_format.is_asymmetric:
        chosen = _best_range(number_format, output, values, sums)
    else:
        chosen = OutputScale(_best_scale(number_format, output, values, sums))
    return report_of(number_format, chosen, counted)


def _best_scale(
    number_format: NumberFormat, output: Histogram, values: np.ndarray, sums: PrefixSums
) -> float:
    least = np.float32(SCALE_MIN * QMAX / number_format.amax_units)

    def errors(amaxes: np.ndarray) -> np.ndarray:
        scales = np.maximum(amaxes.astype(np.float32) / np.float32(number_format.amax_units), least)
        if number_format.wide_grid is None:
            return number_format.grid_at().errors(values, sums, scales)
        grids = [number_format.grid_at(ratio=_outer_ratio(float(s), output)) for s in scales]
        return np.array(
            [grid.errors(values, sums, s[None])[0] for grid, s in zip(grids, scales, strict=True)]
        )

    steps = np.arange(-PER_OCTAVE // 2, OCTAVES * PER_OCTAVE + 1)
    tried = max(output.absmax, SCALE_MIN) * 2.0 ** (-steps / PER_OCTAVE)
    error, width = errors(tried), 1.0 / PER_OCTAVE
    for _ in range(3):  # 16 points where there was one: to 2^(1 / (12 · 16²)), about a thousandth
        centres = tried[np.argsort(error, kind="stable")[:3]]
        near = (centres[:, None] * 2.0 ** (np.linspace(-width, width, 17))).ravel()
        tried, error = np.append(tried, near), np.append(error, errors(near))
        width /= 8
    best = np.float32(tried[np.argmin(error)])
    return float(max(best / np.float32(number_format.amax_units), least))


def _best_range(
    number_format: NumberFormat, output: Histogram, values: np.ndarray, sums: PrefixSums
) -> OutputScale:
    """First upper ends all over, then each end by itself, in turns, until neither gains.

    The further out an end lies, the less clipping costs and the more rounding does, both convex: so
    the lower one can start at the least value and walk.
    """
    low, high = min(output.min, 0.0), max(output.max, 0.0)

    def best_of(ends: list[tuple[float, float]]) -> tuple[tuple[float, float], float]:
        ranges = [integer_range(*pair, number_format.bits) for pair in ends]
        error = np.empty(len(ranges))
        codes = np.array([chosen.zero_point for chosen in ranges])
        scales = np.array([chosen.scale for chosen in ranges], np.float32)
        for zero_point in np.unique(codes):
            same = codes == zero_point
            grid = number_format.grid_at(int(zero_point))
            error[same] = grid.errors(values, sums, scales[same])
        index = int(np.argmin(error))
        return ends[index], float(error[index])

    ends, error = best_of([(low, high * 2.0 ** (-octaves / 8)) for octaves in range(8 * OCTAVES)])
    least = np.inf
    near = [1.0, *np.linspace(0.9, 1.1, 41)]
    while error < least:
        least = error
        ends, error = best_of([(ends[0], min(ends[1] * factor, high)) for factor in near])
        ends, error = best_of([(max(ends[0] * factor, low), ends[1]) for factor in near])
    return integer_range(*ends, number_format.bits)
