"""Counting where the values are made, against storing them and counting afterwards."""

import math

import numpy as np
import pytest
import torch

from dashboard.calibration.histogram import count_patterns
from kernels import (
    add_layer_counts,
    available_backends,
    code_histogram,
    reference,
    silu_histograms,
)
from kernels.int8 import QMIN

DEVICE = "cuda" if "triton" in available_backends() else "cpu"
GENERATOR = torch.Generator().manual_seed(2)

backends = pytest.mark.parametrize("backend", available_backends())


def layer(batch, channels, length, width, dtype, spread=1.0):
    """x, weight and bias of a float layer."""
    draws = (
        spread * torch.randn(batch, channels, length, generator=GENERATOR),
        torch.randn(channels, width, generator=GENERATOR) / 2,
        torch.randn(channels, generator=GENERATOR) / 3,
    )
    return tuple(draw.to(dtype).to(DEVICE) for draw in draws)


def stored_then_counted(x, weight, bias):
    v = reference.causal_conv1d(x.float(), weight.float(), None if bias is None else bias.float())
    return count_patterns(v), count_patterns(reference.silu(v))


def assert_same_counts(counts, expected):
    for own, other in zip(counts, expected, strict=True):
        assert own.dtype == torch.int64 and own.device.type == DEVICE
        assert torch.equal(own.cpu(), other.cpu())


@backends
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [2, 3, 4])
def test_the_counts_are_those_of_the_stored_tensors(backend, dtype, width):
    x, weight, bias = layer(3, 37, 211, width, dtype)
    for given in (x, x.transpose(1, 2).contiguous().transpose(1, 2), x[:, :, ::2], x[::2]):
        counts = silu_histograms(given, weight, bias, backend=backend)
        assert_same_counts(counts, stored_then_counted(given, weight, bias))
        assert int(counts[0].sum()) == int(counts[1].sum()) == given.numel()


@backends
@pytest.mark.parametrize("spread", [1e-6, 1e-3, 1.0, 30.0, 3000.0])
def test_values_of_any_size(backend, spread):
    """Denormals and zeros; SiLU outputs that vanish, or are far from what v's pattern expects."""
    x, weight, _ = layer(2, 16, 300, 4, torch.float32, spread)
    counts = silu_histograms(x, weight, None, backend=backend)
    assert_same_counts(counts, stored_then_counted(x, weight, None))


@backends
def test_every_float16_as_the_value(backend):
    """Width 2 with weights (0, 1): v is x, each finite float16 once."""
    patterns = np.arange(-(2**15), 2**15).astype(np.int16).view(np.float16)
    finite = torch.from_numpy(patterns[np.isfinite(patterns)]).to(DEVICE)
    weight = torch.tensor([[0.0, 1.0]], device=DEVICE)
    v_counts, y_counts = silu_histograms(finite.view(1, 1, -1), weight, None, backend=backend)
    # 0 · x + v is +0 for v = -0: the two zeros are counted together.
    expected = torch.from_numpy(np.isfinite(patterns).astype(np.int64))
    expected[0], expected[2**15] = 0, 2
    assert torch.equal(v_counts.cpu(), expected)
    silu = finite.cpu().double() / (1 + torch.exp(-finite.cpu().double()))
    close = count_patterns(silu).cpu()
    # float32 arithmetic may round to the neighbouring float16, near a tie: a few of 63,488.
    assert int((y_counts.cpu() - close).abs().sum()) <= 40


@backends
def test_equal_values_all_land_on_one_counter(backend):
    x = torch.full((2, 8, 1000), 0.75, dtype=torch.float16, device=DEVICE)
    weight = torch.tensor([[0.0, 1.0]], device=DEVICE).repeat(8, 1)
    v_counts, y_counts = silu_histograms(x, weight, None, backend=backend)
    assert int(v_counts.max()) == int(y_counts.max()) == 16_000
    one = np.float16(0.75 / (1 + math.exp(-0.75))).view(np.int16)
    assert int(y_counts[int(one) + 2**15]) == 16_000


@backends
@pytest.mark.parametrize("bad", [math.nan, math.inf, 65536.0])
def test_what_is_no_float16_is_refused(backend, bad):
    x, weight, bias = layer(2, 3, 50, 4, torch.float32)
    x[1, 2, 30], weight[2, 3] = bad, 1.0
    with pytest.raises(ValueError, match=r"of SiLU's input are NaN, infinite or beyond"):
        silu_histograms(x, weight, bias, backend=backend)


