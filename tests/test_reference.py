"""The specification against float64 loops, torch's own convolution and hand-worked cases."""

import math

import numpy as np
import pytest
import torch

from kernels import reference

GENERATOR = torch.Generator().manual_seed(0)


def codes(*shape: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, dtype=torch.int8, generator=GENERATOR)


def loops(x, weight, bias, scale_x, scale_w, scale_b, scale_out) -> np.ndarray:
    """The formulas in float64, one output at a time."""
    x, weight, bias = (t.numpy().astype(np.float64) for t in (x, weight, bias))
    batch, channels, length = x.shape
    width = weight.shape[1]
    out = np.zeros(x.shape)
    for b in range(batch):
        for d in range(channels):
            for position in range(length):
                acc = 0.0
                for k in range(width):
                    at = position - (width - 1) + k
                    acc += weight[d, k] * x[b, d, at] if at >= 0 else 0.0
                v = scale_w * scale_x * acc + bias[d] * scale_b
                y = v / (1 + math.exp(-v)) / scale_out
                out[b, d, position] = math.copysign(math.floor(abs(y) + 0.5), y)
    return np.clip(out, -128, 127)


@pytest.mark.parametrize("width", [2, 3, 4])
def test_the_reference_is_the_formula(width):
    x, weight, bias = codes(2, 5, 37), codes(5, width), codes(5)
    scales = {"scale_x": 0.02, "scale_w": 0.006, "scale_b": 0.01, "scale_out": 0.03}
    quantized = reference.quant_causal_conv1d(x, weight, bias, **scales)
    # float32 against float64: a code may turn at a tie, which 370 values do not meet.
    np.testing.assert_array_equal(quantized.numpy(), loops(x, weight, bias, **scales))


def test_hand_worked_case():
    """Weight (1, 2), x = 3, -1: sums 6 and 1; SiLU(6) = 5.985, SiLU(1) = 0.731."""
    x = torch.tensor([[[3, -1]]], dtype=torch.int8)
    weight = torch.tensor([[1, 2]], dtype=torch.int8)
    quantized = reference.quant_causal_conv1d(
        x, weight, None, scale_x=1.0, scale_w=1.0, scale_b=1.0, scale_out=0.1
    )
    assert quantized.tolist() == [[[60, 7]]]


@pytest.mark.parametrize("width", [2, 3, 4])
def test_the_sums_are_those_of_torch_conv1d(width):
    x, weight = codes(3, 7, 41), codes(7, width)
    expected = torch.nn.functional.conv1d(
        x.double(), weight.double()[:, None], padding=width - 1, groups=7
    )[..., :41]
    assert torch.equal(reference.accumulate(x, weight).double(), expected)


def test_extreme_codes_do_not_overflow():
    x, weight = (
        torch.full((1, 1, 8), -128, dtype=torch.int8),
        torch.full((1, 4), -128).to(torch.int8),
    )
    assert reference.accumulate(x, weight)[0, 0, 3:].tolist() == [4 * 128 * 128] * 5


def test_silu_is_torchs_to_float32s_last_bits():
    v = torch.cat([torch.linspace(-30, 30, 100_001), torch.tensor([0.0, -1.2784645])])
    exact = torch.nn.functional.silu(v.double())
    # exp, the sum and the division each round once: 2 units in the last place, relative.
    torch.testing.assert_close(reference.silu(v).double(), exact, rtol=2.5e-7, atol=0)


