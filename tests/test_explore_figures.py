"""Explore's figures: what they draw, and that their words keep clear of it, for any data."""

import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from placing import faults

from dashboard import figures
from dashboard.analysis.report import (
    baselines,
    distinct,
    report_scale,
    report_slice,
    sweep_scales,
)
from dashboard.calibration import SliceCalibration
from dashboard.calibration.gradients import GradientSums
from dashboard.calibration.histogram import Histogram
from dashboard.figures.theme import LIGHT, unchecked
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import (
    ASYMMETRIC_RULES,
    SYMMETRIC_RULES,
    ScaleRule,
    alpha_grid,
)
from dashboard.text import captions
from dashboard.text.language import ENGLISH, language
from dashboard.text.numbers import percent, small

RULES = [(rule, True) for rule in SYMMETRIC_RULES] + [(rule, False) for rule in ASYMMETRIC_RULES]
SPEECHES = (ENGLISH, language("zh-CN"))


def inputs(kind: str, size: float, seed: int) -> torch.Tensor:
    """SiLU inputs of some shape, the greatest about ``size``."""
    generator = np.random.default_rng(seed)
    made = {
        "bell": lambda: generator.normal(size=4000) * size / 4,
        "heavy tail": lambda: generator.standard_t(3, 4000) * size / 20,
        "positive": lambda: generator.random(4000) * size,
        "negative": lambda: -generator.random(4000) * size,
        "constant": lambda: np.full(50, size),
        "two values": lambda: np.tile([size, -size / 3], 20),
        "far outlier": lambda: np.append(generator.normal(size=3000) * size / 300, size),
        "zeros": lambda: np.zeros(10),
    }[kind]()
    return torch.from_numpy(made.clip(-6e4, 6e4).astype(np.float32))


def counted(v: torch.Tensor, by: str = "sqnr_db") -> SliceCalibration:
    """Of SiLU inputs; with gradients of a loss that minds the small values, where asked for."""
    y = F.silu(v)
    halves = tuple(Histogram.of(half) for half in y.tensor_split(2))
    gradients = GradientSums.of(y, 3 / (1 + y.abs()), len(v)) if by != "sqnr_db" else None
    return SliceCalibration(
        "x",
        0.04 * 127,
        0.006 * 127,
        0.01 * 127,
        Histogram.of(v),
        Histogram.of(y),
        halves,
        gradients=gradients,
    )


data = st.builds(
    inputs,
    st.sampled_from(
        [
            "bell",
            "heavy tail",
            "positive",
            "negative",
            "constant",
            "two values",
            "far outlier",
            "zeros",
        ]
    ),
    st.sampled_from([0.01, 0.1, 1.0, 3.0, 8.4, 60.0, 3000.0]),
    st.integers(0, 5),
)
alphas = st.sampled_from([0.9, 0.99, 0.999, 0.9995, 0.99999, 1.0])
speeches = st.sampled_from(SPEECHES)
measures = st.sampled_from(["sqnr_db", "predicted_nats"])
wide = st.sampled_from([700.0, 736.0, 868.0, 1040.0, 1288.0])
look = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)


def chosen_and_others(slice_calibration, observer, alpha, symmetric):
    """The report, the landscape, the rows of the table and the other cuts, as Explore has them."""
    rule = ScaleRule(observer, alpha, symmetric=symmetric)
    chosen = report_scale(slice_calibration, rule)
    landscape = Landscape.of(
        slice_calibration.silu_output, symmetric=symmetric, gradients=slice_calibration.gradients
    )
    best = report_scale(slice_calibration, landscape.best_rule)
    beside = report_scale(slice_calibration, ScaleRule("minmax"))
    others = [report_scale(slice_calibration, other) for other in baselines(rule)]
    rows = distinct([chosen, beside, best, *others])
    cuts = [(beside, "beside"), (best, "best")]
    cuts += [(row, "baseline") for row in rows if row.observer in ("minmax", "scale-wx")]
    return report_slice(slice_calibration, chosen), landscape, rows, cuts


