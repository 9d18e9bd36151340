"""The health check: each kind of fault is found, and each stored scale's origin recognized."""

import io
import json
import re
import shutil
import sys

import numpy as np
import pytest
import streamlit as st
import torch
import torch.nn.functional as F
from opening import opened, page_text
from oracles import conv_by_torch, requantize
from random_checkpoints import quamba_checkpoint, quantized_sample

from dashboard import cli
from dashboard.analysis import health
from dashboard.checkpoints import SAMPLES_DIR, load_checkpoint
from dashboard.rules.channels import channel_outputs

SAMPLE = "mamba2-small-quamba2"
CONV = "backbone.layers.3.mixer.conv1d."


@pytest.fixture(autouse=True)
def no_navigation(monkeypatch):
    """A page that runs alone knows no other to link to."""
    monkeypatch.setattr(st, "page_link", lambda *_, **__: None)


def changed(directory, change) -> str:
    """The sample with its state dict changed, on disk."""
    state = torch.load(SAMPLES_DIR / SAMPLE / "pytorch_model.bin", weights_only=True)
    change(state)
    shutil.copy(SAMPLES_DIR / SAMPLE / "config.json", directory)
    torch.save(state, directory / "pytorch_model.bin")
    return str(directory)


def scaled(name: str, factor: float):
    """A change: an entry and what repeats it, times a factor."""

    def change(state: dict) -> None:
        for entry in (CONV + name, CONV.replace("conv1d.", "qchunk_scan.") + "x_scales"):
            if name == "x_out_scales" or entry == CONV + name:
                state[entry] = state[entry] * factor

    return change


def first_layers(count: int):
    """A change: the layers from ``count`` on are dropped."""

    def change(state: dict) -> None:
        for name in [n for n in state if int(n.split(".")[2]) >= count]:
            del state[name]

    return change


def layer_of(report: health.Health, number: int) -> health.LayerHealth:
    return next(layer for layer in report.layers if layer.layer == number)


def test_the_sample_is_sound_and_its_scales_are_float16_maxima():
    report = health.inspect(load_checkpoint(SAMPLE))
    assert report.is_sound and [layer.layer for layer in report.layers] == list(range(6))
    assert all(layer.remarks == () for layer in report.layers)
    assert health.sentence(report).startswith("No fault in 6 layers")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda s: s.update({CONV + "x_scale": float("nan")}), "x_scale lies between nan and nan"),
        (lambda s: s.update({CONV + "wB_scale": -0.01}), "wB_scale lies between -0.0"),
        (
            lambda s: s.update({CONV + "x_out_scales": s[CONV + "x_out_scales"] * 1.01}),
            "conv1d.x_out_scales is not qchunk_scan.x_scales",
        ),
        (scaled("x_scale", 20.0), "x: input scale .* times above the layers' median"),
        (scaled("x_out_scales", 1 / 20), "x: output scale .* times below the layers' median"),
        (scaled("x_out_scales", 15.0), "x: 16 of 16 output scales reach beyond all that"),
        (
            lambda s: s.update({CONV + "weight": s[CONV + "weight"] // 2}),
            "x: the largest code of its weights is 6[34], not 127",
        ),
        (
            lambda s: s.update({CONV + "bias": (s[CONV + "bias"] * 0.7).to(torch.int8)}),
            "C: the largest code of its biases is 88, not 127",
        ),
    ],
)
def test_each_kind_of_fault_is_found_in_its_layer_and_nowhere_else(change, fault, tmp_path, capsys):
    source = changed(tmp_path, change)
    report = health.inspect(load_checkpoint(source, tolerant=True))
    assert [layer.layer for layer in report.layers if layer.faults] == [3]
    assert any(re.search(fault, sentence) for sentence in layer_of(report, 3).faults)
    assert cli.main(["check", source]) == 1
    written = capsys.readouterr().out
    assert written.startswith("1 of 6 layers have a fault: 3.")
    assert re.search(rf"\n +3 .*FAULT .*{fault}", written)


