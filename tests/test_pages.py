"""The α sweep, Batches and Held-out pages, and calibration files in every page; no browser."""

import json
import re
from dataclasses import replace
from functools import cache, partial

import numpy as np
import opening
import pytest
import torch
from opening import page_text
from oracles import asymmetric_scale, requantize, values_of
from streamlit.testing.v1 import AppTest

from dashboard import cli
from dashboard.analysis.report import report_scale
from dashboard.calibration import calibrate, read_text
from dashboard.calibration.archive import save_calibration
from dashboard.calibration.histogram import Histogram
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.pages import calibrating, shelves
from dashboard.rules.grouping import sort_and_cluster
from dashboard.rules.observers import ScaleRule, fine_alphas, moving_average
from dashboard.text import captions
from dashboard.text.numbers import percent, scale_text
from kernels.reference import causal_conv1d

QUICK = {"batches": "3", "seq_len": "64"}


opened = partial(opening.opened, **QUICK)


@pytest.fixture(scope="module", autouse=True)
def without_gradients():
    """Other files' tests may have counted gradients, and best then is by loss."""
    shelves.clear()


@pytest.fixture(scope="module")
def calibrations() -> dict:
    """By text, as the pages make them."""
    checkpoint = load_checkpoint("mamba2-tiny")
    backbone = load_backbone(checkpoint)
    return {
        name: calibrate(checkpoint, backbone, read_text(checkpoint, name, 3, 64))
        for name in ("calibration.txt", "out-of-domain.txt")
    }


def test_the_sweep_names_the_best_alpha_and_its_gains(calibrations, capsys):
    app = opened("sweep", checkpoint="mamba2-tiny", layer="2")
    counted = calibrations["calibration.txt"].layer(2).slices[0]
    (headline,) = [m.value for m in app.markdown if "Best α" in m.value]
    best = float(headline.split()[3].rstrip(":"))
    best_db = float(report_scale(counted, ScaleRule("percentile", best)).output.sqnr_db)
    for alpha, name in ((0.9995, "0.9995"), (0.99999, "0.99999"), (1.0, "MinMax")):
        gain = best_db - float(report_scale(counted, ScaleRule("percentile", alpha)).output.sqnr_db)
        assert f"{gain:.2f} dB over {name}" in headline
    options = ["--batches", "3", "--seq-len", "64", "--recommend"]
    assert cli.main(["analyze", "mamba2-tiny", *options]) == 0
    sentence = next(line for line in capsys.readouterr().out.splitlines() if "One α" in line)
    assert sentence in page_text(app).replace("**", "")  # the same words, the same figures


def test_finer_scales_are_measured_for_the_groups_asked_for():
    app = opened("sweep", checkpoint="mamba2-tiny")
    kinds = app.dataframe[1].value["scale"].tolist()
    assert "neighbouring channels (4 scales), symmetric" in kinds
    app.number_input(key="group_size").set_value(128).run()
    assert "neighbouring channels (2 scales), symmetric" in app.dataframe[1].value["scale"].tolist()


def test_batches_shows_the_moving_average_of_the_rule(calibrations):
    app = opened("batches", checkpoint="mamba2-tiny", layer="1", alpha="0.999")
    batches = calibrations["calibration.txt"].layer(1).slices[0].batches

    def shows(average) -> bool:
        return f"ends at {scale_text(average.final)}," in page_text(
            app
        ) and f"weighs **{percent(average.weights[0])}**" in page_text(app)

    assert shows(moving_average(batches, ScaleRule("percentile-ema", 0.999)))
    app.select_slider(key="sigma").set_value(0.5).run()
    assert shows(moving_average(batches, ScaleRule("percentile-ema", 0.999, 0.5)))
    app.button(key="shuffle").click().run()
    assert shows(moving_average(batches, ScaleRule("percentile-ema", 0.999, 0.5, 1)))
    app.button(key="as_read").click().run()
    app.slider(key="taken").set_value(2).run()
    assert shows(moving_average(batches[:2], ScaleRule("percentile-ema", 0.999, 0.5)))
    pooled = np.concatenate([np.repeat(b.values, b.counts) for b in batches[:2]])
    quantile = torch.quantile(torch.from_numpy(pooled).abs(), 0.999).item()
    assert f"pooled quantile is {scale_text(quantile)}" in page_text(app)


