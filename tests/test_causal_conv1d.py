"""The Triton kernel against the reference, in codes: compiled on a GPU, interpreted elsewhere.

Both compute exp in float64 and round it once, so no code may differ, on any input.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import codes_by_hand, silu_by_hand

from kernels import (
    available_backends,
    default_backend,
    quant_causal_conv1d,
    quant_causal_conv1d_lookup,
    reference,
)
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
    codes = quant_causal_conv1d(x, backend=BACKEND, **arguments)
    on_cpu = {
        name: value.cpu() if isinstance(value, torch.Tensor) else value
        for name, value in arguments.items()
    }
    expected = reference.quant_causal_conv1d(x.cpu(), **on_cpu)
    assert codes.shape == x.shape and codes.dtype == torch.int8 and codes.device == x.device
    distance = (codes.cpu().int() - expected.int()).abs()
    differing = int((distance > 0).sum())
    assert differing == 0, (
        f"{differing} of {expected.numel()} codes differ, by up to {int(distance.max())}"
    )
    return codes


def channel_last(x: torch.Tensor) -> torch.Tensor:
    """The same codes with D contiguous in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


# Codes go by words of 8 or 4 along L, of 8 or 4 along D, or singly.
LAYOUTS = {
    "8 along L": lambda: uniform(3, 5, 48),
    "4 along L": lambda: uniform(3, 5, 44),
    "8 along D": lambda: channel_last(uniform(3, 24, 19)),
    "4 along D": lambda: channel_last(uniform(3, 12, 19)),
    "1, L contiguous": lambda: uniform(3, 5, 45),
    "1, D contiguous": lambda: channel_last(uniform(3, 7, 19)),
}
layouts = pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS.keys())


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
    codes = assert_same_codes(x, **operands(shape[1], 4))
    if shape[1] > 1 and shape[2] > 1:
        assert codes.stride() == x.stride()


def test_strided_views_are_read_where_they_lie():
    big = uniform(4, 16, 64).to(DEVICE)
    views = [
        big[:, 3:9, :],  # a slice of channels
        big[::2],  # every other batch
        big[:, :, 4:40],  # starts on a word
        big[:, :, 3:40],  # does not
        big.transpose(1, 2)[:, 5:13, :],  # D contiguous, L strided
        big.transpose(1, 2)[::3, 8:24, 1:],  # D contiguous, on a word
        big[:1].expand(3, 16, 64),  # one batch, three times
        big[:, :1, ::2],  # a single channel, no dimension contiguous
        big[:, :, 5:6],  # a single position
        big.flatten()[4:772].view(2, 6, 64),  # starts on a word of four, not of eight
    ]
    for x in views:
        before = big.clone()
        assert_same_codes(x, **operands(x.shape[1], 4))
        assert torch.equal(big, before)  # the input is left alone


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8), (2, 3, 0)])
def test_empty_tensors_stay_empty(shape):
    x = torch.empty(shape, dtype=torch.int8, device=DEVICE)
    assert quant_causal_conv1d(x, backend=BACKEND, **operands(shape[1], 4)).shape == shape


@pytest.mark.skipif(DEVICE == "cuda", reason="words of 8 are the interpreter's; 3 GiB of memory")
def test_offsets_beyond_two_to_the_31():
    """Within one batch, as far apart as D·L > 2^31 takes them; untouched pages cost nothing."""
    big = torch.empty(3 * 2**30, dtype=torch.int8)
    for shape, strides in (
        ((1, 3, 8), (0, 2**30, 1)),
        ((1, 3, 7), (0, 2**30, 1)),
        ((1, 8, 4), (0, 1, 10**9)),
        ((1, 7, 4), (0, 1, 10**9)),
    ):
        x = big.as_strided(shape, strides)
        x.copy_(uniform(*shape))
        assert_same_codes(x, **operands(shape[1], 4))


@pytest.mark.parametrize("base", range(8))
@pytest.mark.parametrize("offset", range(9))
def test_memory_may_begin_anywhere(base, offset):
    """Neither the storage nor the view in it need begin on a word."""
    storage = torch.from_numpy(np.resize(np.arange(256, dtype=np.uint8), 160)[base:].view(np.int8))
    x = storage[offset : offset + 144].view(2, 3, 24)
    assert_same_codes(x.to(DEVICE), **operands(3, 4))


