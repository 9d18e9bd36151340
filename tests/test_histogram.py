"""The exact histogram against torch.quantile, numpy and loops over plain values."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.calibration.histogram import Histogram, Quantized
from kernels.int8 import quantize


def silu_like(count: int, seed: int = 0) -> torch.Tensor:
    """Values as SiLU makes them: a floor at -0.2785, a spike at 0, a long positive tail."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(count, generator=generator) * 1.5
    v[:: max(1, count // 50)] *= 6
    return torch.nn.functional.silu(v)


def rounded(values: torch.Tensor) -> torch.Tensor:
    """What the histogram really counts: float16 values."""
    return values.to(torch.float16).to(torch.float32)


def brute_codes(values: np.ndarray, scale: float) -> np.ndarray:
    """Unclamped codes: the float32 quotient, rounded half away from zero with exact fractions."""
    quotients = values.astype(np.float32) / np.float32(scale)
    return np.array(
        [
            int(math.copysign(math.floor(abs(Fraction(float(q))) + Fraction(1, 2)), q))
            for q in quotients
        ]
    )


ALPHAS = (0.0, 0.1, 0.5, 0.9, 0.99, 0.9995, 0.99999, 0.9999999, 1.0)


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 65_537, 1_000_003])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_quantile_has_the_bits_of_torch_quantile(count, alpha):
    values = silu_like(count)
    expected = torch.quantile(rounded(values).abs(), alpha)
    assert Histogram.of(values).abs.quantile(alpha) == float(expected)


def test_quantile_of_signed_values_has_the_bits_of_torch_quantile():
    values = torch.randn(10_001, generator=torch.Generator().manual_seed(3))
    for alpha in ALPHAS:
        expected = float(torch.quantile(rounded(values), alpha))
        assert Histogram.of(values).quantile(alpha) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-60000, 60000, width=16), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_quantile_of_any_values_has_the_bits_of_torch_quantile(values, alpha):
    tensor = torch.tensor(values, dtype=torch.float32)
    assert Histogram.of(tensor).quantile(alpha) == float(torch.quantile(tensor, alpha))


def test_quantile_beyond_torchs_limit_is_that_of_numpy():
    values = silu_like(16_777_217 + 1000)
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(values, 0.5)
    histogram = Histogram.of(values).abs
    exact = rounded(values).abs().numpy().astype(np.float64)
    for alpha in (0.5, 0.9995, 0.99999):
        assert histogram.quantile(alpha) == np.quantile(exact, alpha)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_quantile_refuses_what_is_no_share(alpha):
    with pytest.raises(ValueError, match="alpha is"):
        Histogram.of(torch.ones(3)).quantile(alpha)


def test_an_empty_histogram_has_no_quantile():
    with pytest.raises(ValueError, match="empty"):
        Histogram.of(torch.empty(0)).quantile(0.5)


def test_counts_are_those_of_numpy_unique():
    values = silu_like(300_000)
    distinct, counts = np.unique(rounded(values).numpy(), return_counts=True)
    histogram = Histogram.of(values)
    np.testing.assert_array_equal(histogram.values, distinct)
    np.testing.assert_array_equal(histogram.counts, counts)
    assert histogram.total == 300_000
    assert (histogram.min, histogram.max) == (float(distinct[0]), float(distinct[-1]))


def test_every_finite_float16_is_counted_once_and_both_zeros_are_one_value():
    patterns = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(torch.float16)
    finite = patterns[torch.isfinite(patterns)]
    histogram = Histogram.of(finite)
    assert len(histogram.values) == len(finite) - 1
    assert histogram.counts[histogram.values == 0].tolist() == [2]
    assert (histogram.counts[histogram.values != 0] == 1).all()
    assert np.signbit(histogram.values[histogram.values == 0]).tolist() == [False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_dtype_and_any_strides_are_rounded_to_float16(dtype):
    values = silu_like(6000).to(dtype).reshape(20, 300).t()[::2]
    distinct, counts = np.unique(values.to(torch.float16).float().numpy(), return_counts=True)
    histogram = Histogram.of(values)
    np.testing.assert_array_equal(histogram.values, distinct)
    np.testing.assert_array_equal(histogram.counts, counts)


def test_merging_gives_the_same_bits_in_any_order():
    batches = [Histogram.of(silu_like(5000, seed)) for seed in range(5)]
    whole = Histogram.of(torch.cat([silu_like(5000, seed) for seed in range(5)]))
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        merged = batches[order[0]]
        for i in order[1:]:
            merged = merged + batches[i]
        assert merged.values.tobytes() == whole.values.tobytes()
        assert merged.counts.tobytes() == whole.counts.tobytes()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 65520.0, -1e30])
