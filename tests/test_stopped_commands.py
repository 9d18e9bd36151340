"""Stopped at any moment, by whatever, a command leaves the old file, the whole new one, or none."""

import argparse
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from stopping import Nursery, run_cli

from dashboard.calibration import whole_files
from dashboard.calibration.whole_files import whole_directory, write_whole
from dashboard.checkpoints import CheckpointError
from dashboard.cli import program

ALL_ENDS = (0, 1, 130, 141, -signal.SIGKILL)
QUICK = ("--batches", "2", "--seq-len", "32")
OLD = b"what was there before"


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    """Counts are kept, so that a command that was stopped is soon where it was."""
    home = tmp_path_factory.mktemp("kept")
    nursery = Nursery(
        SCALESCOPE_CALIBRATIONS=str(home / "calibrations"),
        SCALESCOPE_RESULTS=str(home / "results"),
    )
    yield nursery
    assert "Traceback" not in nursery.end()


@pytest.fixture(scope="module")
def counts(nursery, tmp_path_factory):
    path = tmp_path_factory.mktemp("counts") / "counts.safetensors"
    assert nursery.run("calibrate", "mamba2-tiny", *QUICK, "--out", str(path))["status"] == 0
    return path


def content_of(path: Path) -> object:
    """A file's bytes, those of each file of a directory, or None where there is nothing."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir()}
    return path.read_bytes() if path.exists() else None


COMMANDS = {
    "analyze": (("analyze", "COUNTS", "--format", "json", "--out", "OUT"), "report.json"),
    "check": (("check", "mamba2-small-quamba2", "--format", "json", "--out", "OUT"), "check.json"),
    "export": (("export", "mamba2-tiny", *QUICK, "--out", "OUT"), "scales.bin"),
    "export --into": (
        ("export", "mamba2-small", "--into", "mamba2-small-quamba2", *QUICK, "--out", "OUT"),
        "quantized",
    ),
    "impact": (
        ("impact", "mamba2-tiny", *QUICK, "--on-batches", "2", "--format", "csv", "--out", "OUT"),
        "impact.csv",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_stopped_at_every_step_of_its_writing_no_file_is_less_than_whole(
    name, nursery, counts, tmp_path
):
    """Every step that touches the directory, killed and interrupted; then a full disk and a pipe
    that is closed, at random sizes and moments; and an export at twenty random moments, too."""
    arguments, file = COMMANDS[name]
    out = tmp_path / file
    asked = [{"COUNTS": str(counts), "OUT": str(out)}.get(own, own) for own in arguments]
    whole = nursery.run(*asked)
    assert whole["status"] == 0
    new = content_of(out)
    assert new is not None
    is_directory = out.is_dir()
    place = str(tmp_path)

    def begin_with(old: bytes | None) -> None:
        if is_directory:
            for own in out.iterdir() if out.exists() else ():
                own.unlink()
            if out.exists():
                out.rmdir()
        else:
            out.unlink(missing_ok=True) if old is None else out.write_bytes(old)

    def beside() -> set[str]:
        return {path.name for path in tmp_path.iterdir()} - {out.name}

    def run_and_check(old: bytes | None, **stop: object) -> int:
        """Its exit status; only what was killed leaves something, which the next takes away."""
        begin_with(old)
        before = beside()
        ended = nursery.run(*asked, **stop)
        assert ended["status"] in (*ALL_ENDS, 2), ended
        assert content_of(out) in ((None, new) if old is None else (old, new))
        left = beside() - before
        assert not left or (ended["status"] < 0 and all(own.endswith(".part") for own in left))
        return ended["status"]

    stopped = step = 0
    while True:
        by = ("SIGKILL", "SIGINT")[step % 2]
        old = None if is_directory or step % 4 > 1 else OLD
        if run_and_check(old, by=by, step=step, place=place) == 0:
            break
        stopped += 1
        step += 1
    assert stopped >= 4
    assert run_and_check(None) == 0
    assert content_of(out) == new and not beside()

    draw = np.random.default_rng(0)
    size = max(map(len, new.values())) if is_directory else len(new)
    for most_bytes in draw.integers(0, size, 4).tolist():
        old = None if is_directory else OLD
        assert run_and_check(old, by="closed pipe", most_bytes=most_bytes) == 2
        assert content_of(out) == old and not beside()
    for after_s in draw.uniform(0, whole["s"], 3):
        run_and_check(None, by="closed pipe", after_s=after_s)
        assert content_of(out) == new and not beside()
    for moment in range(20) if name.startswith("export") else ():
        by = ("SIGKILL", "SIGINT")[moment % 2]
        old = None if is_directory or moment % 4 > 1 else OLD
        run_and_check(old, by=by, after_s=draw.uniform(0, whole["s"]))
    assert run_and_check(None) == 0
    assert content_of(out) == new and not beside()


def test_impact_stopped_at_twenty_random_moments_goes_on(tmp_path):
    """What was measured before a stop is on disk, and stays the very file: nobody measured it
    again. The file that was asked for is the old one, the whole new one, or none."""
    results, place = tmp_path / "results", tmp_path / "place"
    place.mkdir()
    out = place / "impact.json"
    asked = ["impact", "mamba2-tiny", *QUICK, "--on-batches", "6", "--each", "--format", "json"]
    asked += ["--out", str(out)]
    nursery = Nursery(
        SCALESCOPE_CALIBRATIONS=str(tmp_path / "calibrations"), SCALESCOPE_RESULTS=str(results)
    )
    assert nursery.run(*asked)["status"] == 0

    def clear() -> None:
        for path in results.iterdir():
            path.unlink()

    clear()
    whole = nursery.run(*asked)  # counts are kept by now, results are not
    new = out.read_bytes()
    assert len(json.loads(new)["settings"]) == 5
    draw = np.random.default_rng(0)
    measured, goes_on, old = {}, 0, None
    clear()
    out.unlink()
    for moment in range(20):
        by = ("SIGKILL", "SIGINT")[moment % 2]
        ended = nursery.run(*asked, by=by, after_s=draw.uniform(0.2, 1.0) * whole["s"])
        assert ended["status"] in ALL_ENDS
        assert [path.name for path in place.iterdir()] in ([], [out.name])
        content = content_of(out)
        assert content in (old, new)
        now = {path.name: path.stat().st_ino for path in results.iterdir()}
        assert measured.items() <= now.items()
        assert not [name for name in now if name.startswith(".")]
        goes_on += 0 < len(now) < 6
        measured = now
        if content == new:
            old = None if old else OLD
            out.unlink() if old is None else out.write_bytes(old)
            clear()
            measured = {}
    assert goes_on
    assert nursery.run(*asked)["status"] == 0
    assert out.read_bytes() == new
    assert "Traceback" not in nursery.end()


@pytest.fixture()
def interruptible():
    """Ctrl C raises what Python itself raises, whatever the tests before have made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_that_a_library_turns_into_an_error_is_one(monkeypatch, capsys):
    """As torch's C code does, of a tensor that it is reading; a refusal may be made of it, too."""

    def ended(error, interrupted):
        def run(arguments):
            with suppress(KeyboardInterrupt):
                if interrupted:
                    signal.raise_signal(signal.SIGINT)
            raise error

        arguments = argparse.Namespace(run=run, log_level=None)
        monkeypatch.setattr(program, "parser", lambda: Mock(parse_args=lambda _: arguments))
        status = program.main([])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        return status, capsys.readouterr().err

    for error in (ValueError("no shape"), CheckpointError("cannot be read"), KeyboardInterrupt()):
        assert ended(error, True) == (130, "dashboard: stopped\n")
    assert ended(KeyboardInterrupt(), False) == (130, "dashboard: stopped\n")
    assert ended(CheckpointError("cannot be read"), False) == (2, "dashboard: cannot be read\n")
    with pytest.raises(ValueError, match="no shape"):
        ended(ValueError("no shape"), False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_nobody_reads_ends_the_command_without_a_word():
    """As after ``| head``; a result that went to a file is there all the same."""
    read, write = os.pipe()
    os.close(read)
    process = run_cli(
        "-m", "dashboard", "check", "mamba2-small-quamba2", stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (141, "")


# The writer itself


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    out = tmp_path / "report.json"
    (tmp_path / ".report.json.1.2.part").write_bytes(b"left")
    (tmp_path / ".report.json.3.4.part").mkdir()
    (tmp_path / ".report.json.3.4.part" / "model.bin").write_bytes(b"left")
    for other in (".report.json.md", ".other.json.1.2.part", "report.json.1.2.part"):
        (tmp_path / other).write_bytes(b"somebody else's")
    with whole_directory(tmp_path / "busy"):
        write_whole(out, b"one", b"two")
        write_whole(tmp_path / "busy.json", b"")
        (writing,) = tmp_path.glob(".busy.*.part")
        with pytest.raises(OSError, match="exists"), whole_directory(tmp_path / "busy"):
            pass  # the same process and thread: its own name is taken, and stays
        assert writing.is_dir()
    assert out.read_bytes() == b"onetwo"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".other.json.1.2.part", ".report.json.md", "busy", "busy.json", "report.json",
        "report.json.1.2.part",
    ]  # fmt: skip


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(OLD)
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert Path("/dev/null").is_char_device()
    write_whole(Path("/dev/null"), b"nowhere")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("advice", [whole_files.BEGIN_WRITING, None])
def test_pieces_of_any_size_are_written_end_to_end(advice, tmp_path, monkeypatch):
    """Shorter and longer than a step after which the disk begins, and none at all."""
    monkeypatch.setattr(whole_files, "STEP", 100)
    monkeypatch.setattr(whole_files, "BEGIN_WRITING", advice)
    content = bytes(range(256)) * 4
    sizes = (0, 1, 99, 100, 0, 101, 300, 7, 416, 0)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    pieces = [content[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    write_whole(tmp_path / "file", *pieces[:5], *map(memoryview, pieces[5:]))
    assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("unnamed", [True, False])
def test_an_interruption_leaves_the_old_file_alone(tmp_path, monkeypatch, unnamed):
    """With files that have no name until they are whole, and where there are none."""
    if not unnamed:
        monkeypatch.setattr(whole_files, "UNNAMED", 0)
    out = tmp_path / "out"
    out.write_bytes(OLD)

    def interrupted(file: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(whole_files.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_whole(out, b"half")
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and out.read_bytes() == OLD
    write_whole(out, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and out.read_bytes() == b"new"
