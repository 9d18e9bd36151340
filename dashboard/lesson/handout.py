"""The lesson on paper: every step with its picture and question, the answers at the end.

One HTML file that needs nothing else: pictures are inline SVG, and nothing is fetched.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.figures.svg import to_svg
from dashboard.lesson.calibrated import CalibratedModel
from dashboard.lesson.screen import Introduction, Screen, control_values
from dashboard.lesson.steps import STEPS
from dashboard.text import prose
from dashboard.text.glossary import glossary
from dashboard.text.language import Language

STYLE = """
:root{color-scheme:light}
body{font:11pt/1.5 system-ui,'Noto Sans','Noto Sans CJK SC','PingFang SC','Microsoft YaHei',
sans-serif;color:#17202E;background:#fff;max-width:760px;margin:2rem auto;padding:0 16px}
h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:0 0 .4rem}
section{margin:2.2rem 0;break-inside:avoid-page}
svg{width:100%;height:auto;display:block;margin:.8rem 0}
p{margin:0 0 .5rem}.task{font-weight:650}
.question{border:1px solid #CBD2DC;border-radius:8px;padding:.7rem 1rem;margin-top:.8rem;
break-inside:avoid}
.question ol,.answers ol{list-style:upper-alpha;margin:.4rem 0 0;padding-left:1.6rem}
dt{font-weight:650;margin-top:.5rem}dd{margin:0 0 0 1.2rem}
.wide{overflow-x:auto}code{font-size:.92em}
@media print{body{margin:0;max-width:none}section.step{break-before:page}
section.step:first-of-type{break-before:auto}}
"""


@dataclass(frozen=True)
class PrintedStep:
    """A step as it is printed; a sentence in place of a screen that the model does not allow."""

    introduction: Introduction
    screen: Screen | str


def printed_steps(
    model: CalibratedModel, layer: int, settings: Mapping[str, Any], say: Language
) -> list[PrintedStep]:
    """Every step as its reader last set it, or as it comes.

    Args:
        layer: the layer of the steps that are about one.
        settings: values by the keys of controls; what another model's control had is moved to the
            nearest option of this one's.
    """
    printed = []
    for step in STEPS:
        subject: dict[str, Any] = {} if step.on == "nothing" else {"model": model}
        if step.on == "layer":
            subject["layer"] = layer
        screen: Screen | str
        try:
            controls = step.controls(**subject, say=say)
            screen = step.screen(**subject, **control_values(controls, settings), say=say)
        except ValueError as error:
            screen = say.error(error)
        printed.append(PrintedStep(step.introduce(say), screen))
    return printed


def handout(steps: Sequence[PrintedStep], subject: str, say: Language) -> str:
    """The whole document.

    Args:
        steps: the lesson's, in order.
        subject: what they were computed from: a checkpoint and its calibration.
    """
    title = html.escape(say("What one scale does"))
    body = [f"<h1>{title}</h1>", f"<p>{html.escape(subject)}</p>"]
    for number, step in enumerate(steps, 1):
        heading = f"{number} · {step.introduction.title}"
        if isinstance(step.screen, str):
            body.append(_section(heading, f"<p>{html.escape(step.screen)}</p>"))
            continue
        screen = step.screen
        blocks = [prose.to_html(step.introduction.claim), to_svg(screen.sheet)]
        if screen.excerpt:
            blocks.append(prose.excerpt_html(*screen.excerpt))
        blocks.append(prose.to_html(screen.reading))
        if screen.table and not screen.table.spoils:
            blocks.append(prose.table_html(screen.table.header, screen.table.rows))
        if screen.note:
            blocks.append(prose.to_html(screen.note))
        options = "".join(f"<li>{prose.inline(a.text)}</li>" for a in screen.question.answers)
        blocks.append(
            f'<div class="question"><b>{prose.inline(screen.question.prompt)}</b>'
            f"<ol>{options}</ol></div>"
        )
        body.append(_section(heading, "".join(blocks)))
    body.append(_answers(steps, say))
    body.append(_glossary(say))
    return (
        f'<!doctype html><html lang="{say.code}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title>"
        f"<style>{STYLE}{prose.TABLE_STYLE}</style></head><body>{''.join(body)}</body></html>"
    )


def _answers(steps: Sequence[PrintedStep], say: Language) -> str:
    rows = []
    for number, step in enumerate(steps, 1):
        if isinstance(step.screen, str):
            continue
        question, table = step.screen.question, step.screen.table
        letter = chr(ord("A") + question.answers.index(question.right))
        rows.append(
            f"<p><b>{number}: {letter}.</b> {prose.inline(question.right.text)}<br>"
            f"{prose.inline(question.right.reply)}</p>"
        )
        if table and table.spoils:
            rows.append(prose.table_html(table.header, table.rows))
    return _section(say("Answers"), "".join(rows))


def _glossary(say: Language) -> str:
    entries = "".join(
        f"<dt>{html.escape(term.name)}</dt><dd>{html.escape(term.meaning)}"
        + (f" <code>{html.escape(term.formula)}</code>" if term.formula else "")
        + "</dd>"
        for term in glossary(say).values()
    )
    return _section(say("Glossary"), f"<dl>{entries}</dl>")


def _section(title: str, body: str) -> str:
    return f'<section class="step"><h2>{html.escape(title)}</h2>{body}</section>'