def test_weights_may_lie_anywhere():
    x, arguments = uniform(2, 3, 16).to(DEVICE), operands(3, 4)
    flat = uniform(64).to(DEVICE)
    for weight in (flat[1:13].view(3, 4), flat[:15].view(3, 5)[:, :4], flat[:12].view(4, 3).T):
        assert_same_codes(x, **(arguments | {"weight": weight}))
    single = {"weight": flat[:15].view(3, 5)[:1, :4], "bias": arguments["bias"][:1]}
    assert_same_codes(x[:, :1], **(arguments | single))


@layouts
@pytest.mark.parametrize("width", [2, 3, 4])
def test_every_layout_and_width(make, width):
    x = make().to(DEVICE)
    assert_same_codes(x, **operands(x.shape[1], width))


@layouts
def test_blocks_meet_without_a_seam(make, monkeypatch):
    """Blocks of 4×8 words, so that there are many, and the last ones are not full."""
    monkeypatch.setattr("kernels.portable._blocks", lambda *_: (4, 8))
    x = make().to(DEVICE)
    vectors = {"scale_out": torch.linspace(0.01, 0.04, x.shape[1], device=DEVICE)}
    assert_same_codes(x, **(operands(x.shape[1], 4) | vectors))


@layouts
def test_scales_per_channel(make):
    x = make().to(DEVICE)
    channels = x.shape[1]
    arguments = operands(channels, 4)
    for name in ("scale_x", "scale_w", "scale_b", "scale_out"):
        vector = torch.rand(channels, generator=GENERATOR) * 0.03 + 0.002
        arguments[name] = vector.to(DEVICE)
    assert_same_codes(x, **arguments)


def test_scales_may_be_strided():
    strided = (torch.rand(12, generator=GENERATOR) * 0.03 + 0.002).to(DEVICE)[::2]
    assert_same_codes(uniform(2, 6, 16).to(DEVICE), **(operands(6, 4) | {"scale_out": strided}))


def test_one_scale_per_channel_among_scalars():
    for name in ("scale_x", "scale_w", "scale_b", "scale_out"):
        arguments = operands(6, 4)
        arguments[name] = (torch.rand(6, generator=GENERATOR) * 0.03 + 0.002).to(DEVICE)
        assert_same_codes(uniform(2, 6, 20).to(DEVICE), **arguments)


