"""Several sequences a forward, and counters on a device: the counts are those of one at a time."""

import math

import numpy as np
import pytest
import torch

from dashboard.calibration import CalibrationError, Progress, calibrate, read_text
from dashboard.calibration.counting import Counter, DeviceCounter, HostCounter, Tally
from dashboard.calibration.forward import SeparateProducts, forward_of, run_forwards
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import default_device, load_backbone, load_checkpoint
from dashboard.checkpoints.backbone import _place
from kernels import available_backends, reference

DEVICE = torch.device(default_device())


def assert_same(one, other):
    """Two calibrations, to the bit."""
    assert one.origin == other.origin
    for a, b in zip(one.layers, other.layers, strict=True):
        assert a.layer == b.layer
        for own, its in zip(a.slices, b.slices, strict=True):
            assert (own.name, own.x_amax, own.w_amax, own.b_amax) == (
                its.name, its.x_amax, its.w_amax, its.b_amax,
            )  # fmt: skip
            pairs = [(own.silu_input, its.silu_input), (own.silu_output, its.silu_output)]
            pairs += zip(own.batches, its.batches, strict=True)
            for x, y in pairs:
                np.testing.assert_array_equal(x.values, y.values)
                np.testing.assert_array_equal(x.counts, y.counts)


@pytest.mark.parametrize("name", ["mamba-tiny", "mamba2-tiny"])
def test_products_of_each_sequence_by_itself_are_those_it_has_alone(name):
    """Without, most of a Mamba-1's values have other last bits: torch multiplies one matrix by
    another routine than several."""
    checkpoint = load_checkpoint(name)
    backbone = load_backbone(checkpoint, "cpu")
    tokens = read_text(checkpoint, batches=4, seq_len=64).tokens
    with torch.no_grad():
        alone = [backbone(ids[None], use_cache=False).last_hidden_state for ids in tokens]
        with SeparateProducts(4):
            together = backbone(tokens, use_cache=False).last_hidden_state
    assert torch.equal(together, torch.cat(alone))


def test_separate_products_leave_parameters_and_smaller_tensors_whole():
    weight = torch.nn.Parameter(torch.randn(3, 5, 5))
    matrix = torch.randn(3, 5)
    with SeparateProducts(3):
        for own in (weight, matrix):
            assert torch.equal(own @ torch.eye(5), own)
        others = torch.randn(2, 4, 5)
        assert torch.equal(others @ torch.eye(5), others)


@pytest.mark.parametrize("name", ["mamba-tiny", "mamba2-tiny"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_several_sequences_a_forward_change_nothing(name, dtype):
    checkpoint = load_checkpoint(name)
    if DEVICE.type == "cpu" and dtype != torch.float32:
        pytest.skip("a CPU's forward is in float32")
    backbone = load_backbone(checkpoint, str(DEVICE), dtype)
    text = read_text(checkpoint, batches=5, seq_len=48)
    alone = calibrate(checkpoint, backbone, text, keep=checkpoint.layers)
    for size in (2, 3, 8):
        together = calibrate(checkpoint, backbone, text, keep=checkpoint.layers, batch_size=size)
        assert_same(alone, together)
        for one, other in zip(alone.captures, together.captures, strict=True):
            assert torch.equal(one.x, other.x)


def test_progress_of_several_sequences_names_them_all():
    assert str(Progress(0, 3, 2, 3, 4, 2)) == "batches 1 to 2 of 3, layer 2"
    assert str(Progress(2, 3, 2, 3, 4)) == "batch 3 of 3, layer 2"
    assert Progress(0, 4, 2, 3, 4, 2).share == 2 * 3 / 16
    assert Progress(2, 4, 3, 4, 4, 2).share == 1


@pytest.mark.parametrize(("size", "gradients"), [(0, False), (2, True)])
def test_a_number_of_sequences_that_cannot_be_is_refused(size, gradients):
    checkpoint = load_checkpoint("mamba-tiny")
    text = read_text(checkpoint, batches=2, seq_len=8)
    with pytest.raises(CalibrationError, match=f"{size} sequences a forward were asked for"):
        calibrate(checkpoint, torch.nn.Module(), text, batch_size=size, gradients=gradients)


counting_on_device = pytest.mark.skipif(
    available_backends() == ("torch",), reason="Triton has no wheel for this machine"
)


@counting_on_device
@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("mamba-tiny", {}),
        ("mamba2-tiny", {}),
        ("mamba2-tiny", {"MOST_HELD": 1}),  # each layer is a launch
        ("mamba-tiny", {"MOST_SEQUENCES": 3}),  # a launch has few
        ("mamba2-tiny", {"MOST_VALUES": 60_000}),  # handed over before there is no room
        ("mamba-tiny", {"FETCHED": 1}),
    ],
)
def test_counters_on_the_device_are_the_counts_of_what_was_captured(name, limits, monkeypatch):
    """Forwards of two sequences and of one; the oracle counts stored v and y of each batch."""
    for limit, value in limits.items():
        monkeypatch.setattr(f"dashboard.calibration.counting.{limit}", value)
    checkpoint = load_checkpoint(name)
    layers = checkpoint.layers[1:]
    text = read_text(checkpoint, batches=6, seq_len=50)  # more than are fetched at once
    slices = len(checkpoint.slices)
    tally = Tally(len(layers) * slices)
    rows = {layer: i * slices for i, layer in enumerate(layers)}
    counter = DeviceCounter(checkpoint, layers, rows, tally, 2, DEVICE)
    captured = {layer: [] for layer in layers}

    def visit(batches, layer, x):
        captured[layer].append(x.float().cpu())
        counter.add(batches, layer, x)

    backbone = load_backbone(checkpoint, str(DEVICE))
    run_forwards(checkpoint, backbone, text.tokens, layers, visit, 2, counter.finish)
    assert not tally.totals.any()  # still on the device
    counter.collect()
    inputs, outputs = tally.total_histograms()
    assert tally.numbers == tuple(range(6))
    for layer in layers:
        conv, x = checkpoint.conv(layer), torch.cat(captured[layer])
        v = reference.causal_conv1d(x, conv.weight, conv.bias)
        y = reference.silu(v)
        for row, own in enumerate(checkpoint.slices, rows[layer]):
            assert tally.x_amax[row] == float(x[:, own.channels].abs().amax())
            assert_same_histograms(inputs[row], Histogram.of(v[:, own.channels]))
            assert_same_histograms(outputs[row], Histogram.of(y[:, own.channels]))
            for batch in range(6):
                expected = Histogram.of(y[batch, own.channels])
                assert_same_histograms(tally.outputs(batch)[row], expected)


