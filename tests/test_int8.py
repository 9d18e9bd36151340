"""Codes, rounding and scales against hand-worked cases and exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import half_away

from kernels.int8 import dequantize, quantize, round_half_away, scale_from_amax


def test_halves_round_away_from_zero_and_their_neighbours_do_not():
    below_half = float(np.nextafter(np.float32(0.5), np.float32(0)))
    cases = {
        0.5: 1, -0.5: -1, 1.5: 2, 2.5: 3, -2.5: -3, below_half: 0, -below_half: 0,
        126.5: 127, 0.0: 0, 8388607.5: 8388608, 1.4999999: 1,
    }  # fmt: skip
    rounded = round_half_away(torch.tensor(list(cases), dtype=torch.float32))
    assert rounded.tolist() == [float(v) for v in cases.values()]


def test_every_half_of_the_code_range_and_its_neighbours_round_as_exact_fractions_do():
    halves = np.arange(-300, 300, dtype=np.float32) + np.float32(0.5)
    ends = [np.nextafter(halves, np.float32(end)) for end in (-1e9, 1e9)]
    values = np.concatenate([halves, *ends])
    exact = [math.floor(abs(Fraction(float(v))) + Fraction(1, 2)) for v in values]
    expected = np.copysign(exact, values)
    rounded = round_half_away(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(rounded, expected)


@settings(max_examples=300, deadline=None)
@given(st.floats(-1e6, 1e6, width=32))
def test_rounding_is_exact_for_any_float32(value):
    whole = math.floor(abs(Fraction(value)) + Fraction(1, 2))
    expected = math.copysign(whole, value)
    assert round_half_away(torch.tensor(value, dtype=torch.float32)) == expected


def test_a_scale_is_amax_over_127_in_float32():
    for amax in (127.0, 1.0, 3.3333333, 1e-3, 65504.0):
        assert scale_from_amax(amax) == float(np.float32(amax) / np.float32(127))


def test_a_scale_is_never_below_a_millionth():
    assert scale_from_amax(0.0) == float(np.float32(1e-6))
    assert scale_from_amax(1e-5) == float(np.float32(1e-6))


@pytest.mark.parametrize("amax", [-1.0, math.nan, math.inf, -math.inf, 1e39])
def test_an_amax_that_is_no_magnitude_is_named(amax):
    with pytest.raises(ValueError, match="amax is"):
        scale_from_amax(amax)


def test_quantize_saturates_at_both_ends():
    values = torch.tensor([-3e38, -128.5, -128.4, 0.0, 127.4, 127.5, 3e38])
    assert quantize(values, 1.0).tolist() == [-128, -128, -128, 0, 127, 127, 127]
    assert quantize(values, 1e-30).tolist() == [-128, -128, -128, 0, 127, 127, 127]


def test_a_scale_per_channel_broadcasts_over_positions():
    values = torch.tensor([[[1.0, 2.0], [1.0, 2.0]]])
    scale = torch.tensor([[1.0], [0.5]])
    codes = quantize(values, scale)
    assert codes.tolist() == [[[1, 2], [2, 4]]]
    assert dequantize(codes, scale).tolist() == values.tolist()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_have_no_code(value):
    with pytest.raises(ValueError, match=r"values to quantize lie between .* must be finite"):
        quantize(torch.tensor([1.0, value, -1.0]), 1.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e-50, torch.tensor([1.0, 0.0])])
def test_what_is_no_scale_is_named(scale):
    with pytest.raises(ValueError, match=r"scale lies between .*; it must be finite and > 0"):
        quantize(torch.tensor([1.0, 2.0]), scale)


def test_no_values_give_no_codes():
    assert quantize(torch.empty(2, 0), 1.0).shape == (2, 0)


def test_every_code_survives_the_way_to_real_values_and_back():
    codes = torch.arange(-128, 128).to(torch.int8)
    for scale in (1e-6, 0.0123, 0.1, 3.0, 1e30):
        assert torch.equal(quantize(dequantize(codes, scale), scale), codes)


def test_a_zero_point_is_added_to_the_rounded_quotient_before_it_is_clamped():
    values = torch.linspace(-3, 7, 4001)
    for zero_point in (-128, -50, 13, 127):
        expected = half_away((values / torch.tensor(0.021)).numpy()) + zero_point
        codes = quantize(values, 0.021, zero_point)
        np.testing.assert_array_equal(codes.numpy(), expected.clip(-128, 127))
        back = dequantize(codes, 0.021, zero_point)
        inside = (expected >= -128) & (expected <= 127)
        assert (back - values).abs().numpy()[inside].max() <= 0.0105001
