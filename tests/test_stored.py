"""A checkpoint that is quantized already, on the command line and in the pages."""

import json
import shutil

import numpy as np
import pytest
import torch
from opening import opened, page_text
from random_checkpoints import quamba_checkpoint, quamba_state

from dashboard import cli
from dashboard.analysis import stored
from dashboard.checkpoints import SAMPLES_DIR, load_checkpoint
from kernels import available_backends, reference

SAMPLE = "mamba2-small-quamba2"
PREFIX = "backbone.layers.{}.mixer.conv1d."


@pytest.fixture(scope="module")
def state() -> dict:
    """The file itself, as torch reads it."""
    return torch.load(SAMPLES_DIR / SAMPLE / "pytorch_model.bin", weights_only=True)


def number(value: object) -> float:
    return float(torch.as_tensor(value, dtype=torch.float32))


def analyze(capsys, *arguments: str) -> str:
    assert cli.main(["analyze", *arguments]) == 0
    return capsys.readouterr().out


def test_analyze_prints_what_the_file_holds(capsys, state):
    document = json.loads(analyze(capsys, SAMPLE, "--format", "json"))
    assert document["observer"] is None and document["text"] is None
    assert [layer["layer"] for layer in document["layers"]] == list(range(6))
    for layer in document["layers"]:
        prefix = PREFIX.format(layer["layer"])
        assert layer["source"] == "stored" and layer["alpha_used"] is False
        assert layer["kernel_differing_codes"] == 0 and layer["sqnr_db"] is None
        assert layer["shape"] == [1, 4, 4]
        assert layer["x_out_scale"] == state[prefix + "x_out_scales"].float().ravel().tolist()
        for name, measures in (("x", layer), ("B", layer["B"]), ("C", layer["C"])):
            assert measures["x_scale"] == number(state[f"{prefix}{name}_scale"])
            assert measures["w_scale"] == number(state[f"{prefix}w{name}_scale"])
            assert measures["b_scale"] == number(state[f"{prefix}b{name}_scale"])
            assert measures["zero_point"] == 0
        assert layer["copies"] == 5 and layer["mismatches"] == ""
        assert layer["backend"] == document["backend"] in available_backends()
        assert layer["kernel_time_ms"] > 0
        for name in "BC":
            out = number(state[f"{prefix}{name}_out_scales"])
            assert layer[name]["x_out_scale"] == out
            assert layer[name]["ratio_weight"] == pytest.approx(out / layer[name]["w_scale"])
            assert layer[name]["ratio_wx"] == pytest.approx(
                out / (layer[name]["x_scale"] * layer[name]["w_scale"])
            )


def test_the_table_the_csv_and_the_published_columns_take_stored_scales(capsys, state):
    assert f"{SAMPLE} (mamba2), stored scales, " in analyze(capsys, SAMPLE)
    assert analyze(capsys, SAMPLE, "--format", "csv").count("\n") == 1 + 3 * 6
    line = analyze(capsys, SAMPLE, "--layers", "2", "--format", "published").splitlines()[1]
    assert line.split()[:2] == ["2", f"{number(state[PREFIX.format(2) + 'x_scale']):.8f}"]
    scales = state[PREFIX.format(2) + "x_out_scales"].double().ravel().tolist()
    mean, w_scale = sum(scales) / 16, number(state[PREFIX.format(2) + "wx_scale"])
    assert line.split()[3:5] == [f"{mean:.8f}", f"{mean / w_scale:.4f}"]
    assert line.endswith(f"(1, 4, 4)  {min(scales):.8f}  {max(scales):.8f}")


def test_a_float_convolution_has_no_scales_and_says_so(capsys, tmp_path):
    quamba_checkpoint(tmp_path, "mamba2-w4aX-listed")
    document = json.loads(analyze(capsys, str(tmp_path), "--format", "json"))
    mixers = {layer["layer"]: layer["mixer"] for layer in document["layers"]}
    assert mixers == {i: f"W4A{16 if i in (1, 4) else 8}QMamba2" for i in range(6)}
    weight = quamba_state("mamba2-w4aX-listed")["backbone.layers.4.mixers.W4A16.conv1d.weight"]
    layer = document["layers"][4]
    assert layer["x_out_scale"] is None and layer["ratio_weight"] is None
    assert layer["w_scale"] == pytest.approx(float(weight[:512].abs().max()) / 127, rel=1e-6)
    assert layer["B"]["w_scale"] == pytest.approx(float(weight[512:576].abs().max()) / 127)
    dashes = analyze(capsys, str(tmp_path), "--format", "published").splitlines()[5].split()
    assert dashes[0] == "4" and dashes[1] == dashes[3] == "-"
    words = page_text(opened("layers", checkpoint=str(tmp_path)))
    assert "2 of 6 layers keep a float convolution" in words
    assert "This layer keeps a float convolution" in page_text(
        opened("groups", checkpoint=str(tmp_path), layer="4")
    )


