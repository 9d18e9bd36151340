"""The lesson's figures: what they draw, and that their words stand apart and within the frame."""

import re
from dataclasses import replace

import numpy as np
import pytest
from oracles import half_away

from dashboard.analysis.pipeline import trace_channel
from dashboard.calibration.histogram import Histogram
from dashboard.figures.lesson_alpha_choice import alpha_choice
from dashboard.figures.lesson_best_alpha import best_alpha
from dashboard.figures.lesson_group_scales import group_scales
from dashboard.figures.lesson_int8_range import int8_range
from dashboard.figures.lesson_kernel_steps import kernel_steps
from dashboard.figures.lesson_outliers import Ruler, outliers
from dashboard.figures.lesson_ratios import ratios
from dashboard.figures.lesson_silu_shape import silu_shape
from dashboard.figures.lesson_toy_example import toy_example
from dashboard.figures.theme import LIGHT
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.screen import control_values
from dashboard.lesson.steps import STEPS
from dashboard.pages.lesson_model import calibrated_model, sample_model, source_of
from dashboard.rules.landscape import Landscape
from dashboard.text.language import ENGLISH, LANGUAGES, language


@pytest.fixture(scope="module")
def model() -> CalibratedModel:
    return calibrated_model(source_of("mamba2-tiny"))


def points(figure, concept: str, mode: str = "markers") -> list[tuple[float, float]]:
    """The points of a figure that are drawn in one concept's colour."""
    return [
        (float(x), float(y))
        for trace in figure.data
        if trace.type == "scatter" and mode in trace.mode and trace.marker.color == LIGHT[concept]
        for x, y in zip(trace.x, trace.y, strict=True)
    ]


def words(figure) -> list[str]:
    """Every label that is shown, without its marks."""
    return [
        re.sub(r"<[^>]+>", " ", label.text).strip()
        for label in figure.layout.annotations
        if label.visible is not False
    ]


# What is drawn


def test_values_stand_where_they_are_and_where_they_come_back():
    values, scale = np.array([-1.0, 0.31, 4.0]), 0.02
    codes = np.clip(half_away(values / scale), -128, 127)
    saturated = np.array([False, False, True])
    figure = int8_range(scale, values, codes.astype(int), codes * scale, saturated, 1, ENGLISH)
    upper = [t for t in figure.data if t.xaxis is None and t.mode == "markers"]
    drawn: dict[str, list[float]] = {LIGHT["output"]: [], LIGHT["saturated"]: []}
    for trace in upper:
        drawn[trace.marker.color] += [float(x) for x in trace.x]
    assert drawn[LIGHT["output"]] == pytest.approx([-1.0, 0.32, -1.0, 0.31])
    assert drawn[LIGHT["saturated"]] == pytest.approx([2.54, 4.0])
    assert "INT8 holds −2.56 … 2.54" in words(figure)
    assert "1 of 3 values saturate" in figure.layout.meta["alt"]


def test_the_sum_on_show_is_that_of_the_products_on_show(model):
    trace = trace_channel(model.activations.conv(1), 0.02, 0, 7, first=12, count=1)
    shown = words(kernel_steps(trace, ENGLISH))
    products = [x * w for x, w in zip(trace.window[0].tolist(), trace.weight.tolist(), strict=True)]
    for product_ in products:
        assert f"{product_:,}".replace("-", "−") in shown
    assert f"acc = {sum(products):,}".replace("-", "−") in shown
    v = sum(products) * trace.scale_wx + trace.bias * trace.scale_b
    (point,) = points(kernel_steps(trace, ENGLISH), "chosen")
    assert point == pytest.approx((v, v / (1 + np.exp(-v))), rel=1e-4, abs=1e-6)


def test_stranded_codes_are_hatched_from_the_lowest_code_to_silus_least_value():
    v = Histogram(np.array([-2.0, 0.0, 3.0], np.float32), np.array([5, 9, 2]))
    y = Histogram(np.array([-0.238, 0.0, 2.857], np.float32), np.array([5, 9, 2]))
    figure = silu_shape(v, y, 2.857 / 127, 115, ENGLISH)
    (hatched,) = [trace for trace in figure.data if trace.fillpattern.shape]
    assert min(hatched.x) == pytest.approx(-128 * 2.857 / 127)
    assert max(hatched.x) == pytest.approx(-0.27846, abs=1e-4)
    assert silu_shape(v, y, 0.001, 0, ENGLISH).data[-1].visible is False


def test_errors_and_their_means_are_those_given():
    v = np.array([-1.0, 0.0, 2.0])
    errors, beside = np.array([0.01, 0.0, 0.02]), np.array([0.03, 0.0, 0.0])
    figure = toy_example(0.05, v, errors, (-5, 40), 0.1, beside, ENGLISH)
    means = [shape.y0 for shape in figure.layout.shapes if shape.yref == "y2"]
    assert means == pytest.approx([0.01, 0.01])
    stems = [trace for trace in figure.data if trace.xaxis == "x2" and trace.type == "scatter"]
    tops = [np.asarray(trace.y)[1::3] for trace in stems]
    assert np.allclose(tops, [beside, errors])
    steps = figure.data[1].y
    assert len(set(np.round(np.asarray(steps) / 0.05))) == len(set(steps))  # whole codes alone


