"""Figures of the pages beside Explore: what they draw, and that it can be read, for any data."""

import re

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracles import half_away

from dashboard import figures
from dashboard.analysis.compare import QUANTITIES, Column, LayerScales
from dashboard.analysis.report import ScaleReport, baselines, distinct, report_scale
from dashboard.calibration import SliceCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.figures import theme
from dashboard.figures.alpha_axis import flags
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import (
    ASYMMETRIC_RULES,
    SYMMETRIC_RULES,
    MovingAverage,
    ScaleRule,
    averaged,
)
from dashboard.text.language import ENGLISH, language

LANGUAGES = st.sampled_from(["en", "zh-CN"])

# Each example is drawn in a browser, at three widths, which is too slow to look for the simplest.
drawn_in_a_browser = settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def magnitudes(low: float = 1e-6, high: float = 100.0) -> st.SearchStrategy[float]:
    """Scales and maxima of any size, as likely small as large."""
    return st.floats(np.log10(low), np.log10(high)).map(lambda e: float(10.0**e))


def traces(figure: go.Figure, kind: str = "scatter", concept: str | None = None) -> list:
    """The figure's traces of a kind, and of a concept's colour where one is asked for."""
    matching = [trace for trace in figure.data if trace.type == kind]
    if concept is None:
        return matching
    colour = theme.LIGHT[concept]
    return [t for t in matching if colour in (t.line.color, t.marker.color)]


def hovers(trace) -> list[str]:
    """What the pointer is told at each point, as the browser fills it in."""
    texts = []
    for row in trace.customdata:
        text = trace.hovertemplate.removesuffix("<extra></extra>")
        for i, value in enumerate(np.atleast_1d(np.asarray(row, dtype=object))):
            text = text.replace(f"%{{customdata[{i}]}}", str(value))
            text = text.replace("%{customdata}", str(value))
        texts.append(text)
    return texts


def check_meta(figure: go.Figure) -> None:
    """It says a finding, and each of its picks has a name and a place."""
    meta = figure.layout.meta
    assert len(meta["alt"]) > 20 and "nan" not in meta["alt"]
    for pick in meta["picks"]:
        assert pick["label"] and np.isfinite([*pick["x"], *pick["y"]]).all()


def test_the_checker_sees_what_cannot_be_read(paper):
    figure = theme.new_figure(100, "a curve from corner to corner, and labels where none may be")
    figure.add_trace(theme.line([0, 1], [0, 1], "output", 2))
    figure.update_xaxes(range=[0, 1], visible=False)
    figure.update_yaxes(range=[0, 1], visible=False)
    marks = {"free": (0.2, 0.8), "on the line": (0.5, 0.5), "beyond": (1.0, 0.5)}
    for text, (x, y) in marks.items():
        figure.add_annotation(theme.label(x, y, text))
    figure.add_annotation(theme.label(0.22, 0.75, "twin"))
    figure.add_trace(theme.dots([0.7], [0.2], "best", 20))
    figure.add_annotation(theme.label(0.7, 0.2, "on the dot"))
    assert set(paper.faults(figure, 600)[600]) == {
        '"on the line" lies on a line',
        '"beyond" leaves the frame',
        '"free" lies on "twin"',
        '"on the dot" lies on a dot',
    }


# Compare


@st.composite
def columns(draw) -> list[Column]:
    layers = draw(st.sampled_from([[0], [3, 7], list(range(5)), list(range(64))]))
    around = draw(magnitudes())
    spread = draw(st.sampled_from([0.0, 1e-6, 0.1, 3.0]))
    name = draw(st.sampled_from(["A", "mamba-tiny, α 0.9995", "a_directory_with_a_long_name" * 3]))
    made = []
    for i in range(draw(st.integers(2, 6))):
        known = [layer for layer in layers if draw(st.booleans()) or layer % 3] or layers[:1]
        values = [around * (1 + spread * draw(st.floats(0, 1))) for _ in known]
        made.append(
            Column(
                f"{name}{i}",
                tuple(
                    LayerScales(layer, x_out_scale=value, sqnr_db=20 * np.log10(value))
                    for layer, value in zip(known, values, strict=True)
                ),
            )
        )
    return made


