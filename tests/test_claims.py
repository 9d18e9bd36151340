"""Verdicts follow from what was measured: on a real model, and on one made to say otherwise."""

import html
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from opening import opened
from test_lesson_pages import plain_text

import dashboard.lesson.claims as module
from dashboard.analysis.report import KernelRun
from dashboard.calibration import calibrate, read_text
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.lesson.calibrated import CalibratedLayer, CalibratedModel
from dashboard.lesson.claims import (
    DOES_NOT_FOLLOW,
    HOLDS,
    IN_PART,
    Claim,
    additions,
    claims,
    verdict_of,
)
from dashboard.lesson.quotations import DOCUMENTS, QUOTES
from dashboard.rules.landscape import Landscape, landscapes, recommend
from dashboard.rules.published import PA_DIFFERENCES_PRINTED, QUAMBA2_130M
from dashboard.text.language import LANGUAGES, language

SAY = language("en")
ONES = Histogram(np.array([1.0], dtype=np.float32), np.array([4]))
LAYER_OF_ONES = (SimpleNamespace(silu_output=ONES),)


def kernel(differing: int) -> KernelRun:
    return KernelRun("triton-interpret", 1.0, 1000, differing, (30.0,))


@pytest.fixture(scope="module")
def trained() -> CalibratedModel:
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, batches=4, seq_len=128)
    calibration = calibrate(checkpoint, load_backbone(checkpoint), text)
    return CalibratedModel(
        "mamba2-tiny",
        tuple(
            CalibratedLayer(layer.layer, layer.slices[0], Landscape.of(layer.slices[0].silu_output))
            for layer in calibration.layers
        ),
        recommend(landscapes(calibration)),
    )


def by_key(trained: CalibratedModel, run: KernelRun | None = None) -> dict[str, Claim]:
    return {claim.key: claim for claim in claims(trained, run, SAY)}


def test_all_some_or_none():
    assert verdict_of([True, True]) == HOLDS
    assert verdict_of([True, False]) == IN_PART
    assert verdict_of([False, False]) == DOES_NOT_FOLLOW


def test_the_corrections_come_out_of_the_measurements(trained):
    verdicts = by_key(trained, kernel(0))
    assert verdicts["widens"].verdict == DOES_NOT_FOLLOW
    assert "45 to 239" in verdicts["widens"].measured
    assert verdicts["alphas"].verdict == verdicts["quantiles"].verdict == DOES_NOT_FOLLOW
    assert verdicts["default"].verdict == DOES_NOT_FOLLOW
    assert verdicts["outlier"].verdict == verdicts["larger_models"].verdict == IN_PART
    assert verdicts["calibrate"].verdict == verdicts["saturates"].verdict == HOLDS
    assert verdicts["shape"].verdict == verdicts["direct"].verdict == HOLDS


def test_every_quoted_claim_is_judged_once_and_says_what_decides(trained):
    measured = claims(trained, None, SAY)
    assert [claim.key for claim in measured] == list(QUOTES)
    assert all(claim.quotes and claim.criterion and claim.verdict for claim in measured)
    added = additions(trained, SAY)
    assert {claim.key for claim in added}.isdisjoint(QUOTES)
    assert all(claim.statement and not claim.quotes and not claim.verdict for claim in added)


def test_a_quote_says_where_it_stands():
    for quote in (entry for quotes in QUOTES.values() for entry in quotes):
        assert quote.document in DOCUMENTS
        assert re.fullmatch(r"\d+(–\d+)?", quote.lines)
        assert quote.english and not re.search(r"[\u4e00-\u9fff]", quote.english)


def test_conv1ds_own_scale_saturates_and_is_never_too_large(trained):
    verdicts = by_key(trained)
    for layer in trained.layers:  # its largest code stands for far less than the output reaches
        assert 127 * layer.calibration.scale_wx < layer.silu_output.absmax / 10
    assert "too small in 4 of 4 layers" in verdicts["too_large_too_small"].measured
    assert verdicts["too_large_too_small"].verdict == IN_PART


def test_the_toys_values_do_not_concentrate_where_they_are_said_to():
    v = np.arange(-50, 51) / 10
    y = v / (1 + np.exp(-v))
    inside = int(((y >= 0) & (y <= 3)).sum())
    assert inside == 32
    measured = module._compresses(SimpleNamespace(layers=LAYER_OF_ONES), SAY).measured
    assert "32 of its 101 values, 32 %, lie in [0, 3]" in measured
    assert f"span {y.max() - y.min():.2f}, 47.6 % less" in measured