@look
@given(data, st.sampled_from(RULES), alphas, st.booleans(), speeches, wide)
def test_the_transfer_figures_words_keep_clear_of_everything(v, rule, alpha, log, say, width):
    observer, symmetric = rule
    report, _, _, cuts = chosen_and_others(counted(v), observer, alpha, symmetric)
    figure = figures.transfer(report, cuts, log, say)
    assert faults(figure, width) == []
    assert faults(figure, 358.0) == []


@look
@given(data, alphas, st.booleans(), speeches, measures, st.sampled_from([300.0, 376.0, 700.0]))
def test_the_landscapes_words_keep_clear_of_everything(v, alpha, symmetric, say, by, width):
    calibration = counted(v, by)
    report, landscape, _, _ = chosen_and_others(calibration, "percentile", alpha, symmetric)
    grid = alpha_grid(calibration.silu_output.total, (landscape.best_alpha, alpha))
    for chosen in (report.chosen, None):
        figure = figures.landscape_under_slider(landscape, grid, chosen, say)
        assert faults(figure, width) == []


@look
@given(data, st.sampled_from(RULES), alphas, speeches, measures, wide)
def test_the_tables_words_keep_clear_of_everything(v, rule, alpha, say, by, width):
    observer, symmetric = rule
    _, _, rows, _ = chosen_and_others(counted(v, by), observer, alpha, symmetric)
    figure = figures.scale_table(rows, True, say, by)
    assert faults(figure, width) == []
    assert faults(figure, 358.0) == []


@look
@given(data, st.sampled_from(RULES), alphas, speeches, wide)
def test_the_sweeps_words_keep_clear_of_everything(v, rule, alpha, say, width):
    observer, symmetric = rule
    calibration = counted(v)
    _, _, rows, _ = chosen_and_others(calibration, observer, alpha, symmetric)
    figure = figures.utilization_sweep(sweep_scales(calibration), rows, say)
    assert faults(figure, width) == []
    assert faults(figure, 358.0) == []


@look
@given(data, st.sampled_from([2, 5, 12, 13, 64]), alphas, speeches, measures, wide)
def test_the_strips_words_keep_clear_of_everything(v, layers, alpha, say, by, width):
    report, landscape, _, _ = chosen_and_others(counted(v, by), "percentile", alpha, True)
    best = report_scale(counted(v, by), landscape.best_rule)
    figure = figures.layer_strip(range(layers), [report] * layers, [best] * layers, 1, say, by)
    assert faults(figure, width) == []
    assert faults(figure, 358.0) == []


# What they draw.

BELL = torch.randn(50_000, generator=torch.Generator().manual_seed(0)) * 1.5


def trace(figure: go.Figure, name: str):
    (match,) = [trace for trace in figure.data if trace.name == name]
    return match


def pixels(figure: go.Figure, values) -> np.ndarray:
    """Where values of y lie over the bottom of the panels, in shares of their height."""
    low, high = figure.layout.yaxis3.range
    return (np.asarray(values) - low) / (high - low)


@pytest.mark.parametrize(
    ("observer", "symmetric", "alpha"),
    [("percentile", True, 0.999), ("percentile", False, 0.999), ("scale-wx", True, 0.9)],
)
def test_a_cut_is_one_value_on_every_panel(observer, symmetric, alpha):
    report, _, rows, _ = chosen_and_others(counted(BELL), observer, alpha, symmetric)
    figure = figures.transfer(report, [(rows[1], "baseline")], True, ENGLISH)
    scale, zero = report.chosen.x_out_scale, report.chosen.zero_point
    cut = (127 - zero) * scale
    curve, below, across = [line for line in figure.data if line.name == "line chosen"]
    assert curve.x[0] == curve.x[1] and F.silu(torch.tensor(curve.x[0])) == pytest.approx(cut, 1e-4)
    assert list(curve.y[1:]) == pytest.approx([cut, cut], rel=1e-6)
    assert list(below.x) == [curve.x[0]] * 2 and list(across.y) == pytest.approx([cut] * 2)
    drawn = trace(figure, "curve")
    assert drawn.y.max() == pytest.approx(cut, rel=1e-6)
    assert drawn.y.min() >= (-128 - zero) * scale - 1e-6
    # The curve's axis and the output's show the same value at the same height.
    low, high = figure.layout.yaxis.range
    begin, end = figure.layout.yaxis.domain
    assert pixels(figure, [low, high]) == pytest.approx([begin, end])


