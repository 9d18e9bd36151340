"""Puts a ``Sheet`` on the page: a component of a few kilobytes that paints it as SVG.

A drawing is replaced whole whenever it changes, which a browser does in a few milliseconds, and is
laid out again in the browser when its width changes. Colours come from the theme on show. A small
menu in its corner saves it as PNG or SVG, without asking the server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from dashboard.figures import PALETTES, Sheet
from dashboard.pages.speaking import spoken


def _style() -> str:
    """The palettes as CSS variables, one class a theme."""
    themes = [
        f".{theme} {{ " + " ".join(f"--{name}: {value};" for name, value in colours.items()) + " }"
        for theme, colours in PALETTES.items()
    ]
    return "\n".join(themes) + "\n" + Path(__file__).with_suffix(".css").read_text("utf-8")


_COMPONENT = st.components.v2.component(
    "scalescope_sheet",
    html="<div class='sheet'>\n</div>",
    css=_style(),
    js=Path(__file__).with_suffix(".js").read_text("utf-8"),
)


def show(
    sheet: Sheet, key: str, on_pick: Callable[[], None] = lambda: None, zoom: float = 1.0
) -> None:
    """Draw a sheet at the width of its container.

    Args:
        on_pick: called when one of the sheet's bands is clicked; its value is then
            ``st.session_state[key].picked``.
        zoom: how much larger than on a page everything is drawn, text and lines too.
    """
    say = spoken()
    _COMPONENT(
        key=key,
        data=sheet.as_dict() | {"zoom": zoom, "name": key, "save": say("Save this figure")},
        height=round(sheet.height * zoom),
        on_picked_change=on_pick,
    )