def test_a_scale_that_minmax_did_not_choose_is_a_remark_and_no_fault(tmp_path):
    def change(state: dict) -> None:
        for name in ("conv1d.x_out_scales", "qchunk_scan.x_scales"):
            state[CONV.replace("conv1d.", "") + name] *= 0.87654321

    report = health.inspect(load_checkpoint(changed(tmp_path, change)))
    assert report.is_sound
    (remark,) = layer_of(report, 3).remarks
    assert remark == "x: output scales that MinMax of float16 activations does not leave"


@pytest.mark.parametrize("divided_in", [torch.float16, torch.float32])
def test_maxima_of_float16_are_recognized_however_they_were_divided(divided_in):
    maxima = torch.rand(1000, generator=torch.Generator().manual_seed(0)).half() * 9
    scales = (maxima.to(divided_in) / 127).float().numpy()
    assert health._is_float16_maximum(scales).all()
    others = np.random.default_rng(0).uniform(0.01, 0.1, 1000).astype(np.float32)
    assert health._is_float16_maximum(others).mean() < 0.01  # by chance: 2 of 8,192


def test_a_float_convolution_and_a_percentile_are_sound(tmp_path):
    for name in ("mamba2-w4aX-listed", "mamba2-w8a8-ungrouped", "mamba-w4a16"):
        (tmp_path / name).mkdir()
        checkpoint, _ = quamba_checkpoint(tmp_path / name, name)
        report = health.inspect(checkpoint)
        floats = [layer for layer in report.layers if "A16" in layer.mixer]
        assert [layer.layer for layer in floats] == [conv.layer for conv in checkpoint.convs]
        assert all("float convolution" in layer.remarks[0] for layer in floats)


@pytest.fixture(scope="module")
def float_model(calibrated):
    return calibrated("mamba2-small", 16, 512)


def judged(quantized, float_model) -> health.Health:
    checkpoint, calibration = float_model

    def outputs(layer: int, index: int):
        return channel_outputs(calibration.capture(layer), checkpoint.slices[index])

    return health.evaluate(health.inspect(quantized), quantized, checkpoint, calibration, outputs)


def by_hand(stored, capture) -> list[tuple[float, float]]:
    """SQNR in dB and saturation of each slice under its stored scales, from the tensors."""
    arguments = stored.kernel_arguments()
    rows = torch.cat(
        [
            stored.weight_q.float() * arguments["scale_w"][:, None],
            (stored.bias_q.float() * arguments["scale_b"])[:, None],
        ],
        dim=1,
    )
    ours = torch.cat([capture.weight, capture.bias[:, None]], dim=1)
    order = torch.cdist(rows.double(), ours.double()).argmin(dim=1)
    v = conv_by_torch(capture.x[:, order], capture.weight[order], capture.bias[order])
    output = F.silu(v).half().double()
    measured = []
    for own in stored.slices:
        plain = requantize(output[:, own.conv_slice.channels], own.scale_out[:, None])
        measured.append((plain.sqnr_db, plain.saturation_rate))
    return measured


def test_grouped_minmax_is_recognized_and_its_error_is_the_tensors(float_model):
    quantized = load_checkpoint(SAMPLE)
    report = judged(quantized, float_model)
    assert report.is_sound
    for layer in report.layers:
        stored, capture = quantized.stored_layer(layer.layer), float_model[1].capture(layer.layer)
        measured = by_hand(stored, capture)
        for judgement, (sqnr_db, saturation) in zip(layer.evaluations, measured, strict=True):
            assert judgement.nearest.observer == "minmax"
            assert judgement.ratio == pytest.approx(1, abs=2**-10)
            assert judgement.sqnr_db == pytest.approx(sqnr_db, abs=1e-3)
            assert judgement.saturation_rate == pytest.approx(saturation, abs=1e-9)
            assert 0 < judgement.gain_db < 3
            assert judgement.input_ratio == pytest.approx(1, abs=2**-9)
            assert judgement.alpha > 0.99999


