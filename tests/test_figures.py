"""Drawings: what lies where, on sheets that real reports and hostile ones fill."""

import math
import re

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import torch.nn.functional as F
from oracles import half_away

from dashboard import figures
from dashboard.analysis.report import (
    SILU_MIN,
    ScaleReport,
    SliceReport,
    baselines,
    distinct,
    report_scale,
    sweep_scales,
)
from dashboard.calibration import SliceCalibration
from dashboard.calibration.histogram import Histogram
from dashboard.figures.theme import count_height, nice_ticks, spread, steps
from dashboard.figures.transfer import left_preimage, preimage
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import (
    ASYMMETRIC_RULES,
    SYMMETRIC_RULES,
    ScaleRule,
    alpha_grid,
    moving_average,
)
from dashboard.text import captions
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import decibels, scale_text


def sliced(v: torch.Tensor, observer="percentile", alpha=0.9995, symmetric=True) -> tuple:
    """A report on SiLU inputs v, the scales beside it, and what was counted."""
    halves = [Histogram.of(F.silu(half)) for half in v.tensor_split(2) if len(half)]
    counted = SliceCalibration(
        "x",
        0.04 * 127,
        0.006 * 127,
        0.01 * 127,
        Histogram.of(v),
        Histogram.of(F.silu(v)),
        tuple(halves),
    )
    rule = ScaleRule(observer, alpha, symmetric=symmetric)
    chosen = report_scale(counted, rule)
    report = SliceReport("x", counted.scales, chosen, counted.silu_input, counted.silu_output)
    return (
        report,
        distinct([chosen, *(report_scale(counted, other) for other in baselines(rule))]),
        counted,
    )


GENERATOR = torch.Generator().manual_seed(0)
CASES = {
    "like a model's": torch.randn(50_000, generator=GENERATOR) * 1.5,
    "heavy tail": torch.from_numpy(np.random.default_rng(0).standard_t(4, 50_000)).float(),
    "one value": torch.tensor([0.7]),
    "zeros": torch.zeros(100),
    "all negative": -torch.rand(1000, generator=GENERATOR) * 9 - 0.1,
    "all positive": torch.rand(1000, generator=GENERATOR) * 30,
    "far to the left": torch.cat([torch.randn(999, generator=GENERATOR), torch.tensor([-400.0])]),
    "huge": torch.randn(1000, generator=GENERATOR) * 15_000,
    "tiny": torch.randn(1000, generator=GENERATOR) * 1e-3,
}


def drawn(report, rows, counted) -> list:
    landscape = Landscape.of(counted.silu_output, symmetric=report.chosen.rule.symmetric)
    best = report_scale(counted, landscape.best_rule)
    others = [(rows[-1], "baseline"), (rows[1], "beside"), (best, "best")]
    average = moving_average(counted.batches, ScaleRule("percentile-ema", order=3))
    grid = alpha_grid(counted.silu_output.total, (landscape.best_alpha,))
    return [
        figures.layer_strip(range(3), [report] * 3, [best] * 3, 1, ENGLISH),
        figures.layer_strip(range(5, 25), [report] * 20, [best] * 20, 24, ENGLISH),
        figures.transfer(report, others, True, ENGLISH),
        figures.transfer(report, others, log_counts=False, say=ENGLISH),
        figures.scale_table(rows, beside=True, say=ENGLISH),
        figures.utilization_sweep(sweep_scales(counted), rows, ENGLISH),
        figures.landscape_under_slider(landscape, grid, report.chosen, ENGLISH),
        figures.alpha_sweep(landscape, rows, ENGLISH),
        figures.held_out_landscapes(landscape, landscape, ("one", "two"), ENGLISH),
        figures.moving_average_chart(average, 0.5, ENGLISH),
        figures.orders_chart(np.array(average.means), average.final, 0.5, ENGLISH),
    ]


