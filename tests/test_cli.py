"""``python -m dashboard analyze``: the documents it writes, and one line for whatever is wrong."""

import csv
import functools
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard import cli
from dashboard.cli import counts, options

QUICK = ["--batches", "2", "--seq-len", "64"]
ROOT = Path(__file__).resolve().parent.parent
TEXT = ROOT / "sample_checkpoints" / "calibration.txt"


def analyze(capsys, *arguments: str) -> str:
    assert cli.main(["analyze", *arguments, *QUICK]) == 0
    return capsys.readouterr().out


def test_json_names_the_run_and_every_layer(capsys):
    document = json.loads(analyze(capsys, "mamba-tiny", "--format", "json"))
    assert {name: document[name] for name in document if name not in ("layers", "backend")} == {
        "checkpoint": "mamba-tiny",
        "family": "mamba",
        "text": "calibration.txt",
        "batches": 2,
        "seq_len": 64,
        "text_sha256": hashlib.sha256(TEXT.read_bytes()).hexdigest(),
        "observer": "percentile",
        "alpha": 0.9995,
        "sigma": 0.01,
        "order": None,
        "symmetric": True,
        "number_format": "int8",
    }
    assert document["backend"] in ("triton", "triton-interpret", "torch")
    assert [layer["layer"] for layer in document["layers"]] == [0, 1, 2, 3]
    assert all(layer["source"] == "calibrated" for layer in document["layers"])
    assert all(layer["kernel_differing_codes"] == 0 for layer in document["layers"])
    assert all(0 < layer["x_out_scale"] < 1 for layer in document["layers"])


def test_each_layer_has_its_best_alpha_and_what_it_gains(capsys):
    """Against the same scale asked for by name."""
    for layer in json.loads(analyze(capsys, "mamba-tiny", "--format", "json"))["layers"]:
        wanted = ["--alpha", str(layer["best_alpha"]), "--layers", str(layer["layer"])]
        best = json.loads(analyze(capsys, "mamba-tiny", *wanted, "--format", "json"))["layers"][0]
        assert layer["gain_db"] == pytest.approx(best["sqnr_db"] - layer["sqnr_db"], abs=1e-9)
        assert layer["gain_db"] > 0 == best["gain_db"]


def test_the_published_columns_come_in_the_published_form(capsys):
    lines = analyze(capsys, "mamba-tiny", "--format", "published").splitlines()
    assert lines[0].split() == [
        "layer",
        "x_scale",
        "wx_scale",
        "x_out_scale",
        "ratio",
        "shape",
        "least",
        "greatest",
    ]
    layers = json.loads(analyze(capsys, "mamba-tiny", "--format", "json"))["layers"]
    for line, layer in zip(lines[1:], layers, strict=True):
        number, x_scale, wx_scale, x_out_scale, ratio, shape, least, greatest = line.split()
        assert (number, shape) == (str(layer["layer"]), "(1,)")
        assert x_scale == f"{layer['x_scale']:.8f}" and wx_scale == f"{layer['w_scale']:.8f}"
        assert x_out_scale == least == greatest == f"{layer['x_out_scale']:.8f}"
        assert ratio == f"{layer['ratio_weight']:.4f}"


def test_of_grouped_scales_the_published_form_and_the_ratios_speak_of_the_mean(capsys):
    options = (
        "mamba2-tiny",
        "--observer",
        "minmax",
        "--group-size",
        "64",
        "--layers",
        "1",
        "--batches",
        "1",
        "--seq-len",
        "64",
    )
    (layer,) = json.loads(analyze(capsys, *options, "--format", "json"))["layers"]
    assert len(layer["x_out_scale"]) == 4
    mean = sum(layer["x_out_scale"]) / 4
    assert layer["ratio_weight"] == pytest.approx(mean / layer["w_scale"], rel=1e-12)
    assert layer["ratio_wx"] == pytest.approx(mean / layer["scale_wx"], rel=1e-12)
    line = analyze(capsys, *options, "--format", "published").splitlines()[1].split()
    least, greatest = min(layer["x_out_scale"]), max(layer["x_out_scale"])
    assert line[3:5] == [f"{mean:.8f}", f"{mean / layer['w_scale']:.4f}"]
    assert line[-2:] == [f"{least:.8f}", f"{greatest:.8f}"]


