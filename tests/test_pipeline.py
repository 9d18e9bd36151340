"""The Kernel page's numbers, by hand in Python's own arithmetic, and the page itself."""

import json
import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import opening
import pytest
import torch

from dashboard import figures
from dashboard.analysis import pipeline, recorded
from dashboard.analysis.pipeline import trace_channel
from dashboard.analysis.report import QuantizedConv, quantize_conv
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.text import captions
from dashboard.text.language import ENGLISH, language
from kernels import reference

ROOT = Path(__file__).resolve().parent.parent
LAYER, SCALE_OUT = 1, 0.015


@pytest.fixture(scope="module")
def conv() -> QuantizedConv:
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, "calibration.txt", 2, 40)
    counted = calibrate(checkpoint, load_backbone(checkpoint), text, keep=[LAYER])
    scales = [entry.scales for entry in counted.layer(LAYER).slices]
    return quantize_conv(counted.capture(LAYER), checkpoint.slices, scales)


@pytest.mark.parametrize(("channel", "first"), [(0, 0), (7, 13), (300, 30)])
def test_every_step_follows_from_the_one_before(conv, channel, first):
    """Of a channel of x, and one of B, whose scales differ; the window is cut at the end."""
    trace = trace_channel(conv, SCALE_OUT, 1, channel, first, 16)
    codes = conv.x_q[1, channel].tolist()
    assert trace.positions.tolist() == list(range(first, min(first + 16, 40)))
    for i, position in enumerate(trace.positions):
        seen = [codes[p] if p >= 0 else 0 for p in range(position - 3, position + 1)]
        assert trace.window[i].tolist() == seen
        acc = sum(w * x for w, x in zip(trace.weight.tolist(), seen, strict=True))
        assert trace.acc[i] == acc
        v = np.float32(trace.scale_wx) * np.float32(acc)
        v = v + np.float32(trace.bias) * np.float32(trace.scale_b)
        assert trace.v[i] == v
        s = v / (np.float32(1) + np.float32(math.exp(-float(v))))
        assert trace.s[i] == pytest.approx(s, rel=2e-7)  # exp of another library
        assert trace.quotient[i] == trace.s[i] / np.float32(SCALE_OUT)
        half_away = math.copysign(math.floor(abs(float(trace.quotient[i])) + 0.5), s)
        assert trace.rounded[i] == half_away
        assert trace.code[i] == trace.written[i] == min(max(half_away, -128), 127)


def test_a_kernel_that_differs_is_told(conv, monkeypatch):
    def off_by_one(x, *, backend, **arguments):
        return reference.quant_causal_conv1d(x, **arguments) ^ 1

    monkeypatch.setattr(pipeline, "quant_causal_conv1d", off_by_one)
    trace = trace_channel(conv, SCALE_OUT, 0, 3, 4, 8)
    assert "8 of 8 codes" in captions.pipeline_caption(trace, 2, ENGLISH)


def test_the_rows_put_these_numbers_into_the_formulas(conv):
    trace = trace_channel(conv, SCALE_OUT, 0, 3, 4, 8)
    rows = {row["step"]: row for row in captions.pipeline_rows(trace, 5, ENGLISH)}
    plain = {step: row["numbers"].replace("−", "-") for step, row in rows.items()}
    assert plain["window"] == ", ".join(str(c) for c in trace.window[5])
    products = rows["acc"]["numbers"].replace("·", "*").replace("−", "-")
    assert eval(products) == int(rows["acc"]["result"].replace("−", "-"))
    assert rows["y_q"]["result"].replace("−", "-") == str(trace.code[5])


