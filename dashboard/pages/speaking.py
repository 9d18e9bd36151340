"""Which language a reader sees, and how its prose stands on a page.

The browser says which language it prefers; a switch, kept in the link as ``?lang=``, says otherwise.
"""

from __future__ import annotations

import streamlit as st

from dashboard import prose
from dashboard.glossary import glossary
from dashboard.language import LANGUAGES, Language, language, preferred
from dashboard.pages.choosing import STATE, keep, kept
from dashboard.screens import Table


def spoken() -> Language:
    """The reader's language: by the link, by the switch, or by the browser."""
    asked = st.query_params.get("lang") or STATE.get("lang") or STATE.get("kept", {}).get("lang")
    return language(asked if asked in LANGUAGES else preferred(st.context.locale))


def language_switch() -> Language:
    """The switch, and the language that it is set to."""
    kept("lang")
    code = st.segmented_control(
        "Language / 语言",
        LANGUAGES,
        default=None if "lang" in STATE else spoken().code,
        format_func=lambda code: LANGUAGES[code][1],
        key="lang",
        required=True,
        bind="query-params",
        label_visibility="collapsed",
    )
    return language(keep("lang", code))


def style() -> None:
    """What prose and tables need, once a page."""
    st.html(f"<style>{prose.STYLE}{prose.TABLE_STYLE}</style>")


def write(text: str, say: Language, kind: str = "prose") -> None:
    """A message's paragraphs, its terms explained on hover, focus and tap."""
    st.html(f'<div class="{kind}" lang="{say.code}">{prose.to_html(text, glossary(say))}</div>')


def table(found: Table, say: Language) -> None:
    st.html(prose.table_html(found.header, found.rows, found.chosen, glossary(say)))
