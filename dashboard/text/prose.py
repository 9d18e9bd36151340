"""The marks that a message may carry, and the HTML that they become.

    **strong**    `code`    [[term]] or [[term|the words on show]]

and blank lines between paragraphs. A term is explained where it stands, on hover, on focus by the
tabulator key and on a tap, without a script: its explanation is in the page and the style sheet
shows it. Everything else in a message is text, and stays text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from itertools import count

from dashboard.text.glossary import Term

TERM = re.compile(r"\[\[([^\]|]+)(?:\|([^\]]+))?\]\]")
STRONG = re.compile(r"\*\*(.+?)\*\*")
CODE = re.compile(r"`([^`]+)`")
UNIT = re.compile(r"(\d) (%|dB)")  # a number and its unit stay on one line

_numbers = count()  # ids of explanations, which may occur twice on a page

# An explanation hangs below its term, moved sideways where it would leave the paragraph, so that it
# never widens the page; below the paragraph in browsers that cannot anchor it. On a phone, and from
# within a table, it stands at the foot of the screen.
STYLE = """
p:has(>.term){position:relative}
.term{border-bottom:1.5px dotted currentColor;cursor:help;border-radius:2px;white-space:nowrap;
anchor-name:--term;anchor-scope:--term}
.term:focus-visible{outline:2px solid currentColor;outline-offset:2px}
.tip{display:none;position:absolute;left:0;top:calc(100% + 2px);z-index:1000;
position-anchor:--term;right:0;justify-self:anchor-center;top:calc(anchor(bottom) + 2px);
width:max-content;max-width:min(420px,100%);padding:8px 11px;border-radius:8px;white-space:pre-line;
background:light-dark(#F1F3F7,#1D222C);color:light-dark(#17202E,#F3F5F8);
border:1px solid light-dark(#CBD2DC,#3A4250);font-weight:400;font-size:.875rem;line-height:1.45;
box-shadow:0 4px 14px rgb(0 0 0/.16);text-align:left}
.term:hover>.tip,.term:focus>.tip{display:block}
.tip b{font-weight:650}
.tip code{font-size:.9em;background:none;padding:0;color:inherit;white-space:pre-wrap}
.wide .tip,.reply .tip,.quoted .tip{position:fixed;left:10px;right:auto;top:auto;bottom:12px;
justify-self:auto;max-width:420px}
@media(max-width:700px){.term>.tip{position:fixed;left:10px;right:10px;top:auto;bottom:12px;
justify-self:auto;width:auto;max-width:none}}
"""


def to_html(text: str, terms: Mapping[str, Term] | None = None) -> str:
    """A message's marks as HTML, paragraph by paragraph.

    Args:
        terms: what explains the terms; without it they are their words alone, as in print.

    Raises KeyError for a term that the glossary lacks.
    """
    return "".join(
        f"<p>{inline(paragraph, terms)}</p>" for paragraph in re.split(r"\n\s*\n", text.strip())
    )


def inline(text: str, terms: Mapping[str, Term] | None = None) -> str:
    """A message's marks as HTML, without paragraphs; arguments and errors as of ``to_html``."""

    def explained(match: re.Match) -> str:
        key, words = match[1], match[2] or match[1]
        return words if terms is None else _term(terms[html.unescape(key)], words)

    unbroken = UNIT.sub("\\1\u00a0\\2", html.escape(text, quote=False))
    marked = CODE.sub(r"<code>\1</code>", unbroken)
    return TERM.sub(explained, STRONG.sub(r"<strong>\1</strong>", marked))


def excerpt_html(before: str, here: str, after: str) -> str:
    """A place in a text, marked."""
    before, here, after = map(html.escape, (before, here, after))
    return f'<div class="context">{before}<mark>{here}</mark>{after}</div>'


def plain(text: str) -> str:
    """A message without its marks."""
    words = TERM.sub(lambda match: match[2] or match[1], text)
    return CODE.sub(r"\1", STRONG.sub(r"\1", words))


def _term(term: Term, words: str) -> str:
    number = f"tip-{next(_numbers)}"
    formula = f"\n<code>{html.escape(term.formula)}</code>" if term.formula else ""
    return (
        f'<span class="term" tabindex="0" aria-describedby="{number}">{words}'
        f'<span class="tip" role="tooltip" id="{number}"><b>{html.escape(term.name)}</b>\n'
        f"{html.escape(term.meaning)}{formula}</span></span>"
    )


def table_html(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    chosen: int | None = None,
    terms: Mapping[str, Term] | None = None,
) -> str:
    """A table of messages; its first column names the rows. ``chosen`` is the row to stress."""
    head = "".join(f'<th scope="col">{inline(cell, terms)}</th>' for cell in header)
    body = ""
    for i, (first, *rest) in enumerate(rows):
        mark = ' class="chosen"' if i == chosen else ""
        cells = "".join(f"<td>{inline(cell, terms)}</td>" for cell in rest)
        body += f'<tr{mark}><th scope="row">{inline(first, terms)}</th>{cells}</tr>'
    return (
        f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


TABLE_STYLE = """
.wide{overflow-x:auto}
table.figures{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
table.figures th,table.figures td{padding:.28rem .7rem .28rem 0;text-align:right;
border-bottom:1px solid #8886;font-weight:400}
table.figures th:first-child{text-align:left}
table.figures thead th{color:inherit;opacity:.75;font-size:.8rem}
table.figures tr.chosen>*{font-weight:650}
"""
