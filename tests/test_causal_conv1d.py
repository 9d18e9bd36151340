"""The Triton kernel against the reference, in codes: compiled on a GPU, interpreted elsewhere.

Both compute exp in float64 and round it once, so no code may differ, on any input.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import available_backends, default_backend, quant_causal_conv1d, reference
from kernels.int8 import scale_from_amax

DEVICE = "cuda" if "triton" in available_backends() else "cpu"
BACKEND = "triton" if DEVICE == "cuda" else "triton-interpret"
GENERATOR = torch.Generator().manual_seed(1)

pytestmark = pytest.mark.skipif(
    BACKEND not in available_backends(), reason="triton is not installed (it runs on Linux alone)"
)


def uniform(*shape: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, dtype=torch.int8, generator=GENERATOR)


def gaussian(*shape: int) -> torch.Tensor:
    values = torch.randn(shape, generator=GENERATOR) * 32
    return values.round().clamp(-128, 127).to(torch.int8)


def heavy_tailed(*shape: int) -> torch.Tensor:
    """Student's t with two degrees of freedom: most codes small, many saturated."""
    normal = torch.randn(shape, generator=GENERATOR)
    chi = torch.randn((2, *shape), generator=GENERATOR).square().mean(0).sqrt()
    return (6 * normal / chi).round().clamp(-128, 127).to(torch.int8)


def operands(channels: int, width: int) -> dict:
    return {
        "weight": uniform(channels, width).to(DEVICE),
        "bias": uniform(channels).to(DEVICE),
        "scale_x": scale_from_amax(5.0),
        "scale_w": scale_from_amax(0.9),
        "scale_b": scale_from_amax(0.6),
        "scale_out": scale_from_amax(3.1),
    }


def assert_same_codes(x: torch.Tensor, **arguments) -> torch.Tensor:
    """Run the kernel on x and compare it with the reference; returns the codes."""
    found = quant_causal_conv1d(x, backend=BACKEND, **arguments)
    on_cpu = {
        name: value.cpu() if isinstance(value, torch.Tensor) else value
        for name, value in arguments.items()
    }
    expected = reference.quant_causal_conv1d(x.cpu(), **on_cpu)
    assert found.shape == x.shape and found.dtype == torch.int8 and found.device == x.device
    differing = int((found.cpu() != expected).sum())
    assert differing == 0, f"{differing} of {expected.numel()} codes differ"
    return found


@pytest.mark.parametrize("draw", [uniform, gaussian, heavy_tailed])
@pytest.mark.parametrize("width", [2, 3, 4])
def test_a_million_codes_are_those_of_the_reference(draw, width):
    x = draw(8, 256, 512).to(DEVICE)
    codes = assert_same_codes(x, **operands(256, width))
    assert codes.unique().numel() > 100  # the case is not a trivial one


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 31, 33, 60, 129])
@pytest.mark.parametrize("width", [2, 3, 4])
def test_any_length_shorter_than_the_kernel_or_odd(length, width):
    assert_same_codes(uniform(3, 5, length).to(DEVICE), **operands(5, width))


@pytest.mark.parametrize("shape", [(2, 24, 40), (3, 17, 9), (1, 1, 64), (2, 130, 1)])
def test_channel_last_memory_is_read_in_place_and_kept(shape):
    x = uniform(shape[0], shape[2], shape[1]).to(DEVICE).transpose(1, 2)
    found = assert_same_codes(x, **operands(shape[1], 4))
    if shape[1] > 1 and shape[2] > 1:
        assert found.stride() == x.stride()


def test_strided_views_are_read_where_they_lie():
    big = uniform(4, 12, 64).to(DEVICE)
    views = [
        big[:, 3:9, :],  # a slice of channels
        big[::2],  # every other batch
        big[:, :, 4:40],  # starts on a word
        big[:, :, 3:40],  # does not
        big.transpose(1, 2)[:, 5:13, :],  # D contiguous, L strided
    ]
    for x in views:
        before = big.clone()
        assert_same_codes(x, **operands(x.shape[1], 4))
        assert torch.equal(big, before)  # the input is left alone


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8), (2, 3, 0)])
def test_empty_tensors_stay_empty(shape):
    x = torch.empty(shape, dtype=torch.int8, device=DEVICE)
    assert quant_causal_conv1d(x, backend=BACKEND, **operands(shape[1], 4)).shape == shape


@pytest.mark.parametrize("length", [32, 33])
def test_scales_per_channel(length):
    arguments = operands(10, 4)
    for name in ("scale_x", "scale_w", "scale_b", "scale_out"):
        arguments[name] = (torch.rand(10, generator=GENERATOR) * 0.03 + 0.002).to(DEVICE)
    assert_same_codes(uniform(3, 10, length).to(DEVICE), **arguments)


def test_one_scale_per_channel_among_scalars():
    for name in ("scale_x", "scale_w", "scale_b", "scale_out"):
        arguments = operands(6, 4)
        arguments[name] = (torch.rand(6, generator=GENERATOR) * 0.03 + 0.002).to(DEVICE)
        assert_same_codes(uniform(2, 6, 20).to(DEVICE), **arguments)


def test_no_bias():
    arguments = operands(6, 4) | {"bias": None}
    assert_same_codes(uniform(2, 6, 20).to(DEVICE), **arguments)


def test_no_activation():
    arguments = operands(6, 4) | {"activation": None, "scale_out": 0.11}
    assert_same_codes(uniform(2, 6, 64).to(DEVICE), **arguments)


