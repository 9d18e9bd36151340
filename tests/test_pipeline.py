"""The Kernel page's numbers, by hand in Python's own arithmetic, and the page itself."""

import json
import math
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
from dashboard.text.language import ENGLISH
from kernels import reference

ROOT = Path(__file__).resolve().parent.parent
LAYER, SCALE_OUT = 1, 0.015


@pytest.fixture(scope="module")
def conv() -> QuantizedConv:
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, "calibration.txt", 2, 40)
    found = calibrate(checkpoint, load_backbone(checkpoint), text, keep=[LAYER])
    scales = [part.scales for part in found.layer(LAYER).slices]
    return quantize_conv(found.capture(LAYER), checkpoint.slices, scales)


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
    drawn = figures.pipeline(trace, at, ENGLISH).as_dict()
    assert [pick["value"] for pick in drawn["picks"]] == list(range(8))
    bars = [area for area in drawn["areas"] if area["colour"] != "panel"]
    assert len(bars) == 6 * 8
    clipped = sum(area["colour"] == "saturated" for area in bars)
    assert clipped == sum(abs(q) > 127.5 for q in trace.quotient) > 0
    for shape in (*drawn["areas"], *drawn["lines"], *drawn["texts"]):
        assert all(0 <= x <= 1 for x in shape["x"])


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
    found = json.loads((ROOT / "benchmarks/recorded/kernel_h200.json").read_text())
    rows = recorded.benchmark().rows
    assert len(rows) == len(found["rows"])
    for row, wanted in zip(rows, found["rows"], strict=True):
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
    told = captions.roofline_caption(roof, ENGLISH)
    assert told.startswith("exact, sequence-last: issue binds, ")


def test_the_bars_are_as_long_as_the_shares():
    found = recorded.benchmark()
    for shape in found.shapes:
        rows = [row for row in found.rows if row.shape == shape and row.kind != "copy"]
        bars = figures.copy_shares(shape, rows, ENGLISH).as_dict()["areas"]
        whole = 0.9 - 0.25
        for bar, row in zip(bars, rows, strict=True):
            assert (max(bar["x"]) - min(bar["x"])) / whole == pytest.approx(
                row.share_of_copy, abs=1e-4
            )


def test_the_page_says_that_the_figures_are_recorded():
    app = opened(checkpoint="mamba-tiny")
    told = [
        caption.value for caption in app.caption if "Recorded on an NVIDIA H200" in caption.value
    ]
    assert len(told) == 2 and all("not measured here" in caption for caption in told)