def test_a_checkpoint_without_any_scale_opens(capsys, tmp_path):
    quamba_checkpoint(tmp_path, "mamba-w4a16")
    document = json.loads(analyze(capsys, str(tmp_path), "--format", "json"))
    assert document["backend"] is None and len(document["layers"]) == 4
    assert "4 layers" not in analyze(capsys, str(tmp_path), "--format", "csv")
    assert "No stored scales" in page_text(opened("layers", checkpoint=str(tmp_path)))


def test_of_an_ungrouped_mamba2_alpha_chose_x_alone(tmp_path, capsys):
    quamba_checkpoint(tmp_path, "mamba2-w8a8-ungrouped")
    layer = json.loads(analyze(capsys, str(tmp_path), "--format", "json"))["layers"][0]
    assert layer["alpha_used"] and not layer["B"]["alpha_used"] and not layer["C"]["alpha_used"]
    assert "that of x by a percentile α, those of B and C by MinMax" in page_text(
        opened("layers", checkpoint=str(tmp_path))
    )


def test_a_mamba1s_input_scale_is_said_to_cover_z(tmp_path):
    quamba_checkpoint(tmp_path, "mamba-w8a8")
    words = page_text(opened("layers", checkpoint=str(tmp_path)))
    assert "x_scale was observed on all of in_proj's output, z as well as x" in words
    assert "of which Quamba sets each output scale by a percentile α" in words


@pytest.mark.parametrize("option", [["--recommend"], ["--group-size", "4"]])
def test_what_needs_float_weights_is_refused_in_a_sentence(capsys, option):
    assert cli.main(["analyze", SAMPLE, *option]) == 2
    assert "is quantized already" in capsys.readouterr().err
    assert cli.main(["calibrate", SAMPLE, "--out", "counts.safetensors"]) == 2
    assert "has no float weights to calibrate" in capsys.readouterr().err


def test_the_live_run_is_compared_with_the_reference(monkeypatch):
    layer = load_checkpoint(SAMPLE).stored_layer(0)
    assert stored.run_stored(layer).differing_codes == 0

    def off_by_one(x, *, backend, **scales):
        assert x.unique().tolist() == list(range(-128, 128))  # every code goes in
        codes = reference.quant_causal_conv1d(x, **scales)
        codes[0, 0, :7] ^= 1
        return codes

    monkeypatch.setattr(stored, "quant_causal_conv1d", off_by_one)
    assert stored.run_stored(layer).differing_codes == 7


def test_the_layers_page_says_whether_alpha_was_used(state):
    app = opened("layers", checkpoint=SAMPLE)
    assert "## Stored scales, which Quamba sets by MinMax per group: α is never used." in page_text(
        app
    )
    assert "30 copies in the modules that follow all agree" in page_text(app)
    table = app.dataframe[0].value
    scales = state[PREFIX.format(3) + "x_out_scales"].float()
    assert table["least x_out_scale"][3] == float(scales.min())
    assert table["greatest"][3] == float(scales.max())


def test_copies_that_disagree_are_named(tmp_path, state):
    changed = dict(state)
    name = next(n for n in state if ".layers.4." in n and n.endswith("chunk_scan.x_scales"))
    changed[name] = state[name] * 1.5
    shutil.copy(SAMPLES_DIR / SAMPLE / "config.json", tmp_path)
    torch.save(changed, tmp_path / "pytorch_model.bin")
    words = page_text(opened("layers", checkpoint=str(tmp_path)))
    assert "**1 of 30 copies disagree**: first, in layer 4, conv1d.x_out_scales and " in words
    assert "chunk_scan.x_scales differ by " in words
    checkpoint = load_checkpoint(str(tmp_path))
    runs = stored.run_all(checkpoint, [3, 4], "cpu")
    three, four = stored.stored_document(checkpoint, [3, 4], runs)["layers"]
    copy = name.partition(".mixer.")[2]
    assert (three["copies"], three["mismatches"]) == (5, "")
    assert (four["copies"], four["mismatches"]) == (5, f"conv1d.x_out_scales is not {copy}")


def test_the_groups_page_shows_the_stored_groups(state):
    app = opened("groups", checkpoint=SAMPLE, layer="5")
    scales = state[PREFIX.format(5) + "x_out_scales"].float().numpy()
    least, greatest = (
        np.format_float_positional(v, 4, fractional=False) for v in (scales.min(), scales.max())
    )
    assert f"1 × 4 × 4 scales between {least} and {greatest}" in page_text(app)


@pytest.mark.parametrize("page", ["explore", "sweep", "batches", "held-out"])
def test_pages_that_calibrate_point_to_those_that_do_not(page):
    assert "is quantized already" in page_text(opened(page, checkpoint=SAMPLE))