def test_quambas_own_percentile_is_recognized_in_its_own_scales(float_model, tmp_path):
    """Its calibration: a moving average of each sample's 0.9995 quantile for x, MinMax for B, C."""
    quantized = quantized_sample(
        tmp_path, "mamba2-small", "mamba2-small, W8A8, ungrouped", "mamba2-w8a8-ungrouped"
    )
    report = judged(quantized, float_model)
    assert report.is_sound
    for layer in report.layers:
        x, *others = layer.evaluations
        assert (x.nearest.observer, x.nearest.alpha) == ("percentile-ema", 0.9995)
        # Its forward is float16 throughout, this one float32.
        assert x.ratio == pytest.approx(1, abs=2e-3)
        assert x.alpha == pytest.approx(0.9995, abs=1e-4)
        assert [verdict.nearest.observer for verdict in others] == ["minmax", "minmax"]


def test_of_a_mamba1_too(tmp_path, capsys):
    quantized_sample(tmp_path, "mamba-tiny", "mamba-tiny, W8A8", "mamba-w8a8")
    arguments = ["check", str(tmp_path), "--against", "mamba-tiny", "--format", "json"]
    assert cli.main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sound"] and document["against"].startswith("mamba-tiny on calibration.txt, 16")
    for layer in document["layers"]:
        (x,) = layer["slices"]
        assert (x["nearest"], x["nearest_alpha"]) == ("percentile-ema", 0.9995)
        assert x["ratio"] == pytest.approx(1, abs=2e-3)
        assert 1 - 2**-9 < x["input_ratio"] < 1.5  # observed on z as well as x


QUICK = ("--batches", "2", "--seq-len", "64")


def test_a_scale_that_ruins_a_layer_is_a_fault(tmp_path, capsys):
    source = changed(tmp_path, scaled("x_out_scales", 1 / 15))
    assert cli.main(["check", source, "--against", "mamba2-small", *QUICK]) == 1
    written = capsys.readouterr().out
    assert "1 of 6 layers have a fault: 3; against mamba2-small on calibration.txt" in written
    assert "less than the best scale" in written