def test_csv_has_a_line_a_slice_with_the_jsons_numbers(capsys):
    rows = list(
        csv.DictReader(
            io.StringIO(analyze(capsys, "mamba2-tiny", "--layers", "0,2-3", "--format", "csv"))
        )
    )
    names = [(row["layer"], row["slice"]) for row in rows]
    assert names == [(n, name) for n in "023" for name in ("x", "B", "C")]
    document = json.loads(analyze(capsys, "mamba2-tiny", "--layers", "2", "--format", "json"))
    (layer,) = document["layers"]
    for row, measures in zip(rows[3:6], (layer, layer["B"], layer["C"]), strict=True):
        for name in ("x_scale", "x_out_scale", "sqnr_db", "kernel_sqnr_db", "effective_bits"):
            assert float(row[name]) == measures[name]


def test_the_table_has_a_line_a_layer(capsys):
    lines = analyze(capsys, "mamba-tiny", "--observer", "minmax").splitlines()
    assert lines[0].startswith("mamba-tiny (mamba), 2 × 64 tokens of calibration.txt, minmax, ")
    assert lines[2].split()[:3] == ["layer", "x_scale", "w_scale"]
    assert [line.split()[0] for line in lines[3:]] == ["0", "1", "2", "3"]


def test_out_writes_the_file(capsys, tmp_path):
    path = tmp_path / "report.json"
    assert analyze(capsys, "mamba-tiny", "--format", "json", "--out", str(path)) == ""
    assert json.loads(path.read_text())["checkpoint"] == "mamba-tiny"


def test_a_small_budget_takes_several_passes_and_gives_the_same(capsys, monkeypatch):
    once = json.loads(analyze(capsys, "mamba-tiny", "--format", "json"))
    in_passes = functools.partial(counts.calibrate_in_passes, most_bytes=1)
    monkeypatch.setattr(counts, "calibrate_in_passes", in_passes)
    again = json.loads(analyze(capsys, "mamba-tiny", "--format", "json"))
    for layer in (*once["layers"], *again["layers"]):
        del layer["kernel_time_ms"]
    assert once == again


