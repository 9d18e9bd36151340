"""What each step of the lesson computes, against numpy and cases worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import half_away

from dashboard.analysis.impact import Impact
from dashboard.analysis.loss_over_alpha import LossOverAlpha
from dashboard.analysis.pipeline import trace_channel
from dashboard.analysis.report import quantize_conv, stranded_codes
from dashboard.calibration import calibrate, read_text
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.lesson import (
    code_places,
    does_it_matter,
    int8_range,
    kernel_steps,
    outliers,
    silu_shape,
    stop_caring,
    toy_example,
)
from dashboard.lesson.alpha_choice import AlphaChoice
from dashboard.lesson.calibrated import Activations, CalibratedLayer, CalibratedModel
from dashboard.lesson.group_scales import group_channels
from dashboard.lesson.mean_error import mean_error
from dashboard.lesson.ratios import evaluate_guess
from dashboard.lesson.screen import Control, control_values
from dashboard.lesson.steps import STEPS
from dashboard.refusals import Refusal
from dashboard.rules.channels import channel_outputs
from dashboard.rules.landscape import Landscape, landscapes, recommend
from dashboard.rules.published import TOY
from dashboard.text.language import ENGLISH


def silu(v):
    return v / (1 + np.exp(-v))


# 1


def test_a_handful_by_hand():
    rounded = int8_range.round_values(0.5, (0.7, -0.75, 63.5, 63.74, 63.76, -70.0))
    assert rounded.codes.tolist() == [1, -2, 127, 127, 127, -128]
    assert rounded.saturated.tolist() == [False] * 4 + [True, True]
    assert rounded.restored.tolist() == [0.5, -1.0, 63.5, 63.5, 63.5, -64.0]
    assert rounded.worst_rounding == pytest.approx(0.25)
    assert (rounded.low, rounded.high) == (-64.0, 63.5)


@pytest.mark.parametrize("scale", int8_range.SCALES)
def test_rounding_never_costs_more_than_half_a_code(scale):
    rounded = int8_range.round_values(scale)
    assert rounded.worst_rounding <= scale / 2 * (1 + 1e-5)  # float32 values
    assert (rounded.saturated == (np.abs(rounded.errors) > scale / 2 * 1.001)).all()


def test_the_finest_scale_that_fits_is_praised_and_no_other():
    # The largest value is 4.4: it fits where 127.5 scales reach beyond it.
    finest = min(scale for scale in int8_range.SCALES if 127.5 * scale > 4.4)
    for scale in int8_range.SCALES:
        screen = int8_range.screen(int8_scale=scale, say=ENGLISH)
        assert bool(screen.success) == (scale == finest)


def test_a_scale_of_nothing_is_refused():
    with pytest.raises(ValueError, match="scale"):
        int8_range.round_values(0.0)


# 3


@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
def test_the_reshaped_curve_is_silu_of_normal_quantiles(spread):
    reshaped = silu_shape.reshape(spread)
    v = np.sort(np.random.default_rng(0).normal(0, spread, 200_001))
    for share in (0.01, 0.3, 0.5, 0.9, 0.99):
        drawn = np.quantile(v, share)
        # 200,001 draws: the quantile's own error, five sigma
        slack = 5 * spread * np.sqrt(share * (1 - share) / 200_001) / 0.03
        assert reshaped.silu_input.quantile(share) == pytest.approx(drawn, abs=slack)
    back = np.repeat(reshaped.silu_output.values, reshaped.silu_output.counts)
    expected = np.sort(silu(np.repeat(reshaped.silu_input.values, reshaped.silu_input.counts)))
    assert np.abs(np.sort(back) - expected).max() < 2e-3 * max(1, expected.max())  # float16
    assert reshaped.silu_output.quantize(reshaped.scale).saturated == 0


@pytest.mark.parametrize(("amax", "stranded"), [(5.0, 121), (127.0, 128), (0.1, 0)])
def test_stranded_codes_by_hand(amax, stranded):
    # 0.2785 / (5 / 127) = 7.07: codes -7 … 0 occur, -128 … -8 do not.
    assert stranded_codes(amax / 127) == stranded


def test_an_asymmetric_scale_strands_nothing_and_gains():
    reshaped = silu_shape.reshape(1.0)
    y = np.repeat(reshaped.silu_output.values, reshaped.silu_output.counts).astype(np.float64)
    step = (y.max() - y.min()) / 255
    zero = -128 + round(-y.min() / step)
    codes = np.clip(half_away(y / step) + zero, -128, 127)
    assert codes.min() == -128 and codes.max() == 127
    noise = (((codes - zero) * step - y) ** 2).sum()
    symmetric = ((half_away(y / reshaped.scale) * reshaped.scale - y) ** 2).sum()
    assert reshaped.asymmetric_gain_db == pytest.approx(10 * np.log10(symmetric / noise), abs=0.01)
    assert reshaped.asymmetric_gain_db > 4


def test_a_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="spread is 0"):
        silu_shape.reshape(0.0)


# 4


@pytest.mark.parametrize("points", ["step", "six", "fine"])
@pytest.mark.parametrize("scale", [0.1, 0.0387, 0.05])
def test_the_toy_example_against_numpy(points, scale):
    v = {
        "step": np.arange(-50, 51) / 10,
        "six": np.array(TOY.listed),
        "fine": np.linspace(-5, 5, 10_001),
    }[points]
    y = silu(v)
    codes = np.clip(half_away(y / scale), -128, 127)
    toy = toy_example.run(scale, points)
    assert (toy.lowest_code, toy.highest_code) == (codes.min(), codes.max())
    assert toy.codes_used == len(set(codes))
    assert toy.mean_error == pytest.approx(np.abs(codes * scale - y).mean(), rel=1e-4)  # float32


def test_the_published_codes_and_utilizations_come_out_again():
    for printed in (TOY.straightforward, TOY.percentile):
        toy = toy_example.run(printed.scale)
        assert (toy.lowest_code, toy.highest_code) == (
            printed.lowest_code,
            printed.highest_code,
        )
        assert toy.utilization == pytest.approx(printed.utilization, abs=5e-4)


def test_the_straw_man_falls():
    plain = toy_example.run(toy_example.conv_absmax_scale())
    assert plain.scale == pytest.approx(5 / 127)
    assert plain.mean_error < toy_example.run(TOY.percentile.scale).mean_error
    assert plain.mean_error < toy_example.run(TOY.straightforward.scale).mean_error / 3


def test_points_that_are_none_are_refused():
    with pytest.raises(ValueError, match="'seven'; allowed are step, six, fine"):
        toy_example.run(0.1, "seven")


# 5


@pytest.mark.parametrize(("size", "share"), [(10.0, 0.0005), (3.0, 0.01), (30.0, 0.0), (7.5, 0.01)])
def test_outliers_against_numpy(size, share):
    example = outliers.with_outliers(size, share)
    count = round(share * 20_000)
    bulk = np.linspace(0, 3, 20_000 - count).astype(np.float16).astype(np.float64)
    y = np.concatenate([bulk, np.full(count, size)])
    for cut, amax in ((example.minmax, y.max()), (example.percentile, 3.0)):
        scale = amax / 127
        back = np.clip(half_away(y / scale), -128, 127) * scale
        assert cut.scale == pytest.approx(scale)
        assert cut.mean_error == pytest.approx(np.abs(back - y).mean(), rel=2e-3)  # ties in float32
        assert cut.mse == pytest.approx(((back - y) ** 2).mean(), rel=2e-3)
        assert cut.outlier_error == pytest.approx(
            np.abs(back - y)[-count:].mean() if count else 0, rel=1e-5, abs=1e-6
        )
    assert example.best_amax <= y.max()
    amaxes, made = example.sweep
    assert amaxes[0] == pytest.approx(1.5) and (np.diff(made.clipping_mse) <= 1e-12).all()


def test_the_published_example_gains_in_the_mean_and_loses_in_the_square():
    example = outliers.with_outliers(10.0, 0.0005)
    assert (example.minmax.code, example.percentile.code) == (13, 42)
    assert example.percentile.mean_error < example.minmax.mean_error
    assert example.percentile.mse > 40 * example.minmax.mse


@pytest.mark.parametrize(("size", "share"), [(2.0, 0.1), (float("nan"), 0.1), (10.0, 1.0)])
def test_outliers_that_are_none_are_refused(size, share):
    with pytest.raises(ValueError, match=r"an outlier is at least 3\.0"):
        outliers.with_outliers(size, share)


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
    return CalibratedModel(
        "mamba2-tiny",
        tuple(
            CalibratedLayer(layer.layer, layer.slices[0], Landscape.of(layer.slices[0].silu_output))
            for layer in calibration.layers
        ),
        recommend(landscapes(calibration)),
    )


@pytest.mark.parametrize(("channel", "position"), [(0, 0), (0, 1), (255, 63), (300, 7), (383, 2)])
def test_a_trace_is_integer_arithmetic_and_what_the_kernel_wrote(
    checkpoint, calibration, channel, position
):
    scales = [counted.scales for counted in calibration.layer(1).slices]
    conv = quantize_conv(calibration.capture(1), checkpoint.slices, scales)
    traced = trace_channel(conv, 0.02, 2, channel, first=position, count=1)
    x = [int(conv.x_q[2, channel, i]) if i >= 0 else 0 for i in range(position - 3, position + 1)]
    assert traced.window[0].tolist() == x
    assert traced.weight.tolist() == conv.weight_q[channel].tolist()
    assert traced.acc[0] == sum(a * b for a, b in zip(x, traced.weight.tolist(), strict=True))
    v = traced.scale_w * traced.scale_x * int(traced.acc[0]) + traced.bias * traced.scale_b
    assert traced.v[0] == pytest.approx(v, rel=1e-5, abs=1e-7)  # float32
    assert traced.s[0] == pytest.approx(silu(v), rel=1e-5, abs=1e-7)
    assert traced.code[0] == int(np.clip(half_away(traced.s[0] / 0.02), -128, 127))
    assert traced.written[0] == traced.code[0]


def test_a_trace_outside_the_input_is_refused(checkpoint, calibration):
    scales = [counted.scales for counted in calibration.layer(0).slices]
    conv = quantize_conv(calibration.capture(0), checkpoint.slices, scales)
    for place, name in (((3, 0, 0), "batch"), ((0, 384, 0), "channel"), ((0, 0, 64), "position")):
        with pytest.raises(ValueError, match=f"{name} is {max(place)}"):
            trace_channel(conv, 0.02, *place, count=1)


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
        layer.scale(layer.landscape.best_alpha) / layer.calibration.scale_wx
    )
    with pytest.raises(ValueError, match=r"0\.12345 was not tried"):
        layer.sqnr_db(0.12345)


def test_a_guess_that_is_right_costs_nothing_and_a_wrong_one_does(trained):
    layer = trained.layers[-1]
    right = evaluate_guess(layer, layer.best_ratio_wx)
    assert right.off == 0 and right.loss_db == pytest.approx(0, abs=1e-9)
    half = evaluate_guess(layer, layer.best_ratio_wx / 2)
    assert half.off == pytest.approx(-0.5) and half.loss_db > 1 and half.saturation_rate > 0


def test_a_choice_scores_against_each_layers_best(trained):
    bests = tuple(layer.landscape.best_alpha for layer in trained.layers)
    assert AlphaChoice(trained, bests).mean_loss_db == 0
    worse = AlphaChoice(trained, (0.99, *bests[1:]))
    assert worse.worst == 0
    assert worse.mean_loss_db == pytest.approx(trained.layers[0].landscape.loss_db(0.99) / 4)


@pytest.mark.parametrize(("head_dim", "n_groups", "heads"), [(32, 1, 8), (None, None, 4)])
def test_groups_are_of_like_channels_and_their_scales_are_maxima(
    checkpoint, calibration, head_dim, n_groups, heads
):
    outputs = channel_outputs(calibration.capture(0), checkpoint.slices[0])
    grouping, grouped = group_channels(outputs, head_dim, n_groups)
    assert grouping.shape == (1, 4, 4) and len(grouping.head_order) == heads
    noise = signal = 0.0
    for number, scale in enumerate(grouped.scales):
        own = [output for output, of in zip(outputs, grouping.group, strict=True) if of == number]
        assert scale == pytest.approx(max(output.absmax for output in own) / 127, rel=1e-6)
        for output in own:
            y = np.repeat(output.values, output.counts).astype(np.float64)
            noise += ((np.clip(half_away(y / scale), -128, 127) * scale - y) ** 2).sum()
            signal += (y**2).sum()
    assert grouped.sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)


def test_a_small_model_has_fewer_groups(checkpoint, calibration):
    outputs = channel_outputs(calibration.capture(0), checkpoint.slices[0])
    assert group_channels(outputs[:12], 3, 2)[0].shape == (2, 2, 3)


def test_channels_that_cannot_be_cut_are_refused(checkpoint, calibration):
    outputs = channel_outputs(calibration.capture(0), checkpoint.slices[0])
    with pytest.raises(ValueError, match="10 channels cannot be cut"):
        group_channels(outputs[:10], 4, 1)


# Steps as data


def test_mean_error_is_the_mean_distance_on_both_sides_of_zero():
    values = np.array([-0.3, -0.25, 0.0, 0.25, 0.75, 200.0], np.float32)
    histogram = Histogram(values, np.array([1, 2, 3, 4, 5, 6]))
    back = np.clip(half_away(values / 0.5), -128, 127) * 0.5
    expected = (np.abs(back - values) * histogram.counts).sum() / 21
    assert mean_error(histogram, 0.5) == pytest.approx(expected)
    nothing = Histogram(np.array([], np.float32), np.array([], np.int64))
    assert mean_error(nothing, 0.5) == 0


def test_a_value_of_another_models_control_moves_to_the_nearest_option():
    slider = Control("alpha", "α", (0.9, 0.99, 1.0), 0.99)
    names = Control("points", "points", ("step", "six"), "step", kind="choices")
    toggle = Control("shown", "shown", (False, True), False, kind="switch")
    known = {"alpha": 0.9999, "points": "seven", "shown": True, "other": 3}
    assert control_values((slider, names, toggle), known) == {
        "alpha": 1.0,
        "points": "step",
        "shown": True,
    }
    assert control_values((slider, names), {}) == {"alpha": 0.99, "points": "step"}


def test_every_step_introduces_itself_and_has_a_name_of_its_own():
    assert len({step.name for step in STEPS}) == len(STEPS)
    for step in STEPS:
        introduction = step.introduce(ENGLISH)
        assert introduction.title and introduction.claim and introduction.task


@pytest.mark.parametrize("step", [step for step in STEPS if step.on == "nothing"])
def test_a_step_without_a_model_has_one_right_answer_at_every_default(step):
    values = control_values(step.controls(say=ENGLISH), {})
    screen = step.screen(**values, say=ENGLISH)
    assert screen.question.right in screen.question.answers


def test_the_excerpt_shows_the_byte_that_is_followed_and_breaks_no_character():
    text = "ein Ährenfeld\nim Wind".encode()
    assert kernel_steps.excerpt(text, 0) == ("", "e", "in Ährenfeld⏎im Wind")
    before, here, after = kernel_steps.excerpt(text, 4)  # the first byte of Ä
    assert (before, here) == ("ein ", "\N{REPLACEMENT CHARACTER}")
    assert after.endswith("Wind")


def test_a_ratio_of_the_weights_halves_when_they_double_and_the_other_stays():
    x, weight = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.25])

    def published_and_like_for_like(x, weight):
        scale_out = np.abs(silu(np.convolve(x, weight))).max() / 127
        x_scale, w_scale = np.abs(x).max() / 127, np.abs(weight).max() / 127
        return scale_out / w_scale, scale_out / (x_scale * w_scale)

    before, after = (published_and_like_for_like(x / k, weight * k) for k in (1, 2))
    assert after[0] == pytest.approx(before[0] / 2) and after[1] == pytest.approx(before[1])


# 9 and 10


def window_impact(kl: list[float], delta: list[float]) -> Impact:
    """Windows of one token each."""
    return Impact(np.array(kl)[:, None], np.array(delta)[:, None], np.ones((len(kl), 1), bool))


SURE = window_impact([0.5, 0.51, 0.49, 0.5], [0.2, 0.21, 0.19, 0.2])
NOISY = window_impact([0.002, 0.003, 0.001, 0.002], [0.01, -0.012, 0.004, 0.001])
LESS = window_impact([0.001, 0.002, 0.0001, 0.001], [0.001, -0.002, 0.003, -0.001])


def test_the_loss_is_quiet_from_where_it_stays_within_its_error_to_the_end():
    alphas, lost = (0.9, 0.99, 0.999, 1.0), (9.0, 3.0, 1.0, 2.0)
    made = [(NOISY, SURE, NOISY, LESS), (SURE, NOISY, LESS, NOISY), (NOISY, LESS, LESS, SURE)]
    quiet = [LossOverAlpha(alphas, lost, impacts).quiet_from for impacts in made]
    assert quiet == [0.999, 0.99, None]
    costs = LossOverAlpha(alphas, lost, made[0])
    assert costs.least == 3
    # 0.001 more in every window, but 0.0009 in one: no noise
    assert [costs.is_least(i) for i in range(4)] == [False, False, False, True]
    same = LossOverAlpha(alphas, lost, (SURE, LESS, NOISY, LESS))
    assert [same.is_least(i) for i in range(4)] == [False, True, False, True]


def with_costs(model: CalibratedModel, by_alpha: dict[float, Impact]) -> CalibratedModel:
    """The model as a page has it, with measurements that are given."""

    def costs(rules):
        return {rule: by_alpha.get(rule.alpha, LESS) for rule in rules}

    names = ("conv", "minmax", "groups", "has_heads", "text")
    return replace(model, activations=Activations(**dict.fromkeys(names), costs=costs))


def test_a_guess_is_right_where_the_measurement_says_so_and_hidden_until_asked(trained):
    model = with_costs(trained, {0.9: SURE, 0.99: SURE})
    settings = {"quiet_from": 0.999, "loss_shown": False}
    hidden = does_it_matter.screen(model, **settings, say=ENGLISH)
    assert not hidden.success and hidden.table is None
    assert "nats" not in hidden.reading and "0.2" not in hidden.figure.layout.meta["alt"]
    assert "The model pays" not in hidden.figure.layout.meta["alt"]
    shown = does_it_matter.screen(model, **settings | {"loss_shown": True}, say=ENGLISH)
    assert shown.success and "From α = 0.999 on it moves within its error" in shown.reading
    late = does_it_matter.screen(model, quiet_from=0.9995, loss_shown=True, say=ENGLISH)
    assert not late.success
    assert shown.question.right.text == "By less than can be measured here."
    moved = does_it_matter.screen(with_costs(trained, {0.9995: SURE}), **settings, say=ENGLISH)
    assert moved.question.right.text == "By 0.01 nats or more."
    assert "At α = 0.9995 it moves by 0.1998" in moved.question.right.reply


def test_what_sqnr_recommends_is_shipped_only_where_nothing_costs_less(trained):
    best = trained.recommendation.alpha
    good = stop_caring.screen(
        with_costs(trained, {}), shipped_alpha=best, cost_shown=True, say=ENGLISH
    )
    assert good.question.right.text.startswith("Yes: measured") and good.success
    bad = stop_caring.screen(
        with_costs(trained, {best: SURE}), shipped_alpha=best, cost_shown=True, say=ENGLISH
    )
    assert bad.question.right.text.startswith("No") and not bad.success
    assert "cost 0.5000 ± 0.0041 nats" in bad.reading and "0.4990 ± 0.0037 more" in bad.reading


def test_a_calibration_file_has_no_loss(trained):
    for step in (does_it_matter, stop_caring):
        with pytest.raises(Refusal, match="no model to run"):
            step.controls(replace(trained, activations=None), say=ENGLISH)


# 12


def test_even_codes_are_even_and_equally_used_ones_are_equally_used(trained):
    output = trained.layers[0].silu_output
    even = code_places.placed(output, 0.0, 1.0).points
    assert np.diff(even) == pytest.approx(np.full(255, (output.max - output.min) / 256), rel=1e-6)
    alike = code_places.placed(output, 1.0, 1.0)
    shares = alike.quantize(output).code_counts / output.total
    middle = shares[16:-16]
    assert np.median(middle) == pytest.approx(1 / 256, rel=0.2)


def test_the_cube_root_comes_nearest_to_the_best_codes_and_none_beats_them(trained):
    for layer in trained.layers:
        output = layer.silu_output
        y = np.repeat(output.values, output.counts).astype(np.float64)
        best = code_places.best_codes(output)

        def sqnr(book, y=y):
            error = book.points[np.abs(y[:, None] - book.points).argmin(1)] - y
            return 10 * np.log10((y**2).sum() / (error**2).sum())

        by_power = {
            power: sqnr(code_places.placed(output, power, 1.0)) for power in (0.0, 1 / 3, 1.0)
        }
        assert max(by_power, key=by_power.get) == 1 / 3
        assert sqnr(best) > by_power[1 / 3]
        shown = code_places.screen(
            trained, layer.number, code_power=0.0, code_reach=1.0, say=ENGLISH
        )
        assert f"Your codes have {by_power[0.0]:.1f} dB, the best 256 have {sqnr(best):.1f} dB" in (
            shown.reading
        )
        assert shown.question.right.text.endswith("by the cube root.") and not shown.success


def test_codes_near_the_best_are_what_the_task_asks_for(trained):
    number = trained.layers[0].number
    output = trained.layers[0].silu_output
    gap = (
        code_places.best_codes(output).quantize(output).sqnr_db
        - code_places.placed(output, 1 / 3, 1.0).quantize(output).sqnr_db
    )
    shown = code_places.screen(trained, number, code_power=1 / 3, code_reach=1.0, say=ENGLISH)
    assert bool(shown.success) == (gap <= code_places.ALMOST_DB)
