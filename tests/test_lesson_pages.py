"""The Lesson, Claims and Glossary pages without a browser, in both languages."""

import html
import json
import re
from pathlib import Path

import opening
import pytest
import torch
from random_checkpoints import save_model
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest

from dashboard.analysis.report import format_alpha
from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.lesson.quotations import QUOTES
from dashboard.lesson.steps import STEPS
from dashboard.rules.landscape import Landscape, landscapes, recommend
from dashboard.rules.published import QUAMBA2_130M
from dashboard.text.language import LANGUAGES

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = range(1, len(STEPS) + 1)
HAN = re.compile(r"[\u4e00-\u9fff]")


def opened(page: str = "lesson", **settings: str) -> AppTest:
    """A page on the smallest Mamba-2, in English unless told otherwise."""
    return opening.opened(page, **({"checkpoint": "mamba2-tiny", "lang": "en"} | settings))


def plain_text(app: AppTest) -> str:
    """Everything that the page says, without its marks."""
    blocks = [item.value for item in app.markdown]
    blocks += [item.proto.body for item in app.get("html")]
    text = "\n".join(blocks)
    text = re.sub(r"<style>.*?</style>|<span class=\"tip\".*?</span>", "", text, flags=re.S)
    return re.sub(r"<[^>]+>", "", text).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def layers() -> list[Landscape]:
    """The x slice of every layer, as the lesson calibrates it."""
    checkpoint = load_checkpoint("mamba2-tiny")
    calibration = calibrate(checkpoint, load_backbone(checkpoint), read_text(checkpoint))
    return [Landscape.of(layer.slices[0].silu_output) for layer in calibration.layers]


@pytest.mark.parametrize("code", LANGUAGES)
@pytest.mark.parametrize("step", NUMBERS)
def test_every_step_opens_and_every_answer_is_answered(step, code):
    app = opened(step=str(step), lang=code)
    assert app.markdown[0].value.startswith(f"## {step} · ")
    question = app.radio(key=f"answer_{step}")
    assert question.value is None and "reply" not in "".join(
        item.proto.body for item in app.get("html") if "<style>" not in item.proto.body
    )
    kinds = []
    for i in range(len(question.options)):
        app.radio(key=f"answer_{step}").set_value(i).run()
        assert not app.exception
        (reply,) = [h.proto.body for h in app.get("html") if '<div class="reply' in h.proto.body]
        kinds.append("reply right" in reply)
        assert bool(HAN.search(reply)) == (code == "zh-CN")
    assert sum(kinds) == 1
    # In Chinese nothing on the page is an English sentence.
    if code == "zh-CN":
        words = plain_text(app).replace("mamba2-tiny", "")
        assert not re.search(
            r"[a-z]{2,} [a-z]{2,} [a-z]{2,} [a-z]{2,}", re.sub(r".*Heaven.*|.*people.*", "", words)
        )


def test_the_first_screen_needs_no_model_and_no_click():
    app = opened(checkpoint="no/such place")
    assert "One number decides" in app.markdown[0].value
    assert not app.error


def test_a_checkpoint_that_is_none_is_told_and_the_controls_stay():
    app = opened(checkpoint="no/such place", step="6")
    assert "is neither a directory, nor a Hub id" in app.error[0].value
    app.selectbox(key="checkpoint").set_value("mamba2-tiny").run()
    assert not app.error and "best α is" in plain_text(app)


def test_the_scale_moves_what_saturates():
    app = opened(step="1", int8_scale="0.01")
    assert "4 of 8 values saturate: they come back as 1.27 or −1.28" in plain_text(app)
    app.session_state["int8_scale"] = 0.1
    app.run()
    assert "Nothing saturates" in plain_text(app)


def test_a_trace_is_the_kernels():
    app = opened(step="2", layer="1", channel="7", position="3")
    assert "All numbers are mamba2-tiny's, layer 1." in plain_text(app)
    code = re.search(r"wrote (−?\d+),", plain_text(app))[1]
    assert f"gives the same code, {code}." in plain_text(app)
    app.session_state["position"] = 4
    app.run()
    assert not app.exception


def test_the_toy_example_stands_beside_the_published_figures():
    words = plain_text(opened(step="4"))
    assert "0.0286" in words and "0.0268" in words and "0.027" in words
    assert "39.37 %" in words and "39.4 %" in words


