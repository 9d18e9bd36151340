"""The head of every page: its name, its question, the kernel's word, the language, the bar."""

from __future__ import annotations

import html

import streamlit as st

from dashboard.pages import speaking
from dashboard.pages.waiting import Frame
from dashboard.text.language import Language

STYLE = """
.page{display:flex;flex-wrap:wrap;align-items:baseline;gap:.1rem 1rem}
.page h1{padding:0;margin:0}
.page p{margin:0;line-height:1.35}
.st-key-language{position:fixed;top:.6rem;right:3.5rem;z-index:999991;width:auto!important}
.st-key-language button{min-height:2rem;padding:0 .6rem;font-size:.8125rem}
.st-key-controls{gap:.5rem}
.st-key-bar .stButtonGroup button{min-height:2.5rem}
div:has(> .st-key-own_controls){min-width:min(600px,100%)}
@media(max-width:1100px){div:has(> .st-key-alpha_slot){width:100%!important;flex:1 1 100%}
.st-key-alpha_slot{width:100%!important}}
/* A figure's frame has a height and would scroll by what hangs below it, its menu. */
[data-testid=stElementContainer]:has(>.stBidiComponent){overflow:visible}
.st-key-address,.st-key-preload{position:absolute;width:1px!important}
"""
ALPHA_WIDTH = 376  # px of the slider, and of the figure under it


def draw(title: str, question: str, say: Language) -> Frame:
    """Draw the head; where the page below it has its controls, and reports what it waits for."""
    speaking.style()
    st.html(f"<style>{STYLE}</style>")
    with st.container(horizontal=True, vertical_alignment="center", key="head"):
        st.html(f'<div class="page" lang="{say.code}"><h1>{html.escape(title)}</h1>'
                f"<p>{html.escape(question)}</p></div>")  # fmt: skip
        status = st.container(key="status", width="content")
    with st.container(key="language", width="content"):
        speaking.language_switch()
    with st.container(key="controls"):
        bar = st.container(horizontal=True, vertical_alignment="bottom", key="bar")
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            alpha = st.container(key="alpha_slot", width=ALPHA_WIDTH)
            own = st.container(
                horizontal=True, vertical_alignment="bottom", gap="medium", key="own_controls"
            )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        return Frame(say, status, bar, alpha, own, st.empty(), st.empty())
