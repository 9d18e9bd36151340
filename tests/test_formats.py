"""Number formats: codebooks against brute force, torch's own FP8, published formulas and all ways
to divide a few values."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import half_away, requantize, values_of

from dashboard.calibration import SliceCalibration
from dashboard.calibration.gradients import GradientSums
from dashboard.calibration.histogram import ASCENDING_VALUES, Histogram
from dashboard.formats import (
    REGISTERED,
    Codebook,
    best_format,
    format_named,
    format_under_rule,
    names,
    register,
    report_of,
)
from dashboard.formats.choice import integer_range
from dashboard.formats.least_error import least_error_points
from dashboard.refusals import Refusal
from dashboard.rules.observers import OutputScale, ScaleRule
from kernels.int8 import quantize

EVERY_FLOAT16 = np.unique(ASCENDING_VALUES)  # -0 and +0 are one
SCALES = [1.0, 0.0301, 7.3e-4, 2.0**-7]
GRIDS = [name for name in names() if not REGISTERED[name].is_fitted]
NEAREST = [name for name in GRIDS if REGISTERED[name].family != "soft-edge"]
SOFT = [name for name in GRIDS if REGISTERED[name].family == "soft-edge"]


def counted_slice(seed: int = 0, size: int = 40_000, gradients: bool = True) -> SliceCalibration:
    """SiLU's output of Gaussian values with a few far ones, and gradients for small y."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(size, generator=generator) * 1.5
    v[:20] = torch.linspace(6, 14, 20)
    y = F.silu(v)
    g = torch.randn(size, generator=generator) / (1 + y.abs())
    histogram = Histogram.of(y)
    own = GradientSums.of(y, g, 1000) if gradients else None
    return SliceCalibration("x", 3.0, 0.5, 0.1, Histogram.of(v), histogram, (histogram,), own)


@pytest.fixture(scope="module")
def counted() -> SliceCalibration:
    return counted_slice()


def codebook(name: str, scale: float) -> Codebook:
    number_format = REGISTERED[name]
    zero_point = 3 - 2 ** (number_format.bits - 1) if number_format.is_asymmetric else 0
    return number_format.grid_at(zero_point, ratio=2.3).at(scale)


def to_the_nearest(points: np.ndarray) -> np.ndarray:
    """How far every finite float16 value is from the nearest of some points, by looking at all."""
    wide = EVERY_FLOAT16.astype(np.float64)
    distance = np.full(wide.shape, np.inf)
    for point in points:
        distance = np.minimum(distance, np.abs(wide - point))
    return distance


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NEAREST)
def test_every_finite_float16_goes_to_a_nearest_point(name, scale):
    book = codebook(name, scale)
    wide = EVERY_FLOAT16.astype(np.float64)
    error = np.abs(book.dequantized(EVERY_FLOAT16) - wide)
    # Where two points are equally far, float32's quotient decides: off by 2^-24 of the value.
    assert (error <= to_the_nearest(book.points) + np.abs(wide) * 2.0**-22).all()


@pytest.mark.parametrize("name", [name for name in names() if REGISTERED[name].is_fitted])
def test_every_finite_float16_goes_to_a_nearest_point_of_a_fitted_format(name, counted):
    book = best_format(REGISTERED[name], counted).codebook
    error = np.abs(book.dequantized(EVERY_FLOAT16) - EVERY_FLOAT16.astype(np.float64))
    # A middle between two points is rounded to float32: the two are then as far within 2^-23 of it.
    slack = np.abs(EVERY_FLOAT16.astype(np.float64)) * 2.0**-22
    assert (error <= to_the_nearest(book.points) + slack).all()


def test_every_format_was_looked_at_over_every_finite_float16():
    fitted = [name for name in names() if REGISTERED[name].is_fitted]
    assert sorted([*NEAREST, *SOFT, *fitted]) == sorted(names()) and len(names()) == 26
    assert len(EVERY_FLOAT16) == 2 * 31 * 1024 - 1


def test_a_threshold_is_the_least_float32_that_is_not_below_the_middle():
    rng = np.random.default_rng(1)
    points = np.sort(rng.normal(size=400)) * 10.0 ** rng.integers(-3, 3, 400).mean()
    book = Codebook.nearest(points)
    for i in range(len(points) - 1):
        middle = (Fraction(points[i]) + Fraction(points[i + 1])) / 2
        threshold = book.thresholds[i + 1]
        below = np.nextafter(threshold, np.float32(-np.inf))
        # The middle itself is a float64 number, rounded once.
        slack = abs(middle) * Fraction(1, 2**52)
        assert Fraction(float(below)) < middle + slack
        assert Fraction(float(threshold)) >= middle - slack
        assert book.codes(np.array([below, threshold])).tolist() == [i, i + 1]