@drawn_in_a_browser
@given(columns(), st.sampled_from(["x_out_scale", "sqnr_db", "w_scale"]), LANGUAGES)
def test_compared_lines_can_be_read(paper, made, quantity, code):
    say = language(code)
    figure = figures.compared_lines(made, quantity, say)
    check_meta(figure)
    paper.check(figure)


def test_compared_lines_are_the_columns_numbers_at_their_layers():
    made = [
        Column("first", (LayerScales(2, x_out_scale=0.01), LayerScales(9, x_out_scale=0.03))),
        Column("second", (LayerScales(9, x_out_scale=0.02),)),
        Column("none", (LayerScales(4, w_scale=1.0),)),
    ]
    figure = figures.compared_lines(made, "x_out_scale", ENGLISH)
    first, second = figure.data
    assert first.x.tolist() == [0, 2] and second.x.tolist() == [2]  # of layers 2, 4, 9
    assert first.y.tolist() == pytest.approx([0.01, 0.03])
    assert figure.layout.xaxis.ticktext == ("2", "4", "9")
    assert figure.layout.yaxis.type == "log"
    low, high = figure.layout.yaxis.range
    assert low < np.log10(0.01) and high > np.log10(0.03)
    assert hovers(first)[1] == "A: first<br>layer 9: x_out_scale 0.03000"
    assert "x_out_scale of layer 9 differs most" in figure.layout.meta["alt"]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_quantity_that_no_column_knows_is_said(quantity):
    figure = figures.compared_lines([Column("a", ()), Column("b", ())], quantity, ENGLISH)
    assert [words.text for words in figure.layout.annotations] == [f"No column knows {quantity}."]
    assert not figure.data


def test_a_name_with_markup_is_a_name():
    made = [Column(f"<b>%{{x}}</b>{i}", (LayerScales(0, x_out_scale=0.1),)) for i in range(2)]
    figure = figures.compared_lines(made, "x_out_scale", ENGLISH)
    assert [trace.name for trace in figure.data] == [
        "<b>A: &lt;b&gt;%{x}&lt;/b&gt;0</b>",
        "B: &lt;b&gt;%{x}&lt;/b&gt;1",
    ]


# Batches


@st.composite
def averages(draw) -> tuple[MovingAverage, float, np.ndarray]:
    """Batches' quantiles near one another or far apart; the average in one order, and in others."""
    around, spread = draw(magnitudes()), draw(st.sampled_from([0.0, 1e-6, 1e-3, 0.5]))
    count = draw(st.sampled_from([1, 2, 7, 64, 300]))
    shares = np.random.default_rng(draw(st.integers(0, 9))).random(count)
    quantiles = (around * (1 + spread * shares)).tolist()
    if draw(st.booleans()):
        quantiles[0] = 0.0
    sigma = draw(st.sampled_from([0.001, 0.01, 1.0]))
    average = averaged(quantiles, sigma, draw(st.sampled_from([None, 5])))
    finals = np.array([averaged(quantiles, sigma, seed).final for seed in range(1, 9)])
    return average, float(np.mean(quantiles)), finals


@drawn_in_a_browser
@given(averages(), LANGUAGES)
def test_moving_averages_can_be_read(paper, made, code):
    say = language(code)
    average, pooled, finals = made
    for figure in (
        figures.moving_average_chart(average, pooled, say),
        figures.orders_chart(finals, average.final, pooled, say),
    ):
        check_meta(figure)
        paper.check(figure)


