"""The Impact page: what it says is what the API measures, step by step, and can be stopped."""

from functools import partial

import opening
import pytest
from opening import page_text

from dashboard.analysis.measurements import Setting
from dashboard.api import Calibration
from dashboard.pages import costing, measuring
from dashboard.pages.sources import Source
from dashboard.rules.observers import ScaleRule
from dashboard.text.numbers import small, with_error

QUICK = {"checkpoint": "mamba2-tiny", "batches": "2", "seq_len": "64", "windows": "3"}
RANKED = ("costs most", "cost most", "cannot be told")


def is_ranked(app) -> bool:
    return any(words in page_text(app) for words in RANKED)


opened = partial(opening.opened, "impact", **QUICK)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """However slow the machine is, what takes seconds is measured at once."""
    monkeypatch.setattr(measuring, "AT_ONCE_S", float("inf"))


@pytest.fixture(scope="module")
def tiny() -> Calibration:
    return Calibration.of("mamba2-tiny", batches=2, seq_len=64, gradients=True)


@pytest.fixture(scope="module")
def impact(tiny):
    return tiny.impact(alpha=0.999, each=True, on_batches=3)


def test_the_page_says_what_the_api_measures(impact):
    app = opened(alpha="0.999")
    _, *alone = impact.settings
    assert (
        f"{with_error(impact.kl_nats, impact.kl_nats_error)} nats of KL on 3 windows of 64 tokens"
        in page_text(app)
    )
    most = max(alone, key=lambda entry: entry.impact.kl_nats.mean)
    ranked = with_error(most.impact.kl_nats.mean, most.impact.kl_nats.error)
    assert ranked in next(m.value for m in app.markdown if m.value.startswith("## "))
    rows = app.dataframe[0].value
    assert rows["layer"].tolist() == [0, 1, 2, 3]
    for text, entry in zip(rows["kl_nats alone"], alone, strict=True):
        own = entry.impact.kl_nats
        assert text.removesuffix(", noise") == with_error(own.mean, own.error)
    for text, entry in zip(rows["predicted_nats"], alone, strict=True):
        assert text == small(entry.predicted_nats)


def test_nothing_is_measured_of_its_own_accord_that_takes_longer(monkeypatch):
    monkeypatch.setattr(measuring, "AT_ONCE_S", 0.0)
    app = opening.opened("impact", **{**QUICK, "windows": "4"}, alpha="0.998")
    assert "is predicted to cost most" in page_text(app)
    before = {button.key for button in app.button}
    assert {"measure_layers", "measure_alphas", "measure_proxies", "measure_budget"} <= before
    app.button(key="measure_layers").click().run()
    assert not app.exception
    assert is_ranked(app)
    assert "measure_layers" not in {button.key for button in app.button}
    # Another α asks anew, and the first is known when it comes back.
    slider = app.select_slider(key="alpha")
    first = slider.value
    slider.set_value(0.9).run()
    assert "measure_layers" in {button.key for button in app.button}
    assert "is predicted to cost most" in page_text(app)
    app.select_slider(key="alpha").set_value(first).run()
    assert "measure_layers" not in {button.key for button in app.button}


def test_input_and_weights_have_no_prediction_and_are_measured():
    app = opened(mode="input", alpha="0.999")
    assert "INT8 input, weights and bias in layers 0–3" in page_text(app)
    assert set(app.dataframe[0].value["predicted_nats"]) == {"–"}


def test_a_sentence_of_ones_own_is_coloured_and_one_character_refused():
    app = opened(alpha="0.999")
    app.text_input(key="sentence").set_value("Ein <b>Satz</b>.").run()
    (text,) = [
        element.proto.json
        for element in app.get("bidi_component")
        if element.proto.component_name == "scalescope_damage"
    ]
    assert '"text": "<"' in text or '"text":"<"' in text
    app.text_input(key="sentence").set_value("a").run()
    assert "the text has 1 tokens; give 2 at least" in app.error[0].value


def test_a_budget_is_planned_measured_and_exported():
    app = opened(budget="1")
    assert "Within 1.00 nats, cheapest first: one scale a slice in layers 0–3" in page_text(app)
    assert "measured" in page_text(app)
    keys = {button.key for button in app.get("download_button")}
    assert {"export_budget_json", "export_budget_bin"} <= keys
    app = opened(budget="0.000001", finer="true")
    assert "cannot be kept" in page_text(app)
    assert "a scale for each channel" in set(app.dataframe[-1].value["scales"])
    keys = {button.key for button in app.get("download_button")}
    assert "export_budget_bin" not in keys


def test_too_short_a_text_is_refused_in_a_sentence():
    app = opened(batches="16", seq_len="4096", windows="256")
    (error,) = app.error
    assert "calibration.txt has" in error.value and "after the first 16" in error.value


def test_a_stop_keeps_what_is_finished_and_begins_nothing_by_itself(monkeypatch):
    """As a press on Stop ends the run: by an exception from the progress bar."""
    app = opening.opened("impact", **{**QUICK, "windows": "5"}, alpha="0.999")
    assert is_ranked(app)
    held_out = costing.HeldOutText(Source("mamba2-tiny", "calibration.txt", 2, 64), "", 6)
    run = costing.float_run(held_out, lambda _: None)
    asked = costing.measurements(held_out, run, "output")
    settings = [Setting(ScaleRule("minmax"), (layer,)) for layer in range(4)]

    class Pressed(BaseException):
        pass

    def press(progress) -> None:
        if (progress.setting, progress.window) == (2, 3):
            raise Pressed

    with pytest.raises(Pressed):
        costing.measure_settings(held_out, asked, settings, (0, 0.0), 1e9, press)
    assert asked.missing(settings) == settings[2:]
    seen = []
    costing.measure_settings(held_out, asked, asked.missing(settings), (2, 1.0), 1e9, seen.append)
    assert asked.missing(settings) == []
    assert (seen[0].setting, seen[0].settings, seen[-1].share) == (2, 4, 1.0)
