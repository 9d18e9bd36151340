"""Reports against the definitions, worked out on plain tensors; the kernel's error kept apart."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import codes_by_hand, conv_by_torch, half_away, percentile_scale, requantize

from dashboard.analysis.report import (
    LayerReport,
    baselines,
    distinct,
    evaluate_held_out,
    format_alpha,
    gain_db,
    quantize_conv,
    report_scale,
    report_slices,
    run_kernel,
    sweep_scales,
    timed,
)
from dashboard.calibration import (
    Calibration,
    ConvCapture,
    SliceCalibration,
    calibrate,
    read_text,
)
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import Checkpoint, default_device, load_backbone, load_checkpoint
from dashboard.rules.observers import SYMMETRIC_RULES, ScaleRule
from kernels import default_backend

LAYER, ALPHA = 1, 0.9995


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("mamba2-tiny")


@pytest.fixture(scope="module")
def calibration(checkpoint) -> Calibration:
    text = read_text(checkpoint, batches=4, seq_len=128)
    return calibrate(checkpoint, load_backbone(checkpoint), text, layers=[LAYER], keep=[LAYER])


@pytest.fixture(scope="module")
def capture(calibration) -> ConvCapture:
    return calibration.capture(LAYER)


def live(checkpoint, calibration, observer="percentile", backend=None) -> LayerReport:
    slices = report_slices(calibration.layer(LAYER), ScaleRule(observer, ALPHA))
    conv = quantize_conv(
        calibration.capture(LAYER),
        checkpoint.slices,
        [counted.scales for counted in slices],
        default_device(),
    )
    scales = [counted.chosen.x_out_scale for counted in slices]
    return LayerReport(LAYER, slices, run_kernel(conv, scales, backend))


def test_every_measure_is_its_definition(checkpoint, calibration, capture):
    """numpy in float64 on the captured tensors, for each of x, B and C."""
    report = live(checkpoint, calibration)
    y = F.silu(conv_by_torch(capture.x, capture.weight, capture.bias))
    for conv_slice in checkpoint.slices:
        measures = report.measures(conv_slice.name)
        x, weight, bias = (
            t.abs().max().item() / 127
            for t in (
                capture.x[:, conv_slice.channels],
                capture.weight[conv_slice.channels],
                capture.bias[conv_slice.channels],
            )
        )
        values = y[:, conv_slice.channels].half().float()
        scale = percentile_scale(values, ALPHA)
        assert measures["x_scale"] == pytest.approx(x, rel=1e-6)
        assert measures["w_scale"] == pytest.approx(weight, rel=1e-6)
        assert measures["b_scale"] == pytest.approx(bias, rel=1e-6)
        assert measures["scale_wx"] == pytest.approx(x * weight, rel=1e-6)
        # The float convolution may round a last bit differently: one float16 step of y.
        assert measures["x_out_scale"] == pytest.approx(scale, rel=1e-3)
        assert measures["ratio_weight"] == pytest.approx(scale / weight, rel=1e-3)
        assert measures["ratio_wx"] == pytest.approx(scale / (x * weight), rel=1e-3)

        plain = requantize(values, measures["x_out_scale"])
        error, count = plain.error**2, plain.values.size
        few = 3 / count  # values whose float16 rounding moved across a code's edge
        rounding, clipping = error[plain.inside].sum(), error[~plain.inside].sum()
        assert measures["saturation_rate"] == pytest.approx(plain.saturation_rate, abs=few)
        assert measures["rounding_mse"] == pytest.approx(rounding / count, rel=1e-3)
        assert measures["clipping_mse"] == pytest.approx(clipping / count, rel=1e-3)
        assert measures["sqnr_db"] == pytest.approx(plain.sqnr_db, abs=0.01)
        used = len(plain.code_shares)
        assert measures["code_utilization"] == pytest.approx(used / 256, abs=2 / 256)
        assert measures["top_code_utilization"] == 1.0
        assert measures["effective_bits"] == pytest.approx(plain.effective_bits, abs=1e-3)


@pytest.fixture(params=[1, 3, 4])
def compared_at_once(request, checkpoint, monkeypatch) -> int:
    """How many of the four batches the live run compares in one go."""
    values = request.param * checkpoint.conv_dim * 128
    monkeypatch.setattr("dashboard.analysis.report.COMPARED_AT_ONCE", values)
    return request.param


def test_kernel_sqnr_counts_the_rounding_of_the_inputs_too(
    checkpoint, calibration, capture, compared_at_once
):
    """The INT8 pipeline in float64 numpy against float y, at the report's own scales."""
    report = live(checkpoint, calibration)
    y = F.silu(conv_by_torch(capture.x, capture.weight, capture.bias)).double().numpy()
    for conv_slice, sqnr_db in zip(checkpoint.slices, report.kernel.sqnr_db, strict=True):
        measures = report.measures(conv_slice.name)

        def codes(values, scale):
            return half_away(np.asarray(values, np.float64) / scale).clip(-128, 127)

        x_q = codes(capture.x[:, conv_slice.channels], measures["x_scale"])
        w_q = codes(capture.weight[conv_slice.channels], measures["w_scale"])
        b_q = codes(capture.bias[conv_slice.channels], measures["b_scale"])
        length = x_q.shape[-1]
        padded = np.pad(x_q, ((0, 0), (0, 0), (3, 0)))
        acc = sum(w_q[:, k, None] * padded[..., k : k + length] for k in range(4))
        v = measures["x_scale"] * measures["w_scale"] * acc + measures["b_scale"] * b_q[:, None]
        out = codes(v / (1 + np.exp(-v)), measures["x_out_scale"])
        error = out * measures["x_out_scale"] - y[:, conv_slice.channels]
        expected = 10 * math.log10((y[:, conv_slice.channels] ** 2).sum() / (error**2).sum())
        assert sqnr_db == pytest.approx(expected, abs=0.01)


