"""Number formats in reports, in the model's forward and at the command line."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import half_away, requantize, silu_by_hand, values_of

from dashboard import cli
from dashboard.analysis import format_runs
from dashboard.analysis.format_runs import run_refusal
from dashboard.analysis.prediction import plan_layers
from dashboard.analysis.quantized_forward import _lookup, quantize_layer, quantized_outputs
from dashboard.analysis.scale_choices import (
    BestAlpha,
    FormatScales,
    choice_label,
    choose_scales,
    number_format_of,
    plan_choice,
)
from dashboard.calibration import SliceCalibration, calibrate, read_text
from dashboard.calibration.archive import SUFFIX
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import (
    backbone_of,
    load_backbone,
    load_checkpoint,
    load_language_model,
    replaced_outputs,
)
from dashboard.formats import REGISTERED, Codebook, best_format, names, report_of
from dashboard.refusals import Refusal
from dashboard.rules.observers import ScaleRule

QUICK = ["--batches", "2", "--seq-len", "64"]


def run(capsys, *arguments: str, status: int = 0) -> str:
    assert cli.main(list(arguments)) == status
    out = capsys.readouterr()
    return out.err if status else out.out


def analyze(capsys, *arguments: str) -> dict:
    return json.loads(run(capsys, "analyze", *arguments, *QUICK, "--format", "json"))


@pytest.mark.parametrize("name", [name for name in names() if name != "int8"])
def test_analyze_reports_every_format_under_the_keys_of_int8(name, capsys):
    plain = analyze(capsys, "mamba-tiny", "--layers", "1")
    document = analyze(capsys, "mamba-tiny", "--layers", "1", "--number-format", name)
    assert document["number_format"] == name
    (layer,), (known,) = document["layers"], plain["layers"]
    assert set(known) <= set(layer)
    assert layer["sqnr_db"] > 0 and 0 <= layer["saturation_rate"] < 0.01
    if name != "int8-asymmetric":
        assert layer["bits_needed"] == int(np.ceil(np.log2(layer["points"])))
        assert layer["best_sqnr_db"] >= layer["sqnr_db"] - 1e-9


def test_int4s_scale_and_error_are_worked_out_by_hand(capsys, calibrated):
    counted = calibrated("mamba-tiny", 2, 64).calibration.layers[1].slices[0]
    y = torch.from_numpy(values_of(counted.silu_output))
    scale = torch.quantile(y.abs(), 0.9995) / 7
    error = (torch.clamp(torch.sign(y) * torch.floor((y / scale).abs() + 0.5), -8, 7) * scale) - y
    (layer,) = analyze(capsys, "mamba-tiny", "--layers", "1", "--number-format", "int4")["layers"]
    assert layer["x_out_scale"] == float(scale)
    expected = 10 * np.log10(float(y.double().square().sum() / error.double().square().sum()))
    assert layer["sqnr_db"] == pytest.approx(expected, abs=1e-4)
    assert layer["points"] == 16 and layer["bits_needed"] == 4


def test_int8_asymmetric_is_the_asymmetric_report(capsys):
    by_name = analyze(capsys, "mamba-tiny", "--layers", "0", "--number-format", "int8-asymmetric")
    by_flag = analyze(capsys, "mamba-tiny", "--layers", "0", "--asymmetric")
    for document in (by_name, by_flag):
        for layer in document["layers"]:
            layer["kernel_time_ms"] = None  # another run, another time
    assert by_name == by_flag
    assert by_flag["number_format"] == "int8-asymmetric" and not by_flag["symmetric"]


def test_the_kernel_writes_asymmetric_codes_live(capsys):
    """Its SQNR lies a little below what rounding the output alone gives, as for symmetric INT8."""
    document = analyze(capsys, "mamba2-tiny", "--layers", "1", "--asymmetric")
    (layer,) = document["layers"]
    assert layer["kernel_differing_codes"] == 0 < layer["kernel_codes"]
    for own in (layer, layer["B"], layer["C"]):
        assert own["zero_point"] != 0
        assert own["sqnr_db"] - 12 < own["kernel_sqnr_db"] < own["sqnr_db"]


def test_a_calibration_file_gives_the_same_report(capsys, tmp_path):
    saved = tmp_path / f"counts{SUFFIX}"
    run(capsys, "calibrate", "mamba2-tiny", *QUICK, "--out", str(saved))
    wanted = ["--number-format", "fp8-e4m3", "--layers", "1"]
    of_file = analyze(capsys, str(saved), *wanted)
    of_model = analyze(capsys, "mamba2-tiny", *wanted)
    (own,), (known,) = of_file["layers"], of_model["layers"]
    assert {"B", "C"} <= set(own)
    for one, other in ((own, known), (own["B"], known["B"]), (own["C"], known["C"])):
        live = {name for name in one if name.startswith("kernel_") or name == "backend"}
        assert {k: one[k] for k in one if k not in live | {"B", "C"}} == {
            k: other[k] for k in other if k not in live | {"B", "C"}
        }
    assert own["backend"] is None and own["kernel_sqnr_db"] is None
    assert (
        own["kernel_refusal"] == "The kernel did not run: a calibration file holds no conv input."
    )
    assert known["kernel_refusal"] is None and known["kernel_differing_codes"] == 0


def by_torch(name: str, y: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """Values to a format and back, by torch's conversion or by plain rounding."""
    quotient = y / torch.tensor(scale)
    if name == "fp8-e4m3":
        return quotient.clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
    code = torch.sign(quotient) * torch.floor(quotient.abs() + 0.5) + zero_point
    return (code.clamp(-8, 7) - zero_point) * scale


