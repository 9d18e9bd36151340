"""Columns side by side: against the reports, the file, and the published table, by hand."""

import json
import math
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import opening
import pytest
import torch
from oracles import values_of
from streamlit.delta_generator import DeltaGenerator

from dashboard import cli, figures
from dashboard.analysis.compare import (
    QUANTITIES,
    Column,
    LayerScales,
    column_costs,
    compared_rows,
    differences,
    largest,
    published_columns,
    stored_column,
)
from dashboard.analysis.impact import Impact
from dashboard.checkpoints import SAMPLES_DIR, load_checkpoint
from dashboard.pages import calibrating, jobs, waiting
from dashboard.text import captions
from dashboard.text.language import ENGLISH, language
from dashboard.text.numbers import with_error

QUICK = ["--batches", "3", "--seq-len", "64"]


def column(label: str, *x_out_scales: float, first: int = 0) -> Column:
    return Column(
        label,
        tuple(LayerScales(first + i, x_out_scale=scale) for i, scale in enumerate(x_out_scales)),
    )


def test_layers_are_matched_by_their_own_numbers():
    pair = [column("a", 0.1, 0.2, 0.4), column("b", 0.3, 0.1, first=1)]
    matched = [(d.layer, d.first, d.value) for d in differences(pair, "x_out_scale")]
    assert matched == [(1, 0.2, 0.3), (2, 0.4, 0.1)]
    assert [d.relative for d in differences(pair, "x_out_scale")] == pytest.approx([0.5, -0.75])
    most = largest(pair)
    assert (most.layer, most.value) == (2, 0.1)  # four times less is more than half as much again
    assert (
        captions.compare_headline(pair, "x_out_scale", ENGLISH)
        == "x_out_scale of layer 2 differs most: 4 times."
    )
    rows = captions.compare_rows(pair, "x_out_scale", ENGLISH)
    assert [list(row.values()) for row in rows] == [
        [0, "0.1000", "–", "–"],
        [1, "0.2000", "0.3000", "+50.0 %"],
        [2, "0.4000", "0.1000", "−75.0 %"],
    ]


def test_columns_without_a_common_quantity_say_so():
    pair = [column("a", 0.1), Column("b", (LayerScales(0, ratio_weight=2.0),))]
    assert largest(pair) is None
    assert "share no layer" in captions.compare_headline(pair, "x_out_scale", ENGLISH)
    assert "nothing in common" in captions.compare_verdict(pair, ENGLISH)
    same = [column("a", 0.1), column("b", 0.1)]
    assert (
        captions.compare_headline(same, "x_scale", ENGLISH)
        == "x_out_scale is the same in all columns."
    )
    assert "the same x_out_scale in every layer" in captions.compare_verdict(same, ENGLISH)


def test_the_published_columns_hold_the_printed_figures_and_nothing_else():
    whole, half, full, ratios, larger = published_columns().values()
    assert whole.value(1, "x_out_scale") == 0.06717040
    assert whole.value(1, "ratio_weight") == pytest.approx(8.3512, abs=5e-5)
    assert whole.value(1, "ratio_wx") == pytest.approx(239, abs=0.5)
    assert half.value(1, "x_scale") is None and full.value(1, "x_out_scale") == 0.06717424
    assert ratios.value(4, "ratio_weight") == 12.68 and ratios.value(4, "x_out_scale") is None
    assert larger.value(0, "x_out_scale") == 0.01849 and larger.value(1, "x_out_scale") is None


def test_of_stored_groups_the_mean_is_compared_with_least_and_greatest_beside_it():
    checkpoint = load_checkpoint("mamba2-small-quamba2")
    state = torch.load(
        SAMPLES_DIR / "mamba2-small-quamba2" / "pytorch_model.bin", weights_only=True
    )
    stored = stored_column("stored", checkpoint)
    for layer in range(6):
        prefix = f"backbone.layers.{layer}.mixer.conv1d."
        scales = state[f"{prefix}x_out_scales"].double()
        mean = sum(scales.ravel().tolist()) / 16
        assert stored.value(layer, "x_out_scale") == pytest.approx(mean, rel=1e-12)
        assert stored.value(layer, "x_out_scale_min") == float(scales.min())
        assert stored.value(layer, "x_out_scale_max") == float(scales.max())
        w_scale = float(torch.tensor(state[f"{prefix}wx_scale"], dtype=torch.float32))
        assert stored.value(layer, "ratio_weight") == pytest.approx(mean / w_scale, rel=1e-12)


