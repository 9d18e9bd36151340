"""Verdicts follow from what was measured: on a real model, and on one made to say otherwise."""

from dataclasses import replace

import numpy as np
import pytest
from test_lesson_pages import ROOT, told

import dashboard.claims as module
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.claims import DOES_NOT_FOLLOW, HOLDS, IN_PART, claims, verdict_of
from dashboard.histogram import Histogram
from dashboard.landscape import Landscape
from dashboard.language import LANGUAGES, language
from dashboard.lesson.trained import Trained, TrainedLayer
from dashboard.report import KernelRun

SAY = language("en")


def kernel(differing: int) -> KernelRun:
    return KernelRun("triton-interpret", 1.0, 1000, differing, (30.0,))


@pytest.fixture(scope="module")
def trained() -> Trained:
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, batches=4, seq_len=128)
    found = calibrate(checkpoint, load_backbone(checkpoint), text)
    return Trained("mamba2-tiny", tuple(
        TrainedLayer(each.layer, each.slices[0], Landscape.of(each.slices[0].silu_output))
        for each in found.layers
    ))  # fmt: skip


def by_start(found: tuple) -> dict[str, object]:
    """By the first three words."""
    return {" ".join(claim.said.split()[:3]): claim for claim in found}


def test_all_some_or_none():
    assert verdict_of([True, True]) == HOLDS
    assert verdict_of([True, False]) == IN_PART
    assert verdict_of([False, False]) == DOES_NOT_FOLLOW


def test_the_corrections_come_out_of_the_measurements(trained):
    found = by_start(claims(trained, kernel(0), SAY))
    assert found["A ratio above"].verdict == DOES_NOT_FOLLOW
    assert "45 to 239" in found["A ratio above"].measured
    assert found["α hardly matters:"].verdict == DOES_NOT_FOLLOW
    assert found["With 0.05 %"].verdict == IN_PART
    assert found["The output scale"].verdict == HOLDS
    assert found["The kernel adds"].verdict == HOLDS


def test_a_kernel_that_differs_does_not_pass(trained):
    assert by_start(claims(trained, kernel(3), SAY))["The kernel adds"].verdict == DOES_NOT_FOLLOW
    assert "The kernel adds" not in by_start(claims(trained, None, SAY))


def test_a_model_in_which_alpha_does_nothing_gets_another_verdict(trained):
    # All outputs are one value, so each percentile is that value.
    flat = Histogram(np.array([2.0], dtype=np.float32), np.array([10_000]))
    landscape = Landscape.of(flat)
    same = replace(trained, layers=tuple(
        replace(each, landscape=landscape,
                counted=replace(each.counted, silu_output=flat, batches=(flat,) * 4))
        for each in trained.layers
    ))  # fmt: skip
    assert by_start(claims(same, None, SAY))["α hardly matters:"].verdict == HOLDS


def test_figures_are_those_of_the_layers(trained):
    found = by_start(claims(trained, None, SAY))
    gains = trained.gains_db
    assert f"{min(gains):.1f} to {max(gains):.1f} dB" in found["α hardly matters:"].measured
    shares = [e.silu_output.absmax / e.counted.silu_input.absmax for e in trained.layers]
    assert all(share <= 1 for share in shares)
    wins = sum(e.sqnr_db(0.9995) > e.sqnr_db(1.0) for e in trained.layers)
    assert f"α = 0.9995 beats MinMax in {wins} of 4 layers" in found["A percentile is"].measured


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_page_shows_every_claim_with_its_verdict_and_a_link(code, monkeypatch):
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["checkpoint"] = "mamba2-tiny"
    app.query_params["lang"] = code
    app.switch_page("dashboard/pages/claims.py").run()
    assert not app.exception
    links = app.get("page_link")
    words = told(app)
    assert len(links) == 11
    for verdict in (module.HOLDS, module.DOES_NOT_FOLLOW):
        assert language(code)(verdict) in words