def check_numbers(figure: go.Figure) -> None:
    """What is drawn is finite, or a gap between two drawn pieces; every text says something."""
    for trace in figure.data:
        x, y = (
            np.asarray([] if axis is None else axis, dtype=float) for axis in (trace.x, trace.y)
        )
        if trace.type == "heatmap":
            assert np.shape(trace.z) == (len(y), len(x)) and np.isfinite(trace.z).all(), trace
        else:
            assert len(x) == len(y), trace
        assert not np.isinf(x).any() and not np.isinf(y).any(), trace
    for mark in (*figure.layout.shapes, *figure.layout.annotations):
        places = [mark[name] for name in ("x", "y", "x0", "x1", "y0", "y1") if name in mark]
        assert np.isfinite([place for place in places if place is not None]).all(), mark
    for axis in [name for name in figure.layout if re.fullmatch(r"[xy]axis\d*", name)]:
        assert figure.layout[axis].range is None or np.isfinite(figure.layout[axis].range).all()
    assert all(words.text and "nan" not in words.text for words in figure.layout.annotations)
    assert figure.layout.meta["alt"] and "nan" not in figure.layout.meta["alt"]


@pytest.mark.parametrize(
    ("observer", "symmetric"),
    [(rule, True) for rule in SYMMETRIC_RULES] + [(rule, False) for rule in ASYMMETRIC_RULES],
)
@pytest.mark.parametrize("case", CASES)
def test_any_layer_and_any_rule_can_be_drawn_and_told(case, observer, symmetric):
    report, rows, counted = sliced(CASES[case], observer, symmetric=symmetric)
    for figure in drawn(report, rows, counted):
        check_numbers(figure)
    landscape = Landscape.of(counted.silu_output, symmetric=symmetric)
    average = moving_average(counted.batches, ScaleRule("percentile-ema"))
    for sentence in (
        captions.verdict(report, landscape, ENGLISH),
        captions.proof(report, landscape, ENGLISH),
        captions.landscape_caption(landscape, ENGLISH),
        captions.sweep_verdict(landscape, ENGLISH),
        captions.alpha_sweep_caption(landscape, rows, ENGLISH),
        captions.average_headline(average, 0.5, ENGLISH),
        captions.average_verdict(average, 0.5, ENGLISH),
        captions.average_caption(average, 0.01, ENGLISH),
        captions.orders_caption(np.array(average.means), 0.5, ENGLISH),
        captions.transfer_caption(report, ENGLISH),
        captions.table_caption(rows, ENGLISH),
        captions.sweep_caption(report, ENGLISH),
        *(metric.value for metric in captions.metrics(report, rows[1], ENGLISH)),
    ):
        assert sentence and "nan" not in sentence


def test_figures_have_no_colour_but_the_light_palettes():
    report, rows, counted = sliced(CASES["like a model's"])
    palette = {value.lower() for value in figures.PALETTES["light"].values()}
    for figure in drawn(report, rows, counted):
        used = {colour.lower() for colour in re.findall(r"#[0-9A-Fa-f]{6}", figure.to_json())}
        assert used <= palette


@pytest.mark.parametrize("y", [SILU_MIN + 1e-6, -0.1, 0.0, 0.5, 40.0, 60000.0])
def test_preimages_invert_silu(y):
    v = torch.tensor(preimage(y), dtype=torch.float64)
    assert F.silu(v).item() == pytest.approx(y, abs=1e-5, rel=1e-9)
    if y < 0:
        left = torch.tensor(left_preimage(y), dtype=torch.float64)
        assert left < v
        assert F.silu(left).item() == pytest.approx(y, abs=1e-5)


def test_silus_minimum_is_where_it_is_said_to_be():
    v = torch.linspace(-2, 0, 2_000_001, dtype=torch.float64)
    assert F.silu(v).min().item() == pytest.approx(SILU_MIN, abs=1e-12)


@pytest.mark.parametrize(
    ("scale", "stranded"), [(0.0231, 116), (0.0278, 118), (1.0, 128), (0.002176, 0), (1e-5, 0)]
)
def test_stranded_codes_are_those_below_silus_floor(scale, stranded):
    """0.2785 / 0.0231 = 12.06: code -12 is reached, -128 ... -13 are not."""
    assert ScaleReport("", ScaleRule(), scale, 0, None).stranded_codes == stranded


def test_steps_outline_what_lies_between_two_cuts():
    position, height = steps(np.array([0.0, 1.0, 2.0, 3.0]), np.array([5.0, 6.0, 7.0]), 0.5, 2.25)
    assert position.tolist() == [0.5, 0.5, 1, 1, 2, 2, 2.25, 2.25]
    assert height.tolist() == [0, 5, 5, 6, 6, 7, 7, 0]
    assert len(steps(np.array([0.0, 1.0]), np.array([5.0]), 3, 4)[0]) == 0