def test_a_flat_row_for_each_value_that_is_known():
    rows = compared_rows([column("a", 0.1, 0.2), column("b", 0.3)])
    assert [(r["layer"], r["column"], r["value"]) for r in rows] == [
        (0, "a", 0.1),
        (0, "b", 0.3),
        (1, "a", 0.2),
    ]
    assert rows[1]["relative_difference"] == pytest.approx(2.0)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_drawing_takes_gaps_single_layers_and_infinities(quantity):
    columns = [
        Column("a" * 60, (LayerScales(3, *[0.1] * 6, math.inf), LayerScales(7, *[0.2] * 6, 30.0))),
        column("b", 0.1, first=7),
        Column("empty", ()),
    ]
    figure = figures.compared_lines(columns, quantity, ENGLISH)
    lines = [np.array(trace.y, dtype=float) for trace in figure.data if trace.y is not None]
    assert not any(np.isinf(line).any() for line in lines)  # a gap is not a number


opened = partial(opening.opened, "compare", batches="3", seq_len="64")


def test_the_page_compares_rules_files_and_published_tables(capsys, tmp_path):
    path = str(tmp_path / "counts.safetensors")
    assert cli.main(["calibrate", "mamba-tiny", *QUICK, "--out", path]) == 0
    assert cli.main(["analyze", "mamba-tiny", *QUICK, "--format", "json"]) == 0
    wanted = json.loads(capsys.readouterr().out)["layers"]
    app = opened(
        columns="3",
        checkpoint="mamba-tiny",
        source_b=path,
        rule_b="minmax",
        source_c="Quamba2-130m-w8a8 (published)",
        quantity="ratio_weight",
    )
    table = app.dataframe[0].value
    names = list(table.columns)
    assert names[2] == "A: mamba-tiny, α 0.9995"
    assert names[3] == "B: counts.safetensors, MinMax, SiLU output"
    assert table[names[2]].tolist()[:4] == [f"{layer['ratio_weight']:.2f}" for layer in wanted]
    assert table[names[5]].tolist()[:2] == ["1.72", "8.35"]


def test_each_layers_best_alpha_is_a_choice_and_nonsense_is_refused():
    app = opened(checkpoint="mamba-tiny", alpha_b="best", quantity="sqnr_db")
    table = app.dataframe[0].value
    assert all(gain.startswith("+") for gain in table.iloc[:, 4])
    for name, value, words in (
        ("alpha_b", "often", "α is 'often'"),
        ("alpha_b", "2", "α is '2'"),
        ("source_b", "nowhere", "nowhere is neither"),
    ):
        message = opened(**{"checkpoint": "mamba-tiny", name: value}).error[0].value
        assert words in message


def test_the_same_source_twice_is_the_same():
    app = opened(checkpoint="mamba2-tiny", alpha_b="0.9995")
    assert any("x_out_scale is the same in all columns" in m.value for m in app.markdown)


def test_the_headline_speaks_of_the_quantity_on_show():
    app = opened(
        checkpoint="mamba-tiny", source_b="mamba2-tiny", alpha_b="0.9995", quantity="w_scale"
    )
    assert any(m.value.startswith("## w_scale of layer") for m in app.markdown)
    app.segmented_control(key="quantity").set_value("sqnr_db").run()
    gains = [
        float(text.removesuffix(" dB").replace("−", "-"))
        for text in app.dataframe[0].value.iloc[:, 4]
    ]
    most = max(gains, key=abs)
    (headline,) = [m.value for m in app.markdown if m.value.startswith("## ")]
    layer = gains.index(most)
    assert headline.startswith(f"## sqnr_db of layer {layer} differs most: ")
    assert float(headline.split(": ")[1].split()[0].replace("−", "-")) == round(most, 1)