def test_a_codebooks_name_is_of_its_points_and_its_thresholds():
    points, thresholds = np.array([0.0, 1.0]), np.array([-1, 0.5, 2], np.float32)
    book = Codebook(points, thresholds)
    assert book.digest == Codebook(points.copy(), thresholds.copy()).digest
    others = [
        Codebook(np.array([0.0, 1.5]), thresholds),
        Codebook(points, np.array([-1, 0.75, 2], np.float32)),
    ]
    assert len({own.digest for own in (book, *others)}) == 3


def test_the_top_code_is_the_greatest_magnitude_over_the_highest_point():
    """INT4 at 1 reaches 7: −3 is three sevenths of it, and −8, one further out, is all of it."""
    grid = REGISTERED["int4"].grid_at().at(1.0)
    for values, share in (([-3.0, 0.25], 3 / 7), ([2.0, 0.25], 2 / 7), ([-8.0], 1.0)):
        output = grid.quantize(Histogram.of(torch.tensor(values)))
        assert output.top_code_utilization == share


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("name", "dtype"), [("fp8-e4m3", torch.float8_e4m3fn), ("fp8-e5m2", torch.float8_e5m2)]
)
def test_fp8_is_torchs_to_the_bit_over_every_finite_float16(name, dtype, scale):
    book, most = codebook(name, scale), float(torch.finfo(dtype).max)
    values = torch.from_numpy(EVERY_FLOAT16)
    quotient = (values / torch.tensor(scale)).clamp(-most, most)
    expected = quotient.to(dtype).to(torch.float64) * float(np.float32(scale))
    assert np.array_equal(book.dequantized(EVERY_FLOAT16), expected.numpy())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_has_every_finite_value_of_torchs(dtype):
    name = {torch.float8_e4m3fn: "fp8-e4m3", torch.float8_e5m2: "fp8-e5m2"}[dtype]
    patterns = torch.arange(256).to(torch.uint8).view(dtype).to(torch.float64)
    finite = np.unique(patterns[torch.isfinite(patterns)].numpy() + 0.0)
    assert np.array_equal(REGISTERED[name].grid_at().points, finite)


@pytest.mark.parametrize(
    ("name", "last"), [("fp8-e4m3", 448 + 16), ("fp8-e5m2", 57344 + 4096), ("fp4-e2m1", 6 + 1)]
)
def test_half_a_step_beyond_the_greatest_value_is_still_in_range(name, last):
    """A tie goes to the even significand, which is the greatest value's neighbour within."""
    book = codebook(name, 1.0)
    beyond = float(np.nextafter(np.float16(last), np.float16(np.inf)))
    for sign in (1, -1):
        histogram = Histogram.of(torch.tensor([sign * last, sign * beyond, 0.0]))
        output = book.quantize(histogram)
        assert output.saturated == 1
        assert (output.saturated_high, output.saturated_low)[sign < 0] == 1


def test_fp4_has_the_seven_magnitudes_of_the_standard():
    assert REGISTERED["fp4-e2m1"].grid_at().points[7:].tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_fp4_rounds_ties_to_the_even_significand():
    book = codebook("fp4-e2m1", 1.0)
    ties = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]
    assert book.dequantized(np.array(ties)).tolist() == [0, 1, 1, 2, 2, 4, 4]
    assert book.dequantized(-np.array(ties)).tolist() == [0, -1, -1, -2, -2, -4, -4]


@pytest.mark.parametrize("zero_point", [0, -128, -37, 90])
@pytest.mark.parametrize("scale", [0.0123456, 0.02, 2.0**-6])
def test_int8_is_the_histograms_own_int8(counted, scale, zero_point):
    name = "int8-asymmetric" if zero_point else "int8"
    output = REGISTERED[name].grid_at(zero_point).at(scale).quantize(counted.silu_output)
    expected = counted.silu_output.quantize(scale, zero_point)
    assert np.array_equal(output.code_counts, expected.code_counts)
    assert output.saturated_low == expected.saturated_low
    assert output.saturated_high == expected.saturated_high
    assert output.rounding_sse == pytest.approx(float(expected.rounding_sse), rel=1e-12)
    assert output.clipping_sse == pytest.approx(float(expected.clipping_sse), rel=1e-9)
    assert output.effective_bits == pytest.approx(float(expected.effective_bits), rel=1e-12)
    assert output.code_utilization == float(expected.code_utilization)