@backends
@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8), (2, 3, 0)])
def test_nothing_counts_as_nothing(backend, shape):
    x, weight = torch.zeros(shape, device=DEVICE), torch.zeros(shape[1], 4, device=DEVICE)
    for counts in silu_histograms(x, weight, None, backend=backend):
        assert counts.shape == (65536,) and not counts.any()
    codes = torch.zeros(shape, dtype=torch.int8, device=DEVICE)
    assert not code_histogram(codes).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": torch.zeros(2, 3, 8, dtype=torch.int8)},
            r"x is torch\.int8; it must be a torch\.float16 or",
        ),
        ({"x": torch.zeros(3, 8)}, r"x has shape \(3, 8\); it must be \(B, D, L\)"),
        ({"weight": torch.zeros(3, 5)}, r"weight has shape \(3, 5\).*W in \(2, 3, 4\)"),
        ({"weight": torch.zeros(4, 4)}, r"it must be \(3, W\)"),
        ({"bias": torch.zeros(4)}, r"bias has shape \(4,\); it must be \(3,\)"),
        ({"bias": torch.zeros(3, device="meta")}, r"bias is on meta; it must be on x's device"),
        ({"backend": "numpy"}, r"backend is 'numpy'; allowed"),
    ],
)
def test_a_wrong_argument_is_named_with_its_rule(change, message):
    arguments = {"x": torch.zeros(2, 3, 8), "weight": torch.zeros(3, 4), "bias": torch.zeros(3)}
    with pytest.raises(ValueError, match=message):
        silu_histograms(**(arguments | change))


@pytest.mark.parametrize("shape", [(1,), (255, 3), (4, 70, 1000), (3, 5, 7, 11)])
def test_codes_are_counted(shape):
    codes = torch.randint(-128, 128, shape, dtype=torch.int8, generator=GENERATOR)
    expected = np.bincount(codes.numpy().astype(np.int64).ravel() - QMIN, minlength=256)
    for given in (codes, codes.transpose(0, -1), codes[..., ::2].repeat_interleave(1, 0)):
        counts = code_histogram(given.to(DEVICE))
        assert counts.dtype == torch.int64 and int(counts.sum()) == given.numel()
        if given.numel() == codes.numel():
            np.testing.assert_array_equal(counts.cpu().numpy(), expected)


@pytest.mark.parametrize("begin", [0, 1, 15, 16, 17])
@pytest.mark.parametrize("length", [1, 14, 15, 16, 17, 33, 5000])
def test_codes_are_counted_wherever_they_begin_and_end(begin, length):
    memory = torch.full((5100,), 99, dtype=torch.int8, device=DEVICE)
    memory[begin : begin + length] = (
        torch.arange(length, device=DEVICE).remainder(90).to(torch.int8)
    )
    expected = np.bincount(np.arange(length) % 90 - QMIN, minlength=256)
    counts = code_histogram(memory[begin : begin + length])
    np.testing.assert_array_equal(counts.cpu().numpy(), expected)


def test_codes_must_be_int8():
    with pytest.raises(ValueError, match=r"codes is torch\.float32; it must be a torch\.int8"):
        code_histogram(torch.zeros(3))


compiled_or_interpreted = pytest.mark.skipif(
    available_backends() == ("torch",), reason="Triton has no wheel for this machine"
)


def counters(sequences, layers, slices, channels):
    def zeros(*shape):
        return torch.zeros(shape, dtype=torch.int32, device=DEVICE)

    shape = layers, slices, 65536
    return zeros(*shape), zeros(sequences, *shape), zeros(sequences, layers, channels)


@compiled_or_interpreted
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [2, 3, 4])
def test_counts_of_layers_are_those_of_each_stored_slice(dtype, width):
    """Layers 3 and 0 of four, of 40, 8 and 3 channels each, as views of wider rows that lie apart,
    counted in a call for sequence 0 and one for the others."""
    layers = [layer(3, 51, 211, width, dtype) for _ in range(4)]
    weight, bias = (torch.stack([own[i].float() for own in layers]) for i in (1, 2))
    views = []
    for x, *_ in layers:
        wide = torch.randn(3, 211, 70, generator=GENERATOR).to(dtype).to(DEVICE)
        wide[..., 9:60] = x.transpose(1, 2)
        views.append(wide[..., 9:60].transpose(1, 2))
    slice_of = torch.tensor([0] * 40 + [1] * 8 + [2] * 3, dtype=torch.int32, device=DEVICE)
    v_counts, y_counts, x_amax = counters(3, 4, 3, 51)
    counted = [3, 0]
    for own in (slice(0, 1), slice(1, 3)):
        inputs = [views[i][own] for i in counted]
        operands = weight, bias, slice_of, v_counts, y_counts[own], x_amax[own]
        add_layer_counts(inputs, counted, *operands)
    for i in counted:
        x = layers[i][0]
        for row, channels in enumerate((slice(0, 40), slice(40, 48), slice(48, 51))):
            own = weight[i, channels], bias[i, channels]
            expected = stored_then_counted(x[:, channels], *own)[0]
            assert torch.equal(v_counts[i, row].long().cpu(), expected.cpu())
            for sequence in range(3):
                one = x[sequence : sequence + 1, channels]
                expected = stored_then_counted(one, *own)[1]
                assert torch.equal(y_counts[sequence, i, row].long().cpu(), expected.cpu())
        amax = x_amax[:, i].cpu().view(torch.float32)
        assert torch.equal(amax, x.float().abs().amax(-1).cpu())
    for unused in (1, 2):
        assert not v_counts[unused].any() and not y_counts[:, unused].any()
        assert not x_amax[:, unused].any()