def test_the_moving_average_is_drawn_as_it_is_defined():
    quantiles, sigma = [1.0, 3.0, 2.0], 0.25
    average = averaged(quantiles, sigma, None)
    figure = figures.moving_average_chart(average, 2.5, ENGLISH)
    pooled, mean, dots, weights = figure.data
    assert list(pooled.y) == [2.5, 2.5] and pooled.line.dash != "solid"
    assert list(mean.y) == [1.0, 1.0 + 0.25 * 2.0, 1.5 + 0.25 * 0.5]  # m + σ (q − m)
    assert list(dots.y) == quantiles and dots.x.tolist() == [0, 1, 2]
    assert list(weights.y) == pytest.approx([0.75**2, 0.25 * 0.75, 0.25])
    assert hovers(dots)[1] == "batch 1: its quantile 3.000<br>mean after it 1.500"
    assert hovers(weights)[0] == "batch 0: weight 56 %"
    assert mean.name == "moving average, at its end: 1.625"
    assert "56 %" in figure.layout.annotations[0].text
    assert "35 % below the pooled quantile" in figure.layout.meta["alt"]


def test_batches_stand_in_the_order_taken_under_their_own_numbers():
    average = averaged([1.0, 2.0, 3.0, 4.0, 5.0], 0.1, 3)
    figure = figures.moving_average_chart(average, 3.0, ENGLISH)
    assert figure.layout.xaxis.ticktext == tuple(map(str, average.order)) != tuple("01234")
    assert list(figure.data[2].y) == [1.0 + batch for batch in average.order]


def test_every_order_is_counted_once_between_the_bars_edges():
    finals = np.array([1.0, 1.0, 1.2, 2.0])
    figure = figures.orders_chart(finals, 1.2, 1.7, ENGLISH)
    bars, here, pooled = figure.data
    half = bars.width / 2
    for x, count in zip(bars.x, bars.y, strict=True):
        assert count == ((finals >= x - half) & (finals < x + half)).sum()
    assert sum(bars.y) == 4
    assert here.x == (1.2, 1.2) and here.name == "this order: 1.200"
    assert pooled.x == (1.7, 1.7) and pooled.name == "pooled: 1.700"
    assert hovers(bars)[0].endswith("<br>2 orders")
    assert "between 1.000 and 2.000" in figure.layout.meta["alt"]


# Heatmaps


def test_a_heatmap_shades_by_value_marks_the_best_and_leaves_gaps():
    shade = np.array([[0.0, 0.5, 7.0], [np.nan, 1.0, 0.25]])
    marked = np.array([[True, False, False], [False, False, True]])
    words = [["a", "b", "c"], ["d", "e", "<f>"]]
    figure = figures.heatmap(
        "What six cells show", ["r", "s"], ["x, y", "z", "w"], shade, words, words, marked
    )
    ground, cells = figure.data
    assert cells.z.tolist() == [[0.0, 0.5, 1.0], [0.0, 1.0, 0.25]]
    assert cells.colorscale[0][1].endswith(",0)") and ground.colorscale[0][1].endswith(",1)")
    assert np.asarray(cells.text).tolist() == [
        ["<b>a</b>", "b", "c"],
        ["d", "e", "<b>&lt;f&gt;</b>"],
    ]
    rims = [(rim.x0, rim.x1, rim.y0, rim.y1) for rim in figure.layout.shapes]
    assert rims == [(-0.5, 0.5, -0.5, 0.5), (1.5, 2.5, 0.5, 1.5)]
    picks = figure.layout.meta["picks"]
    assert [pick["value"] for pick in picks] == list(range(6))
    assert [pick["label"] for pick in picks] == ["a", "b", "c", "d", "e", "<f>"]
    assert (picks[5]["x"], picks[5]["y"]) == ([1.5, 2.5], [0.5, 1.5])
    assert figure.layout.xaxis.ticktext[0] == "x<br>y"
    assert figure.layout.yaxis.range == (1.5, -0.5)  # the first row on top


def calibrated(v: torch.Tensor) -> SliceCalibration:
    """What is counted of SiLU's inputs v, in two batches."""
    halves = tuple(Histogram.of(F.silu(half)) for half in v.tensor_split(2) if len(half))
    return SliceCalibration("x", 5.0, 0.7, 1.2, Histogram.of(v), Histogram.of(F.silu(v)), halves)


SAMPLES = [
    torch.randn(3000, generator=torch.Generator().manual_seed(i)) * spread
    for i, spread in enumerate((1.5, 0.01, 30.0))
] + [torch.zeros(50), torch.full((50,), 0.7), -torch.rand(500) * 9 - 0.1]


