"""The Explore page without a browser: what a person chooses, and what the page then says."""

import json
import shutil
from functools import partial

import opening
import pytest
from opening import page_text
from streamlit.testing.v1 import AppTest

from dashboard import cli
from dashboard.checkpoints import SAMPLES_DIR
from dashboard.pages import calibrating, loading, shelves
from dashboard.rules.observers import ALPHA_RULES, RULES
from dashboard.text import captions

# The page on a short calibration.
opened = partial(opening.opened, "app", batches="2", seq_len="64")


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


@pytest.fixture(scope="module", autouse=True)
def without_gradients():
    """Other files' tests may have counted gradients, and best then is by loss."""
    shelves.clear()


@pytest.fixture(scope="module")
def first() -> AppTest:
    return opened()


def test_a_small_sample_opens_without_a_click(first):
    labels = {box.label: box.value for box in first.selectbox}
    assert labels == {
        "Checkpoint": "mamba-tiny",
        "Layer": 0,
        "Scale rule": "percentile",
        "Beside it": "minmax",
        "Text": "calibration.txt",
    }
    assert first.select_slider(key="alpha").label == "Percentile α"
    assert first.select_slider(key="alpha").value == 0.9995
    assert set(metrics(first)) == {
        "sqnr_db",
        "saturation_rate",
        "x_out_scale",
        "effective_bits",
        "code_utilization",
        "top_code_utilization",
    }


def test_the_backend_and_its_agreement_are_on_show(first):
    status = next(m.value for m in first.markdown if "differ from the reference" in m.value)
    assert status.startswith(":green[●] **t")
    assert "**0** of 32,768 codes" in status  # 2 · 64 · 256


def test_the_page_shows_the_figures_of_the_command_line(first, capsys):
    options = ["--batches", "2", "--seq-len", "64", "--layers", "0", "--format", "json"]
    assert cli.main(["analyze", "mamba-tiny", *options]) == 0
    (layer,) = json.loads(capsys.readouterr().out)["layers"]
    (table,) = first.table
    shown = dict(zip(table.value["measure"], table.value["value"], strict=True))
    for name, value in shown.items():
        assert value == captions.measure_text(layer[name]), name


def test_alpha_the_layer_and_the_slice_change_the_numbers():
    app = opened(checkpoint="mamba2-tiny")
    seen = [metrics(app)]
    for change in (
        lambda: app.select_slider(key="alpha").set_value(0.99),
        lambda: app.selectbox(key="layer").set_value(2),
        lambda: app.segmented_control(key="slice").set_value("B"),
        lambda: app.selectbox(key="checkpoint").set_value("mamba-tiny"),
        lambda: app.selectbox(key="text").set_value("out-of-domain.txt"),
    ):
        change().run()
        assert not app.exception
        seen.append(metrics(app))
        assert seen[-1] != seen[-2]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_shown(rule):
    app = opened(rule=rule)
    assert "**0** of" in page_text(app) and "differ from the reference" in page_text(app)
    assert app.select_slider(key="alpha").disabled == (rule not in ALPHA_RULES)


def test_scale_wx_is_one_scale_wx_and_saturates():
    shown = metrics(opened(rule="scale-wx"))
    assert float(shown["saturation_rate"].split()[0]) > 80
    assert shown["code_utilization"] == "100 %"


def test_a_link_restores_every_setting():
    app = opened(
        checkpoint="mamba-small",
        layer="4",
        alpha="0.99",
        rule="percentile",
        counts="linear counts",
        text="out-of-domain.txt",
    )
    assert app.selectbox(key="checkpoint").value == "mamba-small"
    assert app.selectbox(key="layer").value == 4
    assert app.select_slider(key="alpha").value == 0.99
    assert app.selectbox(key="text").value == "out-of-domain.txt"
    assert app.segmented_control(key="counts").value == "linear counts"


def test_a_layer_or_an_alpha_that_the_next_checkpoint_lacks_gives_way():
    app = opened(checkpoint="mamba-small", layer="5")
    app.selectbox(key="checkpoint").set_value("mamba-tiny").run()
    assert not app.exception
    assert app.selectbox(key="layer").value == 0

    app = opened(checkpoint="mamba2-tiny", alpha="0.99996")  # of 32,768 values of x; B has 8,192
    assert app.select_slider(key="alpha").value == 0.99996
    app.segmented_control(key="slice").set_value("B").run()
    assert not app.exception
    assert app.select_slider(key="alpha").value == 1.0  # nearer than 0.99987