def test_held_out_judges_the_calibrated_scale_on_the_other_text(calibrations):
    app = opened("held-out", checkpoint="mamba2-tiny", layer="3", alpha="0.999")
    own, other = (
        calibrations[name].layer(3).slices[0] for name in ("calibration.txt", "out-of-domain.txt")
    )
    chosen = report_scale(own, ScaleRule("percentile", 0.999))
    there = other.silu_output.quantize(chosen.x_out_scale)
    for output in (chosen.output, there):
        assert f"{float(output.sqnr_db):.2f} dB and {percent(float(output.saturation_rate))}" in (
            page_text(app)
        )
    (table,) = app.dataframe
    assert table.value["layer"].tolist() == [0, 1, 2, 3]
    assert table.value["SQNR, out-of-domain.txt"].tolist()[3] == f"{float(there.sqnr_db):.2f} dB"


def test_every_page_takes_a_calibration_file(tmp_path):
    path = tmp_path / "counts.safetensors"
    arguments = ["calibrate", "mamba2-tiny", "--batches", "3", "--seq-len", "64"]
    assert cli.main([*arguments, "--out", str(path)]) == 0
    live = opened("explore", checkpoint="mamba2-tiny", layer="2")
    kept = opened("explore", checkpoint=str(path), layer="2")
    assert "calibration file" in page_text(kept) and "differ from the reference" not in page_text(
        kept
    )
    assert [m.value for m in kept.metric] == [m.value for m in live.metric]
    assert (
        opened("sweep", checkpoint=str(path))
        .dataframe[0]
        .value.equals(opened("sweep", checkpoint="mamba2-tiny").dataframe[0].value)
    )
    assert "first still weighs" in page_text(opened("batches", checkpoint=str(path)))
    assert "knows one text" in opened("held-out", checkpoint=str(path)).info[0].value
    path.write_bytes(path.read_bytes()[:500])
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(path.read_bytes())
    assert "cannot be read" in opened("explore", checkpoint=str(bad)).error[0].value


def test_the_best_alpha_is_one_press_away():
    app = opened("explore", checkpoint="mamba2-tiny", rule="minmax")
    button = app.button(key="use_best")
    best = float(button.label.split()[1].rstrip(","))
    button.click().run()
    assert not app.exception
    assert app.selectbox(key="rule").value == "percentile"
    assert app.select_slider(key="alpha").value == best
    assert any(m.value.startswith("## No percentile does better") for m in app.markdown)
    assert app.button(key="use_best").disabled


def test_a_link_gives_any_alpha_exactly():
    app = opened("explore", checkpoint="mamba2-tiny", alpha="0.99871")
    assert app.select_slider(key="alpha").value == 0.99871
    app.select_slider(key="alpha").set_value(0.9995).run()
    assert app.select_slider(key="alpha").value == 0.9995


def test_two_rules_stand_side_by_side():
    app = opened("explore", checkpoint="mamba2-tiny", rule="mse", beside="entropy")
    assert all(metric.delta.startswith("entropy ") for metric in app.metric)


def test_asymmetric_scales_are_run_by_the_kernel_too():
    app = opened("explore", checkpoint="mamba2-tiny", rule="minmax", asymmetric="true")
    assert re.search(r"\*\*triton.*\*\*0\*\* of [\d,]+ codes differ", page_text(app))
    assert "Live kernel: **" in page_text(app)
    plain = opened("explore", checkpoint="mamba2-tiny", rule="minmax")
    bits = [
        float(next(m.value for m in a.metric if m.label == "effective_bits")) for a in (plain, app)
    ]
    assert bits[1] > bits[0] + 0.5