def test_the_rule_heatmap_has_every_sqnr_and_marks_the_best_of_each_row():
    layers, reports, bests = [3, 8], [], []
    for v in SAMPLES[:2]:
        counted = calibrated(v)
        rules = [ScaleRule("percentile", 0.99), ScaleRule("mse"), ScaleRule("scale-wx")]
        reports.append([report_scale(counted, rule) for rule in rules])
        landscape = Landscape.of(counted.silu_output)
        bests.append(report_scale(counted, landscape.best_rule))
    figure = figures.rule_heatmap(layers, reports, bests, ENGLISH)
    y = [F.silu(v).half().double() for v in SAMPLES[:2]]
    for row, outputs in enumerate(y):
        sqnr = []
        for made in reports[row]:
            codes = half_away(outputs.numpy().astype(np.float32) / np.float32(made.x_out_scale))
            hat = codes.clip(-128, 127) * made.x_out_scale
            noise = ((hat - outputs.numpy()) ** 2).sum()
            sqnr.append(10 * np.log10((outputs.numpy() ** 2).sum() / noise))
        texts = [re.sub("</?b>", "", text) for text in figure.data[1].text[row]]
        assert [float(text.replace("−", "-")) for text in texts] == pytest.approx(sqnr, abs=0.06)
        most = float(bests[row].output.sqnr_db)
        lost = np.clip((most - np.array(sqnr)) / 12.0, 0, 1)
        assert figure.data[1].z[row].tolist() == pytest.approx(lost, abs=1e-3)
        assert figure.data[1].text[row][int(np.argmax(sqnr))].startswith("<b>")
    assert figure.layout.yaxis.ticktext == ("Layer 3", "Layer 8")
    hover = figure.data[1].customdata[1][2]
    assert hover.startswith("Layer 8, scale_wx<br>sqnr_db ") and "x_out_scale 0.0" in hover
    assert "scale_wx costs most" in figure.layout.meta["alt"]


def test_the_group_heatmap_has_each_groups_scale_and_how_much_finer_it_is():
    scales = np.array([[[0.01, 0.02], [0.04, 0.005]]])
    figure = figures.group_heatmap(scales, np.array([3, 4, 5, 6]), 0.04, ENGLISH)
    assert figure.data[1].z.tolist() == [[0.8, 0.4], [0.0, 1.0]]  # octaves / 2.5, at most 1
    assert [list(row) for row in figure.data[1].text] == [
        ["0.01000", "0.02000"],
        ["0.04000", "0.005000"],
    ]
    hover = figure.data[1].customdata[1][1]
    assert hover == "Heads 2, channels 2: 6 channels share 0.005,<br>8.00 times finer than 0.04"
    assert (
        "8 times finer" in figure.layout.meta["alt"]
        and "Heads 2, channels 2" in figure.layout.meta["alt"]
    )
    assert not figure.layout.meta["picks"]  # a click would choose nothing


@drawn_in_a_browser
@given(st.integers(0, 5), st.sampled_from([1, 2, 64]), st.booleans(), LANGUAGES)
def test_rule_heatmaps_can_be_read(paper, sample, layers, symmetric, code):
    say = language(code)
    counted = calibrated(SAMPLES[sample])
    names = SYMMETRIC_RULES if symmetric else ASYMMETRIC_RULES
    row = [report_scale(counted, ScaleRule(name, symmetric=symmetric)) for name in names]
    figure = figures.rule_heatmap(range(layers), [row] * layers, [row[0]] * layers, say)
    check_meta(figure)
    paper.check(figure, (340, 1280) if layers > 2 else (340, 736, 1280))


@drawn_in_a_browser
@given(st.sampled_from([(1, 1, 1), (1, 4, 4), (2, 3, 64), (8, 2, 16)]), magnitudes(), LANGUAGES)
def test_group_heatmaps_can_be_read(paper, shape, around, code):
    say = language(code)
    scales = np.maximum(around * np.random.default_rng(1).lognormal(0, 1, shape), 1e-6)
    figure = figures.group_heatmap(scales, np.ones(scales.size, int), float(scales.max()), say)
    check_meta(figure)
    paper.check(figure)