def test_scales_may_be_whole_numbers():
    arguments = operands(6, 4) | {"scale_x": 1, "scale_w": 2, "scale_b": 3, "scale_out": 2000}
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
    codes = assert_same_codes(x, weight=weight, bias=None, activation=None, **unit)
    expected = [int(math.copysign((abs(c) + 1) // 2, c)) for c in range(-128, 128)]
    assert codes.flatten().tolist() == expected


def test_the_neighbours_of_a_half_are_told_apart():
    """n + 1/2 and the float32 on either side of it, for all n: x = ±1 times scale_x, unchanged."""
    halves = np.arange(127, dtype=np.float32) + np.float32(0.5)
    values = np.concatenate([np.nextafter(halves, 0), halves, np.nextafter(halves, 200)])
    rounded = np.floor(values.astype(np.float64) + 0.5)  # exact: float64 has bits to spare
    channels = len(values)
    codes = assert_same_codes(
        torch.tensor([1, -1], dtype=torch.int8, device=DEVICE).expand(1, channels, 2),
        weight=torch.tensor([0, 1], dtype=torch.int8, device=DEVICE).repeat(channels, 1),
        bias=None,
        scale_x=torch.from_numpy(values).to(DEVICE),
        scale_w=1.0,
        scale_b=1.0,
        scale_out=1.0,
        activation=None,
    )
    np.testing.assert_array_equal(codes[0].cpu(), np.stack([rounded, -rounded], axis=1))


@pytest.mark.parametrize("code", [-128, 0, 127])
@pytest.mark.parametrize("weight", [-128, 127])
def test_constant_input(code, weight):
    x = torch.full((2, 5, 24), code, dtype=torch.int8, device=DEVICE)
    constant = {"weight": torch.full((5, 4), weight, dtype=torch.int8, device=DEVICE)}
    assert_same_codes(x, **operands(5, 4))
    assert_same_codes(x, **(operands(5, 4) | constant))


@layouts
def test_every_output_is_written(make, monkeypatch):
    """Outputs come from poisoned memory, twice; one value left unwritten would show."""
    allocate = torch.empty_like
    x = make().to(DEVICE)
    for poison in (77, -77):
        monkeypatch.setattr(torch, "empty_like", lambda *a, p=poison: allocate(*a).fill_(p))
        assert_same_codes(x, **operands(x.shape[1], 4))


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(1, 70),
    st.integers(2, 4),
    st.booleans(),
    st.floats(1e-4, 0.2),
)
def test_any_shape(batch, channels, length, width, d_contiguous, scale_out):
    x = uniform(batch, channels, length)
    if d_contiguous:
        x = channel_last(x)
    assert_same_codes(x.to(DEVICE), **operands(channels, width) | {"scale_out": scale_out})


# What cannot be run says which argument, what it got, and the rule.


@pytest.mark.parametrize(
    ("change", "message"),
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
        ({"weight": uniform(5, 4).to("meta")}, r"weight is on meta; it must be on x's device"),
        ({"scale_w": torch.ones(5, device="meta")}, r"scale_w is on meta; it must be on x's"),
        ({"scale_x": 0.0}, r"scale_x is 0\.0; it must be finite and > 0"),
        ({"scale_out": 1e-50}, r"scale_out is 1e-50; it must be finite and > 0 in float32"),
        ({"scale_out": 1e39}, r"scale_out is 1e\+39"),
        ({"scale_x": 10**400}, r"scale_x is 1000.*; it must be finite"),
        ({"scale_x": 1e20, "scale_w": 1e20}, r"scale_x, scale_w .* must stay within float32"),
        ({"scale_b": torch.full((5,), 3e38)}, r"scale_b are up to .* must stay within float32"),
        ({"scale_b": torch.tensor([1, math.nan, 1, 1, 1])}, r"scale_b lies between nan and nan"),
        ({"scale_w": -1.0}, r"scale_w is -1\.0"),
        ({"scale_b": math.nan}, r"scale_b is nan"),
        ({"scale_out": math.inf}, r"scale_out is inf"),
        ({"scale_out": "0.1"}, r"scale_out is '0\.1'; it must be a float"),
        ({"scale_out": True}, r"scale_out is True"),
        ({"scale_out": torch.ones(4)}, r"scale_out is .*\(4,\); it must be float32 \(5,\)"),
        ({"scale_out": torch.ones(5).double()}, r"scale_out is torch\.float64"),
        ({"scale_out": torch.tensor([1, 1, 0.0, 1, 1])}, r"scale_out lies between 0\.0 and 1\.0"),
        (
            {"zero_point": 128},
            r"zero_point lies between 128 and 128; it must be a code",
        ),
        ({"zero_point": 1.0}, r"zero_point is 1\.0; it must be an int or an int32 tensor"),
        ({"zero_point": True}, r"zero_point is True"),
        ({"zero_point": torch.zeros(5)}, r"zero_point is torch\.float32.*must be int32 \(5,\)"),
        ({"zero_point": torch.zeros(4, dtype=torch.int32)}, r"zero_point is .*\(4,\)"),
        (
            {"zero_point": torch.tensor([0, -129, 0, 0, 0], dtype=torch.int32)},
            r"zero_point lies between -129 and 0",
        ),
        ({"activation": "relu"}, r"activation is 'relu'; allowed"),
        ({"backend": "cuda"}, r"backend is 'cuda'; allowed"),
    ],
)
def test_a_wrong_argument_is_named_with_its_rule(change, message):
    arguments = {
        "x": uniform(2, 5, 8), "weight": uniform(5, 4), "bias": uniform(5),
        "scale_x": 0.1, "scale_w": 0.1, "scale_b": 0.1, "scale_out": 0.1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
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


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_the_torch_backend_and_the_best_one_give_the_codes_worked_out_by_hand(width, bias):
    x, arguments = uniform(3, 7, 130).to(DEVICE), operands(7, width)
    arguments["scale_out"] = torch.linspace(0.01, 0.04, 7, device=DEVICE)
    if not bias:
        arguments["bias"] = None
    expected = codes_by_hand(x, **arguments)
    assert len(np.unique(expected)) > 100
    for backend in ("torch", BACKEND):
        codes = quant_causal_conv1d(x, backend=backend, **arguments)
        np.testing.assert_array_equal(codes.cpu().numpy(), expected)


# Only the kernel compiled for NVIDIA GPUs has these to show.

compiled_only = pytest.mark.skipif(DEVICE != "cuda", reason="needs an NVIDIA GPU")


@pytest.mark.parametrize("to_layout", [lambda x: x, channel_last], ids=["along L", "along D"])
@pytest.mark.parametrize("bias_scale", [1e-9, 3e-3, 0.1])
def test_values_near_ties_are_those_of_the_reference(to_layout, bias_scale):
    """Each channel's scale_out is SiLU of its sum over some n + 1/2, give or take three float32."""
    channels, length = 4096, 64
    weight, bias = uniform(channels, 4), uniform(channels)
    x = uniform(1, channels, 1).expand(1, channels, length).contiguous()
    arguments = {"weight": weight, "bias": bias, "scale_x": 0.031, "scale_w": 0.0007}
    v = reference.trace(x, **arguments, scale_b=bias_scale, scale_out=1.0).s[0, :, -1]
    halves = torch.randint(0, 127, (channels,), generator=GENERATOR) + 0.5
    scale_out = (v.abs().clamp(min=1e-3).double() / halves).float()  # v may be 0
    steps = torch.randint(-3, 4, (channels,), generator=GENERATOR, dtype=torch.int32)
    scale_out = (scale_out.view(torch.int32) + steps).view(torch.float32).clamp(2e-6, 100.0)
    on_device = {
        name: value.to(DEVICE) if isinstance(value, torch.Tensor) else value
        for name, value in arguments.items()
    }
    codes = assert_same_codes(
        to_layout(x.to(DEVICE)), **on_device, scale_b=bias_scale, scale_out=scale_out.to(DEVICE)
    )
    assert codes.unique().numel() > 100


@compiled_only
def test_the_doubt_is_what_makes_it_exact(monkeypatch):
    """Without it, the same values show that the approximation alone is not exact."""
    from kernels import compiled

    x = uniform(8, 1024, 2048).to(DEVICE)
    arguments = operands(1024, 4)
    exact = quant_causal_conv1d(x, **arguments)
    fast = quant_causal_conv1d(x, **arguments, mode="fast")
    assert torch.equal(exact, quant_causal_conv1d(x, **arguments, backend="torch"))
    assert not torch.equal(exact, fast)
    monkeypatch.setattr("kernels.ptx.DOUBT", 0.0)
    compiled._plan.cache_clear()
    try:
        assert not torch.equal(exact, quant_causal_conv1d(x, **arguments))
    finally:
        compiled._plan.cache_clear()


@compiled_only
@pytest.mark.parametrize("draw", [uniform, gaussian, heavy_tailed])
@pytest.mark.parametrize("to_layout", [lambda x: x, channel_last], ids=["along L", "along D"])
def test_fast_codes_differ_by_one_in_at_most_ten_of_a_million(draw, to_layout):
    x = to_layout(draw(8, 1024, 2048).to(DEVICE))
    arguments = operands(1024, 4)
    fast = quant_causal_conv1d(x, **arguments, mode="fast")
    distance = (fast.int() - quant_causal_conv1d(x, **arguments, backend="torch").int()).abs()
    assert int(distance.max()) <= 1
    assert int(distance.sum()) <= 1e-5 * x.numel()


@compiled_only
def test_a_cuda_graph_replays_it_on_new_codes():
    x, arguments = uniform(4, 64, 256).to(DEVICE), operands(64, 4)
    vector = torch.linspace(0.01, 0.04, 64, device=DEVICE)
    arguments["scale_out"] = vector
    quant_causal_conv1d(x, **arguments)  # compiled, and the vector looked at
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = quant_causal_conv1d(x, **arguments)
    x.copy_(uniform(4, 64, 256))
    graph.replay()
    assert torch.equal(out, quant_causal_conv1d(x, **arguments, backend="torch"))


@compiled_only
@pytest.mark.parametrize("walk", [1, 3, 1000])
@pytest.mark.parametrize("shape", [(37, 5, 2064), (3, 260, 300), (2, 33, 4500), (70, 3, 20)])
def test_programs_meet_without_a_seam(walk, shape, monkeypatch):
    """Whatever a program's share of the way, along L, along B and along D."""
    from kernels import compiled

    monkeypatch.setattr(compiled, "_groups", lambda walked, per_program: -(-walked // walk))
    compiled._plan.cache_clear()
    x = uniform(*shape).to(DEVICE)
    assert_same_codes(x, **operands(shape[1], 4))
    assert_same_codes(channel_last(x), **operands(shape[1], 3))
    compiled._plan.cache_clear()


def test_more_batches_than_a_grid_s_axis_takes():
    x = uniform(70_000, 4, 4).to(DEVICE)
    assert_same_codes(x, **operands(4, 4))
    assert_same_codes(channel_last(x), **operands(4, 4))


def test_modes_are_named():
    x, arguments = uniform(2, 3, 8).to(DEVICE), operands(3, 4)
    with pytest.raises(ValueError, match=r"mode is 'quick'; allowed are \('exact', 'fast'\)"):
        quant_causal_conv1d(x, **arguments, mode="quick")
    # With no activation there is nothing to approximate.
    plain = arguments | {"activation": None, "scale_out": 0.125}
    assert torch.equal(
        quant_causal_conv1d(x, **plain, mode="fast"), quant_causal_conv1d(x, **plain)
    )


def test_a_scale_changed_in_place_is_looked_at_again():
    x, arguments = uniform(2, 3, 8).to(DEVICE), operands(3, 4)
    arguments["scale_out"] = torch.full((3,), 0.02, device=DEVICE)
    assert_same_codes(x, **arguments)
    arguments["scale_out"][1] = 0.3
    assert_same_codes(x, **arguments)
    arguments["scale_out"][1] = math.nan
    with pytest.raises(ValueError, match="scale_out lies between nan and nan"):
        quant_causal_conv1d(x, **arguments)
    with torch.inference_mode():
        scale = torch.full((3,), 0.02, device=DEVICE)
        assert_same_codes(x, **(arguments | {"scale_out": scale}))
        scale[0] = -1.0
        with pytest.raises(ValueError, match="scale_out lies between -1"):
            quant_causal_conv1d(x, **(arguments | {"scale_out": scale}))


def zero_points(channels: int) -> torch.Tensor:
    """Every kind among them: both ends, 0 and what lies between."""
    points = torch.randint(-128, 128, (channels,), dtype=torch.int32, generator=GENERATOR)
    points[:3] = torch.tensor([-128, 127, 0])[:channels]
    return points.to(DEVICE)


@pytest.mark.parametrize("zero_point", [-128, -105, 1, 127])
@pytest.mark.parametrize("draw", [uniform, gaussian])
def test_asymmetric_codes_are_those_of_the_reference(draw, zero_point):
    x = draw(8, 128, 256).to(DEVICE)
    arguments = operands(128, 4) | {"zero_point": zero_point, "scale_out": 0.0121}
    codes = assert_same_codes(x, **arguments)
    assert codes.unique().numel() > (100 if zero_point < 0 else 20)  # SiLU has few values below 0
    assert_same_codes(channel_last(x), **arguments)


@layouts
@pytest.mark.parametrize("width", [2, 3, 4])
def test_zero_points_per_channel_in_every_layout(make, width):
    x = make().to(DEVICE)
    arguments = operands(x.shape[1], width) | {"zero_point": zero_points(x.shape[1])}
    assert_same_codes(x, **arguments)
    arguments["scale_out"] = torch.linspace(0.01, 0.04, x.shape[1], device=DEVICE)
    assert_same_codes(x, **arguments)


@pytest.mark.parametrize("scale_out", [1e-30, 1e-6, 3e-4, 10.0, 1e30])
def test_asymmetric_codes_saturate_at_both_ends(scale_out):
    x = uniform(3, 64, 40).to(DEVICE)
    for zero_point in (-128, 60, zero_points(64)):
        arguments = operands(64, 4) | {"scale_out": scale_out, "zero_point": zero_point}
        assert_same_codes(x, **arguments)
        assert_same_codes(channel_last(x), **arguments)


def test_without_an_activation_zero_points_move_the_codes_too():
    x = uniform(2, 24, 40).to(DEVICE)
    arguments = operands(24, 4) | {"activation": None, "zero_point": zero_points(24)}
    for mode in ("exact", "fast"):
        codes = quant_causal_conv1d(x, **arguments, mode=mode, backend=BACKEND)
        assert torch.equal(codes, quant_causal_conv1d(x, **arguments, backend="torch"))


@pytest.mark.parametrize("backend", ["torch", BACKEND])
def test_asymmetric_codes_are_those_worked_out_by_hand(backend):
    x, arguments = uniform(3, 7, 130).to(DEVICE), operands(7, 4)
    arguments |= {"scale_out": 0.0131, "zero_point": zero_points(7)}
    codes = quant_causal_conv1d(x, backend=backend, **arguments)
    np.testing.assert_array_equal(codes.cpu().numpy(), codes_by_hand(x, **arguments))


def test_a_zero_point_of_0_is_symmetric_int8():
    x, arguments = uniform(3, 24, 130).to(DEVICE), operands(24, 4)
    plain = quant_causal_conv1d(x, **arguments)
    zeros = torch.zeros(24, dtype=torch.int32, device=DEVICE)
    assert torch.equal(plain, quant_causal_conv1d(x, **arguments, zero_point=0))
    assert torch.equal(plain, quant_causal_conv1d(x, **arguments, zero_point=zeros))


def test_a_zero_point_changed_in_place_is_looked_at_again():
    x, arguments = uniform(2, 3, 8).to(DEVICE), operands(3, 4)
    arguments["zero_point"] = torch.zeros(3, dtype=torch.int32, device=DEVICE)
    assert_same_codes(x, **arguments)
    arguments["zero_point"][1] = 9
    assert_same_codes(x, **arguments)
    arguments["zero_point"][1] = 1000
    with pytest.raises(ValueError, match="zero_point lies between 0 and 1000"):
        quant_causal_conv1d(x, **arguments)


@pytest.mark.parametrize("to_layout", [lambda x: x, channel_last], ids=["along L", "along D"])
def test_asymmetric_values_near_ties_are_those_of_the_reference(to_layout):
    """As above: each channel's scale_out is SiLU of its sum over n + 1/2, give or take a little."""
    channels, length = 4096, 64
    weight, bias = uniform(channels, 4), uniform(channels)
    x = uniform(1, channels, 1).expand(1, channels, length).contiguous()
    given = {"weight": weight, "bias": bias, "scale_x": 0.031, "scale_w": 0.0007, "scale_b": 3e-3}
    v = reference.trace(x, **given, scale_out=1.0).s[0, :, -1]
    halves = torch.randint(0, 127, (channels,), generator=GENERATOR) + 0.5
    scale_out = (v.abs().clamp(min=1e-3).double() / halves).float()
    steps = torch.randint(-3, 4, (channels,), generator=GENERATOR, dtype=torch.int32)
    scale_out = (scale_out.view(torch.int32) + steps).view(torch.float32).clamp(2e-6, 100.0)
    on_device = {
        name: value.to(DEVICE) if isinstance(value, torch.Tensor) else value
        for name, value in given.items()
    }
    assert_same_codes(
        to_layout(x.to(DEVICE)),
        **on_device,
        scale_out=scale_out.to(DEVICE),
        zero_point=torch.randint(-60, 60, (channels,), dtype=torch.int32).to(DEVICE),
    )


@compiled_only
@pytest.mark.parametrize("to_layout", [lambda x: x, channel_last], ids=["along L", "along D"])
def test_fast_asymmetric_codes_differ_by_one_in_at_most_ten_of_a_million(to_layout):
    x = to_layout(gaussian(8, 1024, 2048).to(DEVICE))
    arguments = operands(1024, 4) | {"zero_point": -105, "scale_out": 0.0125}
    fast = quant_causal_conv1d(x, **arguments, mode="fast")
    distance = (fast.int() - quant_causal_conv1d(x, **arguments, backend="torch").int()).abs()
    assert int(distance.max()) <= 1
    assert int(distance.sum()) <= 1e-5 * x.numel()


def lookup_operands(channels: int, width: int) -> dict:
    arguments = operands(channels, width)
    del arguments["scale_out"]
    return arguments


@layouts
@pytest.mark.parametrize("count", [1, 2, 15, 100, 255])
def test_a_code_looked_up_is_how_many_thresholds_are_not_above_the_value(make, count):
    """Against numpy, with half of the thresholds being values that occur."""
    x = make().to(DEVICE)
    arguments = lookup_operands(x.shape[1], 4)
    y = silu_by_hand(x, **arguments)
    values = np.random.default_rng(0).choice(y.ravel(), count) + np.zeros(count, np.float32)
    values[::2] += 0.01
    thresholds = np.sort(values.astype(np.float32))
    expected = np.searchsorted(thresholds, y, side="right") - 128
    given = arguments | {"thresholds": torch.from_numpy(thresholds).to(DEVICE)}
    for backend in ("torch", BACKEND):
        codes = quant_causal_conv1d_lookup(x, **given, backend=backend)
        assert codes.dtype == torch.int8
        assert backend == "torch" or codes.stride() == x.stride()
        np.testing.assert_array_equal(codes.cpu().numpy(), expected)


def test_int8s_own_thresholds_give_int8s_codes():
    """The least value of each code, sought among float32's with the kernel's own division."""
    x, arguments = gaussian(4, 96, 300).to(DEVICE), operands(96, 4)
    scale = np.float32(arguments["scale_out"])
    halves = np.arange(-128, 127) + 0.5
    guess = (halves * float(scale)).astype(np.float32)
    for _ in range(4):
        guess = np.nextafter(guess, np.float32(-1e9))
    for _ in range(8):
        quotient = guess / scale
        reached = np.where(halves > 0, quotient >= halves, quotient > halves)
        guess = np.where(reached, guess, np.nextafter(guess, np.float32(1e9)))
    plain = {name: value for name, value in arguments.items() if name != "scale_out"}
    codes = quant_causal_conv1d_lookup(
        x, **plain, thresholds=torch.from_numpy(guess).to(DEVICE), backend=BACKEND
    )
    assert torch.equal(codes, quant_causal_conv1d(x, **arguments, backend="torch"))


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (torch.zeros(256), r"thresholds has shape \(256,\); .* T from 1 to 255"),
        (torch.zeros(0), r"thresholds has shape \(0,\)"),
        (torch.zeros(2, 2), r"thresholds has shape \(2, 2\)"),
        (torch.zeros(3, dtype=torch.float64), r"thresholds is torch\.float64"),
        (torch.tensor([0.0, 1.0, 0.5]), r"thresholds must ascend"),
        (torch.tensor([0.0, math.nan]), r"none may be NaN"),
        (0.5, r"thresholds is float"),
    ],
)
def test_wrong_thresholds_are_named_with_their_rule(thresholds, message):
    x = uniform(2, 5, 8).to(DEVICE)
    there = thresholds.to(DEVICE) if isinstance(thresholds, torch.Tensor) else thresholds
    with pytest.raises(ValueError, match=message):
        quant_causal_conv1d_lookup(x, **lookup_operands(5, 4), thresholds=there)


def test_thresholds_changed_in_place_are_looked_at_again():
    x, arguments = uniform(2, 5, 8).to(DEVICE), lookup_operands(5, 4)
    thresholds = torch.tensor([-0.1, 0.2, 0.9], device=DEVICE)
    quant_causal_conv1d_lookup(x, **arguments, thresholds=thresholds)
    thresholds[1] = 5.0
    with pytest.raises(ValueError, match="must ascend"):
        quant_causal_conv1d_lookup(x, **arguments, thresholds=thresholds)
