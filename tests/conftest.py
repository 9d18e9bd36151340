"""Shared by all tests: kernels first, so that Triton is interpreted wherever there is no GPU."""

import os
import shutil

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two torch processes share the cores

import kernels  # noqa: F401, I001
import pytest


@pytest.fixture(scope="module")
def browser():
    """Debian's ``chromium``."""
    chromium = shutil.which("chromium")
    if chromium is None:
        assert not os.environ.get("SCALESCOPE_REQUIRE_BROWSER"), "chromium is required, not found"
        pytest.skip("chromium is not installed")
    # Imported here: on a GPU machine the kernels' tests run without Playwright.
    from playwright.sync_api import sync_playwright

    from benchmarks.page import FLAGS

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
