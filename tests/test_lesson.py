"""What each step of the lesson computes, against numpy and cases worked by hand."""

import numpy as np
import pytest
import torch
from by_hand import half_away

from dashboard.analysis.report import quantize_conv
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.lesson import (
    group_scales as grouped,
)
from dashboard.lesson import (
    int8_range as holding,
)
from dashboard.lesson import (
    kernel_steps as tracing,
)
from dashboard.lesson import (
    outliers,
)
from dashboard.lesson import (
    silu_shape as shapes,
)
from dashboard.lesson import (
    toy_example as toy,
)
from dashboard.lesson.calibrated import Chosen, Trained, TrainedLayer, guessed
from dashboard.rules.channels import channel_outputs
from dashboard.rules.landscape import Landscape, landscapes, recommend
from dashboard.rules.published import TOY


def silu(v):
    return v / (1 + np.exp(-v))


# 1


def test_a_handful_by_hand():
    found = holding.Holding.of(0.5, (0.7, -0.75, 63.5, 63.74, 63.76, -70.0))
    assert [held.code for held in found.values] == [1, -2, 127, 127, 127, -128]
    assert [held.saturated for held in found.values] == [False] * 4 + [True, True]
    assert [held.back for held in found.values] == [0.5, -1.0, 63.5, 63.5, 63.5, -64.0]
    assert found.saturated == 2
    assert found.worst_rounding == pytest.approx(0.25)
    assert (found.low, found.high) == (-64.0, 63.5)


@pytest.mark.parametrize("scale", holding.SCALES)
def test_rounding_never_costs_more_than_half_a_code(scale):
    found = holding.Holding.of(scale)
    assert found.worst_rounding <= scale / 2 * (1 + 1e-5)  # float32 values
    assert all(held.saturated == (abs(held.error) > scale / 2 * 1.001) for held in found.values)


def test_a_scale_of_nothing_is_refused():
    with pytest.raises(ValueError, match="scale"):
        holding.Holding.of(0.0)


# 3


@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_the_reshaped_curve_is_silu_of_normal_quantiles(spread):
    found = shapes.reshape(spread)
    v = np.sort(np.random.default_rng(0).normal(0, spread, 200_001))
    for share in (0.01, 0.3, 0.5, 0.9, 0.99):
        drawn = np.quantile(v, share)
        # 200,001 draws: the quantile's own error, five sigma
        slack = 5 * spread * np.sqrt(share * (1 - share) / 200_001) / 0.03
        assert found.silu_input.quantile(share) == pytest.approx(drawn, abs=slack)
    back = np.repeat(found.silu_output.values, found.silu_output.counts)
    expected = np.sort(silu(np.repeat(found.silu_input.values, found.silu_input.counts)))
    assert np.abs(np.sort(back) - expected).max() < 2e-3 * max(1, expected.max())  # float16
    assert found.output.saturated == 0


@pytest.mark.parametrize(("amax", "stranded"), [(5.0, 121), (127.0, 128), (0.1, 0)])
def test_stranded_codes_by_hand(amax, stranded):
    # 0.2785 / (5 / 127) = 7.07: codes -7 … 0 occur, -128 … -8 do not.
    assert shapes.stranded_codes(amax / 127) == stranded


def test_an_asymmetric_scale_strands_nothing_and_gains():
    found = shapes.reshape(1.0)
    y = np.repeat(found.silu_output.values, found.silu_output.counts).astype(np.float64)
    step = (y.max() - y.min()) / 255
    zero = -128 + round(-y.min() / step)
    codes = np.clip(half_away(y / step) + zero, -128, 127)
    assert codes.min() == -128 and codes.max() == 127
    noise = (((codes - zero) * step - y) ** 2).sum()
    symmetric = float(found.output.rounding_sse + found.output.clipping_sse)
    assert found.asymmetric_gain_db == pytest.approx(10 * np.log10(symmetric / noise), abs=0.01)
    assert found.asymmetric_gain_db > 4


def test_a_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="spread is 0"):
        shapes.reshape(0.0)


# 4


@pytest.mark.parametrize("points", ["step", "six", "fine"])
@pytest.mark.parametrize("scale", [0.1, 0.0387, 0.05])
def test_the_toy_example_against_numpy(points, scale):
    v = {"step": np.arange(-50, 51) / 10, "six": np.array(TOY.listed),
         "fine": np.linspace(-5, 5, 10_001)}[points]  # fmt: skip
    y = silu(v)
    codes = np.clip(half_away(y / scale), -128, 127)
    found = toy.run(scale, points)
    assert (found.lowest_code, found.highest_code) == (codes.min(), codes.max())
    assert found.codes_used == len(set(codes))
    assert found.mean_error == pytest.approx(np.abs(codes * scale - y).mean(), rel=1e-4)  # float32