def test_int8_gives_the_kernels_codes_within_two_float32_of_every_tie():
    scale = np.float32(0.0371)
    ties = ((np.arange(-130, 130) + 0.5) * float(scale)).astype(np.float32)
    near = [ties]
    for _ in range(2):
        near += [np.nextafter(near[-1], np.float32(9e9)), np.nextafter(ties, np.float32(-9e9))]
    values = np.concatenate(near)
    expected = quantize(torch.from_numpy(values), float(scale)).numpy()
    assert np.array_equal(codebook("int8", float(scale)).codes(values) - 128, expected)


def published(name: str, y: np.ndarray, s: float, ratio: float) -> np.ndarray:
    """The variants as their repository computes them, in float64 and with halves away from zero."""
    q, magnitude, sign = half_away(y / s), np.abs(y), np.sign(y)
    if name in ("soft-edge-half", "soft-edge-quarter"):
        limit, parts = (64, 2) if name == "soft-edge-half" else (32, 4)
        small = half_away(y / (s / parts)).clip(-127, 127) * (s / parts)
        return np.where(np.abs(q) < limit, small, q.clip(-128, 127) * s)
    if name in ("soft-edge-double", "soft-edge-minmax"):
        outer = half_away(y / (ratio * s)).clip(-128, 127) * ratio * s
        return np.where(np.abs(q) > 127, outer, q.clip(-128, 127) * s)
    if name == "soft-edge-quarter-log2":
        quarter = s / 4
        k = np.floor(np.log2(np.maximum(magnitude - 8 * s, quarter) / quarter))
        small = half_away(y / quarter).clip(-127, 127) * quarter
        return np.where(magnitude <= 8 * s, small, sign * (8 * s + 2.0**k * quarter))
    fine = half_away(y / (s / 4)).clip(-63, 63) * s / 4
    middle = sign * half_away(magnitude / s).clip(16, 143) * s
    outer = sign * (143 * s + half_away((magnitude - 143 * s) / (4 * s)).clip(0, 63) * 4 * s)
    return np.where(magnitude <= 15.75 * s, fine, np.where(magnitude <= 143 * s, middle, outer))


@pytest.mark.parametrize("name", SOFT)
def test_the_soft_edges_are_the_published_formulas_over_every_finite_float16(name):
    # A power of two, so that quotients have no rounding of their own.
    scale, ratio = 2.0**-5, 2.0
    book = REGISTERED[name].grid_at(ratio=ratio).at(scale)
    expected = published(name, EVERY_FLOAT16.astype(np.float64), scale, ratio)
    assert np.array_equal(book.dequantized(EVERY_FLOAT16), expected)


@pytest.mark.parametrize("scale", SCALES[1:3])
@pytest.mark.parametrize("name", SOFT)
def test_the_soft_edges_are_the_published_formulas_at_any_scale(name, scale):
    """Where float32's quotient and float64's lie on two sides of a boundary, either value does."""
    step, ratio = float(np.float32(scale)), 2.0
    book = REGISTERED[name].grid_at(ratio=ratio).at(scale)
    wide = EVERY_FLOAT16.astype(np.float64)
    given = book.dequantized(EVERY_FLOAT16)
    near = [published(name, wide * (1 + off), step, ratio) for off in (0, -(2.0**-22), 2.0**-22)]
    agrees = [np.isclose(given, expected, rtol=1e-6, atol=1e-12) for expected in near]
    assert np.any(agrees, axis=0).all()
    assert agrees[0].mean() > 0.999


