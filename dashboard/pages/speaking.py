"""Which language a reader sees, and how its prose stands on a page.

The browser says which language it prefers; a switch, kept in the link as ``?lang=``, overrules it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import streamlit as st

from dashboard.lesson.screen import Table
from dashboard.pages.remembering import STATE, in_link, put_in_link, take_link
from dashboard.text import prose
from dashboard.text.glossary import glossary
from dashboard.text.language import LANGUAGES, Language, language, preferred

Option = TypeVar("Option", str, float)


def spoken() -> Language:
    """The reader's language: by the link, by the switch, or by the browser."""
    asked = st.query_params.get("lang") or STATE.get("kept", {}).get("lang")
    return language(preferred(asked or st.context.locale))


def language_switch() -> Language:
    """The switch, and the language that it is set to."""
    code = named(
        "lang",
        tuple(LANGUAGES),
        spoken().code,
        "Language / 语言",
        format_func=lambda code: LANGUAGES[code][1],
        label_visibility="collapsed",
    )
    if code != preferred(st.context.locale) and st.query_params.get("lang") != code:
        st.query_params["lang"] = code  # after a change of page, which empties the link
    return language(code)


def named(
    key: str,
    options: tuple[Option, ...],
    default: Option,
    label: str,
    format_func: Callable[[Option], str],
    label_visibility: Literal["visible", "hidden", "collapsed"] = "visible",
) -> Option:
    """A few values side by side, kept from page to page, and in the link by their own names.

    Streamlit's own binding puts into the link what is on show, which another language does not
    know.
    """

    def note() -> None:
        put_in_link(key, STATE[key])

    take_link()
    linked = {in_link(option): option for option in options}.get(st.query_params.get(key, ""))
    STATE.asked.pop(key, None)
    held = STATE.kept.get(key, default)
    # On a new page the key still holds the old page's value, which the new widget does not take:
    # so the default says it.
    value = st.segmented_control(
        label,
        options,
        default=held if linked is None else linked,
        key=key,
        required=True,
        on_change=note,
        format_func=format_func,
        label_visibility=label_visibility,
    )
    STATE.kept[key] = value
    return value


STYLE = """
.claim{font-size:1.125rem;line-height:1.55;max-width:52rem}
.claim p,.prose p{margin:0 0 .5rem}
.prose{line-height:1.55}
.task{font-weight:650}
.context{font:1rem/1.6 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.context mark{background:light-dark(#17202E,#F3F5F8);color:light-dark(#FFF,#0E1117);
padding:.1em .25em;border-radius:3px}
.note{opacity:.8;font-size:.875rem}
.reply{border-left:4px solid;padding:.1rem 0 .1rem .8rem;line-height:1.5}
.reply.right,.verdict.right{border-color:light-dark(#00806E,#3FD0B4)}
.reply.wrong,.verdict.wrong{border-color:light-dark(#D9480F,#FF8A57)}
.quoted{line-height:1.5;margin-bottom:.4rem}
.quoted blockquote{margin:.35rem 0 0;padding:0;border:0}
.quoted q{quotes:"“" "”"}
.quoted cite{display:block;font-style:normal;font-size:.8125rem;opacity:.8}
.verdict{display:inline-block;border:1.5px solid;border-radius:99px;padding:0 .7em;
margin-right:.7em;font-size:.8125rem;white-space:nowrap}
[data-testid=stTopNavLink]:focus-visible,[data-testid=stSidebarNavLink]:focus-visible{
outline:2px solid currentColor;outline-offset:-2px}
.glossary dt{font-weight:650;margin-top:.9rem}
.glossary dd{margin:0 0 0 1rem;max-width:46rem;line-height:1.5}
.glossary code{font-size:.9em}
"""


def style() -> None:
    """What prose and tables need, once a page."""
    st.html(f"<style>{prose.STYLE}{prose.TABLE_STYLE}{STYLE}</style>")


def write(text: str, say: Language, kind: str = "prose") -> None:
    """A message's paragraphs, its terms explained on hover, focus and tap."""
    st.html(f'<div class="{kind}" lang="{say.code}">{prose.to_html(text, glossary(say))}</div>')


def table(content: Table, say: Language) -> None:
    """A table with its heads in the reader's language."""
    st.html(prose.table_html(content.header, content.rows, content.chosen, glossary(say)))
