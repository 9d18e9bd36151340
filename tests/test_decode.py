"""The decode step against the forward, position by position."""

import pytest
import torch

from kernels import (
    available_backends,
    quant_causal_conv1d_lookup_update,
    quant_causal_conv1d_update,
    reference,
)
from kernels.int8 import scale_from_amax

DEVICE = "cuda" if "triton" in available_backends() else "cpu"
GENERATOR = torch.Generator().manual_seed(3)

backends = pytest.mark.parametrize("backend", available_backends())


def codes(*shape: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, dtype=torch.int8, generator=GENERATOR).to(DEVICE)


def scales(channels: int, vectors: bool) -> dict:
    factors = {
        "scale_x": scale_from_amax(5.0),
        "scale_w": scale_from_amax(0.9),
        "scale_b": scale_from_amax(0.6),
        "scale_out": scale_from_amax(3.1),
    }
    if not vectors:
        return factors
    spread = 0.5 + torch.rand(channels, generator=GENERATOR).to(DEVICE)
    return {name: scale * spread for name, scale in factors.items()}


@backends
@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("with_bias", [False, True])
def test_steps_from_zeros_are_the_forward(backend, width, vectors, activation, with_bias):
    batch, channels, length = 3, 37, 9
    x, weight = codes(batch, channels, length), codes(channels, width)
    bias = codes(channels) if with_bias else None
    arguments = scales(channels, vectors) | {"activation": activation}
    if vectors:
        spread = torch.linspace(-128, 127, channels).round().to(torch.int32)
        arguments["zero_point"] = spread.to(DEVICE)
    elif width == 3:
        arguments["zero_point"] = -97
    expected = reference.quant_causal_conv1d(x, weight, bias, **arguments)
    state = torch.zeros((batch, channels, width), dtype=torch.int8, device=DEVICE)
    memory = state.data_ptr()
    for position in range(length):
        step = quant_causal_conv1d_update(
            x[:, :, position], state, weight, bias, **arguments, backend=backend
        )
        assert step.shape == (batch, channels) and step.dtype == torch.int8
        assert torch.equal(step, expected[:, :, position]), position
        seen = x[:, :, max(0, position + 1 - width) : position + 1]
        assert torch.equal(state[:, :, -seen.shape[2] :], seen)
        assert not state[:, :, : width - seen.shape[2]].any()
    assert state.data_ptr() == memory


@backends
@pytest.mark.parametrize("count", [1, 15, 16, 255])
@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("activation", ["silu", None])
def test_steps_that_look_codes_up_are_the_forward(backend, count, vectors, activation):
    """Half of the thresholds are values that occur."""
    batch, channels, width, length = 3, 37, 4, 9
    x, weight, bias = codes(batch, channels, length), codes(channels, width), codes(channels)
    arguments = scales(channels, vectors) | {"activation": activation}
    y = reference.trace(x, weight, bias, **arguments).s.flatten()
    chosen = y[torch.randint(len(y), (count,), generator=GENERATOR).to(DEVICE)]
    chosen[::2] += 0.01
    del arguments["scale_out"]
    arguments["thresholds"] = chosen.sort().values
    expected = reference.quant_causal_conv1d_lookup(x, weight, bias, **arguments)
    state = torch.zeros((batch, channels, width), dtype=torch.int8, device=DEVICE)
    for position in range(length):
        step = quant_causal_conv1d_lookup_update(
            x[:, :, position], state, weight, bias, **arguments, backend=backend
        )
        assert step.dtype == torch.int8 and torch.equal(step, expected[:, :, position]), position
    assert torch.equal(state, x[:, :, -width:])


def test_a_wrong_threshold_of_a_step_is_named_and_changes_nothing():
    state = codes(2, 3, 4)
    before, arguments = state.clone(), scales(3, vectors=False)
    del arguments["scale_out"]
    thresholds = torch.tensor([0.5, 0.25], device=DEVICE)
    with pytest.raises(ValueError, match="thresholds must ascend"):
        quant_causal_conv1d_lookup_update(
            codes(2, 3), state, codes(3, 4), None, **arguments, thresholds=thresholds
        )
    assert torch.equal(state, before)


@backends
@pytest.mark.parametrize(("batch", "channels"), [(1, 1), (1, 1536), (300, 3), (5, 1000)])
def test_any_size(backend, batch, channels):
    x, state, weight, bias = (
        codes(batch, channels), codes(batch, channels, 4), codes(channels, 4), codes(channels),
    )  # fmt: skip
    after = torch.cat([state[..., 1:], x[..., None]], dim=-1)
    arguments = scales(channels, vectors=False)
    expected = reference.quant_causal_conv1d(after, weight, bias, **arguments)[..., -1]
    stepped = quant_causal_conv1d_update(x, state, weight, bias, **arguments, backend=backend)
    assert torch.equal(stepped, expected) and torch.equal(state, after)


@backends
def test_the_state_may_lie_anywhere_and_its_surroundings_are_left_alone(backend):
    memory = codes(4, 10, 6)
    state = memory[1:3, :, 1:].transpose(1, 2)[:, :, 1:9:2]
    before, whole = state.clone(), memory.clone()
    batch, channels, width = state.shape
    x, weight = codes(channels, batch).T, codes(channels, width)
    quant_causal_conv1d_update(
        x, state, weight, None, **scales(channels, vectors=False), backend=backend
    )
    assert torch.equal(state, torch.cat([before[..., 1:], x[..., None]], dim=-1))
    state.copy_(before)
    assert torch.equal(memory, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": codes(2, 3, 1)}, r"x has shape \(2, 3, 1\); it must be \(B, D\)"),
        ({"x": torch.zeros(2, 3, device=DEVICE)}, r"x is torch\.float32; it must be a torch\.int8"),
        ({"conv_state": codes(2, 3, 3)}, r"conv_state has shape \(2, 3, 3\); .* \(2, 3, 4\)"),
        ({"conv_state": codes(1, 3, 4).expand(2, 3, 4)}, r"conv_state has strides .*of its own"),
        ({"weight": codes(4, 4)}, r"weight has shape \(4, 4\); it must be \(3, W\)"),
        ({"bias": codes(4)}, r"bias has shape \(4,\); it must be \(3,\)"),
        ({"zero_point": 200}, r"zero_point lies between 200 and 200"),
        ({"scale_out": 0.0}, r"scale_out is 0\.0; it must be finite and > 0"),
        ({"scale_x": 1e20, "scale_w": 1e20}, r"must stay within float32"),
        ({"activation": "relu"}, r"activation is 'relu'; allowed"),
        ({"backend": "cuda"}, r"backend is 'cuda'; allowed"),
    ],
)
def test_a_wrong_argument_is_named_and_changes_nothing(change, message):
    state = codes(2, 3, 4)
    before = state.clone()
    arguments = {"x": codes(2, 3), "conv_state": state, "weight": codes(3, 4), "bias": codes(3)}
    with pytest.raises(ValueError, match=message):
        quant_causal_conv1d_update(**(arguments | scales(3, vectors=False) | change))
    assert torch.equal(state, before)