def test_another_models_weights_are_told(tmp_path, capsys):
    def change(state: dict) -> None:
        state[CONV + "weight"] = state[CONV + "weight"].flip(1)

    source = changed(tmp_path, change)
    assert cli.main(["check", source, "--against", "mamba2-small", *QUICK]) == 1
    assert "its weights are not those of the float model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["mamba-tiny"], "mamba-tiny is not quantized: it stores no scales to check"),
        ([SAMPLE, "--against", SAMPLE], "which is quantized, too"),
        ([SAMPLE, "--against", "mamba2-tiny"], "they are not one model"),
        ([SAMPLE, "--against", "nowhere"], "nowhere is neither a directory"),
        ([SAMPLE, "--against", "mamba2-small", "--text", "none.txt"], "none.txt cannot be read"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_status_2(arguments, fault, capsys):
    assert cli.main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1


def test_the_layers_page_shows_the_same_verdict(tmp_path):
    app = opened("layers", checkpoint=SAMPLE)
    assert "No fault in 6 layers" in page_text(app)
    app = opened(
        "layers", checkpoint=SAMPLE, against="mamba2-small", batches="2", seq_len="64", slice="B"
    )
    assert "against mamba2-small on calibration.txt, 2 × 64 tokens" in page_text(app)
    table = app.dataframe[1].value
    assert set(table["verdict"]) == {"sound"} and (table["best gains"] >= 0).all()
    app = opened("layers", checkpoint=SAMPLE, against="mamba2-tiny", batches="2", seq_len="64")
    assert "they are not one model" in app.error[0].value


def test_what_was_not_examined_is_not_said(tmp_path):
    """Two layers are too few to compare; without the scan's entries nothing repeats a scale."""
    (tmp_path / "two").mkdir()
    source = changed(tmp_path / "two", first_layers(2))
    config = json.loads((tmp_path / "two" / "config.json").read_text()) | {"n_layer": 2}
    (tmp_path / "two" / "config.json").write_text(json.dumps(config))
    sentence = health.sentence(health.inspect(load_checkpoint(source)))
    assert "equal to its copies" in sentence and "over the layers" not in sentence
    (tmp_path / "alone").mkdir()
    alone = quantized_sample(tmp_path / "alone", "mamba-tiny", "mamba-tiny, W8A8", "mamba-w8a8")
    report = health.inspect(alone)
    assert report.is_sound and "copies" not in health.sentence(report)
    assert all("no other module repeats" in layer.remarks[0] for layer in report.layers)
    (tmp_path / "float").mkdir()
    none, _ = quamba_checkpoint(tmp_path / "float", "mamba2-w4a16")
    assert "every convolution is float" in health.sentence(health.inspect(none))


def test_a_model_without_scales_cannot_be_held_against_another(tmp_path, capsys):
    quamba_checkpoint(tmp_path, "mamba-w4a16")
    assert cli.main(["check", str(tmp_path)]) == 0
    assert cli.main(["check", str(tmp_path), "--against", "mamba-tiny"]) == 2
    assert "nothing to hold against a float model" in capsys.readouterr().err


def test_a_bias_that_is_not_stored_is_another_models(tmp_path, capsys):
    quantized_sample(tmp_path, "mamba-tiny", "mamba-tiny, W8A8", "mamba-w8a8")
    state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    names = [name for name in state if name.endswith(("conv1d.bias", "conv1d.bias_scale"))]
    rest = {name: value for name, value in state.items() if name not in names}
    torch.save(rest, tmp_path / "pytorch_model.bin")
    assert cli.main(["check", str(tmp_path), "--against", "mamba-tiny", *QUICK]) == 1
    assert "its weights are not those of the float model" in capsys.readouterr().out


@pytest.mark.parametrize("largest", [3e-4, 5e-5, 4e-6])
def test_biases_too_small_for_float16_are_no_fault(largest, tmp_path):
    """A Mamba-1's are quantized in float16: its scale is rounded, and the codes with it."""
    bias = torch.linspace(-1, 1, 256).half() * largest
    scale = (bias.abs().amax().clamp(min=1e-5) / 127).half()
    codes = (bias / scale).round().clamp(-128, 127).to(torch.int8)
    assert int(codes.int().abs().max()) < 127
    quantized_sample(tmp_path, "mamba-tiny", "mamba-tiny, W8A8", "mamba-w8a8")
    state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    for layer in range(4):
        prefix = f"backbone.layers.{layer}.mixer.conv1d."
        state |= {prefix + "bias": codes, prefix + "bias_scale": float(scale)}
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert health.inspect(load_checkpoint(str(tmp_path))).is_sound


def test_a_scale_of_no_named_rule_is_nearest_to_the_alpha_that_it_reaches(
    calibrated, tmp_path, capsys
):
    seen = calibrated("mamba-tiny", 2, 64).calibration
    quantized_sample(tmp_path, "mamba-tiny", "mamba-tiny, W8A8", "mamba-w8a8")
    state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    for capture in seen.captures:
        v = conv_by_torch(capture.x, capture.weight, capture.bias)
        amax = np.quantile(F.silu(v).abs().half().float().numpy(), 0.99)
        name = f"backbone.layers.{capture.layer}.mixer.conv1d.output_scale"
        state[name] = float(amax) / 127
    torch.save(state, tmp_path / "pytorch_model.bin")
    arguments = ["check", str(tmp_path), "--against", "mamba-tiny", "--format", "json", *QUICK]
    assert cli.main(arguments) in (0, 1)
    for layer in json.loads(capsys.readouterr().out)["layers"]:
        (x,) = layer["slices"]
        assert x["nearest"] == "percentile" and x["nearest_alpha"] == pytest.approx(0.99, abs=1e-4)
        assert x["ratio"] == pytest.approx(1, abs=2e-3)


def test_a_page_shows_the_layers_that_can_be_used_and_names_the_others(tmp_path):
    source = changed(tmp_path, lambda s: s.update({CONV + "x_scale": float("nan")}))
    app = opened("layers", checkpoint=source)
    assert "x\\_scale lies between nan and nan" in app.error[0].value
    assert "1 of 6 layers have a fault: 3" in page_text(app)
    assert list(app.dataframe[1].value["verdict"]) == ["sound"] * 3 + ["fault"] + ["sound"] * 2


def test_a_terminal_that_knows_no_alpha_gets_the_verdict_all_the_same(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["check", SAMPLE, "--against", "mamba2-small", *QUICK]) == 0
    terminal.flush()
    written = terminal.buffer.getvalue()
    assert written.startswith(b"No fault in 6 layers") and b"?" in written
