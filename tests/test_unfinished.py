"""Killed at any moment, on one process or on two: the file is that of a run that nobody stopped."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stopping import ROOT, Nursery, run_cli

from dashboard import cli
from dashboard.calibration import calibrate, read_text
from dashboard.calibration.archive import load_calibration
from dashboard.calibration.counting import Tally
from dashboard.calibration.gathering import gathering
from dashboard.calibration.processes import Processes
from dashboard.calibration.unfinished import Segments, calibrate_to_the_end, segments_of
from dashboard.checkpoints import load_backbone, load_checkpoint, load_language_model


@pytest.fixture(scope="module")
def tiny():
    checkpoint = load_checkpoint("mamba2-tiny")
    return checkpoint, load_language_model(checkpoint, "cpu")


def assert_same(one, other):
    assert one.origin == other.origin
    for a, b in zip(one.layers, other.layers, strict=True):
        for own, its in zip(a.slices, b.slices, strict=True):
            assert (own.x_amax, own.w_amax, own.b_amax) == (its.x_amax, its.w_amax, its.b_amax)
            pairs = [(own.silu_input, its.silu_input), (own.silu_output, its.silu_output)]
            for x, y in [*pairs, *zip(own.batches, its.batches, strict=True)]:
                np.testing.assert_array_equal(x.values, y.values)
                np.testing.assert_array_equal(x.counts, y.counts)
            assert (own.gradients is None) == (its.gradients is None)
            if own.gradients is not None:
                np.testing.assert_array_equal(own.gradients.squares, its.gradients.squares)
                np.testing.assert_array_equal(own.gradients.sums, its.gradients.sums)
                assert own.gradients.tokens == its.gradients.tokens


class Stop(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize("gradients", [False, True])
def test_what_was_stopped_goes_on_from_its_segments(tiny, tmp_path, monkeypatch, gradients):
    """Stopped three times, each time some batches further; segments after every batch."""
    monkeypatch.setattr("dashboard.calibration.unfinished.SHARE", 1e9)
    checkpoint, model = tiny
    model = model if gradients else model.base_model
    text = read_text(checkpoint, batches=6, seq_len=24)
    segments = segments_of(tmp_path, checkpoint, model, text, gradients)
    run = {"gradients": gradients}
    begun = []
    for stopped_at in (1, 2, 1):

        def stop(progress, stopped_at=stopped_at):
            begun.append(progress.batches)
            if progress.batch == stopped_at and progress.done == 2:
                raise Stop

        with pytest.raises(Stop):
            calibrate_to_the_end(
                checkpoint, model, text, segments, Processes(), **run, on_progress=stop
            )
    resumed = calibrate_to_the_end(checkpoint, model, text, segments, Processes(), **run)
    assert sorted(set(begun)) == [3, 5, 6]  # batches that were left at each start
    assert_same(resumed, calibrate(checkpoint, model, text, gradients=gradients))
    segments.remove()
    assert not list(tmp_path.iterdir())


def test_a_batch_of_two_segments_is_counted_once(tiny, tmp_path, monkeypatch):
    """As two runs leave them that did not know of each other; a broken one is counted again."""
    monkeypatch.setattr("dashboard.calibration.unfinished.SHARE", 1e9)
    checkpoint, model = tiny[0], tiny[1].base_model
    text = read_text(checkpoint, batches=4, seq_len=24)

    def stop(progress):
        if progress.batch == 3:
            raise Stop

    both = Segments(tmp_path / "both")
    for name in ("one", "other"):
        with pytest.raises(Stop):
            calibrate_to_the_end(
                checkpoint, model, text, Segments(tmp_path / name), Processes(), on_progress=stop
            )
        for file in sorted((tmp_path / name).iterdir()):
            (tmp_path / "both").mkdir(exist_ok=True)
            file.rename(tmp_path / "both" / file.name)
    broken = next((tmp_path / "both").iterdir())
    broken.write_bytes(broken.read_bytes()[:100])
    assert len(both.numbers()) == 5
    whole = calibrate_to_the_end(checkpoint, model, text, both, Processes())
    assert_same(whole, calibrate(checkpoint, model, text))


def test_segments_of_another_calibration_are_left_alone(tiny, tmp_path):
    checkpoint, model = tiny
    texts = [read_text(checkpoint, batches=n, seq_len=24) for n in (2, 3)]
    directories = {
        segments_of(tmp_path, checkpoint, model, text, gradients).directory
        for text in texts
        for gradients in (False, True)
    }
    half = load_backbone(checkpoint, "cpu").to(torch.float16)
    directories.add(segments_of(tmp_path, checkpoint, half, texts[0], False).directory)
    assert len(directories) == 5


def worker(launcher: int, rank: str) -> int:
    """The process of a rank that torchrun started."""
    for children in Path(f"/proc/{launcher}/task").glob("*/children"):
        for child in children.read_text().split():
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in environment:
                return int(child)
    raise AssertionError("no such rank")


def launch(processes: int, *command: str, **options) -> subprocess.Popen:
    """What torchrun does; its standard error is kept."""
    return run_cli(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        *command, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_two_ranks_write_the_bits_of_one_though_one_is_killed(tmp_path):
    """torchrun starts both again; they go on from what either had counted."""
    asked = ["calibrate", "mamba2-tiny", "--batches", "40", "--seq-len", "64", "--gradients"]
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert cli.main([*asked, "--out", str(one)]) == 0
    unfinished = tmp_path / "unfinished"
    launcher = launch(
        2, "--max-restarts", "2", "-m", "dashboard", *asked, "--out", str(two),
        "--log-level", "info",
        environment={"SCALESCOPE_UNFINISHED": str(unfinished)},
    )  # fmt: skip
    limit = time.monotonic() + 120
    while not list(unfinished.glob("*/*.segment.safetensors")):  # written after a first batch
        assert launcher.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    os.kill(worker(launcher.pid, "1"), signal.SIGKILL)
    try:
        _, errors = launcher.communicate(timeout=90)
    finally:
        launcher.terminate()
    assert launcher.returncode == 0, errors
    assert "of 40 batches were counted before" in errors
    assert "2 processes" in errors
    assert two.read_bytes() == one.read_bytes()
    assert not list(unfinished.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.safetensors", "two.safetensors", "unfinished",
    ]  # fmt: skip


@pytest.mark.parametrize("batches", [14, 2])
def test_ranks_of_unequal_shares_write_the_bits_of_one(batches, tmp_path):
    """5, 5 and 4 batches: rank 1 sends a group that is whole and one that is not; of 2 the last
    rank has none."""
    asked = ["calibrate", "mamba-tiny", "--batches", str(batches), "--seq-len", "32", "--no-store"]
    one, three = tmp_path / "one.safetensors", tmp_path / "three.safetensors"
    assert cli.main([*asked, "--out", str(one)]) == 0
    launcher = launch(3, "-m", "dashboard", *asked, "--out", str(three))
    _, errors = launcher.communicate(timeout=90)
    assert launcher.returncode == 0, errors
    assert three.read_bytes() == one.read_bytes()


FAILING = """
import sys