@counting_on_device
def test_conv_inputs_that_lie_otherwise_are_counted_by_themselves():
    """In one forward, of three layers: as a view, without gaps along L, and in float16."""
    checkpoint = load_checkpoint("mamba-tiny")
    layers = checkpoint.layers[:3]
    rows, tally = {layer: i for i, layer in enumerate(layers)}, Tally(3)
    counter = DeviceCounter(checkpoint, layers, rows, tally, 1, DEVICE)
    x = torch.randn(1, 21, checkpoint.conv_dim, generator=torch.Generator().manual_seed(3))
    views = [x.to(DEVICE).transpose(1, 2), x.to(DEVICE).transpose(1, 2).contiguous()]
    views.append(x.half().to(DEVICE).transpose(1, 2))
    for layer, view in zip(layers, views, strict=True):
        counter.add([5], layer, view)
    counter.finish([5])
    counter.collect()
    for layer, view in zip(layers, views, strict=True):
        conv = checkpoint.conv(layer)
        v = reference.causal_conv1d(view.float().cpu(), conv.weight, conv.bias)
        assert_same_histograms(tally.outputs(5)[rows[layer]], Histogram.of(reference.silu(v)))


def assert_same_histograms(one, other):
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.counts, other.counts)


def counters(checkpoint, batch_size):
    rows = {layer: i * len(checkpoint.slices) for i, layer in enumerate(checkpoint.layers)}
    width = len(rows) * len(checkpoint.slices)
    device = torch.device("cuda" if "triton" in available_backends() else "cpu")
    yield HostCounter(checkpoint, rows, Tally(width)), "cpu"
    if available_backends() != ("torch",):
        layers = checkpoint.layers
        yield DeviceCounter(checkpoint, layers, rows, Tally(width), batch_size, device), device


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(math.nan, "conv input contains NaN"), (math.inf, "conv input contains NaN"),
     (-3e38, r"of 800 values are NaN, infinite or beyond")],
)  # fmt: skip
def test_what_is_not_finite_names_layer_batch_and_slice_in_either_counter(bad, reason):
    checkpoint = load_checkpoint("mamba2-tiny")
    b_slice = checkpoint.slices[1]
    x = torch.randn(2, checkpoint.conv_dim, 25, generator=torch.Generator().manual_seed(1))
    x[1, b_slice.start + 2, 11] = bad
    total = b_slice.width * 25
    for counter, device in counters(checkpoint, 2):
        expected = rf"layer 0, batch 8, slice B: .*{reason.replace('800', f'{total:,}')}"
        with pytest.raises(CalibrationError, match=expected):
            counter.add([7, 8], 0, x.to(device))
            counter.finish([7, 8])
            counter.collect()


def test_a_calibration_says_how_its_forward_ran(tmp_path):
    checkpoint = load_checkpoint("mamba-tiny")
    backbone = load_backbone(checkpoint, "cpu")
    text = read_text(checkpoint, batches=1, seq_len=8)
    origin = calibrate(checkpoint, backbone, text).origin
    assert (origin.dtype, origin.device, origin.kernels) == ("float32", "cpu", "torch")
    assert str(forward_of(backbone)) == "float32 on cpu, convolution and scan by plain torch"


def test_the_counter_of_a_place_is_that_of_its_device():
    """Nothing lies on CUDA here: so all of it is counted by torch, at once."""
    checkpoint = load_checkpoint("mamba-tiny")
    tally = Tally(checkpoint.n_layers)
    counter = Counter(checkpoint, checkpoint.layers, tally, 1)
    counter.add([4], 2, torch.randn(1, checkpoint.conv_dim, 9))
    assert tally.numbers == (4,) and tally.totals[0, 2].sum() == 9 * checkpoint.conv_dim


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU at most")
@pytest.mark.parametrize("name", ["mamba-tiny", "mamba2-tiny"])
def test_a_model_over_two_gpus_counts_what_it_counts_on_one(name):
    checkpoint = load_checkpoint(name)
    text = read_text(checkpoint, batches=3, seq_len=40)
    expected = calibrate(checkpoint, load_backbone(checkpoint, "cuda", torch.float32), text)
    backbone = load_backbone(checkpoint, "cpu")
    size = sum(parameter.nbytes for parameter in backbone.parameters())
    room = {0: int(0.6 * size), 1: 2 * size, "cpu": size}
    spread = _place(checkpoint, backbone, torch.device("cuda"), room)
    devices = {parameter.device for parameter in spread.parameters()}
    assert len(devices) == 2
    for batch_size in (1, 2):
        assert_same(expected, calibrate(checkpoint, spread, text, batch_size=batch_size))