def test_values_that_float16_cannot_hold_are_refused(bad):
    with pytest.raises(ValueError, match=r"1 of 11 values are NaN, infinite or beyond float16"):
        Histogram.of(torch.tensor([0.5] * 10 + [bad]))


def test_the_largest_float16_is_accepted():
    assert Histogram.of(torch.tensor([65504.0, -65519.0])).absmax == 65504.0


SCALES = (1e-6, 0.0003, 0.00219727, 0.0231, 0.25, 1.0, 3.7)


@pytest.mark.parametrize("scale", SCALES)
def test_quantized_counts_and_errors_are_those_of_a_loop_over_the_values(scale):
    values = rounded(silu_like(4000)).numpy()
    codes = brute_codes(values, scale)
    clamped = np.clip(codes, -128, 127)
    beyond = codes != clamped
    error = (clamped * np.float64(np.float32(scale)) - values.astype(np.float64)) ** 2
    quantized = Histogram.of(torch.from_numpy(values)).quantize(scale)

    np.testing.assert_array_equal(quantized.code_counts, np.bincount(clamped + 128, minlength=256))
    assert quantized.saturated == beyond.sum()
    assert quantized.saturated_low == (codes < -128).sum()
    # float64 sums in another order: relative 1e-9 is far above their rounding.
    assert quantized.rounding_sse == pytest.approx(error[~beyond].sum(), rel=1e-9, abs=1e-12)
    assert quantized.clipping_sse == pytest.approx(error[beyond].sum(), rel=1e-9, abs=1e-12)
    signal = (values.astype(np.float64) ** 2).sum()
    assert float(quantized.sqnr_db) == pytest.approx(
        10 * math.log10(signal / error.sum()), abs=1e-8
    )
    assert quantized.saturation_rate == beyond.mean()
    assert quantized.codes_used == len(np.unique(clamped))
    share = np.unique(clamped, return_counts=True)[1] / len(values)
    assert float(quantized.effective_bits) == pytest.approx(-(share * np.log2(share)).sum())


def test_every_value_gets_the_code_that_quantize_gives_it():
    """All finite float16 values, at scales that make many quotients halves, or nearly so."""
    patterns = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(torch.float16)
    values = patterns[torch.isfinite(patterns)].float()
    generator = torch.Generator().manual_seed(1)
    drawn = (torch.rand(60, generator=generator) * 0.1 + 1e-4).tolist()
    for scale in [*SCALES, *drawn, 1 / 3, 2 / 255, 0.5, 2.0**-8]:
        scale32 = float(np.float32(scale))
        codes = quantize(values, scale32)
        expected = torch.bincount(codes.to(torch.int64) + 128, minlength=256)
        quantized = Histogram.of(values).quantize(scale32)
        np.testing.assert_array_equal(quantized.code_counts, expected.numpy(), err_msg=str(scale))


def test_halves_round_away_from_zero():
    values = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 127.4375, 127.5, -128.5, -128.0])
    quantized = Histogram.of(values).quantize(1.0)
    codes = {c - 128: n for c, n in enumerate(quantized.code_counts) if n}
    assert codes == {-128: 2, -3: 1, -2: 1, -1: 1, 1: 1, 2: 1, 3: 1, 127: 2}
    assert (quantized.saturated_low, quantized.saturated_high) == (1, 1)