from dashboard.calibration import CalibrationError, read_text
from dashboard.calibration.processes import launched_processes
from dashboard.calibration.unfinished import Segments, calibrate_to_the_end
from dashboard.checkpoints import load_backbone, load_checkpoint

checkpoint = load_checkpoint("mamba-tiny")
text = read_text(checkpoint, batches=40, seq_len=32)
with launched_processes() as processes:

    def fail(progress):
        if processes.rank == int(sys.argv[1]) and progress.batch == 9:
            raise CalibrationError("refused")

    try:
        backbone = load_backbone(checkpoint, processes.device)
        calibrate_to_the_end(
            checkpoint, backbone, text, Segments(None), processes, on_progress=fail
        )
    except CalibrationError as error:
        sys.exit(f"rank {processes.rank}: {error}")
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_fails_says_why_and_ends_by_itself(rank, tmp_path):
    """While the others send it batches, or wait for its: no message keeps its process."""
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    launcher = launch(2, str(script), str(rank), environment={"PYTHONPATH": str(ROOT)})
    _, errors = launcher.communicate(timeout=90)
    assert launcher.returncode == 1
    assert f"rank {rank}: refused" in errors
    assert f"exitcode: 1) local_rank: {rank}" in errors  # of the sys.exit, and of no signal


class Full(Processes):
    """Rank 0 of two, whose disk has no room for what the other sends."""

    def receive(self, rank):
        raise OSError("no space left on device")


