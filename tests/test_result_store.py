"""Results on disk: read again to the bit, bounded, and whole whatever kills the process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dashboard import cli
from dashboard.analysis import impact as impact_module
from dashboard.analysis.impact import float_run, measure
from dashboard.analysis.prediction import plan_layers
from dashboard.analysis.result_store import ResultStore, default_store
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import backbone_of, load_checkpoint, load_language_model
from dashboard.rules.observers import ScaleRule

ROOT = Path(__file__).parents[1]


def arrays(seed: int, size: int = 40) -> dict[str, np.ndarray]:
    values = np.random.default_rng(seed).normal(size=(3, size))
    return {"kl": values, "same": values > 0}


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_file())


def test_what_is_put_is_read_again_and_nothing_else(tmp_path):
    store = ResultStore(tmp_path / "made" / "when needed")
    assert store.get("one") is None
    assert store.holdings().files == 0
    store.put("one", arrays(1))
    again = ResultStore(store.directory).get("one")
    for name, expected in arrays(1).items():
        assert again[name].dtype == expected.dtype and np.array_equal(again[name], expected)
    assert store.get("other") is None
    holdings = store.holdings()
    assert holdings.files == 1
    assert holdings.bytes == sum(path.stat().st_size for path in files(store.directory))


def test_what_was_used_longest_ago_goes_first(tmp_path):
    store = ResultStore(tmp_path)
    ages = {"old": 300, "older": 400, "oldest, but read": 500}
    for key, age in ages.items():
        before = set(files(tmp_path))
        store.put(key, arrays(0))
        (path,) = set(files(tmp_path)) - before
        size = path.stat().st_size
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    assert store.get("oldest, but read") is not None
    ResultStore(tmp_path, most_bytes=3 * size + size // 2).put("new", arrays(1))
    assert [key for key in (*ages, "new") if store.get(key) is None] == ["older"]
    ResultStore(tmp_path, most_bytes=1).put("larger than all", arrays(2))
    assert store.holdings().files == 1
    assert store.get("larger than all") is not None


@pytest.mark.parametrize("kept", [0, 7, 100])
def test_a_file_that_is_not_whole_is_measured_again(tmp_path, kept, caplog):
    store = ResultStore(tmp_path)
    store.put("key", arrays(3))
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    assert store.get("key") is None
    assert "cannot be read, and is measured again" in caplog.text
    store.put("key", arrays(3))
    assert np.array_equal(store.get("key")["kl"], arrays(3)["kl"])


def test_where_nothing_can_be_written_it_is_logged_and_nothing_is_lost(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store = ResultStore(tmp_path / "file" / "results")
    store.put("key", arrays(4))
    assert "a result cannot be kept" in caplog.text
    assert store.get("key") is None


def test_what_a_killed_process_left_half_written_is_swept_up(tmp_path):
    store = ResultStore(tmp_path)
    store.put("key", arrays(5))
    (path,) = files(tmp_path)
    half = tmp_path / f".{path.name}.4711.1"
    half.write_bytes(b"half")
    (tmp_path / ".other").write_text("of somebody else")
    store.put("second", arrays(5))
    assert half.exists()  # it may be under way
    os.utime(half, (0, 0))
    os.utime(tmp_path / ".other", (0, 0))
    store.put("third", arrays(5))
    assert not half.exists()
    assert (tmp_path / ".other").exists()


def test_the_place_is_the_users_cache_unless_it_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("SCALESCOPE_RESULTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert default_store().directory == tmp_path / "scalescope" / "results"
    monkeypatch.setenv("SCALESCOPE_RESULTS", str(tmp_path / "named"))
    assert default_store().directory == tmp_path / "named"
    monkeypatch.setenv("SCALESCOPE_RESULTS", "")
    assert default_store() is None


@pytest.fixture(scope="module")
def planned():
    checkpoint = load_checkpoint("mamba2-tiny")
    model = load_language_model(checkpoint, "cpu")
    text = read_text(checkpoint, batches=1, seq_len=32)
    calibration = calibrate(checkpoint, backbone_of(model), text)
    held_out = read_text(checkpoint, batches=2, seq_len=32, first=1)
    layers = plan_layers(checkpoint, calibration, ScaleRule("minmax"))
    return checkpoint, model, held_out, [entry.quantization for entry in layers.values()]


def test_a_stored_result_is_the_measured_one_and_no_model_runs(planned, tmp_path, monkeypatch):
    checkpoint, model, held_out, layers = planned
    store = ResultStore(tmp_path)
    run = float_run(checkpoint, model, held_out, store=store)
    first = measure(checkpoint, model, run, layers, store=store)
    bare = float_run(checkpoint, model, held_out)
    assert np.array_equal(measure(checkpoint, model, bare, layers).kl, first.kl)
    calls = []
    original = impact_module.window_logits

    def counted(*arguments):
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(impact_module, "window_logits", counted)
    again = float_run(checkpoint, model, held_out, store=store)
    assert np.array_equal(again.loss, run.loss)
    stored = measure(checkpoint, model, again, layers, store=store)
    assert calls == []
    for name in ("kl", "delta", "same"):
        assert np.array_equal(getattr(stored, name), getattr(first, name))
    # Of another setting the float model runs once, too, for both of its windows.
    measure(checkpoint, model, again, layers[1:], store=store)
    measure(checkpoint, model, again, layers[2:], store=store)
    assert len(calls) == 2 + 2 * 2


def test_a_result_of_other_windows_is_another(planned, tmp_path):
    checkpoint, model, held_out, layers = planned
    store = ResultStore(tmp_path)
    run = float_run(checkpoint, model, held_out, store=store)
    whole = measure(checkpoint, model, run, layers, store=store)
    fewer = measure(checkpoint, model, run.first(1), layers, store=store)
    assert fewer.kl.shape == (1, 31)
    assert np.array_equal(fewer.kl, whole.kl[:1])


KILLED = """
import os, signal, sys
sys.path[:0] = [{root!r}, {tests!r}]
import conftest, pathlib
from dashboard.analysis.result_store import ResultStore
from dashboard.analysis.impact import alone, float_run, study
from dashboard.analysis.prediction import plan_layers
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import backbone_of, load_checkpoint, load_language_model
from dashboard.rules.observers import ScaleRule

