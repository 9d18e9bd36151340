"""A presenter's keys: arrows and Page Up and Down turn the page, Escape leaves.

A key that the focused control has a use for is left to it: arrows move a slider.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

_COMPONENT = st.components.v2.component(
    "scalescope_keys",
    html="<div class='keys'></div>",
    js=Path(__file__).with_suffix(".js").read_text("utf-8"),
)


def listen(step: int, present: bool, on_press: Callable[[], None], key: str = "keys") -> None:
    """Listen while ``present``; and begin each new ``step`` at the top of the page.

    Args:
        on_press: called when a key was pressed; ``st.session_state[key].pressed`` is then "next",
            "previous" or "leave".
    """
    _COMPONENT(
        key=key, data={"step": step, "present": present}, height=1, on_pressed_change=on_press
    )
