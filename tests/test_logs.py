"""What the programs log, and where: standard error alone, from the level that is asked for."""

import io
import json
import logging
import sys
from functools import partial

import pytest

from dashboard import cli
from dashboard.cli import output
from dashboard.logs import PACKAGES, log_to_stderr
from dashboard.refusals import Refusal

QUICK = ["--batches", "2", "--seq-len", "32"]


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch):
    """Loggers as the project's modules find them; put back as they were."""
    monkeypatch.delenv("SCALESCOPE_LOG", raising=False)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.level, logger.handlers = level, handlers
        logger.manager._clear_cache()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_info_names_the_model_the_calibration_and_its_time_and_leaves_the_output_alone(capsys):
    wanted = ["analyze", "mamba-tiny", *QUICK, "--layers", "0,2", "--format", "csv"]
    assert cli.main(wanted) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert cli.main([*wanted, "--log-level", "info"]) == 0
    written = capsys.readouterr()
    loaded, begun, done = written.err.splitlines()
    assert "INFO dashboard.checkpoints.backbone: mamba-tiny (mamba) loaded on c" in loaded
    assert begun.endswith(
        "calibrating 2 layers of mamba-tiny on 2 batches of 32 tokens of calibration.txt"
    )
    assert "INFO dashboard.calibration.capture: calibrated mamba-tiny in " in done
    columns = [row.split(",") for text in (quiet.out, written.out) for row in text.splitlines()]
    times = columns[0].index("kernel_time_ms")
    for row in columns:
        row[times] = ""
    assert columns[: len(columns) // 2] == columns[len(columns) // 2 :]


def test_debug_says_where_a_refusal_came_from_and_else_it_is_one_line(capsys):
    assert cli.main(["analyze", "nowhere", "--log-level", "debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and "in load_checkpoint" in err
    assert err.splitlines()[-1].startswith("dashboard: nowhere is neither")
    assert cli.main(["analyze", "nowhere"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_environment_sets_the_level_and_an_option_goes_before_it(capsys, monkeypatch):
    monkeypatch.setenv("SCALESCOPE_LOG", "info")
    assert cli.main(["calibrate", "mamba-tiny", *QUICK, "--out", "no/such/place.safetensors"]) == 2
    assert cli.main(["analyze", "mamba-tiny", *QUICK, "--layers", "1", "--log-level", "error"]) == 0
    assert " INFO " not in capsys.readouterr().err
    assert cli.main(["analyze", "mamba-tiny", *QUICK, "--layers", "1"]) == 0
    assert " INFO " in capsys.readouterr().err


def test_a_level_that_is_none_is_refused_with_the_place_it_came_from(capsys, monkeypatch):
    with pytest.raises(Refusal, match="the log level is 'loud'; allowed are debug, info, warning"):
        log_to_stderr("loud")
    monkeypatch.setenv("SCALESCOPE_LOG", "INFO!")
    assert cli.main(["analyze", "mamba-tiny", *QUICK]) == 2
    assert capsys.readouterr().err == (
        "dashboard: SCALESCOPE_LOG is 'INFO!'; allowed are debug, info, warning, error\n"
    )


def test_a_line_is_written_once_however_often_the_app_starts(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for _ in range(3):
        log_to_stderr("warning")
    logging.getLogger("kernels.compiled").warning("once")
    assert sys.stderr.getvalue().count("once") == 1


def test_a_terminal_sees_how_far_the_calibration_is_and_then_nothing_of_it(capsys, monkeypatch):
    wanted = ["analyze", "mamba-tiny", *QUICK, "--layers", "0", "--format", "json"]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    # Drawn at every step, not ten times a second.
    monkeypatch.setattr(output, "tqdm", partial(output.tqdm, mininterval=0))
    assert cli.main(wanted) == 0
    shown = terminal.getvalue()
    assert "batch 1 of 2, layer 0" in shown and "%|" in shown and " left" in shown
    assert shown.rpartition("\r")[2] == "" and shown.rstrip("\r").rpartition("\r")[2].strip() == ""
    assert json.loads(capsys.readouterr().out)["layers"][0]["layer"] == 0


def test_where_no_terminal_is_there_is_no_bar_and_no_control_code(capsys):
    assert cli.main(["analyze", "mamba-tiny", *QUICK]) == 0
    written = capsys.readouterr()
    assert written.err == ""
    assert not any(ord(c) < 32 and c != "\n" for c in written.out)