@pytest.mark.parametrize("scale_out", [1e-30, 1e-6, 3e-4, 10.0, 1e30])
def test_scales_far_from_the_data_saturate_or_vanish(scale_out):
    arguments = operands(6, 4) | {"scale_out": scale_out}
    assert_same_codes(gaussian(2, 6, 64).to(DEVICE), **arguments)


@pytest.mark.parametrize("scale_x", [1.0, 100.0, 1e20])
def test_exp_may_overflow_for_very_negative_values(scale_x):
    arguments = operands(6, 4) | {"scale_x": scale_x}
    assert_same_codes(uniform(2, 6, 64).to(DEVICE), **arguments)


def test_ties_round_away_from_zero():
    """Without activation and with unit scales, odd sums over scale_out = 2 are exact halves."""
    x = torch.arange(-128, 128, dtype=torch.int16).to(torch.int8).view(1, 1, 256).to(DEVICE)
    weight = torch.tensor([[0, 1]], dtype=torch.int8, device=DEVICE)
    unit = {"scale_x": 1.0, "scale_w": 1.0, "scale_b": 1.0, "scale_out": 2.0}
    found = assert_same_codes(x, weight=weight, bias=None, activation=None, **unit)
    expected = [int(math.copysign((abs(c) + 1) // 2, c)) for c in range(-128, 128)]
    assert found.flatten().tolist() == expected


@pytest.mark.parametrize("code", [-128, 0, 127])
def test_constant_input(code):
    x = torch.full((2, 5, 24), code, dtype=torch.int8, device=DEVICE)
    assert_same_codes(x, **operands(5, 4))


def test_every_output_is_written(monkeypatch):
    """Outputs come from poisoned memory, twice; one value left unwritten would show."""
    allocate = torch.empty_strided
    x, arguments = uniform(3, 7, 45).to(DEVICE), operands(7, 4)
    for poison in (77, -77):
        monkeypatch.setattr(
            torch, "empty_strided", lambda *a, p=poison, **k: allocate(*a, **k).fill_(p)
        )
        assert_same_codes(x, **arguments)
        assert_same_codes(x[:, :, :44].contiguous(), **arguments)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 40), st.integers(1, 70), st.integers(2, 4), st.booleans(),
    st.floats(1e-4, 0.2),
)  # fmt: skip
def test_any_shape(batch, channels, length, width, channel_last, scale_out):
    x = uniform(batch, channels, length)
    if channel_last:
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert_same_codes(x.to(DEVICE), **operands(channels, width) | {"scale_out": scale_out})


# What cannot be run says which argument, what it got, and the rule.


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"x": torch.zeros(2, 5, 8)}, r"x is torch\.float32; it must be a torch\.int8"),
        (
            {"x": torch.zeros(5, 8, dtype=torch.int8)},
            r"x has shape \(5, 8\); it must be \(B, D, L\)",
        ),
        ({"x": uniform(2, 10, 16)[:, ::2, ::2]}, r"x has strides .*contiguous"),
        ({"weight": uniform(5, 5)}, r"weight has shape \(5, 5\).*W in \(2, 3, 4\)"),
        ({"weight": uniform(4, 4)}, r"weight has shape \(4, 4\); it must be \(5, W\)"),
        ({"weight": [[1, 2]]}, r"weight is list"),
        ({"bias": uniform(4)}, r"bias has shape \(4,\); it must be \(5,\)"),
        ({"bias": torch.zeros(5)}, r"bias is torch\.float32"),
        ({"scale_x": 0.0}, r"scale_x is 0\.0; it must be finite and > 0"),
        ({"scale_w": -1.0}, r"scale_w is -1\.0"),
        ({"scale_b": math.nan}, r"scale_b is nan"),
        ({"scale_out": math.inf}, r"scale_out is inf"),
        ({"scale_out": "0.1"}, r"scale_out is '0\.1'; it must be a float"),
        ({"scale_out": True}, r"scale_out is True"),
        ({"scale_out": torch.ones(4)}, r"scale_out is .*\(4,\); it must be float32 \(5,\)"),
        ({"scale_out": torch.ones(5).double()}, r"scale_out is torch\.float64"),
        ({"scale_out": torch.tensor([1, 1, 0.0, 1, 1])}, r"scale_out lies between 0\.0 and 1\.0"),
        ({"activation": "relu"}, r"activation is 'relu'; allowed"),
        ({"backend": "cuda"}, r"backend is 'cuda'; allowed"),
    ],
)
def test_a_wrong_argument_is_named_with_its_rule(change, told):
    arguments = {
        "x": uniform(2, 5, 8), "weight": uniform(5, 4), "bias": uniform(5),
        "scale_x": 0.1, "scale_w": 0.1, "scale_b": 0.1, "scale_out": 0.1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=told):
        quant_causal_conv1d(**(arguments | change))


def test_a_backend_that_cannot_run_is_refused_with_the_reason():
    x, arguments = uniform(1, 2, 4).to(DEVICE), operands(2, 2)
    missing = "triton-interpret" if DEVICE == "cuda" else "triton"
    with pytest.raises(ValueError, match=rf"'{missing}' cannot run here: .+"):
        quant_causal_conv1d(x, backend=missing, **arguments)


def test_the_default_backend_is_the_best_that_runs():
    x = uniform(1, 2, 8).to(DEVICE)
    assert default_backend(x) == BACKEND
    assert available_backends()[-1] == "torch"


def test_the_torch_backend_is_the_reference():
    x, arguments = uniform(2, 3, 11), operands(3, 3)
    arguments = {k: v.cpu() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    found = quant_causal_conv1d(x, backend="torch", **arguments)
    assert torch.equal(found, reference.quant_causal_conv1d(x, **arguments))