def test_the_published_codes_and_utilizations_come_out_again():
    for printed in (TOY.straightforward, TOY.percentile):
        found = toy.run(printed.scale)
        assert (found.lowest_code, found.highest_code) == (printed.lowest_code,
                                                           printed.highest_code)  # fmt: skip
        assert found.utilization == pytest.approx(printed.utilization, abs=5e-4)


def test_the_straw_man_falls():
    plain = toy.run(toy.conv_absmax_scale())
    assert plain.scale == pytest.approx(5 / 127)
    assert plain.mean_error < toy.run(TOY.percentile.scale).mean_error
    assert plain.mean_error < toy.run(TOY.straightforward.scale).mean_error / 3


def test_points_that_are_none_are_refused():
    with pytest.raises(ValueError, match="'seven'; allowed are step, six, fine"):
        toy.run(0.1, "seven")


# 5


@pytest.mark.parametrize(("size", "share"), [(10.0, 0.0005), (3.0, 0.01), (30.0, 0.0), (7.5, 0.01)])
def test_outliers_against_numpy(size, share):
    found = outliers.outlying(size, share)
    count = round(share * 20_000)
    bulk = np.linspace(0, 3, 20_000 - count).astype(np.float16).astype(np.float64)
    y = np.concatenate([bulk, np.full(count, size)])
    for cut, amax in ((found.minmax, y.max()), (found.percentile, 3.0)):
        scale = amax / 127
        back = np.clip(half_away(y / scale), -128, 127) * scale
        assert cut.scale == pytest.approx(scale)
        assert cut.mean_error == pytest.approx(np.abs(back - y).mean(), rel=2e-3)  # ties in float32
        assert cut.mse == pytest.approx(((back - y) ** 2).mean(), rel=2e-3)
        assert cut.outlier_error == pytest.approx(np.abs(back - y)[-count:].mean() if count else 0,
                                                  rel=1e-5, abs=1e-6)  # fmt: skip
    assert found.best_amax <= y.max()
    amaxes, made = found.sweep
    assert amaxes[0] == pytest.approx(1.5) and (np.diff(made.clipping_mse) <= 1e-12).all()


def test_the_published_example_gains_in_the_mean_and_loses_in_the_square():
    found = outliers.outlying(10.0, 0.0005)
    assert (found.minmax.code, found.percentile.code) == (13, 42)
    assert found.percentile.mean_error < found.minmax.mean_error
    assert found.percentile.mse > 40 * found.minmax.mse


@pytest.mark.parametrize(("size", "share"), [(2.0, 0.1), (float("nan"), 0.1), (10.0, 1.0)])
def test_outliers_that_are_none_are_refused(size, share):
    with pytest.raises(ValueError, match=r"an outlier is at least 3\.0"):
        outliers.outlying(size, share)


# On a model


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint("mamba2-tiny")


@pytest.fixture(scope="module")
def calibration(checkpoint):
    text = read_text(checkpoint, batches=3, seq_len=64)
    return calibrate(checkpoint, load_backbone(checkpoint), text, keep=[0, 1])


@pytest.fixture(scope="module")
def trained(calibration):
    return Trained("mamba2-tiny", tuple(
        TrainedLayer(each.layer, each.slices[0], Landscape.of(each.slices[0].silu_output))
        for each in calibration.layers
    ), recommend(landscapes(calibration)))  # fmt: skip


@pytest.mark.parametrize(("channel", "position"), [(0, 0), (0, 1), (255, 63), (300, 7), (383, 2)])
def test_a_trace_is_integer_arithmetic_and_what_the_kernel_wrote(
    checkpoint, calibration, channel, position
):
    scales = [part.scales for part in calibration.layer(1).slices]
    conv = quantize_conv(calibration.capture(1), checkpoint.slices, scales)
    found = tracing.trace(conv, 2, channel, position, 0.02)
    x = [int(conv.x_q[2, channel, i]) if i >= 0 else 0 for i in range(position - 3, position + 1)]
    assert list(found.x_q) == x
    assert list(found.weight_q) == conv.weight_q[channel].tolist()
    assert found.acc == sum(a * b for a, b in zip(found.x_q, found.weight_q, strict=True))
    assert found.acc == sum(found.products)
    v = found.scale_w * found.scale_x * found.acc + found.bias_q * found.scale_b
    assert found.v == pytest.approx(v, rel=1e-5, abs=1e-7)  # float32
    assert found.y == pytest.approx(silu(v), rel=1e-5, abs=1e-7)
    assert found.code == int(np.clip(half_away(found.y / 0.02), -128, 127))
    assert found.kernel_code == found.code
    assert found.y_float == float(conv.y[2, channel, position])