@pytest.mark.parametrize(
    ("name", "size", "bits"),
    [
        ("soft-edge-three-segments", 509, 9),
        ("soft-edge-half", 255 + 64 + 65, 9),
        ("soft-edge-quarter", 253 + 96 + 97, 9),
        ("soft-edge-double", 255 + 64 + 65, 9),
        ("int8", 256, 8),
        ("fp8-e4m3", 253, 8),
        ("fp8-e5m2", 247, 8),
        ("fp4-e2m1", 15, 4),
        ("nf4", 16, 4),
        ("log2", 31, 5),
        ("log2-eighths", 255, 8),
    ],
)
def test_points_are_counted_with_their_signs(name, size, bits):
    book = codebook(name, 1.0)
    assert book.size == size
    # By hand: how many values come out of all that can go in, an octave beyond the last point.
    plain = np.linspace(-2 * book.points[-1], 2 * book.points[-1], 4_000_001).astype(np.float32)
    if size < 300 and name != "fp8-e5m2" and "log2" not in name:
        assert len(np.unique(book.dequantized(plain))) == size
    assert book.bits_needed == bits


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("half", -128.5, 127.5),
        ("quarter", -128.5, 127.5),
        ("double", -257.0, 255.0),  # codes −128 and 127 in steps of 2, and half a step
        ("minmax", -257.0, 255.0),
        ("three-segments", -397.0, 397.0),  # 395 and half of 4
        ("quarter-log2", -(2.0**39), 2.0**39),  # the next power, in quarters: 2^41 / 4
    ],
)
def test_a_soft_edges_range_ends_half_a_step_beyond_its_last_value(name, low, high):
    book = REGISTERED[f"soft-edge-{name}"].grid_at(ratio=2.0).at(1.0)
    assert book.thresholds[[0, -1]] == pytest.approx([low, high], rel=1e-6)


def test_what_coarse_rounding_would_bring_back_within_goes_to_the_first_value_outside():
    """In steps of 40, 130 is nearest to 120, which is another's: the next one above is 160."""
    book = REGISTERED["soft-edge-minmax"].grid_at(ratio=40.0).at(1.0)
    values = np.array([127.25, 128.0, 139.0, 141.0, 181.0])
    assert book.dequantized(values).tolist() == [127, 160, 160, 160, 200]
    assert book.dequantized(-values).tolist() == [-127, -160, -160, -160, -200]


def test_minmax_beyond_the_percentile_never_turns_the_order_around():
    for ratio in (1.0, 1.01, 1.3, 1.7, 2.0, 3.9, 40.0, 150.0):
        book = REGISTERED["soft-edge-minmax"].grid_at(ratio=ratio).at(0.01)
        assert (np.diff(book.dequantized(EVERY_FLOAT16)) >= 0).all()
        assert book.points[-1] == pytest.approx(0.01 * 127 * ratio)


def test_nf4_has_the_sixteen_published_points():
    listed = [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ]  # fmt: skip
    assert REGISTERED["nf4"].grid_at().points == pytest.approx(listed, abs=2e-7)  # float32


def test_log2_has_powers_of_two_alone():
    points = codebook("log2", 1.0).points
    assert sorted(points[points > 0]) == [2.0**-k for k in range(14, -1, -1)]
    eighths = codebook("log2-eighths", 1.0).points
    doubled = eighths[eighths > 0]
    assert doubled[8:] == pytest.approx(2 * doubled[:-8]) and doubled[-1] == 1
    assert np.array_equal(-eighths[::-1], eighths)


def every_division(values: np.ndarray, weights: np.ndarray, size: int) -> float:
    """The least error of all ways to cut K values into that many runs."""
    count, least = len(values), np.inf
    for cuts in itertools.combinations(range(1, count), size - 1):
        error = 0.0
        for a, b in itertools.pairwise([0, *cuts, count]):
            mean = np.average(values[a:b], weights=weights[a:b])
            error += float((weights[a:b] * (values[a:b] - mean) ** 2).sum())
        least = min(least, error)
    return least


def test_the_best_points_are_those_of_an_exhaustive_search():
    rng = np.random.default_rng(0)
    for _ in range(150):
        count = int(rng.integers(1, 11))
        values = np.sort(rng.choice(np.arange(-40, 40), count, replace=False)) / 7
        weights = rng.integers(1, 9, count).astype(np.float64)
        size = int(rng.integers(1, count + 1))
        points = least_error_points(values.astype(np.float32), weights, (size,))[size]
        error = (weights * ((values[:, None] - points) ** 2).min(1)).sum()
        assert error == pytest.approx(every_division(values, weights, size), rel=1e-5, abs=1e-9)


def test_values_of_weight_0_have_no_say_in_the_best_points():
    values, weights = np.arange(6, dtype=np.float32), np.array([1, 0, 1, 0, 0, 2.0])
    points = least_error_points(values, weights, (3, 5))
    assert points[3].tolist() == [0, 2, 5]
    assert points[5].tolist() == [0, 2, 5]  # there are no more values than that


