"""What the pages share: made once for what was read, anew when that has changed, and bounded."""

import os
import shutil
import threading
from pathlib import Path

import opening
import pytest
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest

from dashboard import cli
from dashboard.calibration import CalibrationError, calibrate
from dashboard.checkpoints import SAMPLES_DIR
from dashboard.pages import calibrating, loading, outlining, shelves
from dashboard.pages.shelf import size_of
from dashboard.pages.sources import Source

ONE, OTHER = "the quick brown fox " * 40, "THE QUICK BROWN FOX " * 40


def silent(_progress) -> None:
    pass


def replace_file(path: Path, content: bytes) -> None:
    """As a careful program writes: beside it, then moved there; with the old one's times."""
    before, beside = path.stat(), path.with_name("beside")
    beside.write_bytes(content)
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.replace(path)


@pytest.fixture
def model(tmp_path) -> Path:
    shutil.copytree(SAMPLES_DIR / "mamba-tiny", tmp_path / "model")
    return tmp_path / "model"


def layers_table(**settings: str) -> AppTest:
    app = opening.opened("layers", **({"batches": "2", "seq_len": "64"} | settings))
    assert not app.error
    return app


def test_an_edited_text_is_calibrated_anew(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(ONE)
    source = Source("mamba-tiny", str(text), 2, 64)
    before = calibrating.calibration(source, silent)
    assert calibrating.calibration(Source("mamba-tiny", str(text), 2, 64), silent) is before
    replace_file(text, OTHER.encode())  # as many bytes, of the same time
    after = calibrating.calibration(Source("mamba-tiny", str(text), 2, 64), silent)
    assert after.origin.text_sha256 != before.origin.text_sha256
    assert after.layers[2].slices[0].x_amax != before.layers[2].slices[0].x_amax


def test_a_page_shows_an_edited_text(tmp_path):
    text = tmp_path / "text.txt"
    tables = []
    for content in (ONE, OTHER):
        text.write_text(content)
        tables.append(layers_table(checkpoint="mamba-tiny", text=str(text)).dataframe[0].value)
    assert not tables[0]["x_out_scale"].equals(tables[1]["x_out_scale"])


def test_a_replaced_checkpoint_is_read_and_calibrated_anew(model):
    def scales() -> tuple[float, float]:
        counted = calibrating.calibration(Source(str(model), "calibration.txt", 2, 64), silent)
        return counted.layers[0].slices[0].w_amax, counted.layers[1].slices[0].x_amax

    before = scales()
    state = load_file(model / "model.safetensors")
    name = next(name for name in state if name.endswith("layers.0.mixer.conv1d.weight"))
    save_file(state | {name: 2 * state[name]}, model / "model.safetensors")
    after = scales()
    assert after[0] == pytest.approx(2 * before[0]) and after[1] != before[1]


def test_a_replaced_calibration_file_is_read_anew(tmp_path):
    path = tmp_path / "counts.safetensors"
    tables = []
    for batches in ("2", "3"):
        arguments = ["calibrate", "mamba-tiny", "--batches", batches, "--seq-len", "64"]
        assert cli.main([*arguments, "--out", str(path)]) == 0
        tables.append(layers_table(checkpoint=str(path)).dataframe[0].value)
    assert not tables[0]["x_out_scale"].equals(tables[1]["x_out_scale"])


def test_what_is_not_read_is_not_waited_for(model):
    source = Source(str(model), "calibration.txt", 2, 64)
    (model / "notes.md").write_text("not read")
    assert Source(str(model), "calibration.txt", 2, 64) == source


@pytest.mark.parametrize(
    ("batches", "seq_len", "message"),
    [
        (1024, 8192, r"one layer of 1024 batches of 8192 tokens takes about .* GB in mamba2-tiny"),
        (1, 400_000, "the forward of one batch of 400000 tokens"),
    ],
)
def test_more_than_a_page_has_memory_for_is_one_sentence(batches, seq_len, message):
    with pytest.raises(CalibrationError, match=message):
        outlining.outline(Source("mamba2-tiny", "calibration.txt", batches, seq_len))


def test_a_page_says_so_and_goes_on():
    app = opening.opened("layers", batches="1024", seq_len="8192", checkpoint="mamba2-tiny")
    assert "and a page may take" in app.error[0].value and not app.exception
    app.number_input(key="batches").set_value(2)
    app.number_input(key="seq_len").set_value(64).run()
    assert not app.error and app.dataframe


def test_the_boxes_end_where_the_memory_does(monkeypatch):
    """One more than the box offers is what the page would refuse; no model is loaded to know."""
    shelves.clear()
    monkeypatch.setenv("SCALESCOPE_MEMORY", "0.02")
    monkeypatch.setattr(loading, "model", lambda name: pytest.fail("loaded"))
    for batches, seq_len in ((3, 64), (7, 100)):
        most_batches, most_tokens = outlining.bounds("mamba2-tiny", batches, seq_len)
        assert 1 < most_batches < outlining.MOST_BATCHES
        for fits, (n, length) in (
            (True, (most_batches, seq_len)),
            (False, (most_batches + 1, seq_len)),
            (True, (batches, most_tokens)),
            (False, (batches, most_tokens + 1)),
        ):
            source = Source("mamba2-tiny", "calibration.txt", n, length)
            if fits:
                outlining.outline(source)
            else:
                with pytest.raises(CalibrationError, match="a page may take 20 MB"):
                    outlining.outline(source)


def test_a_box_says_why_it_ends_and_a_link_beyond_is_refused_with_its_size(monkeypatch):
    shelves.clear()
    monkeypatch.setenv("SCALESCOPE_MEMORY", "0.02")
    settings = {"checkpoint": "mamba2-tiny", "seq_len": "64"}
    most, _ = outlining.bounds("mamba2-tiny", 2, 64)
    box = opening.opened("layers", batches="2", **settings).number_input(key="batches")
    assert box.max == most and box.help.startswith(f"At most {most}: ")
    app = opening.opened("layers", batches=str(most + 5), **settings)
    assert app.number_input(key="batches").value == most + 5
    assert f"one layer of {most + 5} batches of 64 tokens" in app.error[0].value
    monkeypatch.undo()
    shelves.clear()
    box = opening.opened("layers", batches="2", **settings).number_input(key="batches")
    assert box.max == 1024 and "the command line has no such limit" in box.help


def test_every_shelf_has_room_for_few_bytes_together():
    assert sum(most for name, (_, most, _) in shelves.SHELVES.items() if name != "model") < 2**31


def test_the_conv_inputs_of_a_model_are_made_once(monkeypatch):
    source = Source("mamba2-tiny", "out-of-domain.txt", 3, 32)
    calibrating.calibration(source, silent)
    passes = []
    monkeypatch.setattr(calibrating, "calibrate", lambda *a, **k: passes.append(a))
    for layer in loading.checkpoint("mamba2-tiny").layers:
        calibrating.quantized_conv(source, layer, silent)
    assert not passes


def test_every_layer_that_several_visitors_look_at_stays_quantized():
    shelves.clear()
    default_bytes = 0
    visited = []
    for name in ("mamba-tiny", "mamba2-tiny"):
        source = Source(name, "calibration.txt", 2, 32)
        for layer in loading.checkpoint(name).layers:
            conv = calibrating.quantized_conv(source, layer, silent)
            default_bytes += size_of(conv) * (16 * 512) // (2 * 32)
            visited.append((source, layer))
    assert len(visited) == 8
    assert all(calibrating.is_quantized(*layer) for layer in visited)
    assert default_bytes < shelves.SHELVES["conv"][1]  # of 16 batches of 512 tokens, too


def test_two_visitors_with_one_wish_share_a_pass_over_the_batches(monkeypatch):
    source = Source("mamba-tiny", "calibration.txt", 3, 48)
    shelves.clear()
    passes, both = [], threading.Barrier(2, timeout=60)

    def counting(*arguments, on_progress, **settings):
        passes.append(settings)

        def show(progress):
            on_progress(progress)
            if progress.batch == 1 and progress.done == 1:
                until_watched_by(2)

        return calibrate(*arguments, on_progress=show, **settings)

    def until_watched_by(visitors: int) -> None:
        (job,) = calibrating.JOBS._jobs.values()
        while job.watchers < visitors:
            threading.Event().wait(0.005)

    def visit() -> None:
        both.wait()
        results.append(calibrating.calibration(source, silent))

    monkeypatch.setattr(calibrating, "calibrate", counting)
    results = []
    visitors = [threading.Thread(target=visit) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(60)
    assert len(passes) == 1
    one, other = results
    assert one is other and one.origin.seq_len == 48
