"""Counts on disk: taken in place of a pass over the batches, for what they depend on alone."""

import json
import lzma
import os
import shutil
from collections import Counter
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dashboard import api, cli
from dashboard.calibration import Calibration, archive, calibrate, calibration_store, read_text
from dashboard.calibration.archive import fingerprint, load_calibration, save_calibration
from dashboard.calibration.calibration_store import (
    CalibrationStore,
    carried,
    carried_name,
    counts_key,
    default_store,
    kept,
)
from dashboard.calibration.histogram import Histogram
from dashboard.calibration.packed import pack, unpack
from dashboard.calibration.unfinished import calibrate_to_the_end
from dashboard.checkpoints import SAMPLES_DIR, forward_dtype, load_backbone, load_checkpoint
from sample_checkpoints.counts import BATCHES


@pytest.fixture(scope="module")
def calibration(calibrated) -> Calibration:
    checkpoint, counted = calibrated("mamba2-tiny", 2, 64)
    return replace(
        counted, captures=(), origin=replace(counted.origin, fingerprint=fingerprint(checkpoint))
    )


@pytest.fixture
def key():
    return counts_key(SAMPLES_DIR / "mamba2-tiny", "text", 2, 64, False, "cpu", None)


def assert_same_counts(one: Calibration, other: Calibration) -> None:
    for layer, wanted in zip(one.layers, other.layers, strict=True):
        assert layer.layer == wanted.layer
        for own, expected in zip(layer.slices, wanted.slices, strict=True):
            assert own.name == expected.name
            assert own.scales == expected.scales
            for a, b in zip(
                (own.silu_input, own.silu_output, *own.batches),
                (expected.silu_input, expected.silu_output, *expected.batches),
                strict=True,
            ):
                assert a.values.dtype == b.values.dtype and a.counts.dtype == b.counts.dtype
                assert np.array_equal(a.values, b.values) and np.array_equal(a.counts, b.counts)


def test_what_is_put_is_read_again_to_the_bit(calibration, key, tmp_path):
    store = CalibrationStore(tmp_path / "made" / "when needed")
    assert store.get(key) is None and store.holdings().files == 0
    store.put(key, calibration)
    again = CalibrationStore(store.directory).get(key)
    assert_same_counts(again.calibration, calibration)
    assert not again.is_carried
    assert store.holdings().files == 1
    assert store.holdings().bytes == sum(path.stat().st_size for path in store.directory.iterdir())


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "0" * 64},
        {"tokenizer": "another"},
        {"text_sha256": "another"},
        {"batches": 3},
        {"seq_len": 65},
        {"gradients": True},
        {"forward": "cuda own dtype"},
    ],
)
def test_whatever_counts_depend_on_is_of_the_key(calibration, key, tmp_path, other):
    store = CalibrationStore(tmp_path)
    store.put(key, calibration)
    assert store.get(replace(key, **other)) is None


def test_another_version_of_what_runs_the_model_counts_anew(
    calibration, key, tmp_path, monkeypatch
):
    store = CalibrationStore(tmp_path)
    store.put(key, calibration)
    monkeypatch.setattr(calibration_store, "_libraries", lambda: "torch 0.0.1")
    assert store.get(key) is None


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_file_that_is_not_whole_is_counted_again(calibration, key, tmp_path, size, caplog):
    store = CalibrationStore(tmp_path)
    store.put(key, calibration)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:size])
    assert store.get(key) is None
    assert "cannot be read, and is counted again" in caplog.text


