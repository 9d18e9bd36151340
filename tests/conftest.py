"""Shared by all tests: kernels first, so that Triton is interpreted wherever there is no GPU."""

import os
import shutil

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two torch processes share the cores

import kernels  # noqa: F401, I001
import pytest
from dashboard.importing import hide_kernels_distribution

hide_kernels_distribution()  # tests import transformers, too


@pytest.fixture(scope="module")
def browser():
    """Chromium for a module's tests; without it they skip, or fail where it is required."""
    if shutil.which("chromium") is None:
        assert not os.environ.get("SCALESCOPE_REQUIRE_BROWSER"), "chromium is required, not found"
        pytest.skip("chromium is not installed")
    # Imported here: on a GPU machine the kernels' tests run without Playwright.
    from playwright.sync_api import sync_playwright

    from benchmarks.page import launched

    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def paper(browser):
    """A page on which figures are drawn and their labels measured."""
    from legibility import Paper

    paper = Paper(browser)
    yield paper
    paper.page.close()
