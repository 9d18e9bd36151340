"""Saved calibrations: the same bits back, whole or not at all, and one sentence for a bad file."""

import hashlib
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch_file
from safetensors.torch import save_file as save_torch_file

from dashboard.calibration import Calibration, CalibrationError, archive
from dashboard.calibration.archive import (
    fingerprint,
    is_calibration_file,
    load_calibration,
    save_calibration,
)
from dashboard.checkpoints import SAMPLES_DIR, load_checkpoint


@pytest.fixture(scope="module")
def calibration(calibrated) -> Calibration:
    checkpoint, counted = calibrated("mamba2-tiny", 2, 64)
    return replace(
        counted, captures=(), origin=replace(counted.origin, fingerprint=fingerprint(checkpoint))
    )


@pytest.fixture
def saved(calibration, tmp_path):
    path = tmp_path / "counts.safetensors"
    save_calibration(path, calibration)
    return path


def test_what_is_saved_comes_back_to_the_bit(calibration, saved):
    loaded = load_calibration(saved)
    assert loaded.origin == calibration.origin
    for layer, expected in zip(loaded.layers, calibration.layers, strict=True):
        assert layer.layer == expected.layer
        for counted, wanted in zip(layer.slices, expected.slices, strict=True):
            assert counted.name == wanted.name
            assert counted.scales == wanted.scales
            for one, other in zip(
                (counted.silu_input, counted.silu_output, *counted.batches),
                (wanted.silu_input, wanted.silu_output, *wanted.batches),
                strict=True,
            ):
                assert one.values.dtype == other.values.dtype
                assert one.values.tobytes() == other.values.tobytes()
                assert one.counts.tobytes() == other.counts.tobytes()


def test_the_metadata_say_what_was_counted(calibration, saved):
    with safe_open(saved, "numpy") as file:
        metadata = file.metadata()
    text = (
        archive.Path(__file__).parent.parent / "sample_checkpoints/calibration.txt"
    ).read_bytes()
    assert metadata["text_sha256"] == hashlib.sha256(text).hexdigest()
    assert metadata["checkpoint"] == "mamba2-tiny" and metadata["batches"] == "2"
    assert len(metadata["fingerprint"]) == 64
    assert json.loads(metadata["layers"])[0] == [0, ["x", "B", "C"]]