def test_what_was_used_longest_ago_goes_first(calibration, key, tmp_path):
    store = CalibrationStore(tmp_path)
    keys = {name: replace(key, text_sha256=name) for name in ("old", "older", "oldest, but read")}
    for age, (_name, own) in zip((300, 400, 500), keys.items(), strict=True):
        before = set(tmp_path.iterdir())
        store.put(own, calibration)
        (path,) = set(tmp_path.iterdir()) - before
        status = path.stat()
        os.utime(path, (status.st_atime, status.st_mtime - age))
    assert store.get(keys["oldest, but read"]) is not None
    size = status.st_size
    CalibrationStore(tmp_path, most_bytes=3 * size + size // 2).put(key, calibration)
    assert store.get(keys["older"]) is None
    assert None not in [store.get(k) for k in (keys["old"], keys["oldest, but read"], key)]


def test_where_nothing_can_be_written_it_is_logged_and_nothing_is_lost(
    calibration, key, tmp_path, caplog
):
    (tmp_path / "file").write_text("in the way")
    CalibrationStore(tmp_path / "file" / "counts").put(key, calibration)
    assert "a calibration cannot be kept" in caplog.text


def test_a_fingerprint_is_that_of_the_files_and_follows_them(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(SAMPLES_DIR / "mamba-tiny", model)
    store = CalibrationStore(tmp_path / "counts")
    expected = fingerprint(load_checkpoint("mamba-tiny"))
    assert [store.fingerprint(model) for _ in range(2)] == [expected] * 2
    (model / "config.json").write_text((model / "config.json").read_text() + "\n")
    assert store.fingerprint(model) == fingerprint(load_checkpoint(str(model))) != expected


def test_the_same_counts_make_the_same_file(calibration, tmp_path):
    paths = [tmp_path / name for name in ("one.safetensors", "other.safetensors")]
    for path in paths:
        save_calibration(path, calibration)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with safe_open(paths[0], "numpy") as file:
        assert list(json.loads(_header(paths[0]))["__metadata__"]) == sorted(file.metadata())


def _header(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


@pytest.mark.parametrize("times", [1, 300, 2**40], ids=["few", "bytes", "many"])
def test_packed_counts_are_unpacked_to_the_bit(calibration, times):
    """Counts of one byte, and of more."""

    def more(histogram: Histogram) -> Histogram:
        return Histogram(histogram.values, histogram.counts * times)

    layers = tuple(
        replace(
            layer,
            slices=tuple(
                replace(
                    own,
                    silu_input=more(own.silu_input),
                    silu_output=more(own.silu_output),
                    batches=tuple(map(more, own.batches)),
                )
                for own in layer.slices
            ),
        )
        for layer in calibration.layers
    )
    unpacked = unpack(pack(replace(calibration, layers=layers)))
    assert unpacked.origin == calibration.origin
    assert_same_counts(unpacked, replace(calibration, layers=layers))


def on_the_cpu_that_counted() -> bool:
    """The samples' counts were made on an AMD CPU with AVX2 or more."""
    cpu = Path("/proc/cpuinfo")
    return (
        cpu.is_file()
        and "AuthenticAMD" in cpu.read_text()
        and torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    )


def moved_share(one: Histogram, other: Histogram) -> float:
    """How many of the values would have to change to make one histogram the other."""
    counts = Counter(dict(zip(one.values.tolist(), one.counts.tolist(), strict=True)))
    counts.subtract(dict(zip(other.values.tolist(), other.counts.tolist(), strict=True)))
    return sum(map(abs, counts.values())) / 2 / one.total


@pytest.mark.parametrize("name", BATCHES)
def test_a_sample_carries_what_a_pass_over_its_batches_counts(name):
    """To the bit on a CPU like the one that counted them. Elsewhere sums are rounded otherwise:
    without fused multiplication 0.3 % of the values are the next float16."""
    checkpoint, batches = load_checkpoint(name), BATCHES[name]
    text = read_text(checkpoint, batches=batches)
    fresh = calibrate(checkpoint, load_backbone(checkpoint, "cpu"), text)
    own_key = counts_key(checkpoint.path, text.sha256, batches, 512, False, "cpu", None)
    own = carried(checkpoint.path, own_key)
    assert own is not None and own.is_carried
    assert own.calibration.origin == replace(fresh.origin, fingerprint=own_key.fingerprint)
    if on_the_cpu_that_counted():
        assert_same_counts(own.calibration, fresh)
    for layer, counted in zip(own.calibration.layers, fresh.layers, strict=True):
        for one, other in zip(layer.slices, counted.slices, strict=True):
            assert moved_share(one.silu_output, other.silu_output) < 0.01


def test_carried_counts_are_of_these_files_and_this_text_alone(tmp_path):
    directory = SAMPLES_DIR / "mamba-tiny"
    sha256 = read_text(load_checkpoint("mamba-tiny")).sha256
    known = counts_key(directory, sha256, 16, 512, False, "cpu", None)
    assert carried(directory, known) is not None
    others = [
        {"text_sha256": "another"},
        {"batches": 15},
        {"seq_len": 256},
        {"gradients": True},
        {"forward": "cuda own dtype"},
    ]
    assert [carried(directory, replace(known, **other)) for other in others] == [None] * 5
    copy = tmp_path / "model"
    shutil.copytree(directory, copy)
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert carried(copy, counts_key(copy, sha256, 16, 512, False, "cpu", None)) is None
    assert lzma.decompress((directory / carried_name(16, 512)).read_bytes())


@pytest.fixture
def counting(monkeypatch):
    """Where counts are kept in the command line's own runs, and how often it counted."""
    passes = []

    def noting(count):
        def counted(*arguments, **settings):
            passes.append(settings)
            return count(*arguments, **settings)

        return counted

    for command in ("counts", "impact"):
        monkeypatch.setattr(f"dashboard.cli.{command}.calibrate", noting(calibrate))
    to_the_end = noting(calibrate_to_the_end)
    monkeypatch.setattr("dashboard.cli.calibrate.calibrate_to_the_end", to_the_end)
    return passes


def test_a_command_counts_once_and_says_what_is_kept(tmp_path, counting, monkeypatch, capsys):
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", str(tmp_path / "counts"))
    asked = ["calibrate", "mamba-tiny", "--batches", "2", "--seq-len", "64", "--out"]
    files = [str(tmp_path / f"{name}.safetensors") for name in ("one", "other", "anew")]
    assert cli.main([*asked, files[0]]) == 0
    assert cli.main([*asked, files[1]]) == 0
    assert len(counting) == 1
    sentence = f"Calibrations kept on disk: 1, 0.5 of at most 1074 MB, in {tmp_path / 'counts'}.\n"
    assert capsys.readouterr().out == sentence * 2
    assert cli.main([*asked, files[2], "--no-store"]) == 0
    assert len(counting) == 2
    assert capsys.readouterr().out == ""
    contents = [Path(file).read_bytes() for file in files]
    assert contents[0] == contents[1] == contents[2]


def test_export_and_impact_take_what_was_counted(tmp_path, counting, monkeypatch, capsys):
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", str(tmp_path / "counts"))
    size = ["--batches", "2", "--seq-len", "64"]
    assert (
        cli.main(["calibrate", "mamba2-tiny", *size, "--out", str(tmp_path / "c.safetensors")]) == 0
    )
    assert cli.main(["export", "mamba2-tiny", *size, "--out", str(tmp_path / "e.bin")]) == 0
    impact = ["impact", "mamba2-tiny", *size, "--on-batches", "1", "--format", "json"]
    assert cli.main([*impact, "--layers", "1"]) == 0
    assert len(counting) == 1
    written = capsys.readouterr().out
    document = json.loads(written[written.index("{") :])
    assert document["settings"][0]["layers"] == [1]


def test_a_dtype_is_of_the_key_and_finds_what_was_counted_in_it(
    tmp_path, counting, monkeypatch, capsys
):
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", str(tmp_path / "counts"))
    asked = ["calibrate", "mamba-tiny", "--batches", "2", "--seq-len", "64", "--out"]
    assert cli.main([*asked, str(tmp_path / "one.safetensors"), "--dtype", "float32"]) == 0
    assert cli.main([*asked, str(tmp_path / "two.safetensors"), "--dtype", "float32"]) == 0
    assert cli.main([*asked, str(tmp_path / "three.safetensors")]) == 0  # which is float32 here
    assert len(counting) == 1
    # What cannot run is refused, whatever was counted before.
    assert cli.main([*asked, str(tmp_path / "four.safetensors"), "--dtype", "float16"]) == 2
    assert "dtype is float16; on cpu" in capsys.readouterr().err


def test_on_a_gpu_the_key_has_the_dtype_and_whose_kernels_there_are(monkeypatch):
    """The samples' weights are float16; the packages are those that transformers takes."""
    checkpoint = load_checkpoint("mamba-tiny")
    with safe_open(checkpoint.path / "model.safetensors", "pt") as file:
        stored = file.get_tensor("backbone.layers.0.mixer.in_proj.weight").dtype
    dtypes = [forward_dtype(checkpoint, "cuda", name) for name in (None, "bfloat16", "float32")]
    assert dtypes == [str(stored).removeprefix("torch."), "bfloat16", "float32"]
    installed = {}

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(calibration_store.importlib.metadata, "version", version)

    def forward(dtype: str) -> str:
        calibration_store._gpu_packages.cache_clear()
        key = counts_key(checkpoint.path, "", 2, 64, False, "cuda", None, dtype=dtype)
        return key.forward

    plain = [forward(dtype) for dtype in dtypes]
    installed["mamba-ssm"] = "2.2.4"
    fast = [forward(dtype) for dtype in dtypes]
    installed["mamba-ssm"] = "2.2.5"
    other = [forward(dtype) for dtype in dtypes]
    assert len({*plain, *fast, *other}) == 3 * len(set(dtypes))
    on_cpu = counts_key(checkpoint.path, "", 2, 64, False, "cpu", None)
    assert on_cpu.forward not in plain
    calibration_store._gpu_packages.cache_clear()


def test_python_takes_what_the_command_line_counted_and_the_other_way(
    tmp_path, counting, monkeypatch
):
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", str(tmp_path / "counts"))
    monkeypatch.setattr(
        "dashboard.api.calibration.counting.calibrate",
        lambda *_, **__: pytest.fail("counted again"),
    )
    size = ["--batches", "2", "--seq-len", "64"]
    file = tmp_path / "counts.safetensors"
    assert cli.main(["calibrate", "mamba2-tiny", *size, "--out", str(file)]) == 0
    taken = api.Calibration.of("mamba2-tiny", batches=2, seq_len=64)
    assert_same_counts(taken.record, load_calibration(file))
    assert (taken.origin.checkpoint, taken.origin.text) == ("mamba2-tiny", "calibration.txt")
    # The same text by its path, and as a string, under the names that they have.
    path = SAMPLES_DIR / "calibration.txt"
    for text, name in ((path, "calibration.txt"), (path.read_text(), "the text")):
        again = api.Calibration.of("mamba2-tiny", text, batches=2, seq_len=64)
        assert again.origin.text == name
    with pytest.raises(ValueError, match="at least 1"):
        api.Calibration.of("mamba2-tiny", batches=2, seq_len=64, batch_size=0)
    monkeypatch.undo()
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", str(tmp_path / "others"))
    api.Calibration.of("mamba2-tiny", batches=2, seq_len=64, keep=False)
    assert default_store().holdings().files == 0
    api.Calibration.of("mamba2-tiny", batches=2, seq_len=64)
    assert default_store().holdings().files == 1
    monkeypatch.setattr(
        "dashboard.cli.counts.calibrate", lambda *_, **__: pytest.fail("counted again")
    )
    assert cli.main(["export", "mamba2-tiny", *size, "--out", str(tmp_path / "e.bin")]) == 0


def test_past_the_store_go_token_ids_and_a_tokenizer_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", str(tmp_path))
    api.Calibration.of("mamba-tiny", torch.arange(128).view(2, 64))
    letters = lambda text: {"input_ids": [0] * len(text)}  # noqa: E731
    api.Calibration.of("mamba-tiny", batches=2, seq_len=64, tokenizer=letters)
    assert not list(tmp_path.iterdir())


def test_of_some_layers_alone_nothing_is_kept(tmp_path, counting, monkeypatch, capsys):
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", str(tmp_path / "counts"))
    impact = ["impact", "mamba-tiny", "--batches", "2", "--seq-len", "64", "--on-batches", "1"]
    assert cli.main([*impact, "--layers", "1", "--format", "json"]) == 0
    assert counting[0]["layers"] == [1]
    assert default_store().holdings().files == 0


def test_without_a_place_nothing_is_kept_and_samples_have_theirs(monkeypatch):
    monkeypatch.setenv("SCALESCOPE_CALIBRATIONS", "")
    assert default_store() is None
    directory, sha256 = SAMPLES_DIR / "mamba-tiny", read_text(load_checkpoint("mamba-tiny")).sha256
    assert kept(None, directory, counts_key(directory, sha256, 16, 512, False, "cpu", None))
    assert not kept(None, directory, counts_key(directory, sha256, 2, 64, False, "cpu", None))


def test_a_kept_calibration_is_a_calibration_file(calibration, key, tmp_path):
    store = CalibrationStore(tmp_path)
    store.put(key, calibration)
    (path,) = tmp_path.iterdir()
    assert_same_counts(load_calibration(path), calibration)
    assert archive.is_calibration_file(str(path))
