"""Scales for Quamba's loader: its names, shapes and types, at every place that holds one."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from opening import opened, page_text
from oracles import conv_by_torch, requantize
from random_checkpoints import (
    LAYOUTS,
    SCALES,
    layout_entry,
    quamba_checkpoint,
    quantized_sample,
    quantized_state,
)

from dashboard import cli
from dashboard.analysis.report import LayerReport, report_slices
from dashboard.checkpoints import SAMPLES_DIR, load_checkpoint
from dashboard.export.quamba_entries import refusal, scale_entries
from dashboard.rules.observers import ScaleRule

SAMPLE = "mamba2-small-quamba2"
QUICK = ("--batches", "2", "--seq-len", "64")


@pytest.fixture
def reports(calibrated) -> Callable[[str, ScaleRule], list[LayerReport]]:
    """Of a sample, on the text of ``QUICK``, under a rule."""

    def make(name: str, rule: ScaleRule) -> list[LayerReport]:
        layers = calibrated(name, 2, 64).calibration.layers
        return [LayerReport(layer.layer, report_slices(layer, rule), None) for layer in layers]

    return make


def test_mamba2s_entries_have_the_names_dtypes_and_shapes_that_quambas_mixers_hold(reports):
    made = reports("mamba2-small", ScaleRule("percentile", 0.999))
    entries = scale_entries(made, 1)
    wanted = LAYOUTS["mamba2-w8a8-grouped"]["kinds"][0]
    assert len(entries) == 6 * 6  # three slices, each at two places
    for name, value in entries.items():
        layer, field = name.removeprefix("backbone.layers.").split(".", 1)
        assert layout_entry(value) == wanted[field]
        slice_name = field.rpartition(".")[2][0]
        report = next(p for p in made[int(layer)].slices if p.name == slice_name)
        assert set(value.ravel().tolist()) == {float(np.float32(report.chosen.x_out_scale))}


def test_mamba1s_entries_are_those_of_w4a8(reports):
    made = reports("mamba-tiny", ScaleRule("minmax"))
    entries = scale_entries(made, None)
    wanted = LAYOUTS["mamba-w4a8"]["kinds"][0]
    for report in made:
        prefix = f"backbone.layers.{report.layer}."
        own = {n.removeprefix(prefix): v for n, v in entries.items() if n.startswith(prefix)}
        assert set(own) == {
            "mixer.conv1d.output_scale",
            "mixer.selective_scan.u_scale",
            "mixer.x_proj.input_scale",
        }
        for field, value in own.items():
            assert layout_entry(value) == wanted[field]
            assert float(value) == float(np.float32(report.slices[0].chosen.x_out_scale))


def test_a_zero_point_has_no_place(reports):
    rule = ScaleRule("minmax", symmetric=False)
    assert "no place for a zero point" in refusal(rule)
    with pytest.raises(ValueError, match="no place for a zero point"):
        scale_entries(reports("mamba-tiny", rule), None)
    assert refusal(ScaleRule("mse")) is None


def test_the_file_goes_into_a_checkpoint_and_is_read_back(reports, tmp_path):
    out = tmp_path / "entries.bin"
    options = ("--observer", "percentile", "--alpha", "0.999", "--out", str(out))
    assert cli.main(["export", "mamba2-small", *options, *QUICK]) == 0
    state = torch.load(SAMPLES_DIR / SAMPLE / "pytorch_model.bin", weights_only=True)
    entries = torch.load(out, weights_only=True)
    assert set(entries) <= set(state)
    torch.save(state | entries, tmp_path / "pytorch_model.bin")
    config = (SAMPLES_DIR / SAMPLE / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    reread = load_checkpoint(str(tmp_path))
    for report in reports("mamba2-small", ScaleRule("percentile", 0.999)):
        stored = reread.stored_layer(report.layer)
        assert stored.mismatches == ()
        for stored_slice, own in zip(stored.slices, report.slices, strict=True):
            assert set(stored_slice.scale_out.tolist()) == {
                float(np.float32(own.chosen.x_out_scale))
            }


def test_into_a_checkpoint_its_own_groups_get_the_rules_scales(calibrated, tmp_path, capsys):
    out = tmp_path / "made"
    text = ("--batches", "4", "--seq-len", "256")
    options = ("--observer", "mse", "--into", SAMPLE, "--out", str(out), *text)
    assert cli.main(["export", "mamba2-small", *options]) == 0
    before = torch.load(SAMPLES_DIR / SAMPLE / "pytorch_model.bin", weights_only=True)
    after = torch.load(out / "pytorch_model.bin", weights_only=True)
    assert {n: layout_entry(v) for n, v in after.items()} == {
        n: layout_entry(v) for n, v in before.items()
    }
    scales = ("out_scales", "x_scales", "qchunk_scan.B_scale", "qchunk_scan.C_scale")
    for name, value in after.items():
        same = torch.equal(torch.as_tensor(value), torch.as_tensor(before[name]))
        assert same != name.endswith(scales), name
    # One group worked out by hand: no scale near the written one makes a smaller squared error.
    seen = calibrated("mamba2-small", 4, 256).calibration.capture(0)
    stored = load_checkpoint(str(out)).stored_layer(0)
    own = stored.slices[0].out_group == 5
    rows = stored.weight_q[:512][own].float() * stored.slices[0].w_scale
    channels = torch.cdist(rows, seen.weight[:512]).argmin(dim=1)
    v = conv_by_torch(seen.x[:, channels], seen.weight[channels], seen.bias[channels])
    y = F.silu(v).half()

    def error(scale: float) -> float:
        return requantize(y, scale).noise

    written = float(stored.slices[0].out_scales.ravel()[5])
    others = [error(written * factor) for factor in np.linspace(0.7, 1.5, 81)]
    assert error(written) <= min(others) * (1 + 1e-4)
    against = ("--against", "mamba2-small", "--format", "json")
    assert cli.main(["check", str(out), *against, *text]) == 0
    document = json.loads(capsys.readouterr().out)
    for layer in document["layers"]:
        for entry in layer["slices"]:
            assert entry["nearest"] == "mse" and entry["ratio"] == pytest.approx(1, abs=1e-6)
            assert entry["gain_db"] == pytest.approx(0, abs=1e-6)


def test_a_w8a8_mamba1_keeps_the_products_that_its_scale_is_folded_into(reports, tmp_path):
    (tmp_path / "before").mkdir()
    state = quantized_state("mamba-tiny", SCALES["mamba-tiny, W8A8"])
    scan = "backbone.layers.{}.mixer.selective_scan.u_scale"
    for layer in range(4):
        prefix = f"backbone.layers.{layer}.mixer."
        state[scan.format(layer)] = torch.tensor(state[f"{prefix}conv1d.output_scale"])
        state[f"{prefix}x_proj.a"] = torch.tensor([[0.25]])
        state[f"{prefix}x_proj.alpha"] = 0.001
    torch.save(state, tmp_path / "before" / "pytorch_model.bin")
    config = json.dumps(LAYOUTS["mamba-w8a8"]["config"])
    (tmp_path / "before" / "config.json").write_text(config)
    out = tmp_path / "after"
    options = ("--observer", "minmax", "--into", str(tmp_path / "before"), "--out", str(out))
    assert cli.main(["export", "mamba-tiny", *options, *QUICK]) == 0
    after = torch.load(out / "pytorch_model.bin", weights_only=True)
    for report in reports("mamba-tiny", ScaleRule("minmax")):
        prefix = f"backbone.layers.{report.layer}.mixer."
        scale = float(np.float32(report.slices[0].chosen.x_out_scale))
        assert after[f"{prefix}conv1d.output_scale"] == scale
        assert float(after[scan.format(report.layer)]) == scale
        factor = scale / float(np.float32(state[f"{prefix}conv1d.output_scale"]))
        assert float(after[f"{prefix}x_proj.a"]) == pytest.approx(0.25 * factor, rel=1e-6)
        assert after[f"{prefix}x_proj.alpha"] == pytest.approx(0.001 * factor, rel=1e-6)
        same = f"{prefix}conv1d.input_scale"
        assert after[same] == state[same]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["mamba-tiny", "--asymmetric", "--out", "x.bin"], "no place for a zero point"),
        (["mamba-tiny", "--out", "x.safetensors"], "give a file that ends in .bin"),
        (["mamba2-small", "--into", "mamba2-tiny", "--out", "x"], "stores no scales to replace"),
        (["mamba2-tiny", "--into", SAMPLE, "--out", "x"], "they are not one model"),
        (["mamba2-small", "--into", SAMPLE, "--out", "."], "exists; give a directory"),
        (
            ["mamba2-small", "--into", SAMPLE, "--out", "x", "--observer", "entropy"],
            "entropy is not defined for groups of channels, which layer 0 has",
        ),
        ([SAMPLE, "--out", "x.bin"], "is quantized already"),
        (["mamba-tiny", "--out", "none/x.bin"], "none is not a directory"),
        (["mamba-tiny", "--out", "x.bin", "--order", "-5"], "order is -5; the seed"),
    ],
)
def test_what_cannot_be_exported_is_one_line(arguments, fault, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", *arguments, *QUICK]) == 2
    error = capsys.readouterr().err
    assert fault in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_scales_of_another_models_weights_are_refused(tmp_path, capsys):
    checkpoint = quantized_sample(tmp_path, "mamba-tiny", "mamba-tiny, W8A8", "mamba-w8a8")
    state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    name = "backbone.layers.2.mixer.conv1d.weight"
    torch.save(state | {name: state[name].flip(0)}, tmp_path / "pytorch_model.bin")
    assert checkpoint.is_quantized
    out = str(tmp_path / "out")
    options = ("--into", str(tmp_path), "--out", out, *QUICK)
    assert cli.main(["export", "mamba-tiny", *options]) == 2
    assert "layer 2 of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_pages_offer_the_file_or_say_why_not():
    settings = {"checkpoint": "mamba2-tiny", "batches": "2", "seq_len": "64"}
    for page in ("explore", "layers"):
        assert "Quamba entries: output scales" in page_text(opened(page, **settings))
        asymmetric = opened(page, **settings, asymmetric="true")
        assert "no place for a zero point" in page_text(asymmetric)


@pytest.mark.parametrize(
    ("layout", "name"),
    [("mamba2-w4aX-listed", "mamba2-small"), ("mamba2-w8a8-ungrouped", "mamba2-small")],
)
def test_mixed_widths_and_scales_without_shape_are_replaced_where_they_stand(
    reports, layout, name, tmp_path
):
    """Random codes replaced by the model's own, so that the layers are recognized."""
    _, state = quamba_checkpoint(tmp_path, layout)
    checkpoint = load_checkpoint(name)
    for entry in [e for e in state if e.endswith("conv1d.weight")]:
        conv = checkpoint.conv(int(entry.split(".")[2]))
        if state[entry].dtype != torch.int8:
            continue
        prefix = entry.removesuffix("weight")
        for field, values in (("weight", conv.weight), ("bias", conv.bias)):
            slices = []
            for conv_slice in checkpoint.slices:
                scale = float(values[conv_slice.channels].abs().max()) / 127
                state[f"{prefix}{field[0]}{conv_slice.name}_scale"] = scale
                slices.append((values[conv_slice.channels] / scale).round())
            state[prefix + field] = torch.cat(slices).to(torch.int8)
    torch.save(state, tmp_path / "pytorch_model.bin")
    out = tmp_path / "out"
    options = ("--observer", "minmax", "--into", str(tmp_path), "--out", str(out), *QUICK)
    assert cli.main(["export", name, *options]) == 0
    after = torch.load(out / "pytorch_model.bin", weights_only=True)
    assert {n: layout_entry(v) for n, v in after.items()} == {
        n: layout_entry(v) for n, v in state.items()
    }
    made = reports(name, ScaleRule("minmax"))
    for stored in load_checkpoint(str(out)).stored:
        assert stored.mismatches == ()
        for conv_slice, own in zip(stored.slices, made[stored.layer].slices, strict=True):
            if conv_slice.out_scales.size == 1:
                assert conv_slice.out_scales[0] == np.float32(own.chosen.x_out_scale)
            else:
                assert conv_slice.out_scales.max() == np.float32(own.chosen.x_out_scale)


def test_a_full_disk_leaves_no_directory_behind(tmp_path, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dashboard.cli.export.write_whole", full)
    out = tmp_path / "out"
    options = ("--observer", "minmax", "--into", SAMPLE, "--out", str(out), *QUICK)
    assert cli.main(["export", "mamba2-small", *options]) == 2
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
