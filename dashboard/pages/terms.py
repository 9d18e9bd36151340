"""Glossary: every term and symbol, with its formula."""

import html

import streamlit as st

from dashboard.pages import speaking
from dashboard.text.glossary import glossary

speaking.style()
with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
    say = speaking.language_switch()
st.markdown("# " + say("Glossary"))
entries = "".join(
    f'<dt id="{term.key}">{html.escape(term.name)}</dt><dd>{html.escape(term.meaning)}'
    + (f"<br><code>{html.escape(term.formula)}</code>" if term.formula else "")
    + "</dd>"
    for term in glossary(say).values()
)
st.html(f'<dl class="glossary" lang="{say.code}">{entries}</dl>')