def test_a_trace_outside_the_input_is_refused(checkpoint, calibration):
    scales = [part.scales for part in calibration.layer(0).slices]
    conv = quantize_conv(calibration.capture(0), checkpoint.slices, scales)
    for place, name in (((3, 0, 0), "batch"), ((0, 384, 0), "channel"), ((0, 0, 64), "position")):
        with pytest.raises(ValueError, match=f"{name} is {max(place)}"):
            tracing.trace(conv, *place, 0.02)


def test_layers_know_their_scales_and_what_an_alpha_loses(trained):
    layer = trained.layer(2)
    y = torch.from_numpy(np.repeat(layer.silu_output.values, layer.silu_output.counts))
    scale = torch.quantile(y.abs(), 0.999).item() / 127
    assert layer.scale(0.999) == pytest.approx(scale, rel=1e-6)
    back = np.clip(half_away(y.numpy() / np.float32(scale)), -128, 127) * scale
    noise = ((back - y.numpy()) ** 2).sum()
    sqnr = 10 * np.log10((y.double().numpy() ** 2).sum() / noise)
    assert layer.sqnr_db(0.999) == pytest.approx(sqnr, abs=1e-3)
    assert layer.best_ratio_wx == pytest.approx(
        layer.scale(layer.landscape.best_alpha) / layer.counted.scale_wx
    )
    with pytest.raises(ValueError, match=r"0\.12345 was not tried"):
        layer.sqnr_db(0.12345)


def test_a_guess_that_is_right_costs_nothing_and_a_wrong_one_does(trained):
    layer = trained.layers[-1]
    right = guessed(layer, layer.best_ratio_wx)
    assert right.off == 0 and right.loss_db == pytest.approx(0, abs=1e-9)
    half = guessed(layer, layer.best_ratio_wx / 2)
    assert half.off == pytest.approx(-0.5) and half.loss_db > 1 and half.saturation_rate > 0


def test_a_choice_scores_against_each_layers_best(trained):
    bests = tuple(each.landscape.best_alpha for each in trained.layers)
    assert Chosen(trained, bests).mean_loss_db == 0
    worse = Chosen(trained, (0.99, *bests[1:]))
    assert worse.worst == 0
    assert worse.mean_loss_db == pytest.approx(trained.layers[0].landscape.loss_db(0.99) / 4)


def test_groups_are_neighbouring_heads_and_channels(checkpoint, calibration):
    outputs = channel_outputs(calibration.capture(0), checkpoint.slices[0])
    found = grouped.group(outputs, checkpoint.architecture.head_dim)
    assert found.heads == 8 and len(found.parts) == 16
    # Heads 2 and 3, channels 8 to 15 of each, make the group in row 1, column 1.
    chosen = [head * 32 + channel for head in (2, 3) for channel in range(8, 16)]
    values = np.sort(np.concatenate([
        np.repeat(outputs[i].values, outputs[i].counts) for i in chosen
    ]))  # fmt: skip
    part = found.parts[5]
    assert np.array_equal(np.repeat(part.values, part.counts), values)


def test_alpha_moves_the_tensors_scale_and_none_of_the_sixteen(checkpoint, calibration):
    outputs = channel_outputs(calibration.capture(0), checkpoint.slices[0])
    groups = grouped.group(outputs, checkpoint.architecture.head_dim)
    low, high = (grouped.scaled(groups, alpha) for alpha in (0.99, 0.9999))
    assert np.array_equal(low.scales, high.scales) and low.sqnr_db == high.sqnr_db
    assert low.tensor_scale < high.tensor_scale and low.tensor_db != high.tensor_db
    assert low.scales.max() * 127 == pytest.approx(max(o.absmax for o in outputs), rel=1e-6)
    noise = sum(
        float(part.quantize(scale).rounding_sse)
        for part, scale in zip(groups.parts, low.scales.ravel(), strict=True)
    )
    whole = groups.whole
    signal = float((whole.values.astype(np.float64) ** 2 * whole.counts).sum())
    assert low.sqnr_db == pytest.approx(10 * np.log10(signal / noise))


def test_channels_that_cannot_be_parted_are_refused(checkpoint, calibration):
    outputs = channel_outputs(calibration.capture(0), checkpoint.slices[0])
    with pytest.raises(ValueError, match="10 channels in heads of 4"):
        grouped.group(outputs[:10], 4)