def test_what_saturates_has_another_colour_from_the_cut_on():
    report, *_ = chosen_and_others(counted(BELL), "percentile", 0.999, True)
    figure = figures.transfer(report, [], True, ENGLISH)
    cut = 127 * report.chosen.x_out_scale
    assert trace(figure, "output kept").y.max() == pytest.approx(cut)
    assert trace(figure, "output lost").y.min() == pytest.approx(cut)
    assert trace(figure, "output lost").y.max() == pytest.approx(report.silu_output.max, abs=0.05)
    v_cut = trace(figure, "input lost").x.min()
    assert F.silu(torch.tensor(v_cut)).item() == pytest.approx(cut, rel=1e-5)
    assert trace(figure, "input kept").x.max() == pytest.approx(v_cut)


def test_a_hovered_bin_tells_its_exact_count():
    report, _, rows, _ = chosen_and_others(
        counted(torch.full((321,), 2.0)), "percentile", 0.99, True
    )
    figure = figures.transfer(report, [(rows[-1], "baseline")], True, ENGLISH)
    hovers = [bars.customdata for bars in figure.data if bars.type == "bar"]
    assert [list(texts) for texts in hovers] == [
        [text for text in texts if text.endswith("<br>321 values")] for texts in hovers
    ]
    assert [len(texts) for texts in hovers] == [1, 1]  # of the input, and of the output
    code = round(2.0 / 0.0138678)  # SiLU(2) = 1.7616 = 127 codes
    assert f"code {min(code, 127)}" in hovers[1][0]


@pytest.mark.parametrize(("alpha", "symmetric"), [(0.999, True), (0.9, True), (0.99, False)])
def test_a_hover_tells_the_way_of_its_value_to_a_code_and_back(alpha, symmetric):
    """Each number as near as its last digit says, against float64 at the place on the axis."""
    report, *_ = chosen_and_others(counted(BELL), "percentile", alpha, symmetric)
    scale, zero = report.chosen.x_out_scale, report.chosen.zero_point

    def code(y):
        return np.clip(y / scale + zero, -128, 127)

    for say in SPEECHES:
        figure = figures.transfer(report, [], True, say)
        curve = trace(figure, "curve")
        v_bars, y_bars = (bars for bars in figure.data if bars.type == "bar")
        for x, text in zip(curve.x, curve.customdata, strict=True):
            (v, of_v), (y, of_y), (written, _), (back, of_back) = numbers(text)
            assert v == pytest.approx(x, abs=of_v)
            assert y == pytest.approx(x / (1 + np.exp(-float(x))), abs=of_y)
            assert written == pytest.approx(code(y), abs=0.5 + of_y / scale)
            assert back == pytest.approx((written - zero) * scale, abs=of_back)
        for x, text in zip(v_bars.x, v_bars.customdata, strict=True):
            (v, of_v), (y, of_y), (written, _) = numbers(text)[:3]
            assert v == pytest.approx(x, abs=of_v)
            assert y == pytest.approx(x / (1 + np.exp(-float(x))), abs=of_y)
            assert written == pytest.approx(code(y), abs=0.5 + of_y / scale)
        for at, text in zip(y_bars.y, y_bars.customdata, strict=True):
            (y, of_y), (written, _) = numbers(text)[:2]
            assert y == pytest.approx(at, abs=of_y)
            assert written == pytest.approx(code(y), abs=0.5 + of_y / scale)


def numbers(text: str) -> list[tuple[float, float]]:
    """Every number of a text, and half of its last digit with room for float32."""
    written = re.findall(r"−?\d[\d,]*(?:\.\d+)?", text)
    digits = [len(word.partition(".")[2]) for word in written]
    values = [float(word.replace("−", "-").replace(",", "")) for word in written]
    return [(value, 0.5001 * 10.0**-n + 1e-6) for value, n in zip(values, digits, strict=True)]