@pytest.mark.parametrize("at", [0, 3, 7])
def test_the_drawing_has_a_bar_a_step_and_a_click_a_position(conv, at):
    trace = trace_channel(conv, SCALE_OUT / 40, 0, 3, 0, 8)  # so small that values are clipped
    figure = figures.pipeline(trace, at, ENGLISH)
    assert [pick["value"] for pick in figure.layout.meta["picks"]] == list(range(8))
    bars, sensors = figure.data[::2], figure.data[1::2]
    steps = (trace.window[:, 3], trace.acc, trace.v, trace.s, trace.quotient, trace.code)
    for bar, step in zip(bars, steps, strict=True):
        assert list(bar.y) == step.tolist()
    clipped = [colour.startswith("rgba(217,72,15,") for bar in bars for colour in bar.marker.color]
    assert clipped == [False] * 32 + [abs(q) > 127.5 for q in trace.quotient] + [False] * 8
    assert any(clipped)
    assert all(bar.marker.color[at].endswith(",1)") for bar in bars)
    hovers = [trace_.customdata[at] for trace_ in sensors]
    assert hovers[1] == f"position {at}<br>acc {trace.acc[at]}".replace("-", "−")
    assert hovers[5] == f"position {at}<br>y_q {trace.code[at]}".replace("-", "−")
    window, *_ = [shape for shape in figure.layout.shapes if shape.line.width == 1.5]
    assert (window.x0, window.x1) == (max(at - 3, 0) - 0.5, at + 0.5)
    values = [words.text for words in figure.layout.annotations][1::2]
    assert values[0] == f"<b>{trace.window[at, 3]}</b>".replace("-", "−")
    assert values[4] == f"<b>{trace.quotient[at]:.2f}</b>".replace("-", "−")
    assert f"Position {at}: SiLU makes" in figure.layout.meta["alt"]


@pytest.mark.parametrize("code", ["en", "zh-CN"])
@pytest.mark.parametrize(("first", "count", "at"), [(0, 48, 0), (0, 48, 39), (39, 48, 0)])
def test_the_drawing_can_be_read_wherever_the_cursor_is(paper, conv, first, count, at, code):
    for scale_out in (SCALE_OUT, 1e-6, 1e6):
        trace = trace_channel(conv, scale_out, 0, 3, first, count)
        paper.check(figures.pipeline(trace, at, language(code)))


opened = partial(opening.opened, "kernel", batches="2", seq_len="40")


def test_the_page_follows_the_channel_and_position_of_its_link(conv):
    app = opened(checkpoint="mamba2-tiny", layer="1", slice="B", channel="9", position="17")
    words = "\n".join(m.value for m in app.markdown)
    assert "## Position 17: SiLU makes " in words
    assert "**0** of" in words and "0 of 40 codes of" in words
    rows = app.table[0].value.set_index("step")["numbers"]
    start = load_checkpoint("mamba2-tiny").slices[1].start
    seen = conv.x_q[0, start + 9, 14:18].tolist()
    assert rows["window"].replace("−", "-") == ", ".join(map(str, seen))


def test_the_ptx_comes_when_asked_for():
    app = opened(checkpoint="mamba-tiny")
    assert not app.code
    app.toggle(key="ptx").set_value(True).run()
    for mode in ("exact", "fast"):
        app.segmented_control(key="mode").set_value(mode).run()
        text, caption = app.code[0].value, app.caption[-1].value
        assert "dp4a" in text and f" {len(text.splitlines()):,} lines." in caption
        if torch.cuda.is_available():
            assert f"Compiled here, on an {torch.cuda.get_device_name()}" in caption
        else:
            recorded_text = (ROOT / f"kernels/recorded/sequence-last_{mode}.ptx").read_text()
            assert text.strip() == recorded_text.strip()
            assert "Recorded on an NVIDIA H200" in caption and "does not compile it" in caption


def test_the_recorded_figures_are_the_files():
    document = json.loads((ROOT / "benchmarks/recorded/kernel_h200.json").read_text())
    rows = recorded.benchmark().rows
    assert len(rows) == len(document["rows"])
    for row, wanted in zip(rows, document["rows"], strict=True):
        assert row.time_us == wanted["us"] and list(row.shape) == wanted["shape"]
        seconds = row.time_us * 1e-6
        if row.kind != "peer":  # a peer moves other bytes
            moved = 2 * math.prod(row.shape)
            assert row.tb_per_s == pytest.approx(moved / seconds / 1e12, rel=2e-3)
        if row.mode == "exact":
            assert row.differing == 0 and row.compared == 3 * math.prod(row.shape)


