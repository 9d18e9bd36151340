"""The lesson on paper: complete, self-contained, and the same drawing as on the page."""

import html
import re
from dataclasses import replace

import pytest

from dashboard.lesson.handout import PrintedStep, handout, printed_steps
from dashboard.lesson.screen import control_values
from dashboard.lesson.steps import STEPS
from dashboard.pages.lesson_model import calibrated_model, sample_model, source_of
from dashboard.text.language import ENGLISH, LANGUAGES, language


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


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_handout_has_every_step_its_answer_and_the_glossary(code):
    made = steps(code)
    paper = handout(made, "mamba2-tiny", language(code))
    assert f'<html lang="{code}">' in paper
    assert paper.count('role="img"') == len(made)
    for step in made:
        alt = html.escape(step.screen.figure.layout.meta["alt"])
        assert f'aria-label="{alt}"' in paper
        assert step.introduction.title in paper
    questions, answers = paper.split(f"<h2>{language(code)('Answers')}</h2>")
    for number, step in enumerate(made, 1):
        letter = "ABCDEF"[[a.right for a in step.screen.question.answers].index(True)]
        assert f"<b>{number}: {letter}.</b>" in answers
    assert questions.count('<div class="question">') == len(made)
    assert "scale_wx = x_scale · w_scale" in answers


def test_settings_of_another_model_do_not_break_the_handout():
    settings = {
        "lesson_alpha": 0.999999999,
        "alpha_0": 0.12345,
        "layer": 77,
        "channel": 9999,
        "position": 100_000,
        "int8_scale": 0.1,
    }
    model = calibrated_model(source_of("mamba2-tiny"))
    made = printed_steps(model, 0, settings, sample_model, ENGLISH)
    assert len(made) == len(STEPS)
    assert "INT8 holds −12.8 … 12.7" in made[0].screen.figure.layout.meta["alt"]
    assert handout(made, "mamba2-tiny", ENGLISH).count('role="img"') == len(STEPS)


def test_a_step_that_a_calibration_file_does_not_allow_says_why_and_the_others_keep_their_numbers():
    model = replace(calibrated_model(source_of("mamba2-tiny")), activations=None)
    made = printed_steps(model, 0, {}, sample_model, ENGLISH)
    paper = handout(made, "a calibration file", ENGLISH)
    assert len(made) == len(STEPS)
    for heading, reason in (
        ("2 · Four steps", "no activations to follow"),
        ("8 · What the shape", "no channels to group"),
        ("9 · Does it matter", "no model to run"),
    ):
        (section,) = re.findall(rf"<h2>{heading}.*?</section>", paper, re.S)
        assert reason in section and 'role="img"' not in section
    assert "<h2>11 · Your turn: choose α</h2>" in paper
    assert "<b>10: " in paper and "<b>11: " in paper  # step 10 has a sample of its own
    assert not any(f"<b>{number}: " in paper for number in (2, 8, 9))


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
