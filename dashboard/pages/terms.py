"""Glossary: every term and symbol, with its formula."""

import html

import streamlit as st

from dashboard.messages import Message
from dashboard.pages.registry import page
from dashboard.pages.remembering import keep, kept
from dashboard.pages.waiting import Frame
from dashboard.text.glossary import Term, glossary
from dashboard.text.language import Language

STYLE = """
.glossary{columns:2 26rem;column-gap:3rem;margin:0}
.glossary div{break-inside:avoid;padding-bottom:.9rem}
.glossary dt{margin:0}
"""


@page(
    "glossary",
    title=Message("Glossary"),
    question=Message("What do the terms and symbols mean?"),
    group="learn",
)
def terms(frame: Frame, say: Language) -> None:
    """Draw the page."""
    st.html(f"<style>{STYLE}</style>")
    kept("term")
    with frame.bar:
        wanted = st.text_input(say("Find a term"), key="term", width=320)
    keep("term", wanted, "")
    terms = [term for term in glossary(say).values() if matches(term, wanted)]
    if terms:
        st.html(f'<dl class="glossary" lang="{say.code}">{"".join(map(entry, terms))}</dl>')
    else:
        st.markdown(say("No term, meaning or formula has these letters."))


def matches(term: Term, wanted: str) -> bool:
    """Whether a term's name, meaning or formula has these letters, capital or not."""
    text = f"{term.key} {term.name} {term.meaning} {term.formula}"
    return wanted.strip().casefold() in text.casefold()


def entry(term: Term) -> str:
    """A term with its meaning and its formula."""
    formula = f"<br><code>{html.escape(term.formula)}</code>" if term.formula else ""
    return (
        f'<div><dt id="{term.key}">{html.escape(term.name)}</dt>'
        f"<dd>{html.escape(term.meaning)}{formula}</dd></div>"
    )
