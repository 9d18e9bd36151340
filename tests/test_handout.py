"""The lesson on paper: complete, self-contained, and the same drawing as on the page."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from transformers import AutoModelForCausalLM, Mamba2Config

from dashboard.figures.style import PALETTES, Sheet
from dashboard.figures.svg import to_svg
from dashboard.lesson import holding, outliers, shapes
from dashboard.lesson.handout import handout
from dashboard.lesson.screens import holding as holding_screen
from dashboard.lesson.screens import outliers as outliers_screen
from dashboard.lesson.screens import shapes as shapes_screen
from dashboard.lesson.screens import toy as toy_screen
from dashboard.pages.lesson_steps import STEPS, printed, source_of
from dashboard.rules.published import OUTLIERS
from dashboard.text.language import LANGUAGES, language

SVG = "{http://www.w3.org/2000/svg}"


def screens(code: str) -> list:
    say = language(code)
    return [
        holding_screen.screen(holding.Holding.of(0.025), say),
        shapes_screen.screen(shapes.reshape(1.0), say),
        toy_screen.screen(0.1, "fine", say),
        outliers_screen.screen(outliers.outlying(OUTLIERS.outlier, OUTLIERS.outlier_share), say),
    ]


def drawn() -> Sheet:
    sheet = Sheet(100, 'a "drawing" & more')
    sheet.area([0, 0.5, 0.5], [0, 0, 1], "output")
    sheet.hatch([0.5, 1, 1], [0, 0, 1], "stranded")
    sheet.line([0, 1], [0.5, 0.5], "chosen", 2, "3 3")
    sheet.text(0.5, 0.5, "two\n<lines>", "text", "middle right", 10, bold=True, halo="page")
    return sheet


@pytest.mark.parametrize("theme", PALETTES)
def test_a_sheet_becomes_well_formed_svg_in_the_palettes_colours(theme):
    root = ElementTree.fromstring(to_svg(drawn(), 200, theme))
    assert root.get("aria-label") == 'a "drawing" & more'
    area, hatched, line = root.findall(f"{SVG}path")
    assert area.get("d") == "M0.00 100.00L100.00 100.00L100.00 0.00Z"
    assert area.get("fill") == PALETTES[theme]["output"]
    identifier = root.find(f"{SVG}defs/{SVG}pattern").get("id")
    assert hatched.get("fill") == f"url(#{identifier})"
    assert (line.get("stroke-dasharray"), line.get("stroke-width")) == ("3 3", "2")
    (text,) = root.findall(f"{SVG}text")
    assert [span.text for span in text] == ["two", "<lines>"]
    assert text.get("text-anchor") == "start" and text.get("stroke") == PALETTES[theme]["page"]


def test_a_theme_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'sepia'; allowed are light, dark"):
        to_svg(drawn(), theme="sepia")


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_handout_has_every_step_its_answer_and_the_glossary(code):
    made = screens(code)
    paper = handout(made, "mamba2-tiny", language(code))
    assert f'<html lang="{code}">' in paper
    assert paper.count("<svg") == len(made)
    for screen in made:
        ElementTree.fromstring(to_svg(screen.sheet))
        assert screen.title in paper
    questions, answers = paper.split(f"<h2>{language(code)('Answers')}</h2>")
    for number, screen in enumerate(made, 1):
        letter = "ABCDEF"[[a.right for a in screen.question.answers].index(True)]
        assert f"<b>{number}: {letter}.</b>" in answers
    assert questions.count('<div class="question">') == len(made)
    assert "scale_wx = x_scale · w_scale" in answers


def test_settings_of_another_model_do_not_break_the_handout():
    settings = {"lesson_alpha": 0.999999999, "alpha_0": 0.12345, "layer": 77, "channel": 9999,
                "position": 100_000, "held_scale": 0.1}  # fmt: skip
    made = printed(language("en"), source_of("mamba2-tiny"), settings)
    assert len(made) == len(STEPS)
    assert "INT8 holds −12.8 … 12.7" in to_svg(made[0].sheet)
    assert handout(made, "mamba2-tiny", language("en")).count("<svg") == len(STEPS)


def test_a_step_that_the_model_does_not_allow_is_named_and_the_others_keep_their_numbers(tmp_path):
    config = Mamba2Config(vocab_size=256, hidden_size=32, num_hidden_layers=2, num_heads=2,
                          head_dim=32, n_groups=2, state_size=8, chunk_size=8)  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    made = printed(language("en"), source_of(str(tmp_path)), {})
    paper = handout(made, "two heads", language("en"))
    assert len(made) == len(STEPS)
    assert "<h2>8</h2><p>64 channels in heads of 32 cannot be parted in 4 head groups" in paper
    assert "<h2>9 · Your turn: choose α</h2>" in paper
    assert "<b>9: " in paper and "<b>8: " not in paper


def test_the_handout_needs_nothing_from_anywhere():
    paper = handout(screens("en"), "mamba2-tiny", language("en"))
    without_names = paper.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|src=|@import|<script|<link", without_names)
    assert "[[" not in paper and "**" not in paper


def test_what_comes_from_outside_stays_text():
    paper = handout(["<i>no such step</i>"], "<script>alert(1)</script>", language("en"))
    assert "<script" not in paper and "<i>" not in paper
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>" in paper
    assert "<h2>1</h2><p>&lt;i&gt;no such step&lt;/i&gt;</p>" in paper
