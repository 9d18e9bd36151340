"""Formats: all formats beside each other, the page, its sentences and its figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from opening import opened, page_text
from oracles import values_of

from dashboard import figures
from dashboard.analysis.formats import format_points, format_rows, slice_formats
from dashboard.calibration.gradients import GradientSums
from dashboard.checkpoints import load_checkpoint
from dashboard.formats import REGISTERED, best_format, names
from dashboard.text import captions
from dashboard.text.language import ENGLISH, language


@pytest.fixture(scope="module")
def counted(calibrated):
    """The x slices of mamba2-tiny, with gradients that were drawn."""
    layers = calibrated("mamba2-tiny").calibration.layers
    generator = torch.Generator().manual_seed(0)
    slices = {}
    for layer in layers:
        own = layer.slices[0]
        y = torch.from_numpy(values_of(own.silu_output))
        g = torch.randn(len(y), generator=generator)
        slices[layer.layer] = replace(own, gradients=GradientSums.of(y, g, 189))
    return slices


@pytest.fixture(scope="module")
def studies(counted):
    return {layer: slice_formats(own) for layer, own in counted.items()}


def test_every_format_is_studied_at_its_best_scale(counted, studies):
    for layer, study in studies.items():
        assert list(study.reports) == list(names())
        for name, report in study.reports.items():
            alone = best_format(REGISTERED[name], counted[layer])
            assert report.output.sqnr_db == pytest.approx(alone.output.sqnr_db, abs=1e-9), name
        y = values_of(counted[layer].silu_output).astype(np.float64)
        scale = torch.quantile(torch.from_numpy(y).float().abs(), 0.9995) / 127
        assert study.baseline.scale == float(scale)


def test_the_frontier_is_crossed_by_no_format(studies):
    for study in studies.values():
        qualities = [study.frontier[bits].sqnr_db for bits in sorted(study.frontier)]
        assert (np.diff(qualities) > 0).all()
        for name, report in study.reports.items():
            size = report.codebook.size
            enough = min(b for b in study.frontier if 2**b >= size)
            assert report.output.sqnr_db <= study.frontier[enough].sqnr_db + 1e-9, name


def test_by_predicted_loss_each_format_costs_no_more_than_by_error(counted, studies):
    layer = min(counted)
    by_loss = slice_formats(counted[layer], "predicted_nats")
    for name, report in by_loss.reports.items():
        if REGISTERED[name].family != "quantile" or name == "nf4":
            cost = studies[layer].reports[name].predicted_nats
            assert report.predicted_nats <= cost * 1.003, name
    with pytest.raises(ValueError, match="needs gradients"):
        slice_formats(replace(counted[layer], gradients=None), "predicted_nats")


def test_over_layers_sqnr_is_averaged_and_loss_added(studies):
    points = format_points(list(studies.values()))
    assert points.slices == len(studies)
    (point,) = [own for own in points.points if own.name == "int6"]
    reports = [study.reports["int6"] for study in studies.values()]
    assert point.sqnr_db == pytest.approx(np.mean([own.output.sqnr_db for own in reports]))
    assert point.predicted_nats == pytest.approx(sum(own.predicted_nats for own in reports))
    assert point.bits_needed == 6 and point.bits == 6.0


def test_the_best_of_a_budget_needs_no_more_bits_and_bounds_do_not_count(studies):
    points = format_points(list(studies.values()))
    for bits in range(4, 10):
        by_hand = [
            (np.mean([study.reports[name].output.sqnr_db for study in studies.values()]), name)
            for name, number_format in REGISTERED.items()
            if number_format.family != "optimal"
            and max(s.reports[name].codebook.size for s in studies.values()) <= 2**bits
        ]
        assert points.best_within(bits).name == max(by_hand)[1]
    assert points.best_within(3) is None


def test_the_headline_says_the_best_format_and_its_gain(studies):
    (study, *_) = studies.values()
    points = format_points([study])
    best = points.best_within(8)
    gain = study.reports[best.name].output.sqnr_db - study.baseline.output.sqnr_db
    said = captions.formats_headline(points, 8, ENGLISH)
    label = str(REGISTERED[best.name].label)
    assert f"Within 8 bits, {label} does best: {best.sqnr_db:.1f} dB" in said
    assert f"{gain:.1f} dB more than symmetric INT8" in said
    fewer = captions.formats_headline(points, 4, ENGLISH)
    loss = study.baseline.output.sqnr_db - points.best_within(4).sqnr_db
    assert f"{loss:.1f} dB less than symmetric INT8" in fewer
    bound = captions.formats_verdict(points, 8, ENGLISH)
    assert f"The best 256 values there are would have {study.frontier[8].sqnr_db:.1f} dB" in bound
    assert captions.formats_headline(points, 2, ENGLISH) == "No format has values that fit 2 bits."


def test_the_headline_by_loss_says_how_many_times_less(counted):
    study = slice_formats(counted[min(counted)], "predicted_nats")
    points = format_points([study])
    best = points.best_within(8)
    times = study.baseline.predicted_nats / best.predicted_nats
    said = captions.formats_headline(points, 8, ENGLISH)
    assert f"{times:.2g} times less than symmetric INT8" in said


def test_the_caption_counts_the_soft_edges_that_need_more_than_they_are_published_for(studies):
    said = captions.formats_caption(format_points(list(studies.values())), ENGLISH)
    assert "5 soft edges are published for 8 bits and need more" in said
    assert "soft-edge-three-segments 509" in said and "quarter-log2" not in said


def test_what_is_clipped_is_said_with_its_share_of_the_error(counted, studies):
    layer = min(counted)
    report = studies[layer].reports["int8"]
    y = values_of(counted[layer].silu_output).astype(np.float64)
    error = (report.codebook.dequantized(y) - y) ** 2
    low, high = report.codebook.thresholds[[0, -1]]
    clipped = (y < low) | (y >= high)
    share = error[clipped].sum() / error.sum()
    assert report.output.clipping_sse == pytest.approx(share * error.sum(), rel=1e-6)
    said = captions.ruler_caption(report, ENGLISH)
    assert f"{report.output.codes_used} of 256 codes occur" in said
    fitted = captions.ruler_caption(studies[layer].reports["optimal8"], ENGLISH)
    assert "clipped" not in fitted


def test_rows_for_a_file_have_every_layer_and_format(studies):
    rows = format_rows(studies)
    assert len(rows) == len(studies) * len(names())
    assert {row["number_format"] for row in rows} == set(names())
    for row in rows:
        assert row["sqnr_db"] == studies[row["layer"]].reports[row["number_format"]].output.sqnr_db


def test_points_stand_at_their_bits_and_quality(studies):
    (study, *_) = studies.values()
    points = format_points([study])
    figure = figures.formats_over_bits(points, 8, "nf4", "int8", ENGLISH)
    frontier = figure.data[0]
    assert list(frontier.x) == pytest.approx([p.bits for p in points.frontier], rel=1e-6)
    assert list(frontier.y) == pytest.approx([p.sqnr_db for p in points.frontier], rel=1e-6)
    drawn = {
        (round(float(x), 3), round(float(y), 2))
        for trace in figure.data[1:]
        if trace.mode == "markers"
        for x, y in zip(trace.x, trace.y, strict=True)
    }
    wanted = [*points.points, points.baseline]
    assert drawn == {(round(p.bits, 3), round(p.sqnr_db, 2)) for p in wanted}
    picks = figure.layout.meta["picks"]
    assert [points.points[own["value"]].name for own in picks] == [p.name for p in points.points]
    assert figure.layout.meta["alt"].endswith(captions.formats_headline(points, 8, ENGLISH))


def test_the_ruler_has_a_stroke_for_each_value_within_sight(counted, studies):
    layer = min(counted)
    output, reports = counted[layer].silu_output, studies[layer].reports
    figure = figures.format_ruler(output, reports["int8"], reports["optimal4"], ENGLISH)
    strokes = [trace for trace in figure.data if trace.yaxis == "y2"]
    for trace, name in zip(strokes, ("int8", "optimal4"), strict=True):
        low, high = figure.layout.xaxis.range
        points = reports[name].codebook.points
        within = points[(points >= low) & (points <= high)]
        assert sorted(set(np.asarray(trace.x)[~np.isnan(trace.x)])) == pytest.approx(
            within, rel=1e-5, abs=1e-7
        )


def test_what_is_clipped_is_drawn_as_saturated(counted, studies):
    layer = min(counted)
    output, reports = counted[layer].silu_output, studies[layer].reports
    clipped = figures.format_ruler(output, reports["int8"], reports["int8"], ENGLISH)
    whole = figures.format_ruler(output, reports["optimal8"], reports["int8"], ENGLISH)
    areas = [sum(trace.fill == "toself" for trace in own.data) for own in (clipped, whole)]
    assert reports["int8"].output.saturated > 0 and areas == [2, 1]


def test_the_best_of_a_row_has_a_rim_and_bounds_have_none(studies):
    shown = ["int8", "int8-asymmetric", "nf4", "optimal8"]
    figure = figures.format_heatmap(studies, shown, 8, ENGLISH)
    rims = {(round(shape.y0 + 0.5), round(shape.x0 + 0.5)) for shape in figure.layout.shapes}
    for row, study in enumerate(studies.values()):
        best = max(shown[:3], key=lambda name: study.reports[name].output.sqnr_db)
        assert (row, shown.index(best)) in rims
    assert not any(column == 3 for _, column in rims)


def test_the_page_says_its_captions_numbers(calibrated):
    app = opened("formats", checkpoint="mamba2-tiny", batches="3", seq_len="64", layer="1")
    own = calibrated("mamba2-tiny").calibration.layer(1).slices[0]
    points = format_points([slice_formats(own)])
    assert captions.formats_headline(points, 8, ENGLISH) in page_text(app)
    app.slider(key="bits").set_value(4).run()
    assert captions.formats_headline(points, 4, ENGLISH) in page_text(app)
    assert app.selectbox(key="number_format").value is None


def test_a_link_restores_bits_and_both_formats(calibrated):
    app = opened(
        "formats",
        checkpoint="mamba2-tiny",
        batches="3",
        seq_len="64",
        bits="6",
        number_format="nf4",
        beside_format="fp4-e2m1",
        over_model="true",
    )
    assert app.slider(key="bits").value == 6 and app.toggle(key="over_model").value
    assert app.selectbox(key="number_format").value == "nf4"
    (table,) = app.dataframe
    assert list(table.value.columns) == ["measure", "NF4", "FP4 E2M1", "INT8, α = 0.9995"]
    layers = calibrated("mamba2-tiny").calibration.layers
    points = format_points([slice_formats(layer.slices[0]) for layer in layers])
    assert captions.formats_headline(points, 6, ENGLISH) in page_text(app)


def test_a_link_that_makes_no_sense_leaves_the_defaults():
    app = opened(
        "formats",
        checkpoint="mamba2-tiny",
        batches="3",
        seq_len="64",
        bits="99",
        number_format="int9",
    )
    assert app.slider(key="bits").value == 9
    assert app.selectbox(key="number_format").value is None


def test_all_is_said_in_chinese(studies):
    say = language("zh-CN")
    points = format_points(list(studies.values()))
    words = [
        captions.formats_headline(points, 8, say),
        captions.formats_verdict(points, 8, say),
        captions.formats_caption(points, say),
        captions.format_layers_caption(studies, 8, say),
    ]
    assert not any("does best" in said or "would have" in said for said in words)


def test_the_kernel_writes_the_chosen_format_last_of_all():
    """On the slice on show alone: its channels at each position of the three batches."""
    settings = {"checkpoint": "mamba2-tiny", "batches": "3", "seq_len": "64"}
    checkpoint = load_checkpoint("mamba2-tiny")
    for index, name in ((0, "fp8-e4m3"), (1, "int8-asymmetric")):
        own = checkpoint.slices[index]
        app = opened("formats", **settings, number_format=name, slice=own.name)
        written = f"written by the kernel just now: 0 of {3 * 64 * own.width:,} codes differ"
        assert written in page_text(app), name
    app = opened("formats", **settings, number_format="soft-edge-half")
    assert "The kernel did not run: Soft edge, half steps has 384 values" in page_text(app)