def test_whatever_cannot_be_used_is_one_sentence_and_the_controls_stay(tmp_path):
    (tmp_path / "config.json").write_text("{")
    short = tmp_path / "short.txt"
    short.write_text("too short")
    for settings, sentence in (
        ({"checkpoint": "nowhere"}, "nowhere is neither a directory"),
        ({"checkpoint": str(tmp_path)}, "is not readable JSON"),
        ({"text": str(short)}, "has 9 tokens; 2 batches of 64 need 128"),
    ):
        app = opened(**settings)
        (error,) = app.error
        assert sentence in error.value and "\n" not in error.value
        assert not app.metric
        # The next choice is a good one, and the page is whole again.
        for name in settings:
            app.selectbox(key=name).set_value(app.selectbox(key=name).options[0]).run()
        assert not app.exception and not app.error
        assert app.metric


def test_activations_that_are_not_finite_are_told_with_layer_and_batch(monkeypatch, tmp_path):
    backbone = loading.load_backbone

    def poisoned(checkpoint):
        model = backbone(checkpoint)
        model.layers[1].mixer.in_proj.weight.fill_(float("nan"))
        return model

    shutil.copytree(SAMPLES_DIR / "mamba-tiny", tmp_path / "model")  # a model of its own
    monkeypatch.setattr(loading, "load_backbone", poisoned)
    app = opened(checkpoint=str(tmp_path / "model"), seq_len="32")
    assert "layer 1, batch 0, slice x" in app.error[0].value


def test_the_first_batch_is_shown_while_the_rest_is_counted(monkeypatch):
    """A stop in the middle leaves the first batch's charts, and the calibration can be resumed."""
    watch = calibrating.JOBS.watch

    def stopped_by_the_user(key, work, on_progress):
        source = key[1]
        if source.batches > 1:
            import streamlit as st

            st.session_state.stopped = source
            st.rerun()  # what a press on Stop does to a running page
        return watch(key, work, on_progress)

    monkeypatch.setattr(calibrating.JOBS, "watch", stopped_by_the_user)
    app = opened(checkpoint="mamba-tiny", batches="3", seq_len="48")
    assert app.info[0].value == "Stopped. The charts show the first of 3 batches."
    assert metrics(app)  # of the first batch
    assert "differ from the reference" not in page_text(app)

    monkeypatch.setattr(calibrating.JOBS, "watch", watch)
    app.button(key="resume").click().run()
    assert not app.exception and not app.info
    assert "differ from the reference" in page_text(app)


def test_the_link_always_names_the_checkpoint():
    assert opened().query_params["checkpoint"] in ("mamba-tiny", ["mamba-tiny"])
    app = opening.asked("app")
    app.session_state.kept = {"checkpoint": "mamba2-tiny", "batches": 2, "seq_len": 64}
    app.run()  # as after a page whose own default it is
    assert not app.exception
    assert app.selectbox(key="checkpoint").value == "mamba2-tiny"
    assert "mamba2-tiny" in app.query_params["checkpoint"]
    again = opened(
        **{
            key: value[0] if isinstance(value, list) else value
            for key, value in app.query_params.items()
        }
    )
    assert again.selectbox(key="checkpoint").value == "mamba2-tiny"
    assert metrics(again) == metrics(app)


def test_a_link_with_words_that_no_box_knows_falls_to_the_defaults():
    app = opened(
        layer="99",
        rule="nonsense",
        beside="",
        asymmetric="maybe",
        alpha="2",
        slice="q",
        counts="none",
    )
    assert app.selectbox(key="layer").value == 0
    assert app.selectbox(key="rule").value == "percentile"
    assert app.select_slider(key="alpha").value == 0.9995
    assert not app.toggle(key="asymmetric").value
    app = opened(batches="0", seq_len="-7", checkpoint="mamba2-tiny", slice="B")
    assert (app.number_input(key="batches").value, app.number_input(key="seq_len").value) == (1, 1)