@pytest.mark.parametrize("name", ["fp8-e4m3", "int4-asymmetric"])
def test_the_kernel_writes_a_format_live(name, capsys):
    """Its SQNR by hand: INT8 input by numpy, torch's own conversion, against torch's float conv."""
    wanted = ["--layers", "1", "--number-format", name]
    (layer,) = analyze(capsys, "mamba2-tiny", *wanted)["layers"]
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, "calibration.txt", 2, 64)
    capture = calibrate(checkpoint, load_backbone(checkpoint, "cpu"), text, keep=(1,)).capture(1)
    values = 0
    for conv_slice, own in zip(checkpoint.slices, (layer, layer["B"], layer["C"]), strict=True):
        d = conv_slice.channels
        x, w, b = capture.x[:, d], capture.weight[d], capture.bias[d]
        s_x, s_w, s_b = (torch.tensor(own[key]) for key in ("x_scale", "w_scale", "b_scale"))
        codes = [
            torch.from_numpy(half_away((t / s).numpy()).clip(-128, 127).astype(np.int8))
            for t, s in ((x, s_x), (w, s_w), (b, s_b))
        ]
        names = {f"scale_{part}": own[f"{part}_scale"] for part in "xwb"}
        s = silu_by_hand(*codes, **names)
        back = by_torch(name, torch.from_numpy(s), own["x_out_scale"], own["zero_point"])
        taps = w.shape[1]
        v = F.conv1d(F.pad(x, (taps - 1, 0)), w[:, None], b, groups=len(w))
        y = F.silu(v).double()
        error = (back.double() - y).square().sum()
        assert own["kernel_sqnr_db"] == pytest.approx(
            float(10 * torch.log10(y.square().sum() / error)), abs=2e-3
        )
        values += y.numel()
    assert layer["kernel_differing_codes"] == 0 and layer["kernel_codes"] == values


@pytest.mark.parametrize("name", names())
def test_every_format_of_256_values_is_written_and_no_other(name, capsys):
    document = analyze(capsys, "mamba-tiny", "--layers", "1", "--number-format", name)
    (layer,) = document["layers"]
    if layer.get("points", 256) <= 256:
        assert layer["kernel_differing_codes"] == 0 < layer["kernel_codes"]
        assert document["backend"] == layer["backend"]
        assert layer.get("kernel_refusal") is None
        assert layer["sqnr_db"] - 12 < layer["kernel_sqnr_db"] < layer["sqnr_db"] + 0.5
    else:
        assert layer["kernel_differing_codes"] is layer["kernel_sqnr_db"] is None
        assert layer["kernel_refusal"].endswith(
            f"has {layer['points']} values, and its look-up writes 256 at most."
        )
        assert document["backend"] is None