def test_the_codes_of_the_live_run_are_those_worked_out_by_hand(
    checkpoint, calibration, monkeypatch
):
    from dashboard.analysis import report as module

    exact, written = module.quant_causal_conv1d, []

    def noted(x, weight, bias, *, backend, **scales):
        codes = exact(x, weight, bias, backend=backend, **scales)
        written.append((codes, codes_by_hand(x, weight, bias, **scales)))
        return codes

    monkeypatch.setattr(module, "quant_causal_conv1d", noted)
    for observer in SYMMETRIC_RULES:
        written.clear()
        kernel = live(checkpoint, calibration, observer).kernel
        for codes, expected in written:
            np.testing.assert_array_equal(codes.cpu().numpy(), expected)
        assert kernel.codes == written[0][1].size == 4 * checkpoint.conv_dim * 128
        assert kernel.differing_codes == 0
        assert kernel.time_ms > 0


def test_a_code_that_differs_is_counted(checkpoint, calibration, compared_at_once, monkeypatch):
    from dashboard.analysis import report as module

    exact = module.quant_causal_conv1d

    def off_by_one(*arguments, **options):
        codes = exact(*arguments, **options)
        codes[0, 0, :3] ^= 1
        codes[3, -1, -1] ^= 1
        return codes

    monkeypatch.setattr(module, "quant_causal_conv1d", off_by_one)
    assert live(checkpoint, calibration).kernel.differing_codes == 4


def test_the_backend_that_ran_is_named(checkpoint, calibration):
    named = live(checkpoint, calibration).kernel.backend
    assert named == default_backend(torch.zeros(1, device=default_device()))
    assert live(checkpoint, calibration, backend="torch").kernel.backend == "torch"


def test_scale_wx_as_the_output_scale_saturates_nearly_everything(checkpoint, calibration):
    x_slice = report_slices(calibration.layer(LAYER), ScaleRule("scale-wx"))[0]
    assert x_slice.ratio_wx == 1
    assert x_slice.chosen.x_out_scale == x_slice.scales.scale_wx
    assert x_slice.chosen.output.saturation_rate > 0.8


def compared(counted, chosen):
    return distinct([chosen, *(report_scale(counted, r) for r in baselines(chosen.rule))])


def test_the_chosen_scale_comes_first_and_only_once(checkpoint, calibration):
    counted = calibration.layer(LAYER).slices[0]
    for observer, alpha, first in (
        ("percentile", 0.9995, "α 0.9995"),
        ("percentile", 0.99, "α 0.99"),
        ("minmax", 0.9995, "MinMax, SiLU output"),
    ):
        report = report_slices(calibration.layer(LAYER), ScaleRule(observer, alpha))[0]
        labels = [row.label for row in compared(counted, report.chosen)]
        assert labels[0] == first
        assert len(labels) == len(set(labels))
        assert {
            "α 0.9995",
            "α 0.99999",
            "MinMax, SiLU output",
            "conv-absmax, before SiLU",
            "scale_wx",
        } <= set(labels)