def test_curves_of_the_error_are_the_sweeps():
    values = Histogram(np.array([0.5, 1.0, 10.0], np.float32), np.array([900, 99, 1]))
    amaxes = np.array([1.0, 5.0, 11.0])
    sweep = values.quantize((amaxes / 127).astype(np.float32))
    rulers = (Ruler("MinMax", 10 / 127, 13, 1e-4), Ruler("percentile", 3 / 127, 42, 1e-2))
    figure = outliers(0.001, 10.0, rulers, amaxes, sweep, 10.0, ENGLISH)
    own = [trace for trace in figure.data if trace.xaxis == "x3" and trace.mode == "lines"]
    y = np.repeat([0.5, 1.0, 10.0], [900, 99, 1])
    for i, amax in enumerate(amaxes):
        error = np.clip(half_away(y / (amax / 127)), -128, 127) * amax / 127 - y
        assert 10 ** own[2].y[i] == pytest.approx((error**2).mean(), rel=1e-3)
    assert "13" in "".join(words(figure)) and "42" in "".join(words(figure))


def test_the_chosen_alpha_stands_on_its_layers_curve_and_the_cut_at_its_scale(model):
    layer = model.layers[2]
    landscapes = {entry.number: entry.landscape for entry in model.layers}
    figure = best_alpha(landscapes, layer.number, 0.999, layer.silu_output, ENGLISH)
    y = np.repeat(layer.silu_output.values, layer.silu_output.counts).astype(np.float64)
    scale = np.float32(np.quantile(np.abs(y), 0.999)) / np.float32(127)
    back = np.clip(half_away(y / scale), -128, 127) * np.float64(scale)
    sqnr = 10 * np.log10((y**2).sum() / ((back - y) ** 2).sum())
    (point,) = points(figure, "chosen")
    assert point == pytest.approx((3.0, sqnr), abs=5e-3)
    cuts = [shape.x0 for shape in figure.layout.shapes if shape.xref == "x2"]
    assert cuts == pytest.approx([127 * scale], rel=1e-5)
    assert len(points(figure, "best")) == len(model.layers)


def test_a_hidden_ratio_is_not_in_the_figure():
    own = {0: 100.5, 1: 77.7}
    hidden, shown = (ratios("m", own, 1, 90.0, revealed, ENGLISH) for revealed in (False, True))
    assert "77.7" not in hidden.to_json() and "77.7" in shown.to_json()
    assert np.log10(77.7) not in [pytest.approx(x, abs=1e-4) for x, _ in points(hidden, "output")]
    assert (pytest.approx(np.log10(90.0)), -27 * 5 - 44 - 27) in points(hidden, "chosen")


def test_each_groups_scale_is_in_its_cell_and_the_finest_is_the_strongest():
    scales = np.array([[[0.01, 0.02], [0.03, 0.04]], [[0.05, 0.06], [0.07, 0.08]]])
    figure = group_scales(scales, 0.05, 0.9995, ENGLISH)
    table = figure.data[0]
    assert [list(row) for row in table.text] == [
        ["0.01000", "0.02000"],
        ["0.03000", "0.04000"],
        ["0.05000", "0.06000"],
        ["0.07000", "0.08000"],
    ]
    opacity = [float(colour.split(",")[-1].rstrip(")")) for _, colour in table.colorscale]
    assert opacity[0] > opacity[-1] and np.argmin(table.z) == 0
    assert list(figure.layout.yaxis.ticktext) == ["1.1", "1.2", "2.1", "2.2"]
    (point,) = points(figure, "chosen")
    assert point[0] == pytest.approx(0.05)


def test_a_row_has_what_its_alpha_buys_and_the_best():
    figure = alpha_choice([3, 4], [0.99, 0.9995], [20.0, 31.0], [30.0, 31.0], [10.0, 0.0], ENGLISH)
    assert [x for x, _ in points(figure, "output")] == [20.0, 31.0]
    best = next(
        trace
        for trace in figure.data
        if trace.type == "scatter" and trace.line.color == LIGHT["best"]
    )
    assert np.asarray(best.x)[::3].tolist() == [30.0, 31.0]
    assert {"10.00 dB", "0.00 dB"} <= set(words(figure))
    assert "Layer 3 loses most: 10.00 dB" in figure.layout.meta["alt"]


# In a browser


def subject_of(step, model: CalibratedModel) -> dict:
    layers = {} if step.on != "layer" else {"layer": model.layers[1].number}
    if step.sample:
        model = sample_model(step.sample)
    return {} if step.on == "nothing" else {"model": model, **layers}


def shown_at(step, model: CalibratedModel, say) -> list:
    """A step's figures at its defaults, at ends and in between of each control, and of all."""
    subject = subject_of(step, model)
    controls = step.controls(**subject, say=say)
    defaults = control_values(controls, {})
    settings = [defaults]
    for control in controls[:3]:
        options = list(control.options)
        values = {options[0], options[len(options) // 3], options[-2], options[-1]}
        settings += [defaults | {control.key: value} for value in sorted(values)]
    for end in (0, -1):
        settings.append({control.key: control.options[end] for control in controls})
        settings.append(defaults | {control.key: control.options[end] for control in controls[1:]})
    different = {tuple(values.items()): values for values in settings}.values()
    return [step.screen(**subject, **values, say=say).figure for values in different]


MEASURED = ("does_it_matter", "stop_caring")  # which run the model


def deep(model: CalibratedModel) -> CalibratedModel:
    """Eight layers with numbers of two digits; one of them makes no error at any α."""
    total = model.layers[0].silu_output.total
    ones = Landscape.of(Histogram(np.array([1.0], np.float32), np.array([total])))
    layers = [replace(model.layers[i % 4], number=50 + i) for i in range(8)]
    layers[6] = replace(layers[6], landscape=ones)
    return replace(model, layers=tuple(layers), activations=None)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_words_stand_apart_and_within_the_frame(paper, model, step):
    figures = [figure for code in LANGUAGES for figure in shown_at(step, model, language(code))]
    if step.on == "model" and step.name not in MEASURED:
        figures += shown_at(step, deep(model), ENGLISH)
    for figure in figures:
        paper.check(figure, widths=(340, 736))