def test_what_keeps_batches_from_being_taken_in_is_said_at_once():
    """And not when all that are left have been counted."""
    with gathering(Tally(1), Full(0, 2), [[0, 2], [1, 3]]) as gather:
        gather._thread.join(20)
        with pytest.raises(OSError, match="no space left"):
            gather.note()
        with pytest.raises(OSError, match="no space left"):
            gather.finish()


def test_stopped_at_twenty_random_moments_no_file_is_less_than_whole(tmp_path):
    """By SIGKILL and SIGINT in turns, over an old file or none; each next run goes on."""
    place = tmp_path / "place"
    place.mkdir()
    out = place / "counts.safetensors"
    asked = ["calibrate", "mamba2-tiny", "--batches", "40", "--seq-len", "64"]
    asked += ["--out", str(out)]
    nursery = Nursery(SCALESCOPE_UNFINISHED=str(tmp_path / "unfinished"))
    whole = nursery.run(*asked)
    assert whole["status"] == 0
    new = out.read_bytes()
    assert load_calibration(out).origin.batches == 40
    draw = np.random.default_rng(0)
    stopped, old = 0, None
    out.unlink()
    for moment in range(20):
        by = ("SIGKILL", "SIGINT")[moment % 2]
        ended = nursery.run(*asked, after_s=draw.uniform(0, whole["s"]), by=by)
        assert ended["status"] in (0, 130, -signal.SIGKILL, -signal.SIGINT), nursery.end()
        assert [path.name for path in place.iterdir()] in ([], [out.name])
        content = out.read_bytes() if out.exists() else None
        assert content in (old, new)
        if content == new:
            old = None if old else b"what was there before"
            out.unlink() if old is None else out.write_bytes(old)
        stopped += ended["status"] != 0
    assert stopped >= 5
    assert nursery.run(*asked)["status"] == 0
    assert out.read_bytes() == new
    assert not list((tmp_path / "unfinished").iterdir())
    assert "Traceback" not in nursery.end()


@pytest.mark.parametrize("keeps", [True, False])
def test_what_is_not_to_be_kept_is_not_kept_of_a_run_that_is_stopped(
    tmp_path, monkeypatch, capsys, keeps
):
    place, seen = tmp_path / "unfinished", []
    monkeypatch.setenv("SCALESCOPE_UNFINISHED", str(place))

    def stopped(checkpoint, model, text, segments, *_, **__):
        seen.append(segments.directory)
        raise KeyboardInterrupt

    monkeypatch.setattr("dashboard.cli.calibrate.calibrate_to_the_end", stopped)
    asked = ["calibrate", "mamba-tiny", "--batches", "1", "--seq-len", "8"]
    asked += ["--out", str(tmp_path / "c.safetensors"), *([] if keeps else ["--no-store"])]
    assert cli.main(asked) == 130
    goes_on = "dashboard: stopped; the same command goes on from what was counted\n"
    assert capsys.readouterr().err == (goes_on if keeps else "dashboard: stopped\n")
    assert (seen[0].parent == place) if keeps else (seen == [None])


def test_a_full_disk_is_a_line_and_leaves_nothing(tmp_path):
    """The system's limit on the size of a file stands for the disk: of 64 bytes the batches' own
    file cannot be written, of 200 KB what is the result."""
    out = tmp_path / "counts.safetensors"
    out.write_bytes(b"what was there before")
    asked = ["calibrate", "mamba2-tiny", "--batches", "4", "--seq-len", "64", "--out", str(out)]
    nursery = Nursery()
    for most_bytes in (64, 200_000):
        assert nursery.run(*asked, most_bytes=most_bytes)["status"] == 2
        assert out.read_bytes() == b"what was there before"
        assert [path.name for path in tmp_path.iterdir()] == [out.name]
    lines = nursery.end().splitlines()
    assert len(lines) == 2 and all("File too large" in line for line in lines)


def test_a_pipe_that_nobody_reads_does_not_keep_the_file_from_being_written(tmp_path):
    out = tmp_path / "counts.safetensors"
    read, write = os.pipe()
    os.close(read)
    asked = ["calibrate", "mamba2-tiny", "--batches", "2", "--seq-len", "32", "--out", str(out)]
    process = run_cli("-m", "dashboard", *asked, stdout=write, stderr=write)
    os.close(write)
    assert process.wait(timeout=120) in (0, 120)  # 120: Python could not flush its streams
    assert load_calibration(out).origin.batches == 2