def test_the_ceilings_by_hand():
    roof = recorded.roofline()
    assert roof.special_tb_per_s == pytest.approx(132 * 1.98e9 * 16 / 2 * 2 / 1e12)
    assert roof.issue_tb_per_s(8.45) == pytest.approx(132 * 1.98e9 * 128 / 8.45 / 1e12)
    for _, per_byte, speed in roof.points:
        assert speed < min(roof.copy_tb_per_s, roof.issue_tb_per_s(per_byte), roof.special_tb_per_s)
    caption = captions.roofline_caption(roof, ENGLISH)
    assert caption.startswith("exact, sequence-last: issue of instructions binds, ")


def test_the_bars_are_as_long_as_the_shares():
    benchmark = recorded.benchmark()
    for shape in benchmark.shapes:
        rows = [row for row in benchmark.rows if row.shape == shape and row.kind != "copy"]
        figure = figures.copy_shares(shape, rows, ENGLISH)
        bars = figure.data[0]
        assert list(bars.x) == [row.share_of_copy for row in rows]
        values = [re.sub("</?b>", "", text) for text in figure.layout.yaxis2.ticktext]
        assert values == [f"{row.share_of_copy:.2f}" for row in rows]
        assert figure.layout.xaxis.range[1] > max(1.0, max(bars.x))
        for hover, row in zip(bars.customdata, rows, strict=True):
            assert f": {row.time_us:,.1f} µs, {row.tb_per_s:.2f} TB/s" in hover
            if row.kind == "kernel":
                assert f"<br>{row.differing:,} of {row.compared:,} codes differ" in hover
        fastest = max(row.share_of_copy for row in rows)
        assert f"with {100 * fastest:.0f} %." in figure.layout.meta["alt"]


def test_the_roof_is_the_lowest_ceiling_and_every_variant_lies_under_it():
    roof = recorded.roofline()
    figure = figures.roofline(roof, ENGLISH)
    area, *ceilings = figure.data[:4]
    lowest = np.min([ceiling.y for ceiling in ceilings], axis=0)
    assert area.y[1:-1] == pytest.approx(lowest, rel=1e-6)
    at_8 = int(np.argmin(np.abs(ceilings[2].x - 8)))
    assert ceilings[2].y[at_8] == pytest.approx(
        132 * 1.98e9 * 128 / ceilings[2].x[at_8] / 1e12, rel=1e-6
    )
    for dot, (name, per_byte, speed) in zip(figure.data[4:], roof.points, strict=True):
        assert dot.name == name and [dot.x[0], dot.y[0]] == pytest.approx([per_byte, speed])
        assert f"{speed:.2f} TB/s<br>" in dot.hovertemplate
        assert dot.y[0] < np.interp(per_byte, ceilings[0].x, lowest)
    assert "exact, sequence-last: issue of instructions binds" in figure.layout.meta["alt"]


@pytest.mark.parametrize("code", ["en", "zh-CN"])
def test_speeds_can_be_read(paper, code):
    benchmark, say = recorded.benchmark(), language(code)
    paper.check(figures.roofline(recorded.roofline(), say))
    for shape in benchmark.shapes:
        rows = [row for row in benchmark.rows if row.shape == shape and row.kind != "copy"]
        paper.check(figures.copy_shares(shape, rows, say))
        faster = [replace(row, share_of_copy=1.4 * row.share_of_copy) for row in rows[:3]]
        paper.check(figures.copy_shares(shape, faster, say))


def test_the_page_says_that_the_figures_are_recorded():
    app = opened(checkpoint="mamba-tiny")
    captions_shown = [
        caption.value for caption in app.caption if "Recorded on an NVIDIA H200" in caption.value
    ]
    assert len(captions_shown) == 2 and all(
        "not measured here" in caption for caption in captions_shown
    )


def test_a_variant_and_its_ceiling_are_named_in_chinese():
    caption = captions.roofline_caption(recorded.roofline(), language("zh-CN"))
    assert caption.startswith("精确，sequence-last：瓶颈是指令发射，")
