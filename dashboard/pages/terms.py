"""Glossary: every term and symbol, with its formula."""

import html

import streamlit as st

from dashboard.pages import speaking
from dashboard.pages.remembering import keep, kept
from dashboard.text.glossary import Term, glossary

STYLE = ".glossary{columns:2 26rem;column-gap:3rem}.glossary div{break-inside:avoid}"


def glossary_page() -> None:
    """The page."""
    speaking.style()
    st.html(f"<style>{STYLE}</style>")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
        say = speaking.language_switch()
    st.markdown("# " + say("Glossary"))
    kept("term")
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
    formula = f"<br><code>{html.escape(term.formula)}</code>" if term.formula else ""
    return (
        f'<div><dt id="{term.key}">{html.escape(term.name)}</dt>'
        f"<dd>{html.escape(term.meaning)}{formula}</dd></div>"
    )


if __name__ == "__main__":
    glossary_page()