def test_the_hovers_of_both_histograms_count_every_value():
    report, *_ = chosen_and_others(counted(BELL), "percentile", 0.999, True)
    figure = figures.transfer(report, [], True, ENGLISH)
    for bars in figure.data:
        if bars.type == "bar":
            counts = [
                int(text.split("<br>")[1].split()[0].replace(",", "")) for text in bars.customdata
            ]
            assert sum(counts) == len(BELL)


def test_equal_scales_are_drawn_once_and_say_where_they_cut():
    report, _, rows, _ = chosen_and_others(counted(BELL), "minmax", 0.9995, True)
    best = rows[1]
    figure = figures.transfer(report, [(report.chosen, "beside"), (best, "best")], True, ENGLISH)
    words = [note.text for note in figure.layout.annotations if note.opacity != 0]
    assert sum("MinMax cuts at" in text for text in words) == 1
    assert f"<b>MinMax cuts at {127 * report.chosen.x_out_scale:.4g}" in "".join(words)


@pytest.mark.parametrize("alpha", [0.9, 0.9995, 1.0])
def test_the_ruler_has_its_codes_at_their_values(alpha):
    report, *_ = chosen_and_others(counted(BELL), "percentile", alpha, True)
    figure = figures.transfer(report, [], True, ENGLISH)
    numbers = trace(figure, "ruler numbers")
    assert len(numbers.text) >= 4
    for value, text in zip(numbers.y, numbers.text, strict=True):
        assert value == pytest.approx(
            int(text.replace("−", "-")) * report.chosen.x_out_scale, abs=1e-6
        )
    assert "<b>127</b>" in trace(figure, "ruler ends").text


def test_the_staircase_has_the_codes_that_the_kernel_gives():
    report, *_ = chosen_and_others(counted(BELL), "percentile", 0.999, True)
    figure = figures.transfer(report, [], True, ENGLISH)
    stairs = trace(figure, "stairs")
    y = F.silu(torch.tensor(stairs.x.astype(np.float64))).numpy()
    scale = report.chosen.x_out_scale
    off = np.abs(y - stairs.y)
    assert off.max() <= 0.5001 * scale and off.max() > 0.4 * scale
    codes = stairs.y / scale
    assert codes == pytest.approx(np.round(codes), abs=1e-3)


def test_the_strip_answers_a_click_on_each_cell_with_its_layer():
    report, *_ = chosen_and_others(counted(BELL), "percentile", 0.9995, True)
    figure = figures.layer_strip(range(5), [report] * 5, [report.chosen] * 5, 2, ENGLISH)
    picks = figure.layout.meta["picks"]
    assert [pick["value"] for pick in picks] == [0, 1, 2, 3, 4]
    edges = [edge for pick in picks for edge in pick["x"]]
    low, high = figure.layout.xaxis.range
    assert edges == sorted(edges) and edges[0] >= low and edges[-1] <= high
    assert all(pick["axes"] == ["x", "paper"] for pick in picks)


def test_sixty_four_layers_are_drawn_without_labels():
    report, *_ = chosen_and_others(counted(BELL), "percentile", 0.9995, True)
    figure = figures.layer_strip(range(64), [report] * 64, [report.chosen] * 64, 40, ENGLISH)
    assert len(figure.layout.annotations) == 0 and len(figure.layout.meta["picks"]) == 64


def test_the_strips_ticks_stand_at_the_cuts_on_the_common_axis():
    report, landscape, *_ = chosen_and_others(counted(BELL), "percentile", 0.9995, True)
    coarse, *_ = chosen_and_others(counted(BELL * 2), "minmax", 0.9995, True)
    best = report_scale(counted(BELL), landscape.best_rule)
    figure = figures.layer_strip([3, 7], [report, coarse], [best, coarse.chosen], 7, ENGLISH)
    cuts = {
        round(float(x), 4)
        for trace in figure.data
        if trace.type == "scatter" and trace.line.color == figures.PALETTES["light"]["chosen"]
        for x in trace.x[~np.isnan(trace.x)]
    }
    high = max(report.silu_output.max, coarse.silu_output.max, coarse.chosen.high)
    low = min(report.silu_output.min, coarse.silu_output.min)
    expected = [
        cell + 0.89 * (made.chosen.high - low) / (high - low)
        for cell, made in enumerate((report, coarse))
    ]
    assert sorted(cuts) == pytest.approx(expected, abs=1e-4)
    assert "most in layer 3" in figure.layout.meta["alt"]


