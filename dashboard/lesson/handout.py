"""The lesson on paper: every step with its picture and question, the answers at the end.

One HTML file that needs nothing else: pictures are inline SVG, and nothing is fetched. What it
looks like is in ``handout.html`` beside this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from dashboard.figures.style import Sheet
from dashboard.figures.svg import to_svg
from dashboard.figures.theme import document_scripts, to_html
from dashboard.lesson.screens import Screen, Table
from dashboard.text import prose
from dashboard.text.glossary import glossary
from dashboard.text.language import Language
from dashboard.text.templates import templates


def handout(screens: Sequence[Screen | str], subject: str, say: Language) -> str:
    """The whole document, as HTML.

    Args:
        screens: the lesson's steps, in order, with the settings that they are to be printed with;
            a sentence in place of one that the subject does not allow.
        subject: what they were computed from: a checkpoint and its calibration.
    """
    template = templates(Path(__file__).parent).get_template("handout.html")
    drawn_by_script = any(isinstance(s, Screen) and not isinstance(s.sheet, Sheet) for s in screens)
    return template.render(
        title=say("What one scale does"),
        subject=subject,
        screens=screens,
        terms=glossary(say).values(),
        answers_heading=say("Answers"),
        glossary_heading=say("Glossary"),
        scripts=Markup(document_scripts(themes=False) if drawn_by_script else ""),
        drawn=_drawn,
        table=_table,
        table_style=Markup(prose.TABLE_STYLE),
        language=say.code,
    )


def _drawn(figure: go.Figure | Sheet) -> Markup:
    """A figure as the document holds it."""
    return Markup(to_svg(figure) if isinstance(figure, Sheet) else to_html(figure))


def _table(table: Table) -> Markup:
    return Markup(prose.table_html(table.header, table.rows))