def test_several_sizes_from_one_run_are_those_of_runs_of_their_own(counted):
    values, weights = counted.silu_output.values, counted.silu_output.counts
    together = least_error_points(values, weights, (7, 16, 64))
    for size, points in together.items():
        assert np.array_equal(points, least_error_points(values, weights, (size,))[size])


def test_the_best_points_are_means_of_their_cells_and_beat_every_format(counted):
    best = best_format(REGISTERED["optimal8"], counted)
    plain = values_of(counted.silu_output).astype(np.float64)
    codes = best.codebook.codes(plain)
    means = np.bincount(codes, plain) / np.bincount(codes)
    assert means == pytest.approx(best.codebook.points, rel=1e-9)
    assert best.codebook.size == 256
    assert best_format(REGISTERED["optimal4"], counted).codebook.size == 16
    for name in names():
        report = best_format(REGISTERED[name], counted)
        if report.codebook.size <= 256:
            assert best.output.sqnr_db >= report.output.sqnr_db - 1e-9


@pytest.mark.parametrize("name", names())
def test_what_a_format_makes_of_a_histogram_is_what_it_makes_of_its_values(name, counted):
    symmetric = not REGISTERED[name].is_asymmetric
    rule = ScaleRule("percentile", 0.999, symmetric=symmetric)
    report = format_under_rule(REGISTERED[name], rule, counted)
    plain = values_of(counted.silu_output).astype(np.float64)
    back = report.codebook.dequantized(plain)
    error = float(((back - plain) ** 2).sum())
    output = report.output
    assert output.sqnr_db == pytest.approx(10 * np.log10((plain**2).sum() / error), abs=1e-6)
    codes = report.codebook.codes(plain)
    counts = np.bincount(codes, minlength=report.codebook.size)
    assert np.array_equal(output.code_counts, counts)
    shares = counts[counts > 0] / len(plain)
    assert output.effective_bits == pytest.approx(-(shares * np.log2(shares)).sum())
    low, high = report.codebook.thresholds[[0, -1]]
    outside = (plain < low) | (plain >= high)
    assert output.saturation_rate == pytest.approx(outside.mean())
    for part, own in ((output.clipping_mse, outside), (output.rounding_mse, ~outside)):
        assert part * len(plain) == pytest.approx(((back - plain)[own] ** 2).sum(), abs=1e-6)
    sums = counted.gradients
    quantized = report.codebook.dequantized(sums.values)
    by_hand = 0.5 * (sums.squares * (quantized - sums.values) ** 2).sum() / sums.tokens
    assert report.predicted_nats == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("name", "units"),
    [("int8", 127), ("int4", 7), ("int6", 31), ("fp8-e4m3", 448), ("fp8-e5m2", 57344),
     ("fp4-e2m1", 6), ("log2", 1), ("nf4", 1), ("soft-edge-half", 127)],
)  # fmt: skip
def test_a_rules_scale_is_amax_over_the_greatest_value(name, units, counted):
    rule = ScaleRule("percentile", 0.999)
    magnitudes = torch.from_numpy(values_of(counted.silu_output)).abs()
    amax = float(torch.quantile(magnitudes, 0.999))
    report = format_under_rule(REGISTERED[name], rule, counted)
    assert report.scale == float(np.float32(amax) / np.float32(units))


@pytest.mark.parametrize("name", ["int8-asymmetric", "int6-asymmetric", "int4-asymmetric"])
def test_asymmetric_integers_span_the_rules_range_and_hold_0(name, counted):
    report = format_under_rule(REGISTERED[name], ScaleRule("minmax", symmetric=False), counted)
    output, bits = counted.silu_output, REGISTERED[name].bits
    step = (output.max - output.min) / (2**bits - 1)
    assert report.codebook.points[0] == pytest.approx(output.min, abs=step)
    assert report.codebook.points[-1] == pytest.approx(output.max, abs=step)
    assert 0.0 in report.codebook.points
    expected = requantize(output.values, report.scale, report.zero_point)
    codes = expected.unclamped.clip(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert np.array_equal(report.codebook.codes(output.values) - 2 ** (bits - 1), codes)


def test_a_rule_that_gives_a_scale_means_the_amax_that_its_code_127_reaches(counted):
    report = format_under_rule(REGISTERED["fp8-e4m3"], ScaleRule("scale-wx"), counted)
    scale_wx = (3.0 / 127) * (0.5 / 127)  # max|x| and max|weight| of the slice
    assert report.scale == pytest.approx(scale_wx * 127 / 448, rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "bits", "scale", "zero_point"),
    [
        (-0.28, 10.0, 8, 10.28 / 255, -121),  # 0.28 is 6.95 steps
        (-3.0, 4.5, 4, 0.5, -2),
        (1.0, 6.0, 4, 0.4, -8),  # widened to hold 0
        (-6.0, -1.0, 4, 0.4, 7),
        (0.0, 0.0, 4, 1e-6, -8),
    ],
)
def test_a_range_is_spread_over_all_codes_and_holds_0(low, high, bits, scale, zero_point):
    chosen = integer_range(low, high, bits)
    assert chosen.scale == pytest.approx(scale, rel=1e-6) and chosen.zero_point == zero_point


