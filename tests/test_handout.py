"""The lesson on paper: complete, self-contained, and the same drawing as on the page."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from dashboard.figures.style import PALETTES, Sheet
from dashboard.figures.svg import to_svg
from dashboard.lesson.handout import PrintedStep, handout, printed_steps
from dashboard.lesson.screen import control_values
from dashboard.lesson.steps import STEPS
from dashboard.pages.lesson_model import calibrated_model, source_of
from dashboard.text.language import ENGLISH, LANGUAGES, language

SVG = "{http://www.w3.org/2000/svg}"


def steps(code: str) -> list[PrintedStep]:
    """The steps that need no model, as they come."""
    say = language(code)
    return [
        PrintedStep(
            step.introduce(say),
            step.screen(**control_values(step.controls(say=say), {}), say=say),
        )
        for step in STEPS
        if step.on == "nothing"
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
    made = steps(code)
    paper = handout(made, "mamba2-tiny", language(code))
    assert f'<html lang="{code}">' in paper
    assert paper.count('role="img"') == len(made)
    for step in made:
        ElementTree.fromstring(to_svg(step.screen.figure))
        assert step.introduction.title in paper
    questions, answers = paper.split(f"<h2>{language(code)('Answers')}</h2>")
    for number, step in enumerate(made, 1):
        letter = "ABCDEF"[[a.right for a in step.screen.question.answers].index(True)]
        assert f"<b>{number}: {letter}.</b>" in answers
    assert questions.count('<div class="question">') == len(made)
    assert "scale_wx = x_scale · w_scale" in answers


def test_settings_of_another_model_do_not_break_the_handout():
    settings = {"lesson_alpha": 0.999999999, "alpha_0": 0.12345, "layer": 77, "channel": 9999,
                "position": 100_000, "int8_scale": 0.1}  # fmt: skip
    made = printed_steps(calibrated_model(source_of("mamba2-tiny")), 0, settings, ENGLISH)
    assert len(made) == len(STEPS)
    assert "INT8 holds −12.8 … 12.7" in to_svg(made[0].screen.figure)
    assert handout(made, "mamba2-tiny", ENGLISH).count('role="img"') == len(STEPS)


def test_a_step_that_a_calibration_file_does_not_allow_says_why_and_the_others_keep_their_numbers():
    model = replace(calibrated_model(source_of("mamba2-tiny")), activations=None)
    made = printed_steps(model, 0, {}, ENGLISH)
    paper = handout(made, "a calibration file", ENGLISH)
    assert len(made) == len(STEPS)
    for heading, reason in (("2 · Four steps", "no activations to follow"),
                            ("8 · What the shape", "no channels to group")):  # fmt: skip
        (section,) = re.findall(rf"<h2>{heading}.*?</section>", paper)
        assert reason in section and "<svg" not in section
    assert "<h2>9 · Your turn: choose α</h2>" in paper
    assert "<b>9: " in paper and "<b>8: " not in paper and "<b>2: " not in paper


def test_the_handout_needs_nothing_from_anywhere():
    paper = handout(steps("en"), "mamba2-tiny", ENGLISH)
    body = paper[paper.index("<body>") :].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://", body)
    without_scripts = re.sub(r"<script.*?</script>", "", paper, flags=re.S)
    assert not re.search(r"src=|@import|<link", without_scripts)
    assert "[[" not in without_scripts and "**" not in without_scripts


def test_what_comes_from_outside_stays_text():
    refused = PrintedStep(STEPS[0].introduce(ENGLISH), "<i>no such step</i>")
    paper = handout([refused], "<script>alert(1)</script>", ENGLISH)
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>" in paper
    assert "alert(1)</script>" not in paper and "<i>" not in paper
    assert "<p>&lt;i&gt;no such step&lt;/i&gt;</p>" in paper