def test_a_single_value_shows_on_a_logarithmic_axis_and_none_does_not():
    heights = count_height(np.array([0, 1, 10]), log=True)
    assert heights.tolist() == pytest.approx([0, math.log10(2), math.log10(20)])


def test_labels_are_moved_apart_and_stay_in_order():
    assert spread([0.5, 0.52, 0.1], 0.05) == pytest.approx([0.47, 0.52, 0.1])


@pytest.mark.parametrize("span", [(0, 5.8), (-0.003, 0.002), (0, 41_000)])
def test_ticks_are_round_and_within(span):
    ticks = nice_ticks(*span, 6)
    assert 3 <= len(ticks) <= 8
    assert span[0] <= ticks[0] and ticks[-1] <= span[1]


def test_numbers_as_text():
    assert scale_text(0.0231) == "0.02310"
    assert scale_text(2.6) == "2.600"
    assert decibels(-1.234) == "−1.23 dB"
    assert decibels(math.inf) == "∞ dB"


def test_the_verdict_has_three_cases():
    for observer, alpha, verdict in (
        ("percentile", 0.99, "clips too much: α"),
        ("conv-absmax", 0.99, "is too coarse: α"),
        ("mse", 0.99, "No percentile does better: "),
    ):
        report, _, counted = sliced(CASES["heavy tail"], observer, alpha)
        landscape = Landscape.of(counted.silu_output)
        sentence = captions.verdict(report, landscape, ENGLISH)
        assert verdict in sentence
        gain = landscape.best_db - float(report.chosen.output.sqnr_db)
        assert (f"gains {gain:.1f} dB" in sentence) == (gain >= 0.05)


def test_the_proof_counts_what_clips_and_what_it_costs():
    v = CASES["heavy tail"]
    y = F.silu(v).half().double().numpy()
    report, _, counted = sliced(v, alpha=0.9995)
    scale = float(torch.quantile(F.silu(v).half().float().abs(), 0.9995) / 127)
    unclamped = half_away(y.astype(np.float32) / np.float32(scale))
    clipped = (unclamped > 127) | (unclamped < -128)
    error = (unclamped.clip(-128, 127) * scale - y) ** 2
    sentence = captions.proof(report, Landscape.of(counted.silu_output), ENGLISH)
    assert sentence.startswith(f"{clipped.sum():,} of 50,000 outputs clip (")
    share = float(re.search(r"carry ([0-9.]+) %", sentence).group(1))
    assert share == pytest.approx(100 * error[clipped].sum() / error.sum(), abs=0.1)
    assert 0 < clipped.sum() == report.chosen.output.saturated

    whole, _, counted = sliced(v, "minmax")
    sentence = captions.proof(whole, Landscape.of(counted.silu_output), ENGLISH)
    assert sentence.startswith("None of 50,000 outputs clips: all of the error is rounding.")


def test_captions_claim_only_what_the_data_show():
    small, *_ = sliced(CASES["like a model's"], "scale-wx")
    assert "values saturate at the lower end too" in captions.transfer_caption(small, ENGLISH)
    positive, *_ = sliced(CASES["all positive"], "scale-wx")
    assert "lower end" not in captions.transfer_caption(positive, ENGLISH)
    chosen, *_ = sliced(CASES["like a model's"])
    assert "cannot choose a scale" in captions.sweep_caption(chosen, ENGLISH)
    assert "cannot choose a scale" not in captions.sweep_caption(small, ENGLISH)


def test_batches_speak_of_amax_throughout():
    average = moving_average([Histogram.of(torch.tensor([1.0, 2.0]))], ScaleRule("percentile-ema"))
    for sentence in (
        captions.average_verdict(average, 2.5, ENGLISH),
        captions.orders_caption(np.array([2.0, 3.0]), 2.5, ENGLISH),
    ):
        assert scale_text(2.5) in sentence
    assert "between 2.000 and 3.000" in captions.orders_caption(np.array([2.0, 3.0]), 2.5, ENGLISH)
