"""Glossary: every term and symbol, with its formula."""

import html

import streamlit as st

from dashboard.messages import Message
from dashboard.pages.registry import page
from dashboard.pages.waiting import Frame
from dashboard.text.glossary import glossary
from dashboard.text.language import Language


@page(
    "glossary",
    title=Message("Glossary"),
    question=Message("What do the terms and symbols mean?"),
    group="learn",
)
def terms(frame: Frame, say: Language) -> None:
    """Draw the page."""
    entries = "".join(
        f'<dt id="{term.key}">{html.escape(term.name)}</dt><dd>{html.escape(term.meaning)}'
        + (f"<br><code>{html.escape(term.formula)}</code>" if term.formula else "")
        + "</dd>"
        for term in glossary(say).values()
    )
    st.html(f'<dl class="glossary" lang="{say.code}">{entries}</dl>')