def test_the_sweep_spans_every_rule(checkpoint, calibration):
    counted = calibration.layer(LAYER).slices[0]
    report = report_slices(calibration.layer(LAYER), ScaleRule("percentile", ALPHA))[0]
    sweep = sweep_scales(counted)
    for row in compared(counted, report.chosen):
        assert sweep.scale[0] < row.x_out_scale < sweep.scale[-1]
    assert (np.diff(sweep.saturation_rate) <= 0).all()


def test_the_json_has_every_key_for_x_and_nests_b_and_c(checkpoint, calibration):
    document = json.loads(json.dumps(live(checkpoint, calibration).as_dict()))
    keys = {
        "x_scale", "w_scale", "b_scale", "scale_wx", "x_out_scale", "zero_point", "shape",
        "x_out_scale_min", "x_out_scale_mean", "x_out_scale_max", "ratio_weight",
        "ratio_wx", "saturation_rate", "top_code_utilization", "code_utilization",
        "effective_bits", "sqnr_db", "best_alpha", "gain_db", "rounding_mse", "clipping_mse",
        "kernel_sqnr_db",
    }  # fmt: skip
    assert document["layer"] == LAYER and document["source"] == "calibrated"
    assert keys <= set(document)
    assert set(document["B"]) == set(document["C"]) == keys


def test_a_silent_layer_makes_a_report(checkpoint, calibration, capture):
    """All-zero activations and weights: least scales, no error, no exception."""
    zero = replace(capture, x=torch.zeros_like(capture.x), bias=torch.zeros_like(capture.bias))
    scales = [entry.scales for entry in report_slices(calibration.layer(1), ScaleRule("minmax"))]
    run = run_kernel(quantize_conv(zero, checkpoint.slices, scales), [1e-6] * 3)
    assert run.differing_codes == 0
    assert run.sqnr_db == (math.inf,) * 3


@pytest.mark.parametrize(
    ("alpha", "text"), [(0.9, "0.9"), (0.9995, "0.9995"), (0.99999, "0.99999"), (1.0, "1")]
)
def test_alpha_is_written_in_full(alpha, text):
    assert format_alpha(alpha) == text


def test_asymmetric_codes_use_what_symmetric_ones_strand(calibration):
    counted = calibration.layer(LAYER).slices[0]
    for observer in ("percentile", "minmax", "mse"):
        plain = report_scale(counted, ScaleRule(observer, 0.9999))
        moved = report_scale(counted, ScaleRule(observer, 0.9999, symmetric=False))
        assert plain.stranded_codes > 100 > moved.stranded_codes
        assert moved.output.sqnr_db > plain.output.sqnr_db + 2
        assert moved.codes(0.0) == moved.zero_point
        assert moved.label.endswith("asymmetric")
        values = np.array([moved.low, moved.high, moved.high * 2])
        assert moved.codes(values).tolist() == [-128, 127, 127]
        step = moved.x_out_scale
        assert moved.codes([moved.low + step, moved.high - step]).tolist() == [-127, 126]


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_scale_is_judged_on_the_other_texts_values(symmetric):
    """Codes and errors on the other text by numpy, at the range of the first."""
    generator = torch.Generator().manual_seed(5)
    own, other = (
        F.silu(torch.randn(20_000, generator=generator) * spread).half().float()
        for spread in (1.0, 3.0)
    )

    def counted(y):
        return SliceCalibration("x", 5.0, 0.6, 0.3, Histogram.of(y), Histogram.of(y), ())

    judged = evaluate_held_out(
        7, counted(own), counted(other), ScaleRule("minmax", symmetric=symmetric)
    )
    low, high = (float(own.min()), float(own.max()))
    scale = np.float32(high / 127 if symmetric else (high - low) / 255)
    zero = 0 if symmetric else round(-128 - low / float(scale))
    plain = requantize(other, scale, zero)
    assert judged.layer == 7 and judged.own.x_out_scale == pytest.approx(scale, rel=1e-6)
    assert int(judged.there.saturated) == (~plain.inside).sum() > 1000
    sse = float(judged.there.rounding_sse + judged.there.clipping_sse)
    assert sse == pytest.approx(plain.noise, rel=1e-4)