def test_a_click_under_the_slider_answers_with_the_nearest_alpha():
    calibration = counted(BELL)
    report, landscape, *_ = chosen_and_others(calibration, "percentile", 0.9995, True)
    grid = alpha_grid(calibration.silu_output.total, (landscape.best_alpha,))
    figure = figures.landscape_under_slider(landscape, grid, report.chosen, ENGLISH)
    picks = figure.layout.meta["picks"]
    at = [i / (len(grid) - 1) for i in range(len(grid))]
    for value, place in enumerate(at):
        assert picks[value]["x"][0] <= place <= picks[value]["x"][1]
        assert picks[value]["label"] == f"α {np.format_float_positional(grid[value], trim='-')}"
    assert trace(figure, "chosen dot").x[0] == pytest.approx(at[grid.index(0.9995)])
    sqnr = float(report.chosen.output.sqnr_db)
    assert trace(figure, "chosen dot").y[0] == pytest.approx(sqnr, abs=1e-4)


def test_by_loss_the_curve_is_what_each_alpha_is_predicted_to_cost():
    calibration = counted(BELL, "predicted_nats")
    report, landscape, rows, _ = chosen_and_others(calibration, "percentile", 0.99, True)
    grid = alpha_grid(calibration.silu_output.total, (landscape.best_alpha,))
    figure = figures.landscape_under_slider(landscape, grid, report.chosen, ENGLISH)
    y = F.silu(BELL).half().double()
    g = (3 / (1 + F.silu(BELL).double().abs())).float().double()

    def cost(scale: float, clipped: bool | None = None) -> float:
        code = torch.floor((y.float() / np.float32(scale)).abs().double() + 0.5) * y.sign()
        error = (code.clamp(-128, 127) * float(np.float32(scale)) - y) * g
        beyond = (code < -128) | (code > 127)
        kept = error if clipped is None else error[beyond if clipped else ~beyond]
        return float(0.5 * (kept**2).sum() / len(BELL))

    chosen = trace(figure, "chosen dot")
    assert 10 ** chosen.y[0] == pytest.approx(cost(report.chosen.x_out_scale), rel=1e-4)
    shown = landscape.at_least(grid[0])
    rounding, clipping, whole = figure.data[:3]
    for i in (5, len(shown.alphas) // 2, len(shown.alphas) - 9):
        scale = float(shown.scales[i])
        for curve, part in ((whole, None), (rounding, False), (clipping, True)):
            if np.isfinite(curve.y[i]):
                assert 10 ** curve.y[i] == pytest.approx(cost(scale, part), rel=1e-4)
    table = figures.scale_table(rows, True, ENGLISH, "predicted_nats")
    words = {note.name: note for note in table.layout.annotations if note.name}
    costs = [cost(row.x_out_scale) for row in rows]
    for i, value in enumerate(costs):
        assert float(words[f"nats {i}"].text.strip("</b>")) == pytest.approx(value, rel=6e-3)
    green = [i for i in range(len(rows)) if words[f"nats {i}"].font.color == LIGHT["best"]]
    assert green == [int(np.argmin(costs))]


def test_by_loss_the_sentences_say_what_the_best_would_save():
    calibration = counted(BELL, "predicted_nats")
    report, landscape, *_ = chosen_and_others(calibration, "percentile", 0.99, True)
    saved = 1 - landscape.predicted_nats.min() / report.chosen.predicted_nats
    sentence = captions.verdict(report, landscape, ENGLISH)
    assert sentence.startswith(f"This scale clips too much: α {landscape.best_alpha} is predicted")
    assert sentence.endswith(f"{percent(saved)} less.")
    assert small(report.chosen.predicted_nats) in captions.proof(report, landscape, ENGLISH)
    best = report_slice(calibration, report_scale(calibration, landscape.best_rule))
    assert captions.verdict(best, landscape, ENGLISH).startswith("No percentile is predicted")
    figure = figures.layer_strip([4], [report], [best.chosen], 4, ENGLISH, "predicted_nats")
    (gain,) = [note for note in figure.layout.annotations if note.name == "gain 4"]
    assert gain.text == f"<b>{percent(-saved)} cost</b>"


def test_the_table_counts_codes_and_splits_errors_on_one_scale():
    _, _, rows, _ = chosen_and_others(counted(BELL), "percentile", 0.999, True)
    figure = figures.scale_table(rows, True, ENGLISH)
    (sensor,) = [cells for cells in figure.data if cells.type == "heatmap"]
    assert list(sensor.x) == list(range(-128, 128))
    assert [round(-y - 0.5) for y in sensor.y] == list(range(len(rows)))
    counts = sensor.z
    y = F.silu(BELL).half().float()
    for row, codes in zip(rows, counts, strict=True):
        exact = torch.floor((y / np.float32(row.x_out_scale)).abs() + 0.5) * y.sign()
        clamped = exact.clamp(-128, 127).long() + 128
        assert codes.tolist() == torch.bincount(clamped, minlength=256).tolist()
    rounding, clipping = trace(figure, "rounding"), trace(figure, "clipping")
    fits = [i for i, row in enumerate(rows) if float(row.output.sqnr_db) > 15]
    total = rounding.x + clipping.x
    errors = [
        float(rows[i].output.rounding_sse + rows[i].output.clipping_sse) / total[i] for i in fits
    ]
    assert errors == pytest.approx([errors[0]] * len(errors), rel=1e-5)
    assert [pick["value"] for pick in figure.layout.meta["picks"]] == list(range(1, len(rows)))
    best = max(rows, key=lambda row: float(row.output.sqnr_db))
    green = [
        words.text
        for words in figure.layout.annotations
        if words.font.color == figures.PALETTES["light"]["best"]
    ]
    assert green == [f"<b>{float(best.output.sqnr_db):.2f} dB</b>"]


def test_the_sweep_marks_every_rule_on_both_curves():
    calibration = counted(BELL)
    _, _, rows, _ = chosen_and_others(calibration, "percentile", 0.999, True)
    figure = figures.utilization_sweep(sweep_scales(calibration), rows, ENGLISH)
    for measure in ("code_utilization", "saturation_rate"):
        x = np.concatenate([trace(figure, f"{kind} {measure}").x for kind in ("chosen", "others")])
        y = np.concatenate([trace(figure, f"{kind} {measure}").y for kind in ("chosen", "others")])
        assert x == pytest.approx(np.log10([row.x_out_scale for row in rows]), abs=1e-5)
        assert y == pytest.approx([float(getattr(row.output, measure)) for row in rows], abs=1e-6)
    names = [words.text for words in figure.layout.annotations if words.name.startswith("rule")]
    assert len(names) == len(rows) and any("scale_wx" in name for name in names)


def test_a_page_which_does_not_check_them_draws_the_same_figures():
    calibrated = counted(BELL)
    report, landscape, rows, cuts = chosen_and_others(calibrated, "percentile", 0.999, True)
    grid = alpha_grid(calibrated.silu_output.total, [0.999])

    def drawn() -> list[dict]:
        made = [
            figures.transfer(report, cuts, True, ENGLISH),
            figures.scale_table(rows, True, ENGLISH),
            figures.landscape_under_slider(landscape, grid, report.chosen, ENGLISH),
            figures.layer_strip([0], [report], [rows[0]], 0, ENGLISH),
            figures.utilization_sweep(sweep_scales(calibrated), rows, ENGLISH),
        ]
        return [json.loads(figure.to_json()) for figure in made]

    checked = drawn()
    with unchecked():
        assert drawn() == checked
