"""A presenter's keys: arrows and Page Up and Down turn the page, Escape leaves.

A key that the focused control has a use for is left to it: arrows move a slider. A press between
two pages, when the one that was on show no longer answers and the next does not yet, is sent again
by the next: presses are numbered, and each is taken once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from dashboard.pages.remembering import STATE

_COMPONENT = st.components.v2.component(
    "scalescope_keys",
    html="<div class='keys'></div>",
    js=Path(__file__).with_suffix(".js").read_text("utf-8"),
)


def listen(step: int, present: bool, on_press: Callable[[str], None], key: str = "keys") -> None:
    """Listen while ``present``; and begin each new ``step`` at the top of the page.

    Args:
        on_press: called with "next", "previous" or "leave" when a key was pressed.
    """

    def take() -> None:
        press = STATE[key].pressed
        if press["number"] > STATE.get("presses", 0):
            STATE.presses = press["number"]
            on_press(press["move"])

    _COMPONENT(
        key=key,
        data={"step": step, "present": present, "presses": STATE.get("presses", 0)},
        height=1,
        on_pressed_change=take,
    )
