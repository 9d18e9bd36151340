"""The table of answers: what a page shows while a cut line moves is what stands there at rest."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import percentile_scale, requantize, values_of

from dashboard.analysis.answers import answer_all, cuts_and_gains
from dashboard.analysis.report import report_scale, report_slice, sweep_scales
from dashboard.calibration.gradients import GradientSums
from dashboard.figures import (
    landscape_under_slider,
    layer_strip,
    moving,
    scale_table,
    transfer,
    utilization_sweep,
)
from dashboard.figures.transfer import preimage
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule, alpha_grid
from dashboard.text.language import ENGLISH, language

ALPHAS = (0.9, 0.99, 0.9995, 0.99995, 1.0)


@pytest.fixture(scope="module", params=["mamba-tiny", "mamba2-tiny"])
def counted(request, calibrated):
    return calibrated(request.param).calibration.layers[1].slices[0]


@pytest.mark.parametrize("symmetric", [True, False])
def test_every_alpha_is_answered_as_its_values_say(counted, symmetric):
    answers = answer_all(counted, ALPHAS, symmetric)
    y = values_of(counted.silu_output)
    for alpha, scale in zip(ALPHAS, answers.scales, strict=True):
        assert scale.rule == ScaleRule("percentile", alpha, symmetric=symmetric)
        if symmetric:
            assert scale.x_out_scale == pytest.approx(percentile_scale(y, alpha), rel=1e-6)
        codes = requantize(y, scale.x_out_scale, scale.zero_point).codes
        tally = np.bincount((codes + 128).astype(int), minlength=256)
        np.testing.assert_array_equal(scale.output.code_counts, tally)


def test_the_table_agrees_with_what_is_computed_at_rest_and_with_nothing_else(counted):
    answers = answer_all(counted, ALPHAS, True)
    for alpha in ALPHAS:
        assert answers.agrees(report_scale(counted, ScaleRule("percentile", alpha)))
    other = report_scale(counted, ScaleRule("percentile", 0.99, symmetric=False))
    assert not answers.agrees(other)
    with pytest.raises(ValueError, match=r"0\.5 is none of the 5"):
        answers.agrees(report_scale(counted, ScaleRule("percentile", 0.5)))


def with_gradients(counted):
    """The same slice with gradients of a loss that minds small values more."""
    y = torch.from_numpy(values_of(counted.silu_output))
    return replace(counted, gradients=GradientSums.of(y, 1e-3 / (1 + y.abs()), 100))


@pytest.mark.parametrize("by", ["sqnr_db", "predicted_nats"])
def test_another_layers_cuts_and_gains_are_its_own_reports(counted, by):
    counted = with_gradients(counted)
    for symmetric in (True, False):
        landscape = Landscape.of(
            counted.silu_output, symmetric=symmetric, gradients=counted.gradients, by=by
        )
        alphas = alpha_grid(counted.silu_output.total, [landscape.best_alpha, 0.77])
        cuts, gains = cuts_and_gains(landscape, counted, alphas)
        for i in (0, len(alphas) // 2, len(alphas) - 1):
            rule = ScaleRule("percentile", alphas[i], symmetric=symmetric)
            report = report_scale(counted, rule)
            assert cuts[i] == pytest.approx(report.high, rel=1e-6)
            wanted = landscape.best_db - float(report.output.sqnr_db)
            if by == "predicted_nats":
                wanted = 1 - landscape.predicted_nats.min() / report.predicted_nats
            assert gains[i] == pytest.approx(wanted, abs=1e-6)


def named(figure) -> dict[str, dict]:
    """The traces of a figure by their names, a list where several share one."""
    traces: dict[str, list] = {}
    for trace in figure.data:
        if trace.name:
            traces.setdefault(trace.name, []).append(trace)
    return traces


def notes(figure) -> dict:
    return {note.name: note for note in figure.layout.annotations if note.name}


def close(a, b) -> None:
    """Far closer than a pixel: the zero point's rounding may widen an axis by a ten-thousandth."""
    np.testing.assert_allclose(
        np.asarray(a, float), np.asarray(b, float), rtol=1e-4, atol=1e-5, equal_nan=True
    )


def check_words(words: dict, figure, i: int) -> None:
    """Each word that moves is, at α i, where and what the figure of that α has."""
    own = notes(figure)
    for name, change in words.items():
        note = own[name]
        seen = note.opacity is None or note.opacity > 0
        if "text" in change:
            assert change["text"][i] == (note.text if seen else None), name
        if seen and "x" in change:
            close(change["x"][i], note.x)
        if seen and "y" in change:
            close(change["y"][i], note.y)