def test_the_layers_page_shows_the_command_lines_figures(capsys):
    app = opened("layers", checkpoint="mamba2-tiny", rule="percentile", alpha="0.999")
    (table,) = app.dataframe
    wanted = ["--batches", "3", "--seq-len", "64", "--alpha", "0.999", "--format", "json"]
    assert cli.main(["analyze", "mamba2-tiny", *wanted]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert table.value["layer"].tolist() == [layer["layer"] for layer in layers]
    for name in (
        "x_scale",
        "w_scale",
        "scale_wx",
        "x_out_scale",
        "ratio_weight",
        "ratio_wx",
        "saturation_rate",
        "code_utilization",
        "effective_bits",
        "sqnr_db",
        "best_alpha",
        "gain_db",
    ):
        assert table.value[name].tolist() == [layer[name] for layer in layers], name
    worst = max(layers, key=lambda layer: layer["gain_db"])
    assert f"## Layer {worst['layer']} loses most: {worst['gain_db']:.1f} dB" in page_text(app)


def test_the_layers_table_is_filtered_by_a_column():
    app = opened("layers", checkpoint="mamba-tiny")
    app.selectbox(key="filter").select("gain_db").run()
    (table,) = app.dataframe
    gains = sorted(table.value["gain_db"])
    app.slider(key="within_gain_db").set_range(gains[1], gains[-1]).run()
    assert sorted(app.dataframe[0].value["gain_db"]) == gains[1:]
    app.slider(key="within_gain_db").set_range(gains[1] + 1e-9, gains[1] + 2e-9).run()
    assert not app.dataframe and "No layer lies in this range." in app.info[0].value


def test_the_layers_page_takes_a_calibration_file(tmp_path):
    path = str(tmp_path / "counts.safetensors")
    options = ["--batches", "3", "--seq-len", "64", "--out", path]
    assert cli.main(["calibrate", "mamba-tiny", *options]) == 0
    of_file, of_checkpoint = (opened("layers", checkpoint=name) for name in (path, "mamba-tiny"))
    of_file, of_checkpoint = (app.dataframe[0].value for app in (of_file, of_checkpoint))
    assert of_file.equals(of_checkpoint)


def test_the_groups_page_agrees_with_groups_measured_by_hand():
    """MinMax in the layer's own groups, and in none, from the conv input."""
    app = opened("groups", checkpoint="mamba2-tiny", layer="1", rule="minmax")
    checkpoint = load_checkpoint("mamba2-tiny")
    text = read_text(checkpoint, "calibration.txt", 3, 64)
    seen = calibrate(checkpoint, load_backbone(checkpoint), text, keep=[1]).capture(1)
    channels = checkpoint.slices[0].channels
    v = causal_conv1d(seen.x[:, channels], seen.weight[channels], seen.bias[channels])
    y = torch.nn.functional.silu(v).half().double().transpose(0, 1).flatten(1)  # (D, N·L)
    architecture = checkpoint.architecture
    group = sort_and_cluster(
        y.abs().amax(1).numpy(), architecture.head_dim, architecture.n_groups, 4, 4
    ).group
    per_batch = y.view(len(y), 3, 64).abs().mean(2).half()  # each batch's mean, in float16
    by_mean = sort_and_cluster(
        per_batch.amax(1).float().numpy(),
        architecture.head_dim,
        architecture.n_groups,
        4,
        4,
        as_quamba2=True,
    ).group
    table = app.dataframe[0].value.set_index("scale")["minmax"]
    for row, of_channel in (
        ("per tensor, symmetric", np.zeros(len(y), int)),
        ("by maximum |y| (16 scales), symmetric", group),
        ("as Quamba2, by mean |y| (16 scales), symmetric", by_mean),
        (f"each channel ({len(y)} scales), symmetric", np.arange(len(y))),
    ):
        noise = 0.0
        for number in np.unique(of_channel):
            own = y[of_channel == number]
            scale = (own.abs().amax().float() / 127).double()
            ratio = (own.float() / scale.float()).double()
            codes = ratio.sign() * (ratio.abs() + 0.5).floor()
            noise += float((codes.clamp(-128, 127) * scale - own).square().sum())
        by_hand = 10 * np.log10(float(y.square().sum()) / noise)
        assert float(table[row].removesuffix(" dB")) == pytest.approx(by_hand, abs=0.0051)
    assert "**0** of" in page_text(app)  # the live kernel, with the expanded scales


def test_groups_need_heads_and_channels(tmp_path):
    assert "Mamba-1 has no heads" in opened("groups", checkpoint="mamba-tiny").info[0].value
    path = str(tmp_path / "counts.safetensors")
    options = ["--batches", "3", "--seq-len", "64", "--out", path]
    assert cli.main(["calibrate", "mamba2-tiny", *options]) == 0
    assert "holds no single channels" in opened("groups", checkpoint=path).info[0].value


@cache
def asymmetric_db(output: Histogram, alphas: tuple[float, ...]) -> dict[float, float]:
    """SQNR of asymmetric percentiles, by hand from the values."""
    y = values_of(output)
    return {alpha: requantize(y, *asymmetric_scale(y, alpha)).sqnr_db for alpha in alphas}


def asymmetric_of_layer(calibrations, layer: int) -> dict[float, float]:
    """Of x, at every α that is tried."""
    output = calibrations["calibration.txt"].layer(layer).slices[0].silu_output
    return asymmetric_db(output, tuple(fine_alphas(output.total).tolist()))


def headline(app: AppTest) -> str:
    return next(m.value for m in app.markdown if m.value.startswith("## "))


def test_an_asymmetric_scale_is_held_to_the_best_asymmetric_one(calibrations):
    app = opened("explore", checkpoint="mamba2-tiny", layer="2", asymmetric="true", alpha="0.9995")
    by_hand = asymmetric_of_layer(calibrations, 2)
    best = max(by_hand, key=by_hand.get)
    gain = by_hand[best] - by_hand[0.9995]
    assert headline(app) == f"## This scale clips too much: α {best:.6g} gains {gain:.1f} dB."
    assert f"all of them asymmetric, α = 0.9995 loses {gain:.1f} dB" in page_text(app)

    button = app.button(key="use_best")
    assert button.label == f"Use {best:.6g}, the best α"
    button.click().run()
    assert app.select_slider(key="alpha").value == best and app.toggle(key="asymmetric").value
    assert headline(app) == f"## No asymmetric percentile does better: {by_hand[best]:.2f} dB."
    assert app.button(key="use_best").disabled


@pytest.mark.parametrize("rule", ["percentile-ema", "minmax", "mse", "entropy", "scale-wx"])
def test_the_best_alpha_does_what_it_says_under_every_rule(rule):
    for asymmetric in ("false", "true"):
        app = opened("explore", checkpoint="mamba2-tiny", rule=rule, asymmetric=asymmetric)
        app.button(key="use_best").click().run()
        assert not app.exception
        assert re.match("## No (asymmetric )?percentile does better", headline(app))
        assert app.button(key="use_best").disabled


def test_layers_hold_asymmetric_scales_to_asymmetric_ones(calibrations):
    for rule in ("mse", "percentile", "minmax"):
        app = opened("layers", checkpoint="mamba2-tiny", rule=rule, asymmetric="true")
        (table,) = app.dataframe
        gains = []
        for layer, shown in zip(range(4), table.value["sqnr_db"], strict=True):
            by_hand = asymmetric_of_layer(calibrations, layer)
            gains.append(max(by_hand.values()) - shown)
        written = [0.0 if -0.005 < gain < 0 else gain for gain in gains]  # no "-0.00"
        assert table.value["gain_db"].tolist() == pytest.approx(written, abs=1e-6)
        assert (table.value["ratio_wx"] == "–").all()
        assert "loses −" not in page_text(app)
        if max(gains) < 0.05:
            assert headline(app) == "## In no layer does another α gain 0.05 dB."
        else:
            assert headline(app) == (
                f"## Layer {int(np.argmax(gains))} loses most: {max(gains):.1f} dB against its "
                "best α."
            )


def test_ratios_and_the_top_code_of_an_asymmetric_scale_are_dashes_with_a_reason():
    app = opened("explore", checkpoint="mamba2-tiny", asymmetric="true")
    assert next(m for m in app.metric if m.label == "top_code_utilization").value == "–"
    shown = dict(zip(*(app.table[0].value[name] for name in ("measure", "value")), strict=True))
    for name in ("ratio_weight", "ratio_wx", "top_code_utilization"):
        assert shown[name] == "–"
    assert captions.NO_RATIOS in page_text(app)
    assert "it lies off them" in page_text(app)


def test_pages_of_symmetric_scales_say_so_where_asymmetric_ones_were_chosen():
    for page in ("sweep", "held-out"):
        app = opened(page, checkpoint="mamba2-tiny", asymmetric="true")  # as Layers leaves the link
        toggle = app.toggle(key="asymmetric")
        assert toggle.value and toggle.disabled
        assert "Scales on this page are symmetric" in toggle.help


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_click_on_a_layer_opens_it_in_explore_under_its_rule(symmetric):
    """What a click on the heatmap, or on a row of any table of layers, does to its page."""
    rule = ScaleRule("percentile", 0.99871, symmetric=symmetric)
    click = f"""
import streamlit as st
from dashboard.pages import registry
from dashboard.rules.observers import ScaleRule
if not st.session_state.get("done"):
    st.session_state.done = True
    registry.lead_to_layer(2, {rule!r})
registry.navigation("layers")()
"""
    app = AppTest.from_string(click, default_timeout=60)
    app.query_params.update(
        QUICK
        | {
            "checkpoint": "mamba2-tiny",
            "slice": "B",
            "rule": "mse",
            "asymmetric": "true",
            "text": "out-of-domain.txt",
        }
    )
    app.run()
    assert not app.exception
    assert app.metric and not app.dataframe  # Explore, not Layers
    boxes = {key: app.selectbox(key=key).value for key in ("checkpoint", "layer", "rule", "text")}
    assert boxes == {
        "checkpoint": "mamba2-tiny",
        "layer": 2,
        "rule": "percentile",
        "text": "out-of-domain.txt",
    }
    assert app.select_slider(key="alpha").value == 0.99871
    assert app.segmented_control(key="slice").value == "B"
    assert app.toggle(key="asymmetric").value is not symmetric
    assert app.query_params["layer"] in ("2", ["2"])


@pytest.mark.parametrize("first", ["explore", "layers", "groups", "sweep", "batches", "kernel"])
def test_the_bar_keeps_its_choices_on_every_page(first):
    chosen = {"checkpoint": "mamba2-tiny", "layer": "2", "alpha": "0.9991", "rule": "mse"}
    app = opened(first, **chosen)
    for page in ("held-out", "compare", "explore"):
        app = opening.turned_to(app, page)
        assert app.selectbox(key="checkpoint").value == "mamba2-tiny"
        assert app.selectbox(key="layer").value == 2
        assert app.selectbox(key="rule").value == "mse"
        assert app.select_slider(key="alpha").value == 0.9991
        assert app.number_input(key="batches").value == 3
        assert {"layer", "rule", "alpha", "checkpoint"} <= set(app.query_params)


def test_a_filters_range_reaches_what_is_small():
    """The slider by itself steps by 0.01, which is more than any saturation rate or scale."""
    app = opened("layers", checkpoint="mamba-tiny")
    for name in ("saturation_rate", "scale_wx", "x_out_scale", "best_alpha"):
        app.selectbox(key="filter").select(name).run()
        assert not app.exception
        slider = app.slider(key=f"within_{name}")
        assert 0 < slider.step <= (slider.max - slider.min) / 500
        values = sorted(app.dataframe[0].value[name])
        assert slider.value == (values[0], values[-1])
        slider.set_range((values[0] + values[1]) / 2, values[-1]).run()
        assert sorted(app.dataframe[0].value[name]) == values[1:]


def test_the_kernels_speed_is_shown_of_whatever_is_chosen(tmp_path):
    path = str(tmp_path / "counts.safetensors")
    options = ["--batches", "3", "--seq-len", "64", "--out", path]
    assert cli.main(["calibrate", "mamba-tiny", *options]) == 0
    for checkpoint, sentence in (
        (path, captions.NO_TRACE_FILE),
        ("mamba2-small-quamba2", captions.NO_TRACE_STORED),
    ):
        app = opened("kernel", checkpoint=checkpoint)
        assert app.info[0].value == sentence
        assert "### How fast it is" in page_text(app) and "### What binds it" in page_text(app)
    app.toggle(key="ptx").set_value(True).run()
    assert "lines." in page_text(app) and ".entry" in app.code[0].value


def test_each_batchs_quantile_is_taken_once_for_all_orders(monkeypatch):
    taken = []
    quantile = Histogram.quantile
    monkeypatch.setattr(
        Histogram, "quantile", lambda self, alpha: taken.append(alpha) or quantile(self, alpha)
    )
    app = opened("batches", checkpoint="mamba2-tiny", alpha="0.98713")
    assert "500 orders" in page_text(app)
    assert taken.count(0.98713) == 3 + 1  # of each batch, and of all


IMAGE = "x ![p](http://host/p.png)"


@pytest.mark.parametrize("page", ["explore", "layers", "groups", "kernel", "lesson", "claims"])
def test_a_name_in_a_refusal_is_shown_word_for_word(page):
    app = opened(page, checkpoint=IMAGE, step="2", seq_len="64")
    (error,) = app.error
    assert r"x !\[p\](http://host/p.png)" in error.value
    assert "![" not in error.value


@pytest.mark.parametrize("page", ["explore", "kernel", "groups"])
def test_what_the_kernel_refuses_is_a_sentence_on_every_page(page, monkeypatch):
    def refused(*_):
        raise ValueError("scale_x is inf; a scale must be finite")

    monkeypatch.setattr(calibrating, "quantize_conv", refused)
    shelves.clear()
    app = opened(page, checkpoint="mamba2-tiny", seq_len="48")
    assert app.error[0].value.startswith("scale\\_x is inf")


@pytest.mark.parametrize("page", ["claims", "lesson"])
def test_a_model_that_gives_zeros_alone_is_no_lesson(calibrations, tmp_path, page):
    counted = calibrations["calibration.txt"]
    zeros = Histogram(np.zeros(1, np.float32), np.array([3 * 64 * 256]))
    silent = Histogram(np.zeros(1, np.float32), np.array([64 * 256]))
    layers = tuple(
        replace(
            layer,
            slices=tuple(
                replace(own, silu_output=zeros, silu_input=zeros, batches=(silent,) * 3)
                for own in layer.slices
            ),
        )
        for layer in counted.layers
    )
    path = tmp_path / "zeros.safetensors"
    save_calibration(path, replace(counted, layers=layers))
    app = opened(page, checkpoint=str(path), step="2")
    assert "layer 0 of" in app.error[0].value and "nothing but zeros" in app.error[0].value
