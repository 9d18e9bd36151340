"""The first visit: what this is, and two ways to begin."""

from __future__ import annotations

import streamlit as st

from dashboard.pages import registry
from dashboard.pages.remembering import APART, STATE
from dashboard.text.language import Language


def draw(say: Language) -> None:
    """Three sentences and two links, for whoever came without a link, until one is followed."""
    if "welcome" not in STATE:
        STATE.welcome = not set(st.query_params) - APART
    if not STATE.welcome:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="welcome"):
        st.markdown(
            say.sentences(
                say(
                    "Scalescope shows what one number, an INT8 activation scale, does to a layer "
                    "of a Mamba model."
                ),
                say(
                    "Black is the scale that you choose, green the best one, orange what it clips."
                ),
                say("Every number is computed here, and the kernel runs live."),
            )
        )
        st.button(
            say("Explore this layer"), key="begin", on_click=lambda: STATE.update(welcome=False)
        )
        registry.link("lesson", say("Take the lesson"))