# α sweep and held-out


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(20, 150)), min_size=1, max_size=12),
    st.sampled_from([240.0, 500.0, 900.0]),
    st.floats(1, 4),
)
def test_no_flag_lies_on_another_nor_on_anothers_pole(labels, room, wider):
    """At the width that they were placed for and at any greater one, in which places spread."""
    at = [share * room for share, _ in labels]
    widths = [width for _, width in labels]
    placed = flags(at, widths, room)
    for i, flag in enumerate(placed):
        x = at[i] * wider
        left = x + flag.left - at[i]
        assert left >= -1e-6 and left + widths[i] <= room * wider + 1e-6
        for j, other in enumerate(placed):
            if i == j:
                continue
            pole, foot = at[j] * wider, other.left - at[j] + at[j] * wider
            if flag.row == other.row:  # labels of a row stand beside one another
                assert left + widths[i] <= foot + 1e-6 or foot + widths[j] <= left + 1e-6
            if flag.row < other.pole:  # a higher label's pole passes by
                assert not left + 1e-6 < pole < left + widths[i] - 1e-6


def swept(sample: int, observer: str, symmetric: bool) -> tuple[Landscape, list[ScaleReport]]:
    counted = calibrated(SAMPLES[sample])
    rule = ScaleRule(observer, symmetric=symmetric)
    landscape = Landscape.of(counted.silu_output, symmetric=symmetric)
    rules = [rule, *baselines(rule)]
    return landscape, distinct(report_scale(counted, one) for one in rules)


@drawn_in_a_browser
@given(
    st.integers(0, 5),
    st.sampled_from(
        [(rule, True) for rule in SYMMETRIC_RULES] + [(rule, False) for rule in ASYMMETRIC_RULES]
    ),
    LANGUAGES,
)
def test_sweeps_can_be_read(paper, sample, rule, code):
    landscape, rows = swept(sample, *rule)
    figure = figures.alpha_sweep(landscape, rows, language(code))
    check_meta(figure)
    paper.check(figure)


@drawn_in_a_browser
@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from([None, 0.9, 0.9995, 1.0]), LANGUAGES)
def test_held_out_landscapes_can_be_read(paper, first, second, alpha, code):
    pair = [Landscape.of(calibrated(SAMPLES[i]).silu_output) for i in (first, second)]
    names = ("calibration.txt", "a/text/in/a/directory/with_a_name_as_long_as_names_get.txt")
    figure = figures.held_out_landscapes(*pair, names, language(code), alpha=alpha)
    check_meta(figure)
    paper.check(figure)


def test_the_sweep_draws_every_measure_at_every_alpha_and_marks_every_rule():
    landscape, rows = swept(0, "percentile", symmetric=True)
    figure = figures.alpha_sweep(landscape, rows, ENGLISH)
    t = [-np.log10(1 - alpha) for alpha in landscape.alphas[:-1]]
    y = F.silu(SAMPLES[0]).half().float()
    i = len(t) // 2
    alpha = float(landscape.alphas[i])
    scale = float(torch.quantile(y.abs(), alpha)) / 127
    codes = half_away(y.numpy() / np.float32(scale)).clip(-128, 127)
    error = (codes * scale - y.double().numpy()) ** 2
    beyond = np.abs(half_away(y.numpy() / np.float32(scale))) > 127
    beyond &= half_away(y.numpy() / np.float32(scale)) != -128
    wanted = {
        "chosen": 10 * np.log10(float((y.double() ** 2).sum()) / error.sum()),
        "y2 output": error[~beyond].sum() / len(error),
        "y2 saturated": error[beyond].sum() / len(error),
        "y4 output": len(np.unique(codes)) / 256,
        "y4 saturated": beyond.mean(),
        "y5 input": scale,
    }
    for name, value in wanted.items():
        *axis, concept = name.split()
        axis = axis[0] if axis else "y"
        (curve,) = [
            trace
            for trace in traces(figure, concept=concept)
            if trace.mode == "lines" and (trace.yaxis or "y") == axis and trace.line.width > 2
        ]
        nearest = int(np.argmin(np.abs(curve.x - t[i])))
        assert curve.x[nearest] == pytest.approx(t[i], rel=1e-6)
        assert curve.y[nearest] == pytest.approx(value, rel=1e-4), name
    points = [trace for trace in traces(figure) if trace.mode == "markers"]
    texts = [text for trace in points for text in hovers(trace)]
    minmax = next(row for row in rows if row.observer == "minmax")
    assert f"<b>{minmax.label}</b><br>sqnr_db {float(minmax.output.sqnr_db):.2f} dB" in texts
    assert f"<b>{minmax.label}</b><br>saturation_rate 0 %" in texts
    names = [words.text for words in figure.layout.annotations]
    for row in rows:
        assert any(row.short.replace(", ", "<br>") in name for name in names)
    assert any(f"best {landscape.best_alpha:.10g}" in name for name in names)


