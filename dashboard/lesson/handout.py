"""The lesson on paper: every step with its picture and question, the answers at the end.

One HTML file that needs nothing else: figures are drawn by a script within it, and nothing is
fetched. What it looks like is in ``handout.html`` beside this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from dashboard.figures.theme import document_scripts, to_html
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.screen import (
    Excerpt,
    Introduction,
    Screen,
    StepSample,
    Table,
    control_values,
)
from dashboard.lesson.steps import STEPS
from dashboard.text import prose
from dashboard.text.glossary import glossary
from dashboard.text.language import Language
from dashboard.text.templates import templates


@dataclass(frozen=True)
class PrintedStep:
    """A step as it is printed; a sentence in place of a screen that the model does not allow."""

    introduction: Introduction
    screen: Screen | str


def printed_steps(
    model: CalibratedModel,
    layer: int,
    settings: Mapping[str, Any],
    sample_model: Callable[[StepSample], CalibratedModel],
    say: Language,
) -> list[PrintedStep]:
    """Every step as its reader last set it, or as it comes.

    Args:
        layer: the layer of the steps that are about one.
        settings: values by the keys of controls; what another model's control had is moved to the
            nearest option of this one's.
        sample_model: of the steps that are about a sample of their own.
    """
    printed = []
    for step in STEPS:
        subject: dict[str, Any] = {} if step.on == "nothing" else {"model": model}
        if step.on == "layer":
            subject["layer"] = layer
        screen: Screen | str
        try:
            if step.sample:
                subject["model"] = sample_model(step.sample)
            controls = step.controls(**subject, say=say)
            screen = step.screen(**subject, **control_values(controls, settings), say=say)
        except ValueError as error:
            screen = say.error(error)
        printed.append(PrintedStep(step.introduce(say), screen))
    return printed


def handout(steps: Sequence[PrintedStep], subject: str, say: Language) -> str:
    """The whole document, as HTML.

    Args:
        steps: the lesson's, in order.
        subject: what they were computed from: a checkpoint and its calibration.
    """
    template = templates(Path(__file__).parent).get_template("handout.html")
    return template.render(
        title=say("What one scale does"),
        subject=subject,
        steps=steps,
        terms=glossary(say).values(),
        answers_heading=say("Answers"),
        glossary_heading=say("Glossary"),
        scripts=Markup(document_scripts(themes=False)),
        drawn=_drawn,
        table=_table,
        excerpt=_excerpt,
        table_style=Markup(prose.TABLE_STYLE),
        language=say.code,
    )


def _drawn(figure: go.Figure) -> Markup:
    """A figure as the document holds it."""
    return Markup(to_html(figure))


def _table(table: Table) -> Markup:
    return Markup(prose.table_html(table.header, table.rows))


def _excerpt(excerpt: Excerpt) -> Markup:
    return Markup(prose.excerpt_html(*excerpt))
