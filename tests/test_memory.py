"""What a model takes is known before it is loaded, and refused where it is more than there is."""

import json
import struct
from pathlib import Path

import opening
import pytest

from dashboard.checkpoints import CheckpointError, load_checkpoint, memory
from dashboard.checkpoints.memory import check_fits, free_bytes, model_bytes
from dashboard.pages import shelves
from dashboard.refusals import Refusal


def test_a_models_bytes_are_its_file_and_every_weight_in_float32():
    checkpoint = load_checkpoint("mamba-tiny")
    size = (checkpoint.path / "model.safetensors").stat().st_size
    # 499,328 parameters, of which the log of A and D are float32 already: see the samples' README
    assert model_bytes(checkpoint, on_cpu=True) == size + 4 * 499_328
    assert model_bytes(checkpoint, on_cpu=False) == size


def test_what_is_claimed_counts_and_not_what_is_there(tmp_path):
    """A header of a terabyte is refused, and nothing of it is read."""
    checkpoint = load_checkpoint("mamba-tiny")
    header = json.dumps({"w": {"dtype": "F16", "shape": [10**6, 10**6], "data_offsets": [0, 0]}})
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    claimed = memory._widened_bytes(file)
    assert claimed == 4 * 10**12
    assert checkpoint.name == "mamba-tiny"


def test_a_model_that_does_not_fit_is_refused_in_a_sentence():
    checkpoint = load_checkpoint("mamba-small")
    needed = model_bytes(checkpoint, on_cpu=True)
    check_fits(checkpoint, True, free=needed)
    with pytest.raises(CheckpointError, match="mamba-small takes about 16 MB of memory"):
        check_fits(checkpoint, True, free=needed - 1)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "much"])
def test_a_limit_that_is_none_is_refused(value):
    with pytest.raises(Refusal, match=r"SCALESCOPE_MEMORY is .*; give a number of GB above 0"):
        free_bytes({"SCALESCOPE_MEMORY": value})


def test_the_limit_is_the_administrators_or_what_is_free(tmp_path, monkeypatch):
    assert free_bytes({"SCALESCOPE_MEMORY": "1.5"}) == 1_500_000_000
    assert 0 < free_bytes({}) <= 1024 * _total_kb()
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_bytes({}) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes({}) > 2000


def _total_kb() -> int:
    return int(Path("/proc/meminfo").read_text().split()[1])


def test_a_page_refuses_a_model_and_a_calibration_that_do_not_fit(monkeypatch):
    shelves.clear()
    monkeypatch.setenv("SCALESCOPE_MEMORY", "0.002")
    app = opening.asked("layers", checkpoint="mamba-tiny", batches="2", seq_len="8").run()
    assert not app.exception
    assert "mamba-tiny takes about 3 MB of memory to load, and 2 MB may" in app.error[0].value
    app = opening.asked("layers", checkpoint="mamba-tiny", batches="16", seq_len="64").run()
    assert not app.exception
    assert "and a page may take 2 MB" in app.error[0].value