def test_the_toys_percentile_scale_is_named_for_what_it_is():
    words = plain_text(opened(step="4"))
    v = torch.linspace(-5, 5, 101, dtype=torch.float64)
    y = torch.nn.functional.silu(v).abs()
    coarse, proper = (torch.quantile(y, q).item() / 127 for q in (0.995, 0.9995))
    assert f"the 99.5 % quantile of this grid's outputs over 127: {coarse:.6f}" in words
    assert f"That of α = 0.9995 would be {proper:.5f}" in words


def test_layers_say_what_the_landscape_says(layers):
    app = opened(step="6", layer="2", lesson_alpha="0.9995")
    best = layers[2].best_alpha
    assert f"its best α is {best}, {layers[2].best_db:.1f} dB" in plain_text(app)
    assert "loss at 0.9995" not in plain_text(app)  # it would give the answer away
    app.radio(key="answer_6").set_value(0).run()
    assert f"{layers[0].loss_db(0.9995):.1f} dB" in plain_text(app)


def test_the_answer_of_the_ratio_waits_until_it_is_asked_for(layers):
    app = opened(step="7", guess="40")
    assert "What has layer 3?" in plain_text(app)
    app.toggle(key="shown").set_value(True).run()
    truth, off = re.search(
        r"Layer 3 has (\S+); your 40 is (\S+) % too small", plain_text(app)
    ).groups()
    assert float(off) == pytest.approx(100 * (1 - 40 / float(truth)), abs=0.6)  # two digits
    app.session_state["guess"] = 300
    app.run()
    truth, off = re.search(
        r"Layer 3 has (\S+); your 300 is (\S+) % too large", plain_text(app)
    ).groups()
    assert float(off) == pytest.approx(100 * (300 / float(truth) - 1), abs=0.6) and float(off) > 100
    for row in QUAMBA2_130M:
        assert f"{row.ratio:.2f}" in plain_text(app) and f"{row.ratio_wx:.3g}" in plain_text(app)


def test_alpha_moves_one_scale_and_not_the_sixteen():
    app = opened(step="8")
    fixed = re.search(r"run from (\S+) to (\S+) and give (\S+) dB", plain_text(app)).groups()
    moving = re.search(r"at α = \S+ is (\S+) and", plain_text(app))[1]
    app.session_state["lesson_alpha"] = 0.99
    app.run()
    assert (
        re.search(r"run from (\S+) to (\S+) and give (\S+) dB", plain_text(app)).groups() == fixed
    )
    assert re.search(r"at α = \S+ is (\S+) and", plain_text(app))[1] != moving


def test_the_published_differences_stand_as_printed_and_as_their_digits_have_them():
    words = plain_text(opened(step="8"))
    for row, printed, step in zip(
        QUAMBA2_130M[1:], ("0.06", "0.03", "−0.05", "−0.05"), ("+8", "+4", "−8", "−6"), strict=True
    ):
        digits = f"{100 * (row.pa_1_0 / row.pa_0_5 - 1):.4f}".replace("-", "−")
        assert f"{row.pa_1_0:.8f}{printed} %{digits} %{step}" in words
    assert "from 0.0057 to 0.0518, and their mean is 0.0158" in words and "we infer" in words
    assert "B and C are MinMax's there too" in words


def test_the_one_scale_printed_of_the_larger_model_is_shown():
    words = plain_text(opened(step="7"))
    assert "layer 0's: 0.01849" in words and "ratios of means" in words


def test_mamba_1_has_groups_without_heads():
    assert "Mamba-1 has no heads" in plain_text(opened(step="8", checkpoint="mamba-tiny"))


@pytest.mark.parametrize("family", ["nemotron_h", "falcon_h1"])
def test_heads_are_the_ssms_and_not_attentions(family, tmp_path):
    save_model(family, tmp_path)
    words = plain_text(opened(step="8", checkpoint=str(tmp_path)))
    assert "Here 4 heads are grouped" in words