def test_codes_that_a_kernel_writes_otherwise_are_counted(capsys, monkeypatch):
    lookup = format_runs.quant_causal_conv1d_lookup

    def faulty(x, *rest, **more):
        codes = lookup(x, *rest, **more)
        codes[0, 0, :3] ^= 1
        return codes

    monkeypatch.setattr(format_runs, "quant_causal_conv1d_lookup", faulty)
    wanted = ["--layers", "1", "--number-format", "nf4"]
    (layer,) = analyze(capsys, "mamba2-tiny", *wanted)["layers"]
    assert layer["kernel_differing_codes"] == 9  # three in each of three slices


def test_a_byte_has_room_for_256_values_and_no_more():
    y = Histogram.of(torch.linspace(0, 1, 500))
    own = SliceCalibration("x", 3.0, 0.5, 0.1, y, y, (y,))
    for size, fits in ((256, True), (257, False)):
        book = Codebook.nearest(np.linspace(0, 1, size))
        assert (run_refusal([report_of(REGISTERED["optimal8"], book, own)]) is None) == fits


def test_a_slice_of_one_value_has_no_code_to_look_up():
    zeros = Histogram.of(torch.zeros(9))
    own = SliceCalibration("x", 3.0, 0.5, 0.1, zeros, zeros, (zeros,))
    report = best_format(REGISTERED["optimal8"], own)
    assert "there is no code to find" in run_refusal([report])


