"""What "best" is meant by: landscapes, tables, figures by predicted loss beside those by SQNR."""

import json

import numpy as np
import opening
import pytest
from opening import page_text
from test_charts import check_meta

from dashboard import cli, figures
from dashboard.analysis.report import LayerReport, report_bests, report_scale, report_slices
from dashboard.api import Calibration
from dashboard.export.tables import landscape_rows
from dashboard.rules.landscape import Landscape, landscapes, recommend
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.language import ENGLISH, LANGUAGES, language
from dashboard.text.numbers import small

QUICK = {"checkpoint": "mamba2-tiny", "batches": "2", "seq_len": "96"}
RULES = (ScaleRule("percentile", 0.999), ScaleRule("minmax"), ScaleRule("scale-wx"))


@pytest.fixture(scope="module")
def tiny():
    return Calibration.of("mamba2-tiny", batches=2, seq_len=96, gradients=True).record


@pytest.fixture(scope="module")
def by_loss(tiny) -> Landscape:
    own = tiny.layer(1).slices[0]
    return Landscape.of(own.silu_output, gradients=own.gradients, by="predicted_nats")


def test_a_scale_is_reported_with_its_predicted_cost_where_gradients_were_counted(tiny):
    own = tiny.layer(2).slices[0]
    report = report_scale(own, RULES[0])
    values = own.silu_output.values.astype(np.float64)
    # float32's quotient, rounded to the nearest: no value of so few lies on a tie
    codes = np.clip(np.round(values / report.x_out_scale), -128, 127)
    error = codes * report.x_out_scale - values
    expected = 0.5 * (own.gradients.squares * error**2).sum() / own.gradients.tokens
    assert report.predicted_nats == pytest.approx(expected, rel=1e-6)
    layer = LayerReport(2, report_slices(tiny.layer(2), RULES[0]), None)
    assert layer.measures("x")["predicted_nats"] == report.predicted_nats
    bare = Calibration.of("mamba2-tiny", batches=1, seq_len=16).record
    assert report_scale(bare.layer(0).slices[0], RULES[0]).predicted_nats is None
    without = LayerReport(0, report_slices(bare.layer(0), RULES[0]), None)
    assert "predicted_nats" not in without.measures("x")


def test_the_valley_of_cost_is_what_costs_a_tenth_more_at_most(by_loss):
    first, last = by_loss.costs_at_most(0.1)
    nats = dict(zip(by_loss.alphas.tolist(), by_loss.predicted_nats.tolist(), strict=True))
    least = min(nats.values())
    inside = [a for a in nats if first <= a <= last]
    assert by_loss.best_alpha in inside
    assert all(nats[a] <= 1.1 * least for a in inside)
    below, above = [a for a in nats if a < first], [a for a in nats if a > last]
    assert not below or nats[max(below)] > 1.1 * least
    assert not above or nats[min(above)] > 1.1 * least
    bare = Landscape.of(by_loss_histogram())
    with pytest.raises(ValueError, match="needs gradients"):
        bare.costs_at_most(0.1)


def by_loss_histogram():
    return (
        Calibration.of("mamba2-tiny", batches=1, seq_len=16).record.layer(0).slices[0].silu_output
    )


def test_the_sweep_is_told_and_exported_in_nats(by_loss):
    verdict = captions.sweep_verdict(by_loss, ENGLISH)
    least = float(by_loss.predicted_nats.min())
    at = by_loss.predicted_nats[by_loss.index(0.9995)]
    assert (
        f"by predicted loss: {small(least)} nats, {small(at - least)} less than 0.9995" in verdict
    )
    peak = by_loss.alphas[np.argmax(by_loss.sqnr_db)]
    assert f"SQNR is greatest at {peak:.12g}," in captions.cost_caption(by_loss, ENGLISH)
    rows = landscape_rows(by_loss)
    assert [row["predicted_nats"] for row in rows] == by_loss.predicted_nats.tolist()


def test_one_alpha_by_loss_is_said_with_what_it_costs_beyond_each_best(tiny):
    recommended = recommend(landscapes(tiny, by="predicted_nats"))
    sentence = captions.recommendation(recommended, ENGLISH)
    total = sum(choice.excess_nats[recommended.alpha] for choice in recommended.layers)
    assert f"by predicted loss: **{recommended.alpha:.12g}**" in sentence
    assert f"cost {small(total)} nats more" in sentence
    row = captions.recommendation_rows(recommended, ENGLISH)[0]
    choice = recommended.layers[0]
    assert row["predicted_nats"] == small(choice.predicted_nats)
    assert row["MinMax loses"] == f"{small(choice.excess_nats[1.0])} nats"