def test_exp_is_rounded_once_from_float64():
    """To the bit as numpy's; of float32 exps, torch's differs in 1 % of these, numpy's in 39 %."""
    v = np.linspace(-30, 30, 100_001, dtype=np.float32)
    exp = np.exp(-v.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(reference.silu(torch.from_numpy(v)), v / (np.float32(1) + exp))


def test_silu_of_very_negative_values_is_zero_and_not_nan():
    v = torch.tensor([-88.0, -89.0, -104.0, -1e4, -3e38])
    assert reference.silu(v).abs().max() < 1e-35
    assert reference.silu(torch.tensor([3e38])).item() == pytest.approx(3e38)


def test_scales_per_channel_are_applied_to_their_channel():
    x, weight, bias = codes(2, 4, 9), codes(4, 4), codes(4)
    vectors = {
        name: torch.rand(4, generator=GENERATOR) * 0.02 + 0.005
        for name in ("scale_x", "scale_w", "scale_b", "scale_out")
    }
    together = reference.quant_causal_conv1d(x, weight, bias, **vectors)
    for d in range(4):
        alone = reference.quant_causal_conv1d(
            x[:, d : d + 1],
            weight[d : d + 1],
            bias[d : d + 1],
            **{name: float(vector[d]) for name, vector in vectors.items()},
        )
        assert torch.equal(together[:, d : d + 1], alone)


def test_without_activation_the_convolution_itself_is_quantized():
    x, weight = codes(1, 3, 12), codes(3, 3)
    quantized = reference.quant_causal_conv1d(
        x, weight, None, scale_x=1.0, scale_w=1.0, scale_b=1.0, scale_out=512.0, activation=None
    )
    acc = reference.accumulate(x, weight).double() / 512
    expected = torch.sign(acc) * torch.floor(acc.abs() + 0.5)
    assert torch.equal(quantized.double(), expected.clamp(-128, 127))


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="activation is 'relu'"):
        reference.quant_causal_conv1d(
            codes(1, 2, 4),
            codes(2, 4),
            None,
            scale_x=1.0,
            scale_w=1.0,
            scale_b=1.0,
            scale_out=1.0,
            activation="relu",
        )


def test_the_float_convolution_is_torchs():
    x = torch.randn(2, 6, 33, generator=GENERATOR)
    weight = torch.randn(6, 4, generator=GENERATOR)
    bias = torch.randn(6, generator=GENERATOR)
    expected = torch.nn.functional.conv1d(x, weight[:, None], bias, padding=3, groups=6)[..., :33]
    # The same five terms, possibly added in another order.
    torch.testing.assert_close(reference.causal_conv1d(x, weight, bias), expected)


@pytest.mark.parametrize("activation", ["silu", None])
def test_the_trace_ends_in_the_reference_s_codes(activation):
    x, weight, bias = codes(2, 5, 37), codes(5, 3), codes(5)
    scales = {
        "scale_x": 0.02,
        "scale_w": 0.006,
        "scale_b": 0.01,
        "scale_out": torch.tensor([0.03, 0.003, 0.3, 1e-4, 5.0]),
    }
    traced = reference.trace(x, weight, bias, **scales, activation=activation)
    expected = reference.quant_causal_conv1d(x, weight, bias, **scales, activation=activation)
    assert torch.equal(traced.code, expected)
    assert torch.equal(traced.rounded.clamp(-128, 127).to(torch.int8), expected)


def test_the_trace_of_the_hand_worked_case():
    x = torch.tensor([[[3, -1]]], dtype=torch.int8)
    weight = torch.tensor([[1, 2]], dtype=torch.int8)
    traced = reference.trace(x, weight, None, scale_x=1.0, scale_w=1.0, scale_b=1.0, scale_out=0.1)
    assert traced.acc.tolist() == [[[6, 1]]] and traced.v.tolist() == [[[6.0, 1.0]]]
    silu = [6 / (1 + math.exp(-6)), 1 / (1 + math.exp(-1))]
    # Two roundings of float32, 6e-8 each, and that of the quotient.
    np.testing.assert_allclose(traced.s.flatten().numpy(), silu, rtol=2e-7)
    np.testing.assert_allclose(traced.quotient.flatten().numpy(), np.divide(silu, 0.1), rtol=3e-7)
    assert traced.rounded.tolist() == [[[60.0, 7.0]]] and traced.code.tolist() == [[[60, 7]]]