def test_a_fingerprint_follows_the_files(tmp_path):
    checkpoint = load_checkpoint("mamba-tiny")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((checkpoint.path / name).read_bytes())
    copy = load_checkpoint(str(tmp_path))
    assert fingerprint(copy) == fingerprint(checkpoint)
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + "\n")
    assert fingerprint(copy) != fingerprint(checkpoint)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(calibration, saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_calibration(saved, calibration)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_only_a_file_of_that_suffix_is_one(saved):
    assert is_calibration_file(str(saved))
    assert not is_calibration_file(str(saved.parent))
    assert not is_calibration_file("nowhere.safetensors")


def changed(path, edit, **metadata):
    """The saved file with its arrays and metadata edited."""
    arrays = load_file(path)
    with safe_open(path, "numpy") as file:
        known = file.metadata()
    edit(arrays)
    known = {k: v for k, v in (known | metadata).items() if v is not None}
    save_file(arrays, path, known)


def put(name, change):
    def edit(arrays):
        arrays[name] = np.array(change(arrays[name]), order="C")

    return edit


X = "layers.0.x"


@pytest.mark.parametrize(
    ("edit", "metadata", "message"),
    [
        (lambda a: None, {"format": "other"}, "is not a calibration file"),
        (lambda a: None, {"batches": None}, "lack or misstate 'batches'"),
        (lambda a: None, {"batches": "two"}, "lack or misstate"),
        (lambda a: None, {"batches": "3"}, "has 2 batches; the metadata say 3"),
        (lambda a: None, {"layers": "{"}, "name no layers"),
        (lambda a: None, {"layers": "[[0, []]]"}, "name no layers"),
        (lambda a: None, {"layers": '[[9, ["x"]]]'}, "lacks layers.9.x.amax"),
        (put(f"{X}.amax", lambda v: v[:2]), {}, "three finite maxima"),
        (put(f"{X}.amax", lambda v: v * np.nan), {}, "three finite maxima"),
        (put(f"{X}.silu_output.values", lambda v: v[::-1]), {}, "ascending finite float16"),
        (put(f"{X}.silu_output.values", lambda v: v.astype(np.float32)), {}, "list of F16"),
        (put(f"{X}.silu_output.counts", lambda v: v * 0), {}, "a count above 0"),
        (put(f"{X}.silu_output.counts", lambda v: v[1:]), {}, "each with a count"),
        (put(f"{X}.silu_output.counts", lambda v: v + 1), {}, "do not add up"),
        (put(f"{X}.batches.lengths", lambda v: v + 1), {}, "does not fit its values"),
        (lambda a: a.pop(f"{X}.batches.values"), {}, f"lacks {X}.batches.values"),
        (put(f"{X}.batches.values", lambda v: v[0]), {}, r"is F16 of shape \(\)"),
        (put(f"{X}.batches.lengths", lambda v: v[0]), {}, r"is I64 of shape \(\)"),
        (put(f"{X}.batches.lengths", lambda v: v.astype(np.float64)), {}, "a list of I64"),
        (put(f"{X}.batches.lengths", lambda v: v * 0 + 2**62), {}, "does not fit its values"),
        (put(f"{X}.amax", lambda v: v * 0 + 1e300), {}, "three finite maxima"),
        (put(f"{X}.amax", lambda v: v * 0 + 3e38), {}, "must stay within float32"),
        (put(f"{X}.silu_output.counts", lambda v: v.astype(np.uint64) + 2**63), {}, "at most"),
        (put(f"{X}.silu_input.counts", lambda v: v + 1), {}, "its input has more or fewer"),
        (lambda a: None, {"layers": '[[0, ["x", "B", "C"]], [0, ["x", "B", "C"]]]'}, "ascending"),
        (lambda a: None, {"layers": '[[0, ["x", "B", "C"]], [1, ["x"]]]'}, "name no layers"),
        (lambda a: None, {"layers": '[[0, ["x", "B", "<b>"]]]'}, "name no layers"),
        (lambda a: None, {"layers": '[[0, "x"], [1, {"x": 1}]]'}, "name no layers"),
        (lambda a: None, {"layers": '[[[0], ["x"]]]'}, "name no layers"),
        (lambda a: None, {"layers": '[[1e999, ["x"]]]'}, "name no layers"),
        (lambda a: None, {"layers": '[[true, ["x"]]]'}, "name no layers"),
        (lambda a: None, {"batches": "0"}, "batches is 0; it must be at least 1"),
        (lambda a: None, {"seq_len": "-64"}, "seq_len is -64"),
        (lambda a: None, {"seq_len": "9" * 4000}, "seq_len is an integer of"),
        (lambda a: None, {"seq_len": "63"}, "a multiple of seq_len, 63"),
    ],
)
def test_a_file_that_does_not_hold_together_is_one_sentence(saved, edit, metadata, message):
    changed(saved, edit, **metadata)
    with pytest.raises(CalibrationError, match=message) as caught:
        load_calibration(saved)
    assert str(saved) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.int32, torch.bool])
@pytest.mark.parametrize("name", ["amax", "silu_input.values", "batches.counts"])
def test_arrays_of_other_dtypes_are_named(saved, name, dtype):
    arrays = load_torch_file(saved)
    with safe_open(saved, "numpy") as file:
        metadata = file.metadata()
    name = f"{X}.{name}"
    save_torch_file(arrays | {name: torch.ones(arrays[name].shape).to(dtype)}, saved, metadata)
    with pytest.raises(CalibrationError, match=rf"{name} (is|must be)"):
        load_calibration(saved)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_one_sentence(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CalibrationError, match=r"counts\.safetensors cannot be read"):
        load_calibration(saved)


def test_weights_beside_their_config_are_no_calibration_file_but_a_saved_one_is(
    calibration, tmp_path
):
    shutil.copytree(SAMPLES_DIR / "mamba-tiny", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    assert not is_calibration_file(str(weights))
    save_calibration(tmp_path / "model" / "counts.safetensors", calibration)
    assert is_calibration_file(str(tmp_path / "model" / "counts.safetensors"))
    weights.rename(tmp_path / "alone.safetensors")
    assert is_calibration_file(str(tmp_path / "alone.safetensors"))
