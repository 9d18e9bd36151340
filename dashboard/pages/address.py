"""The browser's address and history: a step a page, see ``address.js``."""

from pathlib import Path

import streamlit as st

_COMPONENT = st.components.v2.component(
    "scalescope_address",
    html="<div></div>",
    js=Path(__file__).with_suffix(".js").read_text("utf-8"),
)


def follow() -> None:
    """Once a run, before the page."""
    _COMPONENT(key="address", height=1)