@pytest.mark.parametrize("code", ["en", "zh-CN"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_transfer_figure_moves_to_where_it_stands_for_each_alpha(counted, symmetric, code):
    say = language(code)
    answers = answer_all(counted, ALPHAS, symmetric)
    others = [
        (report_scale(counted, ScaleRule("minmax")), "beside"),
        (report_scale(counted, ScaleRule("mse")), "best"),
        (report_scale(counted, ScaleRule("scale-wx")), "baseline"),
    ]
    table = moving.transfer_moves(answers.reports[2], others, True, answers, say)
    for i, report in enumerate(answers.reports):
        figure = transfer(report, others, True, say)
        traces = named(figure)
        check_words(table["words"], figure, i)
        for move in table["moves"]:
            if move["kind"] == "points":
                trace = traces[move["trace"]][move.get("nth", 0)]
                points = move["points"][i]
                close(points["y"], trace.y)
                if points.get("x"):
                    close(points["x"], trace.x)
            elif move["kind"] == "texts":
                shown = traces.get(move["trace"])
                wanted = list(shown[0].text) if shown else []
                assert move["texts"][i]["text"] == wanted
            elif move["kind"] == "clamp":
                v = np.asarray(traces["curve"][0].x)
                y = np.clip(v / (1 + np.exp(-v)), move["low"][i], move["high"][i])
                close(y, traces["curve"][0].y)
            elif move["kind"] == "wedge":
                assert move["from"][i] == pytest.approx(traces["ideal"][0].x[0], rel=1e-5)
                assert move["from"][i] == pytest.approx(preimage(report.chosen.high), rel=1e-5)
            elif move["kind"] == "split":
                for side, name in enumerate(move["traces"]):
                    check_outline(move, side, i, traces[name][0])


def check_outline(move: dict, side: int, i: int, trace) -> None:
    """A split histogram covers, on each side, the stretches that the figure's outline does."""
    along, tall = (trace.x, trace.y) if move["upright"] else (trace.y, trace.x)
    along, tall = np.asarray(along, float), np.asarray(tall, float)
    area = 0.0
    for histogram in move["histograms"]:
        first, last = histogram["edges"]
        n = len(histogram["heights"])
        edges = np.linspace(first, last, n + 1)
        stretches = (
            [[[None, histogram["cut"][i]]], [[histogram["cut"][i], None]]][side]
            if "cut" in histogram
            else histogram["stretches"][side][i]
        )
        for low, high in stretches:
            begin = np.clip(edges[:-1], low if low is not None else -np.inf, None)
            end = np.clip(edges[1:], None, high if high is not None else np.inf)
            width = np.clip(end - begin, 0, None)
            area += float(width @ (np.array(histogram["heights"]) - histogram["foot"]))
    foot = move["histograms"][0]["foot"]
    whole = np.isfinite(along[:-1]) & np.isfinite(along[1:]) & np.isfinite(tall[:-1])
    steps = (along[1:] - along[:-1])[whole] @ (tall[:-1][whole] - foot)
    assert area == pytest.approx(float(steps), rel=1e-3, abs=2e-5)  # the table's six digits


@pytest.mark.parametrize("by", ["sqnr_db", "predicted_nats"])
def test_the_sweep_the_table_and_the_strip_move_to_where_they_stand(calibrated, by):
    calibration = calibrated("mamba2-tiny").calibration
    layers_counted = [
        with_gradients(layer.slices[0]) if by == "predicted_nats" else layer.slices[0]
        for layer in calibration.layers
    ]
    counted = layers_counted[1]
    answers = answer_all(counted, ALPHAS, True)
    rivals = [report_scale(counted, ScaleRule(name)) for name in ("minmax", "mse", "entropy")]
    sweep = sweep_scales(counted)
    rows = [answers.scales[2], *rivals]
    sweep_table = moving.sweep_moves(answers, ENGLISH)
    row_table = moving.table_moves(rows, answers, ENGLISH)
    landscapes = [Landscape.of(one.silu_output, gradients=one.gradients) for one in layers_counted]
    grid = alpha_grid(counted.silu_output.total, ALPHAS)
    slider_table = moving.landscape_moves(landscapes[1], grid, answers)
    cuts, gains = zip(
        *(
            cuts_and_gains(landscape, one, ALPHAS)
            for landscape, one in zip(landscapes, layers_counted, strict=True)
        ),
        strict=True,
    )
    layers = [layer.layer for layer in calibration.layers]

    def reports(alpha):
        rule = ScaleRule("percentile", alpha)
        return [report_slice(one, report_scale(one, rule)) for one in layers_counted]

    bests = [
        report_scale(one, landscape.best_rule)
        for one, landscape in zip(layers_counted, landscapes, strict=True)
    ]
    strip_table = moving.strip_moves(layers, reports(0.9995), 1, cuts, gains, ENGLISH, by)
    for i, alpha in enumerate(ALPHAS):
        figure = utilization_sweep(sweep, [answers.scales[i], rivals[0]], ENGLISH)
        check_words(sweep_table["words"], figure, i)
        traces = named(figure)
        for move in sweep_table["moves"]:
            if move["kind"] == "points":
                close(move["points"][i]["y"], traces[move["trace"]][0].y)

        figure = landscape_under_slider(landscapes[1], grid, answers.scales[i], ENGLISH)
        check_words(slider_table["words"], figure, i)
        for move in slider_table["moves"]:
            close(move["points"][i]["x"], named(figure)[move["trace"]][0].x)
            close(move["points"][i]["y"], named(figure)[move["trace"]][0].y)

        figure = scale_table([answers.scales[i], *rivals], False, ENGLISH, by)
        check_words(row_table["words"], figure, i)
        traces = named(figure)
        for move in row_table["moves"]:
            if move["kind"] == "bar":
                bar = traces[move["trace"]][0]
                end = (0 if bar.base is None else bar.base[0]) + bar.x[0]
                assert move["to"][i] == pytest.approx(end, rel=1e-4, abs=1e-6)
            elif move["kind"] == "codes":
                top = np.nanmax(np.asarray(traces["chosen codes"][0].y, float))
                inner = [
                    height
                    for code, height in zip(range(-128, 128), move["heights"][i], strict=True)
                    if code not in move["ends"][i]
                ]
                assert max(inner) + move["foot"] == pytest.approx(top, abs=2e-3)

        figure = layer_strip(layers, reports(alpha), bests, 1, ENGLISH, by)
        check_words(strip_table["words"], figure, i)
        ticks = named(figure)["cut current"][0]
        move = next(m for m in strip_table["moves"] if m.get("trace") == "cut current")
        assert move["cuts"][0][i] == pytest.approx(ticks.x[0], rel=1e-5)