def test_an_array_of_scales_gives_what_each_scale_gives_alone():
    histogram = Histogram.of(silu_like(20_000))
    scales = np.geomspace(1e-4, 0.2, 37)
    together = histogram.quantize(scales)
    assert together.code_counts.shape == (37, 256)
    for i, scale in enumerate(scales):
        alone = histogram.quantize(float(scale))
        np.testing.assert_array_equal(together.code_counts[i], alone.code_counts)
        assert together.rounding_sse[i] == alone.rounding_sse
        assert together.clipping_sse[i] == alone.clipping_sse
        assert together.effective_bits[i] == pytest.approx(float(alone.effective_bits))


@pytest.mark.parametrize("zero_point", [-128, -120, 0, 55, 127])
@pytest.mark.parametrize("scale", [0.0003, 0.0231, 0.5])
def test_a_zero_point_moves_the_range(scale, zero_point):
    values = rounded(silu_like(3000)).numpy()
    moved = brute_codes(values, scale) + zero_point
    clamped = np.clip(moved, -128, 127)
    error = (
        (clamped - zero_point) * np.float64(np.float32(scale)) - values.astype(np.float64)
    ) ** 2
    beyond = moved != clamped
    quantized = Histogram.of(torch.from_numpy(values)).quantize(scale, zero_point)
    np.testing.assert_array_equal(quantized.code_counts, np.bincount(clamped + 128, minlength=256))
    assert (quantized.saturated_low, quantized.saturated_high) == (
        (moved < -128).sum(),
        (moved > 127).sum(),
    )
    assert quantized.rounding_sse == pytest.approx(error[~beyond].sum(), rel=1e-9, abs=1e-12)
    assert quantized.clipping_sse == pytest.approx(error[beyond].sum(), rel=1e-9, abs=1e-12)


def test_scales_and_zero_points_broadcast():
    histogram = Histogram.of(silu_like(2000))
    together = histogram.quantize(np.array([[0.01], [0.02]]), np.array([-100, 0, 5]))
    alone = histogram.quantize(0.02, 5)
    assert together.sqnr_db.shape == (2, 3)
    assert together.sqnr_db[1, 2] == alone.sqnr_db


def test_negated_is_the_histogram_of_the_turned_values():
    values = silu_like(5000)
    turned = Histogram.of(-values)
    negated = Histogram.of(values).negated
    assert negated.values.tobytes() == turned.values.tobytes()
    assert negated.counts.tobytes() == turned.counts.tobytes()


def test_hand_worked_case():
    """1, 2 and 300 at scale 1: codes 1, 2 and 127; the last is clipped by 173."""
    quantized = Histogram.of(torch.tensor([1.0, 2.0, 300.0])).quantize(1.0)
    assert quantized.rounding_sse == 0
    assert quantized.clipping_sse == 173**2
    assert float(quantized.clipping_mse) == pytest.approx(173**2 / 3)
    assert float(quantized.clipping_share) == 1
    assert float(quantized.sqnr_db) == pytest.approx(10 * math.log10(90005 / 173**2))
    assert float(quantized.top_code_utilization) == 1
    assert float(quantized.code_utilization) == 3 / 256
    assert float(quantized.effective_bits) == pytest.approx(math.log2(3))


def test_measures_of_zeros_are_defined():
    quantized: Quantized = Histogram.of(torch.zeros(7)).quantize(0.1)
    assert float(quantized.sqnr_db) == math.inf
    assert float(quantized.clipping_share) == 0
    assert float(quantized.effective_bits) == 0
    assert quantized.top_code == 0


def test_rebin_counts_every_value_once():
    values = silu_like(9999)
    edges = np.linspace(-1, 20, 57)
    bins = Histogram.of(values).rebin(edges)
    np.testing.assert_array_equal(bins, np.histogram(rounded(values).numpy(), bins=edges)[0])


def test_share_within_is_a_share_of_all_values():
    histogram = Histogram.of(torch.tensor([-2.0, -1.0, 0.0, 1.0]))
    assert histogram.share_within(-1.0, 0.5) == 0.5