def test_the_moving_average_beside_a_rule_has_that_rules_settings():
    rule = ScaleRule("percentile-ema", 0.99, sigma=0.3, order=5)
    assert rule in baselines(rule)
    assert ScaleRule("percentile", 0.99999) in baselines(rule)


def test_stranded_codes_are_those_below_silus_least_value(calibration):
    """SiLU is never below −0.27846: at 0.01 a code, −28 is the least, and −128 … −29 are 100."""
    report = report_scale(calibration.layer(LAYER).slices[0], ScaleRule("minmax"))
    assert replace(report, x_out_scale=0.01).stranded_codes == 100
    assert replace(report, x_out_scale=0.01, zero_point=-100).stranded_codes == 0
    assert report.short == "MinMax"


def test_of_two_scales_with_one_label_the_first_stays(calibration):
    counted = calibration.layer(LAYER).slices[0]
    first = report_scale(counted, ScaleRule("minmax"))
    second = replace(first, x_out_scale=2 * first.x_out_scale)
    other = report_scale(counted, ScaleRule("mse"))
    assert distinct([first, other, second]) == (first, other)


def test_neither_gains_where_neither_makes_an_error(calibration):
    zeros = Histogram.of(torch.zeros(100))
    silent = SliceCalibration("x", 0.0, 0.0, 0.0, zeros, zeros, (zeros,))
    plain, best = (report_scale(silent, ScaleRule(name)) for name in ("percentile", "minmax"))
    assert gain_db(plain, best) == 0.0
    counted = calibration.layer(LAYER).slices[0]
    worse = report_scale(counted, ScaleRule("percentile", 0.9))
    better = report_scale(counted, ScaleRule("mse"))
    difference = float(better.output.sqnr_db) - float(worse.output.sqnr_db)
    assert gain_db(worse, better) == difference > 0


@pytest.mark.parametrize(
    ("backend", "runs"), [("triton", 2), ("triton-interpret", 1), ("torch", 1)]
)
def test_a_time_is_in_ms_and_leaves_compiling_out(backend, runs, monkeypatch):
    calls, clock = [], iter([10.0, 10.25])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr("dashboard.analysis.report.time.perf_counter", lambda: next(clock))
    codes, time_ms = timed(lambda: calls.append(0) or torch.zeros(3), backend)
    assert len(calls) == runs and time_ms == 250.0 and torch.equal(codes, torch.zeros(3))


def test_a_vector_of_scales_runs_as_the_slices_do(checkpoint, calibration):
    slices = report_slices(calibration.layer(LAYER), ScaleRule())
    conv = quantize_conv(
        calibration.capture(LAYER), checkpoint.slices, [entry.scales for entry in slices]
    )
    scales = [entry.chosen.x_out_scale for entry in slices]
    widths = torch.tensor([entry.width for entry in checkpoint.slices])
    whole = torch.tensor(scales).repeat_interleave(widths)
    assert run_kernel(conv, whole).sqnr_db == run_kernel(conv, scales).sqnr_db


def test_the_ratios_and_top_code_of_an_asymmetric_scale_are_null(calibration):
    slices = report_slices(calibration.layer(LAYER), ScaleRule("minmax", symmetric=False))
    measures = LayerReport(LAYER, slices, None).measures("x")
    for name in ("ratio_weight", "ratio_wx", "top_code_utilization"):
        assert measures[name] is None
    assert measures["zero_point"] != 0 and measures["code_utilization"] > 0.5


def test_rules_are_told_apart_by_the_settings_that_they_use(calibration):
    counted = calibration.layer(LAYER).slices[0]
    rules = [
        ScaleRule("minmax", 0.9), ScaleRule("minmax", 0.99), ScaleRule("minmax", symmetric=False),
        ScaleRule("percentile", 0.9), ScaleRule("percentile", 0.9, sigma=0.5),
        ScaleRule("percentile-ema", 0.9), ScaleRule("percentile-ema", 0.9, order=1),
    ]  # fmt: skip
    rows = distinct(report_scale(counted, rule) for rule in rules)
    assert [row.rule for row in rows] == [rules[i] for i in (0, 2, 3, 5, 6)]
