"""The browser's address and history: a step a page; and its language. See ``address.js``."""

from pathlib import Path

import streamlit as st

_COMPONENT = st.components.v2.component(
    "scalescope_address",
    html="<div></div>",
    js=Path(__file__).with_suffix(".js").read_text("utf-8"),
)


def follow(language: str) -> None:
    """Once a run, before the page.

    Args:
        language: of the page, as HTML's ``lang`` has it.
    """
    _COMPONENT(key="address", data={"language": language}, height=1)