checkpoint = load_checkpoint("mamba2-tiny")
model = load_language_model(checkpoint, "cpu")
text = read_text(checkpoint, batches=1, seq_len=32)
calibration = calibrate(checkpoint, backbone_of(model), text)
planned = plan_layers(checkpoint, calibration, ScaleRule("minmax"))
layers = {{layer: entry.quantization for layer, entry in planned.items()}}
store = ResultStore(pathlib.Path({directory!r}))
held_out = read_text(checkpoint, batches=2, seq_len=32, first=1)
run = float_run(checkpoint, model, held_out, store=store)

def stop(progress):
    if progress.setting == 2 and {while_writing}:
        pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    elif progress.setting == 2:
        os.kill(os.getpid(), signal.SIGKILL)

for _ in study(checkpoint, model, run, layers, alone(list(layers)), store=store, on_progress=stop):
    pass
"""


@pytest.mark.parametrize("while_writing", [False, True])
def test_what_was_finished_survives_a_killed_process(planned, tmp_path, monkeypatch, while_writing):
    script = KILLED.format(
        root=str(ROOT),
        tests=str(ROOT / "tests"),
        directory=str(tmp_path),
        while_writing=while_writing,
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    checkpoint, model, held_out, layers = planned
    store = ResultStore(tmp_path)
    assert store.holdings().files == 3  # the float model's, and two layers'
    run = float_run(checkpoint, model, held_out, store=store)
    measured = []
    original = impact_module.quantized_outputs

    def counted(*arguments):
        measured.append(arguments[2][0].layer)
        return original(*arguments)

    monkeypatch.setattr(impact_module, "quantized_outputs", counted)
    for entry in layers:
        again = measure(checkpoint, model, run, [entry], store=store)
        fresh = measure(checkpoint, model, float_run(checkpoint, model, held_out), [entry])
        assert np.array_equal(again.kl, fresh.kl)
    # Two windows each: layers 2 and 3 twice, here and without the store, and 0 and 1 once.
    assert measured == [0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


QUICK = ["--batches", "1", "--seq-len", "32", "--on-batches", "2"]


def test_the_command_says_what_is_kept_and_where(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SCALESCOPE_RESULTS", str(tmp_path))
    arguments = ["impact", "mamba2-tiny", *QUICK]
    assert cli.main([*arguments, "--no-store"]) == 0
    assert "No result is kept." in capsys.readouterr().out
    assert files(tmp_path) == []
    assert cli.main(arguments) == 0
    first = capsys.readouterr().out
    assert first.endswith(f"2 results are kept, 0.0 of at most 268 MB, in {tmp_path}.\n")
    monkeypatch.setattr(impact_module, "window_logits", lambda *_: pytest.fail("the model ran"))
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == first