def test_a_second_scale_is_never_finer_than_the_first(counted):
    """At twice MinMax's scale nothing lies beyond code 127: the points are INT8's."""
    scale = 2 * counted.silu_output.absmax / 127
    soft, plain = (
        report_of(REGISTERED[name], OutputScale(scale), counted).codebook
        for name in ("soft-edge-minmax", "int8")
    )
    assert np.array_equal(soft.points, plain.points)
    assert np.array_equal(soft.thresholds[1:-1], plain.thresholds[1:-1])


def test_where_no_gradient_says_anything_the_squared_error_does(counted):
    own = counted.gradients
    silent = replace(counted, gradients=replace(own, squares=np.zeros_like(own.squares)))
    for name in ("int8", "int6-asymmetric", "optimal4", "quantile4"):
        by_loss = best_format(REGISTERED[name], silent, "predicted_nats")
        assert by_loss.codebook.digest == best_format(REGISTERED[name], counted).codebook.digest
        assert by_loss.predicted_nats == 0


def test_the_best_range_lets_far_values_go_on_either_side():
    """A single value far out on each side, and all others between 0 and 1, 100,000 of them."""
    plain = torch.linspace(0, 1, 100_000).tolist()
    for far in (-4.0, 4.0):
        histogram = Histogram.of(torch.tensor([*plain, far]))
        own = SliceCalibration("x", 3.0, 0.5, 0.1, histogram, histogram, (histogram,))
        best = best_format(REGISTERED["int8-asymmetric"], own)
        y = values_of(histogram).astype(np.float64)
        for low in np.linspace(0, min(y.min(), 0.0), 25):
            for high in np.linspace(max(y.max(), 1.0), 0.5, 25):
                step = max((high - low) / 255, 1e-6)
                zero_point = np.round(-low / step)
                code = np.clip(half_away(y / step) + zero_point, 0, 255)
                error = (((code - zero_point) * step - y) ** 2).sum()
                assert best.output.sqnr_db >= 10 * np.log10((y**2).sum() / error) - 0.02


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan"), 1e-50])
def test_a_scale_must_be_above_0_in_float32(scale):
    with pytest.raises(ValueError, match="must be finite and > 0 in float32"):
        REGISTERED["fp8-e4m3"].grid_at().at(scale)


def test_a_rule_and_a_format_must_be_of_one_kind(counted):
    with pytest.raises(ValueError, match=r"int4-asymmetric is asymmetric, .* is symmetric"):
        format_under_rule(REGISTERED["int4-asymmetric"], ScaleRule("minmax"), counted)
    with pytest.raises(ValueError, match=r"int4 is symmetric, .* is asymmetric"):
        format_under_rule(REGISTERED["int4"], ScaleRule("minmax", symmetric=False), counted)


@pytest.mark.parametrize("by", ["sqnr_db", "predicted_nats"])
@pytest.mark.parametrize("name", [name for name in GRIDS if not REGISTERED[name].is_asymmetric])
def test_the_best_scale_is_no_worse_than_any_of_a_dense_search(name, by, counted):
    number_format = REGISTERED[name]
    best = best_format(number_format, counted, by)
    absmax = counted.silu_output.absmax
    for amax in absmax * 2.0 ** np.linspace(-7, 0.4, 150):
        scale = float(np.float32(amax / number_format.amax_units))
        ratio = max(absmax / 127 / scale, 1.0)
        book = number_format.grid_at(ratio=ratio).at(scale)
        if by == "sqnr_db":
            assert best.output.sqnr_db >= book.quantize(counted.silu_output).sqnr_db - 0.01
        else:
            assert best.predicted_nats <= book.predicted_nats(counted.gradients) * 1.003