def test_a_state_spaces_mamba_2_has_heads(tmp_path):
    torch.manual_seed(0)
    d_model, heads, head_dim, groups, state = 32, 8, 8, 2, 8
    inner, conv = heads * head_dim, heads * head_dim + 2 * groups * state
    weights = {
        "backbone.embedding.weight": torch.randn(256, d_model),
        "backbone.norm_f.weight": torch.ones(d_model),
        "lm_head.weight": torch.randn(256, d_model),
    }
    for i in range(2):
        mixer = f"backbone.layers.{i}.mixer"
        weights |= {
            f"backbone.layers.{i}.norm.weight": torch.ones(d_model),
            f"{mixer}.in_proj.weight": torch.randn(inner + conv + heads, d_model) / 6,
            f"{mixer}.conv1d.weight": torch.randn(conv, 1, 4) / 2,
            f"{mixer}.conv1d.bias": torch.randn(conv) / 2,
            f"{mixer}.dt_bias": torch.zeros(heads),
            f"{mixer}.A_log": torch.zeros(heads),
            f"{mixer}.D": torch.ones(heads),
            f"{mixer}.norm.weight": torch.ones(inner),
            f"{mixer}.out_proj.weight": torch.randn(d_model, inner) / 8,
        }
    save_file(weights, tmp_path / "model.safetensors")
    config = {
        "d_model": d_model, "n_layer": 2, "vocab_size": 256, "pad_vocab_size_multiple": 1,
        "ssm_cfg": {"layer": "Mamba2", "headdim": head_dim, "ngroups": groups, "d_state": state},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = plain_text(opened(step="8", checkpoint=str(tmp_path)))
    assert "Here 8 heads are grouped" in words


def test_one_recommendation_for_a_model_everywhere():
    checkpoint = load_checkpoint("mamba2-tiny")
    calibration = calibrate(checkpoint, load_backbone(checkpoint), read_text(checkpoint))
    alpha = format_alpha(recommend(landscapes(calibration)).alpha)
    app = opened(step="11")
    options = app.radio(key="answer_11").options
    app.radio(key="answer_11").set_value(options.index(alpha)).run()
    assert "Right." in plain_text(app)
    app = opened("claims")
    assert f"serves this model best, {alpha}," in plain_text(app)


def test_the_score_is_the_mean_loss(layers):
    app = opened(step="11", alpha_0="0.999", alpha_1="0.99999")
    alphas = [0.999, 0.99999, 0.9995, 0.9995]
    mean = sum(landscape.loss_db(a) for landscape, a in zip(layers, alphas, strict=True)) / 4
    assert f"this loses {mean:.2f} dB" in plain_text(app)


def test_pages_turn_and_stop_at_both_ends():
    app = opened()
    assert app.button(key="previous").disabled
    for _ in NUMBERS[:-1]:
        app.button(key="next").click().run()
        assert not app.exception
    assert app.markdown[0].value.startswith(f"## {len(STEPS)} · ")
    assert app.button(key="next").disabled


def test_the_language_can_be_changed_and_an_unknown_one_is_english():
    app = opened(lang="xx")
    assert "One number decides" in app.markdown[0].value
    app.segmented_control(key="lang").set_value("zh-CN").run()
    assert "一个数决定" in app.markdown[0].value
    assert app.query_params["lang"] == "zh-CN"


def test_a_link_names_a_choice_in_no_language():
    for code in LANGUAGES:
        app = opened(step="4", points="six", lang=code)
        assert app.segmented_control(key="points").value == "six"
    app.segmented_control(key="points").set_value("fine").run()
    assert app.query_params["points"] == "fine"


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_glossary_lists_every_term(code):
    words = plain_text(opened("glossary", lang=code))
    for formula in ("scale_wx = x_scale · w_scale", "10 · log₁₀(Σ y² / Σ (ŷ − y)²)"):
        assert formula in words
    assert bool(HAN.search(words.replace("简体中文", ""))) == (code == "zh-CN")


def test_the_glossary_finds_a_term_by_its_letters():
    words = plain_text(opened("glossary", term="STRANDED"))
    assert "stranded codes" in words and "accumulator" not in words
    assert "No term, meaning or formula has these letters" in plain_text(
        opened("glossary", term="qzx")
    )


def test_a_task_that_is_done_says_so():
    words = plain_text(opened(step="1", int8_scale="0.035"))
    finest = "This is the finest scale of the slider that holds all values."
    assert finest in words and finest not in plain_text(opened(step="1", int8_scale="0.2"))


def test_claims_stand_there_for_a_checkpoint_that_cannot_be_used():
    app = opened("claims", checkpoint="no/such place")
    assert app.error
    for quote in (entry for quotes in QUOTES.values() for entry in quotes):
        assert quote.original in html.unescape(plain_text(app))
