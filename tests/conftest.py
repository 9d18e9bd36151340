"""Shared by all tests: kernels first, so that Triton is interpreted wherever there is no GPU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from playwright.sync_api import Page

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two torch processes share the cores
# What is measured and counted here is kept nowhere, and read nowhere.
os.environ["SCALESCOPE_RESULTS"] = os.environ["SCALESCOPE_CALIBRATIONS"] = ""
os.environ["SCALESCOPE_UNFINISHED"] = ""
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side: a process a core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import kernels  # noqa: F401, I001
import pytest
from dashboard.calibration import Calibration, calibrate, read_text
from dashboard.checkpoints import Checkpoint, load_backbone, load_checkpoint
from dashboard.importing import hide_kernels_distribution
from hypothesis import settings

hide_kernels_distribution()  # tests import transformers, too
# Nothing is asserted about time, and each run tries the same examples: what fails, fails for all.
# ``pytest --hypothesis-profile exploring`` looks for others.
settings.register_profile("exploring", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


class Calibrated(NamedTuple):
    """A checkpoint, and what it makes of a text."""

    checkpoint: Checkpoint
    calibration: Calibration


@pytest.fixture(scope="session")
def calibrated() -> Callable[..., Calibrated]:
    """``calibrated("mamba-tiny", batches, seq_len, text)``: a sample, made once for all tests.

    Every layer is counted, and its conv input is kept. The records are shared: change none.
    """
    backbone = cache(lambda name: load_backbone(load_checkpoint(name), "cpu"))

    @cache
    def make(
        name: str, batches: int = 3, seq_len: int = 64, text: str = "calibration.txt"
    ) -> Calibrated:
        checkpoint = load_checkpoint(name)
        tokens = read_text(checkpoint, text, batches, seq_len)
        return Calibrated(
            checkpoint, calibrate(checkpoint, backbone(name), tokens, keep=checkpoint.layers)
        )

    return make


class Server(NamedTuple):
    """The app, served."""

    address: str
    log: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """The app as its README starts it, for all tests; afterwards its log must be clean."""
    from benchmarks.page import served

    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as output, served(output) as address:
        yield Server(address, log)
    written = log.read_text()
    for bad in ("Traceback", "Exception", "Error", "Warning", "deprecated"):
        assert bad not in written, written


@pytest.fixture(scope="session")
def browser():
    """Chromium, for all tests; without it they skip, or fail where it is required."""
    if shutil.which("chromium") is None:
        assert not os.environ.get("SCALESCOPE_REQUIRE_BROWSER"), "chromium is required, not found"
        pytest.skip("chromium is not installed")
    # Imported here: on a GPU machine the kernels' tests run without Playwright.
    from playwright.sync_api import expect, sync_playwright

    from benchmarks.page import launched

    expect.set_options(timeout=180_000)  # a busy machine is slow, not wrong
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def _tab(browser) -> Iterator[Page]:
    tab = browser.new_page(locale="en-US")
    tab.set_default_timeout(180_000)
    tab.thrown = []
    tab.on("pageerror", lambda error: tab.thrown.append(str(error)))
    yield tab
    tab.close()


@pytest.fixture
def tab(_tab) -> Iterator[Page]:
    """A page at a desk, in the light; afterwards no script has failed.

    It is the same for all tests, so that the app's code is fetched and compiled once; each opens an
    address in it, which is a new visit.
    """
    _tab.set_viewport_size({"width": 1440, "height": 900})
    _tab.emulate_media(color_scheme="light")
    _tab.mouse.move(0, 0)
    _tab.thrown.clear()
    yield _tab
    assert _tab.thrown == []


@pytest.fixture(scope="module")
def paper(browser):
    """A page on which figures are drawn and their labels measured."""
    from legibility import Paper

    paper = Paper(browser)
    yield paper
    paper.page.close()