def test_a_click_on_the_sweep_answers_with_the_alpha_under_it():
    landscape, rows = swept(0, "percentile", symmetric=True)
    figure = figures.alpha_sweep(landscape, rows, ENGLISH)
    picks = figure.layout.meta["picks"]
    place, t = picks[30]["value"], [-np.log10(1 - alpha) for alpha in landscape.alphas[:-1]]
    low, high = picks[30]["x"]
    assert low < t[place] < high and picks[31]["x"][0] == high
    assert picks[30]["label"] == f"α {landscape.alphas[place]:.10g}"
    assert picks[-1]["label"] == "α 1"
    sensors = traces(figure, "bar")
    assert len(sensors) == 5  # one for each panel: the same numbers wherever the pointer is
    first_lines = [text.split("<br>")[0] for text in sensors[0].customdata]
    assert first_lines == [f"<b>{pick['label']}</b>" for pick in picks]
    assert all(list(bar.customdata) == list(sensors[0].customdata) for bar in sensors)
    assert sensors[0].customdata[0].startswith(f"<b>α {landscape.alphas[0]:.10g}</b><br>sqnr_db ")


def test_a_rule_that_no_alpha_gives_stands_in_the_margin():
    """All outputs are SiLU(0.7): scale_wx is finer than any quantile, the conv's 0.7 coarser."""
    landscape, rows = swept(4, "percentile", symmetric=True)
    figure = figures.alpha_sweep(landscape, rows, ENGLISH)
    places = {words.text: words.x for words in figure.layout.annotations if words.xref == "x"}
    low, high = figure.layout.xaxis.range
    assert low < places["scale_wx"] < -np.log10(1 - landscape.alphas[0])
    assert figure.layout.xaxis.tickvals[-1] < places["conv-absmax"] < high
    assert figure.layout.xaxis.ticktext[-1] == "1"


def test_both_texts_are_drawn_over_one_axis_with_their_best_and_the_alpha_on_show():
    pair = [Landscape.of(calibrated(SAMPLES[i]).silu_output) for i in (0, 2)]
    figure = figures.held_out_landscapes(*pair, ("one.txt", "two.txt"), ENGLISH, alpha=0.999)
    (mark,) = figure.layout.shapes
    assert mark.x0 == mark.x1 == pytest.approx(3.0)
    curves = [trace for trace in figure.data if trace.mode == "lines" and len(trace.x) > 1]
    bests = [trace for trace in traces(figure) if trace.mode == "markers"]
    for curve, best, landscape, name in zip(curves, bests, pair, ("one", "two"), strict=True):
        assert curve.y.tolist() == pytest.approx(landscape.sqnr_db.tolist(), rel=1e-6)
        assert curve.name.startswith(f"{name}.txt: best {landscape.best_alpha:.10g}, ")
        assert best.y[0] == pytest.approx(landscape.sqnr_db.max(), rel=1e-6)
        assert hovers(curve)[7] == (
            f"{name}.txt<br>α {landscape.alphas[7]:.10g}: {landscape.sqnr_db[7]:.2f} dB"
        ).replace("-", "−")
    assert curves[0].x[-1] == curves[1].x[-1]  # α = 1 is one place
    assert "α 0.999, on show" in [trace.name for trace in figure.data]