@pytest.mark.parametrize("bits", [4, 8])
def test_the_best_range_is_no_worse_than_any_of_a_dense_search(bits, counted):
    output = counted.silu_output
    best = best_format(REGISTERED[f"int{bits}-asymmetric"], counted)
    for low in np.linspace(0, output.min, 12):
        for high in output.max * np.linspace(0.1, 1, 40):
            scale = np.float32((high - low) / (2**bits - 1))
            zero_point = int(np.clip(np.round(-low / scale) - 2 ** (bits - 1), -128, 127))
            grid = REGISTERED[f"int{bits}-asymmetric"].grid_at(zero_point)
            assert best.output.sqnr_db >= grid.at(float(scale)).quantize(output).sqnr_db - 0.02


def test_the_least_predicted_loss_needs_gradients():
    with pytest.raises(ValueError, match="needs gradients"):
        best_format(REGISTERED["int8"], counted_slice(gradients=False), "predicted_nats")


def test_the_best_points_by_predicted_loss_cost_less_than_those_by_squared_error(counted):
    by_error = best_format(REGISTERED["optimal4"], counted)
    by_loss = best_format(REGISTERED["optimal4"], counted, "predicted_nats")
    assert by_loss.predicted_nats < by_error.predicted_nats
    assert by_loss.output.sqnr_db < by_error.output.sqnr_db


def test_a_slice_of_zeros_has_a_scale_in_every_format():
    zeros = Histogram.of(torch.zeros(100))
    counted = SliceCalibration("x", 3.0, 0.5, 0.1, zeros, zeros, (zeros,))
    for name in names():
        rule = ScaleRule("minmax", symmetric=not REGISTERED[name].is_asymmetric)
        for report in (
            format_under_rule(REGISTERED[name], rule, counted),
            best_format(REGISTERED[name], counted),
        ):
            assert report.output.rounding_sse + report.output.clipping_sse == 0.0
            assert report.output.saturation_rate == 0.0


@pytest.mark.parametrize(("bits", "values"), [(8, 40_000), (4, 40_000), (4, 17_000), (8, 257 * 60)])
def test_quantile_points_are_middles_of_neighbouring_quantiles(bits, values):
    """On the sorted values themselves: the value below which i of 2^b + 1 equal shares lie."""
    counted = counted_slice(size=values)
    plain = np.sort(values_of(counted.silu_output)).astype(np.float64)
    size = 2**bits
    at = [i * len(plain) // (size + 1) for i in range(size + 1)]
    middles = (plain[at][:-1] + plain[at][1:]) / 2
    book = best_format(REGISTERED[f"quantile{bits}"], counted).codebook
    assert np.array_equal(book.points, np.unique(middles))


def test_quantile_points_are_used_alike(counted):
    report = best_format(REGISTERED["quantile4"], counted)
    shares = report.output.code_counts / report.output.total
    # Each point is the middle of two sixteenths; a cell reaches from middle to middle.
    assert shares[1:-1].max() < 2 * shares[1:-1].min()
    assert report.output.effective_bits > 3.8


def test_another_name_is_refused_with_those_that_are_allowed():
    with pytest.raises(
        Refusal, match=r"number format is 'int9'; allowed are int8, int7, .*optimal4"
    ):
        format_named("int9")


def test_a_codebook_must_ascend():
    with pytest.raises(ValueError, match="ascend strictly"):
        Codebook.nearest(np.array([0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="one more"):
        Codebook(np.array([0.0, 1.0]), np.zeros(2, np.float32))
    for middle in (1.5, float("nan")):
        with pytest.raises(ValueError, match="thresholds must ascend"):
            Codebook(np.array([0.0, 1.0]), np.array([-1, middle, 1], np.float32))


def test_a_name_is_registered_once_and_in_a_family():
    with pytest.raises(ValueError, match="named 'nf4' is registered already"):
        register(REGISTERED["nf4"])
    with pytest.raises(ValueError, match="family is 'other'; allowed are"):
        register(replace(REGISTERED["nf4"], name="nf5", family="other"))
    assert "nf5" not in names()


def test_a_fitted_format_has_no_grid():
    with pytest.raises(ValueError, match="optimal4 is made of a layer's values and has no scale"):
        REGISTERED["optimal4"].grid_at()