def test_names_are_drawn_whole_where_columns_differ():
    label = "mamba-tiny, α 0.9995, out-of-domain.txt"
    columns = [Column(label + end, (LayerScales(0, x_out_scale=0.1),)) for end in ("", "2")]
    names = [trace.name for trace in figures.compared_lines(columns, "x_out_scale", ENGLISH).data]
    whole = [re.sub(r"<br>", " ", re.sub(r"</?b>", "", name)) for name in names]
    assert whole == [f"A: {label}", f"B: {label}2"]


def test_columns_stay_when_their_calibrations_have_been_dropped(monkeypatch):
    settings = {"columns": "6", "batches": "1", "seq_len": "40"} | {
        f"{name}_{column}": value
        for i, column in enumerate("abcdef")
        for name, value in (
            ("source", ("mamba-tiny", "mamba2-tiny", "mamba-small")[i % 3]),
            ("text", ("calibration.txt", "out-of-domain.txt")[i // 3]),
        )
    }
    made, calibrate = [], calibrating.calibrate
    monkeypatch.setattr(
        calibrating,
        "calibrate",
        lambda checkpoint, *rest, **more: (
            made.append(checkpoint) or calibrate(checkpoint, *rest, **more)
        ),
    )
    app = opening.opened("compare", **settings)
    first = app.dataframe[0].value
    assert len(made) == 6  # more than the shelf of calibrations holds
    app.segmented_control(key="quantity").set_value("sqnr_db").run()
    app.segmented_control(key="quantity").set_value("x_out_scale").run()
    assert len(made) == 6
    assert app.dataframe[0].value.equals(first)


def test_the_bar_names_the_column_that_runs(monkeypatch):
    shown = []
    monkeypatch.setattr(waiting, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "LOOK_S", 0.001)  # it is done in a moment
    monkeypatch.setattr(
        DeltaGenerator, "progress", lambda self, value, text=None: shown.append(text)
    )
    opened(checkpoint="mamba-tiny", source_b="mamba2-tiny", seq_len="44")
    assert any(text.startswith("Calibrating column B, mamba2-tiny: batch") for text in shown)


def test_scales_of_two_formats_are_shown_and_not_compared():
    int8 = column("a", 0.1, 0.2)
    wide = replace(column("b", 0.05, 0.3), number_format="fp8-e4m3")
    shifted = replace(column("c", 0.05, 0.3), number_format="int8-asymmetric")
    assert differences([int8, wide], "x_out_scale") == []
    assert [d.relative for d in differences([int8, shifted], "x_out_scale")] == pytest.approx(
        [-0.5, 0.5]
    )
    rows = captions.compare_rows([int8, wide], "x_out_scale", ENGLISH)
    assert [list(row.values())[2:] for row in rows] == [["0.05000", "–"], ["0.3000", "–"]]
    flat = compared_rows([int8, wide])
    assert [(r["number_format"], r["relative_difference"]) for r in flat[:2]] == [
        ("int8", 0.0),
        ("fp8-e4m3", None),
    ]


def by_hand(name: str, y: torch.Tensor, amax: float) -> float:
    """SQNR in decibels of two formats, with torch's own conversion and plain rounding."""
    if name == "fp8-e4m3":
        scale = torch.tensor(amax) / 448
        back = (y / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
    else:
        scale = torch.tensor(amax) / 7
        code = torch.sign(y) * torch.floor((y / scale).abs() + 0.5)
        back = code.clamp(-8, 7) * scale
    error = (back.double() - y.double()).square().sum()
    return float(10 * torch.log10(y.double().square().sum() / error))


def test_each_column_has_its_own_format(calibrated):
    app = opened(
        checkpoint="mamba-tiny",
        format_a="int4",
        rule_b="minmax",
        format_b="fp8-e4m3",
        columns="3",
        source_c="same",
        format_c="optimal4",
    )
    table = app.dataframe[0].value
    names = list(table.columns)
    assert names[2] == "A: mamba-tiny, INT4, α 0.9995"
    assert names[3] == "B: mamba-tiny, FP8 E4M3, MinMax, SiLU output"
    assert names[5] == "C: mamba-tiny, Best 16 points of the layer"
    for i, layer in enumerate(calibrated("mamba-tiny", 3, 64).calibration.layers):
        y = torch.from_numpy(values_of(layer.slices[0].silu_output))
        low = by_hand("int4", y, float(torch.quantile(y.abs(), 0.9995)))
        high = by_hand("fp8-e4m3", y, float(y.abs().max()))
        known = [float(cell.removesuffix(" dB")) for cell in table.iloc[i, [2, 3, 5]]]
        assert known[:2] == pytest.approx([low, high], abs=0.006)
        assert known[2] > known[0]  # the best 16 points against 16 of equal steps


@pytest.mark.parametrize("source", ["mamba2-small-quamba2", "Quamba2-130m-w8a8 (published)"])
def test_stored_and_printed_scales_are_int8(source):
    app = opened(checkpoint="mamba-tiny", source_b=source, format_b="nf4")
    (error,) = [own.value for own in app.error]
    assert "has stored INT8 scales; the format nf4 needs a checkpoint with float weights" in error


def test_a_rule_without_a_zero_point_is_refused_for_a_format_with_one():
    app = opened(checkpoint="mamba-tiny", rule_b="entropy", format_b="int4-asymmetric")
    assert "entropy is defined for symmetric INT8 alone" in app.error[0].value
    app = opened(checkpoint="mamba-tiny", rule="scale-wx", format_a="int8-asymmetric")
    assert "scale-wx is defined for symmetric INT8 alone" in app.error[0].value


def test_costs_are_paired_with_the_first_columns():
    """Three columns of three windows of two tokens; the third is held against the first."""
    kl = {"a": [1.0, 2.0, 3.0], "b": [5.0, 5.0, 8.0], "c": [2.0, 4.0, 3.0]}
    impacts = {
        name: Impact(np.outer(means, np.ones(2)), np.zeros((3, 2)), np.ones((3, 2), bool))
        for name, means in kl.items()
    }
    asked = SimpleNamespace(impact=impacts.get, predicted_nats=lambda setting: None)
    columns = [column(name, 0.1) for name in "abcd"]
    costs = column_costs(columns, [asked, asked, asked, None], ["a", "b", "c", None])
    assert [cost.impact for cost in costs] == [*impacts.values(), None]
    assert costs[2].against_first.mean == pytest.approx(1.0)  # (1 + 2 + 0) / 3
    assert costs[2].against_first.error == pytest.approx(np.std([1, 2, 0], ddof=1) / 3**0.5)
    assert costs[1].against_first.mean == pytest.approx(4.0) and costs[3].against_first is None
    rows = captions.cost_rows(costs, ENGLISH)
    assert rows[2]["against A"].endswith(", which is noise") and rows[3]["kl_nats"] == "–"
    assert captions.costs_caption(costs, ENGLISH).startswith("A costs least, 2.0")


def test_columns_of_as_model_are_measured_when_asked(capsys):
    """What the page shows is what ``impact`` measures at the command line."""
    wanted = ["impact", "mamba2-tiny", *QUICK, "--on-batches", "8", "--format", "json"]
    costs = {}
    for name in ("int8", "int4"):
        assert cli.main([*wanted, "--number-format", name]) == 0
        (costs[name],) = json.loads(capsys.readouterr().out)["settings"]
    settings = {
        "checkpoint": "mamba2-tiny",
        "alpha_b": "0.9995",
        "format_b": "int4",
        "columns": "3",
        "source_c": "mamba-tiny",
    }
    assert len(opened(**settings).dataframe) == 1  # nothing is measured unasked
    table = opened(**settings, costs="true").dataframe[1].value
    for row, name in enumerate(("int8", "int4")):
        own = costs[name]
        assert table["kl_nats"][row] == with_error(own["kl_nats"], own["kl_nats_error"])
        assert table["delta_nats"][row] == with_error(own["delta_nats"], own["delta_nats_error"])
    assert table["against A"][1].startswith("+")
    assert table.iloc[2, 1:].tolist() == ["–"] * 4  # another model's


COMPARE = ["compare", "mamba-tiny", "mamba-tiny", *QUICK]


def test_the_command_compares_as_the_page_does(capsys):
    wanted = [*COMPARE, "--number-format", "int4", "fp8-e4m3", "--observer", "percentile", "minmax"]
    app = opened(
        checkpoint="mamba-tiny",
        format_a="int4",
        format_b="fp8-e4m3",
        rule_b="minmax",
        quantity="sqnr_db",
    )
    shown = app.dataframe[0].value
    assert cli.main(wanted) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[:2] == list(shown.columns)[2:4]
    rows = [re.split(r"  +", line.strip()) for line in lines[5:9]]
    assert [row[1:] for row in rows] == shown.iloc[:, 2:].to_numpy().tolist()
    assert lines[4].split()[:3] == ["layer", "A", "B"]
    (headline,) = [m.value for m in app.markdown if m.value.startswith("## ")]
    assert headline.removeprefix("## ") in lines
    assert cli.main([*wanted, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["number_formats"] == ["int4", "fp8-e4m3"]
    assert {row["number_format"] for row in document["rows"]} == {"int4", "fp8-e4m3"}
    assert cli.main([*wanted, "--format", "csv"]) == 0
    head, *more = capsys.readouterr().out.split("\n")
    assert head.split(",")[:4] == ["layer", "quantity", "column", "number_format"]
    assert len(more) == len(document["rows"]) + 1


def test_the_command_takes_files_stored_and_published_scales_and_best_alphas(capsys, tmp_path):
    path = str(tmp_path / "counts.safetensors")
    assert cli.main(["calibrate", "mamba-tiny", *QUICK, "--out", path]) == 0
    others = ["mamba2-small-quamba2", "Quamba2-130m-w8a8 (published)", path]
    more = ["--alpha", "0.9995", "1", "1", "best", "--format", "json"]
    assert cli.main(["compare", "mamba-tiny", *others, *QUICK, *more]) == 0
    document = json.loads(capsys.readouterr().out)
    values = {
        (row["column"], row["quantity"], row["layer"]): row["value"] for row in document["rows"]
    }
    assert document["columns"] == [
        "mamba-tiny, α 0.9995",
        "mamba2-small-quamba2, stored",
        "Quamba2-130m-w8a8 (published)",
        "mamba-tiny, best α by percentile",
    ]
    assert values["Quamba2-130m-w8a8 (published)", "x_out_scale", 1] == 0.06717040
    for layer in range(4):
        first, last = (values[document["columns"][i], "sqnr_db", layer] for i in (0, 3))
        assert last > first


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["compare", "mamba-tiny"], "1 columns were given; compare takes 2 to 6"),
        ([*COMPARE, "--alpha", "1", "1", "1"], "--alpha has 3 values for 2 columns"),
        ([*COMPARE, "--alpha", "often"], "--alpha is 'often'; give a number above 0 and at most 1"),
        ([*COMPARE, "--alpha", "2"], "alpha is 2.0"),
        ([*COMPARE, "--number-format", "int9"], "invalid choice: 'int9'"),
        (
            [*COMPARE, "--number-format", "int4-asymmetric", "--observer", "entropy"],
            "entropy is defined for symmetric INT8 alone",
        ),
        (
            ["compare", "mamba-tiny", "mamba2-small-quamba2", *QUICK, "--number-format", "nf4"],
            "mamba2-small-quamba2 has stored INT8 scales; the format nf4 needs a checkpoint with",
        ),
        (["compare", "mamba-tiny", "nowhere", *QUICK], "nowhere is neither"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_status_2(arguments, fault, capsys):
    try:
        status = cli.main(arguments)
    except SystemExit as stopped:  # argparse's own
        status = stopped.code
    written = capsys.readouterr()
    assert status == 2 and written.out == ""
    assert fault in written.err and written.err.count("\n") == 1


def test_columns_are_named_in_chinese():
    named = captions.column_names([column("mamba2-tiny", 0.1)], language("zh-CN"))
    assert named == ["A：mamba2-tiny"]