def test_layers_by_loss_name_the_one_that_pays_most(tiny):
    by = landscapes(tiny, by="predicted_nats")
    reports = [
        LayerReport(own.layer, report_slices(own, RULES[1]), None, bests=report_bests(own, by))
        for own in tiny.layers
    ]
    excess = [
        report.slices[0].chosen.predicted_nats - by[report.layer, "x"].predicted_nats.min()
        for report in reports
    ]
    worst = int(np.argmax(excess))
    headline = captions.layers_headline_by_loss(reports, 0, ENGLISH)
    assert headline.startswith(f"Layer {worst} loses most: {small(excess[worst])} nats")


@pytest.mark.parametrize("code", LANGUAGES)
def test_figures_by_loss_show_it_and_can_be_read(paper, tiny, by_loss, code):
    say = language(code)
    own = tiny.layer(1).slices[0]
    rows = [report_scale(own, rule) for rule in RULES]
    sweep = figures.alpha_sweep(by_loss, rows, say)
    check_meta(sweep)
    traces = [trace for trace in sweep.data if trace.type == "scatter" and trace.yaxis == "y2"]
    curves = [trace for trace in traces if trace.mode == "lines"]
    np.testing.assert_allclose(curves[0].y, by_loss.predicted_nats, rtol=1e-6)  # float32
    (points,) = [trace for trace in traces if trace.mode == "markers"]
    low, high = (10**end for end in sweep.layout.yaxis2.range)
    nats = [row.predicted_nats for row in rows]
    assert sorted(points.y) == pytest.approx(sorted(np.clip(nats, low, high)), rel=1e-6)
    paper.check(sweep)
    scales = [[report_scale(layer.slices[0], rule) for rule in RULES] for layer in tiny.layers]
    table = figures.cost_heatmap([layer.layer for layer in tiny.layers], scales, say)
    check_meta(table)
    cells = np.array([[scale.predicted_nats for scale in row] for row in scales])
    assert [[text.strip("<b/>") for text in row] for row in table.data[1].text] == [
        [small(value) for value in row] for row in cells
    ]
    shade = np.array(table.data[1].z)
    assert shade[0].argmax() == cells[0].argmax() and shade[0].min() == 0
    paper.check(table)


def test_pages_go_by_loss_once_gradients_were_counted_unless_told_otherwise():
    settings = {**QUICK, "seq_len": "80"}
    app = opening.opened("sweep", **settings)
    assert app.segmented_control(key="best_by").value == "sqnr_db"
    assert "by predicted loss" not in page_text(app)
    app.segmented_control(key="best_by").set_value("predicted_nats").run()
    assert "by predicted loss" in page_text(app)
    for key in ("sweep", "layers"):
        app = opening.opened(key, **settings)  # another visitor: the counts are there
        assert app.segmented_control(key="best_by").value == "predicted_nats"
        assert "best_by" not in app.query_params
    columns = app.dataframe[0].value.columns
    assert "predicted_nats" in columns and "sqnr_db" in columns
    by_sqnr = opening.opened("layers", **settings, best_by="sqnr_db")
    assert (
        by_sqnr.query_params["best_by"] == ["sqnr_db"]
        or by_sqnr.query_params["best_by"] == "sqnr_db"
    )
    assert "dB against its best α" in page_text(by_sqnr) or "does another α gain" in page_text(
        by_sqnr
    )


def test_a_calibration_file_goes_by_what_it_holds(tmp_path):
    for gradients in (False, True):
        path = str(tmp_path / f"{gradients}.safetensors")
        record = Calibration.of("mamba2-tiny", batches=1, seq_len=32, gradients=gradients)
        record.save(path)
        app = opening.opened("sweep", checkpoint=path)
        box = app.segmented_control(key="best_by")
        assert box.disabled != gradients
        assert box.value == ("predicted_nats" if gradients else "sqnr_db")
        assert ("by predicted loss" in page_text(app)) == gradients


def test_analyze_prints_the_cost_of_a_file_with_gradients(tmp_path, capsys):
    path = str(tmp_path / "counts.safetensors")
    made = Calibration.of("mamba2-tiny", batches=1, seq_len=32, gradients=True)
    made.save(path)
    assert cli.main(["analyze", path, "--observer", "minmax", "--format", "json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert layers[1]["predicted_nats"] == made.layer(1).scale("minmax").predicted_nats
