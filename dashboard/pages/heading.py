"""The head of every page: its name, its question, the kernel's word, the language, the bar."""

from __future__ import annotations

import html

import streamlit as st

from dashboard.pages import presenting, speaking
from dashboard.pages.waiting import Frame
from dashboard.text.language import Language

ALPHA_WIDTH = 376  # px of the slider, and of the figure under it


def draw(title: str, question: str, say: Language) -> Frame:
    """Draw the head; where the page below it has its controls, and reports what it waits for."""
    with st.container(horizontal=True, vertical_alignment="center", key="head"):
        st.html(
            f'<div class="page" lang="{say.code}"><h1>{html.escape(title)}</h1>'
            f"<p>{html.escape(question)}</p></div>"
        )
        status = st.container(key="status", width="content", gap=None)
    with st.container(horizontal=True, width="content", gap="small", key="language"):
        presenting.button(say)
        speaking.language_switch()
    lead = st.container(key="lead")
    with st.container(key="controls"):
        bar = st.container(horizontal=True, vertical_alignment="bottom", key="bar")
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            alpha = st.container(key="alpha_slot", width=ALPHA_WIDTH)
            own = st.container(
                horizontal=True, vertical_alignment="bottom", gap="medium", key="own_controls"
            )
    with st.container(horizontal=True, vertical_alignment="center"):
        return Frame(say, status, lead, bar, alpha, own, st.empty(), st.empty())