def test_a_table_and_rows_have_the_format(capsys):
    wanted = ["analyze", "mamba-tiny", *QUICK, "--layers", "0", "--number-format", "optimal4"]
    head, _, columns, row = run(capsys, *wanted).rstrip("\n").split("\n")
    assert "optimal4" in head
    cells = dict(zip(columns.split(), row.split(), strict=True))
    assert cells["points"] == "16" and cells["x_out_scale"] == "-"
    (line,) = csv.DictReader(io.StringIO(run(capsys, *wanted, "--format", "csv")))
    assert line["bits_needed"] == "4"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["analyze", "--number-format", "int9"], "invalid choice: 'int9'"),
        (
            ["analyze", "--number-format", "int4", "--asymmetric"],
            "--asymmetric is for int8, not for --number-format int4; give --number-format "
            "int4-asymmetric",
        ),
        (["analyze", "--number-format", "int4", "--recommend"], "--recommend is for INT8"),
        (["analyze", "--number-format", "nf4", "--group-size", "8"], "--group-size is for INT8"),
        (["impact", "--number-format", "nf4", "--budget", "0.01"], "--budget is for INT8"),
        (
            ["analyze", "--number-format", "int4-asymmetric", "--observer", "entropy"],
            "entropy is defined for symmetric INT8 alone",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line_and_status_2(arguments, fault, capsys):
    command, *rest = arguments
    try:
        status = cli.main([command, "mamba-tiny", *QUICK, *rest])
    except SystemExit as stopped:  # argparse's own
        status = stopped.code
    written = capsys.readouterr()
    assert status == 2 and written.out == ""
    assert fault in written.err and written.err.count("\n") == 1


def test_a_quantized_checkpoint_has_no_number_format(capsys):
    fault = run(capsys, "analyze", "mamba2-small-quamba2", "--number-format", "int4", status=2)
    assert "is quantized already" in fault


@pytest.fixture(scope="module")
def sample():
    checkpoint = load_checkpoint("mamba2-tiny")
    model = load_language_model(checkpoint, "cpu")
    text = read_text(checkpoint, "calibration.txt", 2, 64)
    return checkpoint, model, calibrate(checkpoint, model, text, gradients=True), text.tokens


def hidden(checkpoint, model, replacements, ids) -> torch.Tensor:
    with torch.no_grad(), replaced_outputs(checkpoint, backbone_of(model), replacements):
        return model(ids, use_cache=False).logits


def test_the_forward_rounds_y_to_torchs_fp8(sample):
    """Against a forward whose y is converted by torch itself, slice by slice."""
    checkpoint, model, calibration, tokens = sample
    counted, ids = calibration.layers[1], tokens[:1]
    rule = ScaleRule("percentile", 0.999)
    number_format = REGISTERED["fp8-e4m3"]

    def by_torch(x, compute_y):
        y = compute_y().to(torch.float32).clone()
        for conv_slice, own in zip(checkpoint.slices, counted.slices, strict=True):
            magnitudes = torch.from_numpy(values_of(own.silu_output)).abs()
            scale = torch.quantile(magnitudes, 0.999) / 448
            piece = (y[:, conv_slice.channels] / scale).clamp(-448, 448)
            y[:, conv_slice.channels] = piece.to(torch.float8_e4m3fn).float() * scale
        return y

    expected = hidden(checkpoint, model, {counted.layer: by_torch}, ids)
    layer = quantize_layer(counted, checkpoint.slices, rule, number_format=number_format)
    with torch.no_grad(), quantized_outputs(checkpoint, backbone_of(model), [layer]):
        logits = model(ids, use_cache=False).logits
    assert torch.equal(logits, expected)


def test_int8_as_a_codebook_gives_int8s_own_forward(sample):
    checkpoint, model, calibration, tokens = sample
    counted = calibration.layers[0]
    rule = ScaleRule("mse")
    plain = quantize_layer(counted, checkpoint.slices, rule)
    looked_up = quantize_layer(counted, checkpoint.slices, rule, number_format=REGISTERED["int8"])
    assert plain.digest != looked_up.digest
    for mode in ("output", "both"):
        logits = []
        for layer in (plain, looked_up):
            with torch.no_grad(), quantized_outputs(checkpoint, backbone_of(model), [layer], mode):
                logits.append(model(tokens[:1], use_cache=False).logits)
        assert torch.equal(*logits)


def test_slices_of_two_kinds_are_rounded_each_by_its_own(sample):
    checkpoint, model, calibration, tokens = sample
    counted, rule = calibration.layers[0], ScaleRule("minmax")
    plain = quantize_layer(counted, checkpoint.slices, rule)
    coarse = quantize_layer(counted, checkpoint.slices, rule, number_format=REGISTERED["int4"])
    mixed = replace(plain, slices=(coarse.slices[0], *plain.slices[1:]))

    def by_hand(x, compute_y):
        y = compute_y().to(torch.float32).clone()
        for i, (conv_slice, own) in enumerate(zip(checkpoint.slices, counted.slices, strict=True)):
            top = 7 if i == 0 else 127
            scale = torch.tensor(own.silu_output.absmax) / top
            q = y[:, conv_slice.channels] / scale
            code = torch.clamp(torch.sign(q) * torch.floor(q.abs() + 0.5), -top - 1, top)
            y[:, conv_slice.channels] = code * scale
        return y

    expected = hidden(checkpoint, model, {counted.layer: by_hand}, tokens[:1])
    with torch.no_grad(), quantized_outputs(checkpoint, backbone_of(model), [mixed]):
        assert torch.equal(model(tokens[:1], use_cache=False).logits, expected)


def test_a_plan_predicts_a_format_from_its_own_points(sample):
    checkpoint, _, calibration, _ = sample
    planned = plan_layers(
        checkpoint, calibration, ScaleRule("minmax"), number_format=REGISTERED["int5"]
    )
    for counted in calibration.layers:
        expected = 0.0
        for own in counted.slices:
            y = own.gradients.values.astype(np.float64)
            scale = float(np.float32(own.silu_output.absmax) / np.float32(15))
            q = y / scale
            back = np.clip(np.sign(q) * np.floor(np.abs(q) + 0.5), -16, 15) * scale
            expected += 0.5 * (own.gradients.squares * (back - y) ** 2).sum() / own.gradients.tokens
        assert planned[counted.layer].predicted_nats == pytest.approx(expected, rel=1e-3)


def test_fewer_bits_cost_the_model_more(capsys):
    costs = {}
    for name in ("int8", "int6", "int4"):
        wanted = ["impact", "mamba-tiny", *QUICK, "--on-batches", "3", "--number-format", name]
        document = json.loads(run(capsys, *wanted, "--no-store", "--format", "json"))
        assert document["settings"][0]["number_format"] == name
        costs[name] = document["settings"][0]["kl_nats"]
    assert costs["int4"] > 4 * costs["int6"] > 16 * costs["int8"] > 0


def test_impact_names_the_format_in_its_table(capsys):
    wanted = ["impact", "mamba-tiny", *QUICK, "--on-batches", "2", "--no-store", "--predict"]
    table = run(capsys, *wanted, "--number-format", "soft-edge-half")
    assert "soft-edge-half" in table.split("\n")[0]
    assert "Soft edge, half steps output in layers" in table and "INT8 output" not in table


def test_a_look_up_in_torch_gives_the_codebooks_points_in_every_format(sample):
    checkpoint, _, calibration, _ = sample
    for name in names():
        rule = ScaleRule(symmetric=not REGISTERED[name].is_asymmetric)
        layer = quantize_layer(
            calibration.layers[0], checkpoint.slices, rule, number_format=REGISTERED[name]
        )
        for entry in layer.slices:
            y = F.silu(torch.linspace(-8, 8, 1001))
            back = _lookup(entry.codebook, torch.device("cpu"))(y)
            expected = entry.codebook.dequantized(y.numpy()).astype(np.float32)
            assert np.array_equal(back.numpy(), expected)


def test_each_slices_best_alpha_has_the_most_sqnr_of_all_quantiles(sample):
    checkpoint, _, calibration, _ = sample
    planned = plan_choice(checkpoint, calibration, BestAlpha("percentile"))
    for counted in calibration.layers:
        for own, entry in zip(
            counted.slices, planned[counted.layer].quantization.slices, strict=True
        ):
            y = torch.from_numpy(values_of(own.silu_output))

            def error(scale: float, y: torch.Tensor = y) -> float:
                back = requantize(y.numpy(), scale, 0).values
                return float(((back - y.double().numpy()) ** 2).sum())

            quantiles = torch.quantile(y.abs(), torch.linspace(0.9, 1, 2001))
            least = min(error(float(q) / 127) for q in quantiles[::25])
            assert error(float(entry.scale_out)) <= least * 1.001


def test_the_best_alpha_cuts_a_value_off_that_lies_far_out():
    y = Histogram.of(torch.cat([torch.linspace(0, 1, 100_000), torch.tensor([1.5])]))
    own = SliceCalibration("x", 3.0, 0.5, 0.1, y, y, (y,))
    rule = BestAlpha("percentile").rule_of(own)
    plain = values_of(y)
    kept, whole = (
        float((requantize(plain, scale, 0).error ** 2).sum())
        for scale in (float(np.quantile(plain, rule.alpha)) / 127, 1.5 / 127)
    )
    assert rule.alpha < 1 and kept < whole


def test_a_choice_is_one_setting_however_it_is_made():
    rule = ScaleRule("percentile", 0.999)
    assert choose_scales("int8", rule) == rule
    assert choose_scales("int8-asymmetric", rule) == replace(rule, symmetric=False)
    assert choose_scales("optimal8", rule) == choose_scales("optimal8", ScaleRule("mse"))
    assert choose_scales("fp8-e4m3", rule) == FormatScales("fp8-e4m3", rule)
    assert choose_scales("int4-asymmetric", rule).rule == replace(rule, symmetric=False)
    assert choose_scales("nf4", BestAlpha("percentile")) == FormatScales("nf4", None)
    with pytest.raises(Refusal, match="entropy is defined for symmetric INT8 alone"):
        choose_scales("int4-asymmetric", ScaleRule("entropy"))
    with pytest.raises(Refusal, match="number format is 'int9'"):
        choose_scales("int9", rule)
    labels = [
        choice_label(choose_scales(name, own))
        for name, own in (
            ("int8", rule),
            ("int8-asymmetric", BestAlpha("percentile")),
            ("int4-asymmetric", rule),
            ("nf4", BestAlpha("percentile")),
            ("optimal4", rule),
        )
    ]
    assert labels == [
        "α 0.999",
        "best α by percentile, asymmetric",
        "INT4 with a zero point, α 0.999",
        "NF4, best scale",
        "Best 16 points of the layer",
    ]


@pytest.mark.parametrize("name", names())
def test_the_best_scale_of_a_format_is_planned_for_every_slice(name, sample):
    checkpoint, _, calibration, _ = sample
    few = replace(calibration, layers=calibration.layers[:1])
    choice = choose_scales(name, BestAlpha("percentile"))
    planned = plan_choice(checkpoint, few, choice, ["B"])
    (entry,) = planned[few.layers[0].layer].quantization.slices
    assert entry.conv_slice.name == "B"
    assert number_format_of(choice) == name
    if isinstance(choice, FormatScales):
        best = best_format(REGISTERED[name], few.layers[0].slices[1])
        assert entry.codebook.digest == best.codebook.digest