@pytest.mark.parametrize(
    ("wanted", "layers"),
    [(None, [0, 1, 2, 3]), ("2", [2]), ("0,2-3", [0, 2, 3]), ("3,1,1", [1, 3])],
)
def test_layers_are_numbers_and_ranges(wanted, layers):
    assert options.parse_layers(wanted, range(4)) == layers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is neither a directory, nor a Hub id"),
        (["mamba-tiny", "--text", "missing.txt"], "missing.txt cannot be read"),
        (["mamba-tiny", "--batches", "99999"], "has 149,848 tokens; 99999 batches of 64 need"),
        (["mamba-tiny", "--batches", "0"], "both must be at least 1"),
        (["mamba-tiny", "--batches", "many"], "--batches: invalid int value: 'many'"),
        (["mamba-tiny", "--alpha", "1.5"], "--alpha is 1.5; a percentile needs 0 < alpha <= 1"),
        (["mamba-tiny", "--alpha", "nan"], "--alpha is nan"),
        (["mamba-tiny", "--layers", "4"], "--layers is '4'; there are layers 0 to 3"),
        (["mamba-tiny", "--layers", "3-1"], "--layers is '3-1'"),
        (["mamba-tiny", "--layers", "0-999999999999"], "there are layers 0 to 3"),
        (["mamba-tiny", "--sigma", "0"], "--sigma is 0.0; a moving average needs 0 < sigma <= 1"),
        (["mamba-tiny", "--observer", "entropy", "--asymmetric"], "symmetric INT8 alone"),
        (["mamba-tiny", "--group-size", "0"], "--group-size is 0"),
        (["mamba-tiny", "--group-size", "4", "--observer", "entropy"], "percentile, minmax, mse"),
        (["mamba-tiny", "--layers", "x"], "--layers is 'x'; give numbers and ranges"),
        (["mamba-tiny", "--observer", "median"], "--observer: invalid choice: 'median'"),
        (["mamba-tiny", "--out", "/no/such/place/report"], "/no/such/place is not a directory"),
        ([], "CHECKPOINT"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(capsys, arguments, message):
    try:
        status = cli.main(["analyze", "--seq-len", "64", "--batches", "2", *arguments])
    except SystemExit as stop:  # argparse's own way out
        status = stop.code
    written = capsys.readouterr()
    assert status == 2
    assert written.out == ""
    assert message in written.err
    assert written.err.count("\n") == 1


def test_the_module_runs_as_a_command():
    run = subprocess.run(
        [sys.executable, "-m", "dashboard", "analyze", "nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("dashboard: nowhere is neither")
    assert "Traceback" not in run.stderr


def saved(tmp_path, name="mamba2-tiny") -> str:
    path = tmp_path / "counts.safetensors"
    assert cli.main(["calibrate", name, *QUICK, "--out", str(path)]) == 0
    return str(path)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--observer", "percentile-ema", "--sigma", "0.2", "--order", "3"],
        ["--observer", "mse", "--asymmetric"],
        ["--observer", "entropy", "--layers", "1"],
    ],
)
def test_a_calibration_file_gives_the_checkpoints_figures(capsys, tmp_path, options):
    path = saved(tmp_path)
    options = [*options, "--recommend", "--format", "json"]
    live = json.loads(analyze(capsys, "mamba2-tiny", *options))
    assert cli.main(["analyze", path, *options]) == 0
    kept = json.loads(capsys.readouterr().out)
    assert kept["backend"] is None
    for document in (live, kept):
        del document["backend"]
        for layer in document["layers"]:
            for measures in (layer, layer["B"], layer["C"]):
                for name in [name for name in measures if "kernel" in name or name == "backend"]:
                    del measures[name]
    assert kept == live


def test_the_recommendation_is_in_table_and_json(capsys):
    document = json.loads(analyze(capsys, "mamba2-tiny", "--recommend", "--format", "json"))
    recommended = document["recommended"]
    rows = [(row["layer"], row["slice"]) for row in recommended["layers"]]
    assert rows == [(n, name) for n in range(4) for name in ("x", "B", "C")]
    assert min(row["loss_db"]["0.9995"] for row in recommended["layers"]) >= 0
    table = analyze(capsys, "mamba2-tiny", "--recommend")
    assert recommended["reason"] in table
    assert recommended["reason"].startswith("One α for all 4 layers: ")


def test_grouped_scales_are_lists_and_run_in_the_kernel(capsys):
    options = ["--group-size", "100", "--layers", "0", "--observer", "minmax"]
    layer = json.loads(analyze(capsys, "mamba-tiny", *options, "--format", "json"))["layers"][0]
    assert layer["shape"] == [3] and len(layer["x_out_scale"]) == 3
    assert layer["kernel_differing_codes"] == 0
    assert layer["kernel_sqnr_db"] > 20
    assert "3 scales" in analyze(capsys, "mamba-tiny", *options)


@pytest.mark.parametrize(
    ("out", "message"),
    [("counts.json", "a calibration file ends in .safetensors"),
     ("no/such/place/c.safetensors", "is not a directory")],
)  # fmt: skip
def test_calibrate_says_what_is_wrong_with_its_file(capsys, out, message):
    assert cli.main(["calibrate", "mamba-tiny", *QUICK, "--out", out]) == 2
    assert message in capsys.readouterr().err


def test_a_calibration_file_has_no_channels_and_a_broken_one_is_named(capsys, tmp_path):
    path = saved(tmp_path, "mamba-tiny")
    assert cli.main(["analyze", path, "--group-size", "4"]) == 2
    assert "holds no channels" in capsys.readouterr().err
    Path(path).write_bytes(b"nonsense")
    assert cli.main(["analyze", path]) == 2
    assert f"{path} cannot be read" in capsys.readouterr().err
