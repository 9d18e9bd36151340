"""The lesson on paper: every step with its picture and question, the answers at the end.

One HTML file that needs nothing else: pictures are inline SVG, and nothing is fetched.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from dashboard.figures.svg import to_svg
from dashboard.lesson.screen import Screen
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


def handout(screens: Sequence[Screen | str], subject: str, say: Language) -> str:
    """The whole document.

    Args:
        screens: the lesson's steps, in order, with the settings that they are to be printed with;
            a sentence in place of one that the subject does not allow.
        subject: what they were computed from: a checkpoint and its calibration.
    """
    title = html.escape(say("What one scale does"))
    body = [f"<h1>{title}</h1>", f"<p>{html.escape(subject)}</p>"]
    for number, screen in enumerate(screens, 1):
        if isinstance(screen, str):
            body.append(_section(str(number), f"<p>{html.escape(screen)}</p>"))
            continue
        parts = [
            prose.to_html(screen.claim),
            to_svg(screen.sheet),
            prose.to_html(screen.reading),
        ]
        if screen.table and not screen.table.spoils:
            parts.append(prose.table_html(screen.table.header, screen.table.rows))
        if screen.note:
            parts.append(prose.to_html(screen.note))
        options = "".join(f"<li>{prose.inline(a.text)}</li>" for a in screen.question.answers)
        parts.append(
            f'<div class="question"><b>{prose.inline(screen.question.prompt)}</b>'
            f"<ol>{options}</ol></div>"
        )
        body.append(_section(f"{number} · {screen.title}", "".join(parts)))
    body.append(_answers(screens, say))
    body.append(_glossary(say))
    return (
        f'<!doctype html><html lang="{say.code}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title>"
        f"<style>{STYLE}{prose.TABLE_STYLE}</style></head><body>{''.join(body)}</body></html>"
    )


def _answers(screens: Sequence[Screen | str], say: Language) -> str:
    rows = []
    for number, screen in enumerate(screens, 1):
        if isinstance(screen, str):
            continue
        right = screen.question.right
        letter = chr(ord("A") + screen.question.answers.index(right))
        rows.append(
            f"<p><b>{number}: {letter}.</b> {prose.inline(right.text)}<br>"
            f"{prose.inline(right.reply)}</p>"
        )
        if screen.table and screen.table.spoils:
            rows.append(prose.table_html(screen.table.header, screen.table.rows))
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
