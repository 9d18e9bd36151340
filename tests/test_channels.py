"""Grouped scales against plain tensors, and against the rule for a whole tensor."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import requantize, values_of

from dashboard.calibration import ConvCapture
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import ConvSlice
from dashboard.rules.channels import CHANNEL_RULES, channel_outputs, even_groups, group_scales
from dashboard.rules.observers import ScaleRule, amax
from kernels.int8 import scale_from_amax

GENERATOR = torch.Generator().manual_seed(0)
CHANNELS, PART = 12, ConvSlice("x", 2, 12)


@pytest.fixture(scope="module")
def capture() -> ConvCapture:
    x = torch.randn(3, CHANNELS, 200, generator=GENERATOR)
    x *= torch.linspace(0.2, 4, CHANNELS)[:, None]
    weight = torch.randn(CHANNELS, 4, generator=GENERATOR) * 0.6
    return ConvCapture(0, x, weight, torch.randn(CHANNELS, generator=GENERATOR) * 0.1)


@pytest.fixture(scope="module")
def y(capture) -> torch.Tensor:
    """(N, D, L), the slice's float16 outputs by torch's own convolution."""
    padded = F.pad(capture.x.double(), (3, 0))
    v = F.conv1d(padded, capture.weight[:, None].double(), capture.bias.double(), groups=CHANNELS)
    return F.silu(v)[:, PART.channels].half().float()


@pytest.fixture(scope="module")
def outputs(capture) -> tuple[Histogram, ...]:
    return channel_outputs(capture, PART)


def test_each_channel_is_counted_over_all_batches(outputs, y):
    assert len(outputs) == 10
    for channel, histogram in enumerate(outputs):
        assert histogram.total == 600
        # float32 and float64 convolutions round to neighbouring float16 values now and then
        exact = y[:, channel].abs().max().item()
        assert histogram.absmax == pytest.approx(exact, rel=2e-3)


def test_the_channels_add_up_to_the_slice(outputs, capture):
    whole = Histogram.sum(outputs)
    from kernels.reference import causal_conv1d

    span = PART.channels
    plain = F.silu(causal_conv1d(capture.x, capture.weight, capture.bias))[:, span]
    direct = Histogram.of(plain)
    assert whole.values.tobytes() == direct.values.tobytes()
    assert whole.counts.tobytes() == direct.counts.tobytes()


@pytest.mark.parametrize("observer", CHANNEL_RULES)
@pytest.mark.parametrize("size", [1, 3, 10, 99])
def test_groups_are_quantized_each_with_its_own_scale(outputs, observer, size):
    rule = ScaleRule(observer, 0.99)
    group = even_groups(len(outputs), size)
    scales = group_scales(outputs, group, rule)
    signal = noise = 0.0
    for number in range(group.max() + 1):
        own = np.flatnonzero(group == number)
        values = np.concatenate([values_of(outputs[i]) for i in own])
        expected = {
            "percentile": lambda v: torch.quantile(torch.from_numpy(v).abs(), 0.99).item(),
            "minmax": lambda v: np.abs(v).max(),
            "mse": lambda v: amax(rule, Histogram.of(torch.from_numpy(v))),
        }[observer](values)
        scale = np.float32(scale_from_amax(float(expected)))
        assert scales.scales[number] == scale
        plain = requantize(values, scale)
        noise, signal = noise + plain.noise, signal + plain.signal
    assert scales.sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-6)
    assert scales.per_channel.tolist() == scales.scales[group].tolist()
    assert scales.total == 6000


def test_finer_groups_never_lose_by_mse(outputs):
    by_size = [
        group_scales(outputs, even_groups(10, size), ScaleRule("mse")) for size in (10, 5, 1)
    ]
    assert (
        by_size[0].sqnr_db <= by_size[1].sqnr_db + 0.01
        and by_size[1].sqnr_db <= by_size[2].sqnr_db + 0.01
    )


def test_what_does_not_fit_is_named(outputs):
    with pytest.raises(ValueError, match="entropy is not defined for groups"):
        group_scales(outputs, even_groups(10, 2), ScaleRule("entropy"))
    with pytest.raises(ValueError, match="mse, asymmetric, is not defined"):
        group_scales(outputs, even_groups(10, 2), ScaleRule("mse", symmetric=False))
    for group in (np.zeros(9, int), np.array([0, 2] * 5)):
        with pytest.raises(ValueError, match="the groups of 10 channels"):
            group_scales(outputs, group, ScaleRule("minmax"))
    with pytest.raises(ValueError, match="size is 0"):
        even_groups(4, 0)
    with pytest.raises(ValueError, match="NaN, infinite or beyond"):
        bad = ConvCapture(0, torch.full((1, 2, 8), 1e38), torch.ones(2, 4), torch.zeros(2))
        channel_outputs(bad, ConvSlice("x", 0, 2))