@compiled_or_interpreted
@pytest.mark.parametrize("bad", [math.nan, -math.inf, 1e30])
def test_a_layers_counts_say_what_is_not_finite(bad):
    x, weight, bias = layer(2, 5, 30, 4, torch.float32)
    x[1, 3, 7], weight[3, 3] = bad, 1.0
    v_counts, y_counts, x_amax = counters(2, 1, 1, 5)
    slice_of = torch.zeros(5, dtype=torch.int32, device=DEVICE)
    add_layer_counts([x], [0], weight[None], bias[None], slice_of, v_counts, y_counts, x_amax)
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    finite = torch.isfinite(patterns.view(torch.float16))
    assert int(v_counts[0, 0].cpu()[~finite].sum()) >= 1
    largest = x_amax.cpu().view(torch.float32)[1, 0, 3]
    assert torch.isnan(largest) if math.isnan(bad) else float(largest) == np.float32(abs(bad))
    assert int(v_counts.sum()) == int(y_counts.sum()) == x.numel()


@compiled_or_interpreted
def test_layers_and_counters_that_do_not_fit_are_refused():
    x, weight, bias = layer(2, 5, 30, 4, torch.float32)
    weight, bias = weight[None], bias[None]
    slice_of = torch.zeros(5, dtype=torch.int32, device=DEVICE)
    v_counts, y_counts, x_amax = counters(2, 1, 1, 5)
    fine = {
        "inputs": [x], "layers": [0], "weight": weight, "bias": bias, "slice_of": slice_of,
        "v_counts": v_counts, "y_counts": y_counts, "x_amax": x_amax,
    }  # fmt: skip
    gaps = torch.zeros(2, 1, 10, dtype=torch.int32, device=DEVICE)[..., ::2]
    two = {"inputs": [x, x], "layers": [0, 1], "weight": weight.repeat(2, 1, 1)}
    two |= {"bias": bias.repeat(2, 1), "v_counts": v_counts.repeat(2, 1, 1)}
    two |= {"y_counts": y_counts.repeat(1, 2, 1, 1), "x_amax": x_amax.repeat(1, 2, 1)}
    every_other = weight.repeat(4, 1, 1)[::2]
    for message, wrong in (
        (r"there are 1 inputs of 2 layers", {"layers": [0, 0]}),
        (r"there are 0 inputs of 0 layers", {"inputs": [], "layers": []}),
        (r"layers go from 0 to 1; there are 1", {"inputs": [x, x], "layers": [0, 1]}),
        (r"layers go from -1 to -1", {"layers": [-1]}),
        (r"inputs\[1\] is torch.float16 of", {"inputs": [x, x.half()], "layers": [0, 0]}),
        (r"inputs\[1\] is .* shape \(2, 5, 29\)", {"inputs": [x, x[..., 1:]], "layers": [0, 0]}),
        (r"weight and bias have shapes \(5, 4\)", {"weight": weight[0]}),
        (r"weight is torch.float16", {"weight": weight.half()}),
        (r"bias has shape \(2, 5\); it must be \(1, 5\)", {"bias": bias.repeat(2, 1)}),
        (r"y_counts has shape \(1, 1, 1, 65536\); it must be \(2, 1", {"y_counts": y_counts[:1]}),
        (r"v_counts has shape \(1, 65536\)", {"v_counts": v_counts[0]}),
        (r"v_counts is torch\.int64", {"v_counts": v_counts.long()}),
        (r"x_amax has strides", {"x_amax": gaps}),
        (r"slice_of has strides", {"slice_of": slice_of.repeat(2)[::2]}),
        (r"weight has strides \(40, 4, 1\)", two | {"weight": every_other}),
        (r"bias has strides \(0, 1\)", two | {"bias": bias.expand(2, 5)}),
        (r"v_counts has strides", two | {"v_counts": v_counts.repeat(4, 1, 1)[::2]}),
    ):
        with pytest.raises(ValueError, match=message):
            add_layer_counts(**fine | wrong)
    assert not v_counts.any()