def test_the_toys_percentile_is_the_one_of_another_alpha():
    v = torch.linspace(-5, 5, 101, dtype=torch.float64)
    y = torch.nn.functional.silu(v).abs()
    coarse, proper = (torch.quantile(y, q).item() / 127 for q in (0.995, 0.9995))
    assert f"{coarse:.4f}" == "0.0387" and f"{proper:.4f}" != "0.0387"
    measured = module._toy_error(SAY).measured
    assert f"0.0387 is the 99.5 % quantile of the grid's outputs over 127, {coarse:.6f}" in measured
    assert f"α = 0.9995 would give {proper:.5f}" in measured


def test_the_printed_differences_are_ten_times_those_of_their_own_digits(trained):
    own = [round(100 * (row.pa_1_0 / row.pa_0_5 - 1), 4) for row in QUAMBA2_130M[1:]]
    assert own == [0.0057, 0.0027, -0.0051, -0.0046]
    for value, text in zip(own, PA_DIFFERENCES_PRINTED[1:], strict=True):
        assert round(10 * value, 2) == text
    measured = by_key(trained)["alphas"].measured
    assert "Quamba2-130m-w4a8 prints differences of 0.06 %, 0.03 %, −0.05 %, −0.05 %" in measured
    assert "0.0057 %, 0.0027 %, −0.0051 %, −0.0046 %" in measured
    assert "differ by +8, +4, −8, −6 of 1/1024" in measured


def test_larger_models_are_contradicted_by_layer_2_and_the_scale_of_the_2_7b_is_shown(trained):
    measured = by_key(trained)["larger_models"].measured
    assert "in layer 2: 9.22 in the 2.7b model, 9.83 in the 130m" in measured
    assert "grew by 17 %, from 0.01579 to 0.01849" in measured
    assert f"fell by 59 %, from 0.00919 to {0.01849 / 4.89:.5f}" in measured


def test_a_small_chance_is_said_in_words():
    assert module.odds(1.55e-13) == "10¹²" and module.odds(0.009) == "10²"


def test_a_kernel_that_leaves_its_specification_holds_in_part(trained):
    assert by_key(trained, kernel(3))["direct"].verdict == IN_PART
    without = by_key(trained)["direct"]
    assert without.verdict == HOLDS and "ran just now" not in without.measured


def test_a_model_in_which_alpha_does_nothing_gets_another_verdict(trained):
    # All outputs are one value, so each percentile is that value.
    flat = Histogram(np.array([2.0], dtype=np.float32), np.array([10_000]))
    landscape = Landscape.of(flat)
    same = replace(
        trained,
        layers=tuple(
            replace(
                layer,
                landscape=landscape,
                calibration=replace(layer.calibration, silu_output=flat, batches=(flat,) * 4),
            )
            for layer in trained.layers
        ),
        recommendation=recommend({(0, "x"): landscape}),
    )
    verdicts = by_key(same)
    assert verdicts["alphas"].verdict == verdicts["quantiles"].verdict == HOLDS
    assert verdicts["default"].verdict == HOLDS
    assert verdicts["minmax"].verdict == DOES_NOT_FOLLOW  # nothing is larger, and nothing better


def test_figures_are_those_of_the_layers(trained):
    verdicts = by_key(trained)
    gains = trained.gains_db
    assert f"{min(gains):.1f} to {max(gains):.1f} dB" in verdicts["alphas"].measured
    shares = [e.silu_output.absmax / e.calibration.silu_input.absmax for e in trained.layers]
    assert all(share <= 1 for share in shares)
    wins = sum(e.sqnr_db(0.9995) > e.sqnr_db(1.0) for e in trained.layers)
    assert f"By SQNR α = 0.9995 beats it in {wins} of 4 layers" in verdicts["minmax"].measured
    closer = 0
    for layer in trained.layers:
        y = np.repeat(layer.silu_output.values, layer.silu_output.counts).astype(np.float64)
        errors = []
        for alpha in (0.9995, 1.0):
            scale = np.quantile(np.abs(y), alpha) / 127
            codes = np.clip(np.sign(y) * np.floor(np.abs(y / scale) + 0.5), -128, 127)
            errors.append(np.abs(codes * scale - y).mean())
        closer += errors[0] < errors[1]
    assert f"by the mean error in {closer} and" in verdicts["minmax"].measured
    worst = max(e.landscape.loss_db(0.9995) for e in trained.layers)
    assert f"to {worst:.1f} dB against each layer's own best" in verdicts["default"].measured


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_page_shows_every_claim_with_its_verdict_and_a_link(code, monkeypatch):
    app = opened("claims", checkpoint="mamba2-tiny", lang=code)
    links = app.get("page_link")
    words = plain_text(app)
    assert len(links) == len(QUOTES) + 2
    for verdict in (module.HOLDS, module.DOES_NOT_FOLLOW):
        assert language(code)(verdict) in words
    for quote in (entry for quotes in QUOTES.values() for entry in quotes):
        assert quote.original in html.unescape(words)
        assert quote.document in words
