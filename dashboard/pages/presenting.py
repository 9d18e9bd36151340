"""Any page for a room: large type, no chrome, keys that turn the pages; ``?`` shows the keys.

``?present=1`` in the link does it, on every page.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.pages.remembering import STATE, redo, undo
from dashboard.text.language import Language

ZOOM = 1.25  # of figures in a room
STYLE = """
html{font-size:clamp(16px,1.15vw,30px)}
[data-testid=stHeader],[data-testid=stSidebar],.st-key-language{display:none}
[data-testid=stMainBlockContainer]{padding-top:1.2rem}
.st-key-bar>*{width:auto!important;min-width:7rem}
div:has(>.st-key-alpha_slot),div:has(>.st-key-side){width:30%!important}
.st-key-alpha_slot,.st-key-side{width:100%!important}
"""
_SHORTCUTS = st.components.v2.component(
    "scalescope_shortcuts",
    html="<dialog><h2></h2><dl></dl></dialog>",
    css="""dialog{font:1rem/1.5 system-ui,sans-serif;border:1px solid #8884;border-radius:8px;
padding:1rem 1.6rem 1.4rem;color:var(--st-text-color);background:var(--st-background-color)}
h2{font-size:1.1rem;margin:0 0 .8rem}
dl{display:grid;grid-template-columns:auto 1fr;gap:.4rem 1.4rem;margin:0}
dt{font-weight:650}dd{margin:0}""",
    js=Path(__file__).with_name("shortcuts.js").read_text("utf-8"),
)


def is_presenting() -> bool:
    """Whether the page is shown to a room."""
    return st.query_params.get("present") == "1"


def enter() -> None:
    """For a press: show the page to a room."""
    st.query_params["present"] = "1"


def leave() -> None:
    """For a press: back to the page as its reader has it."""
    st.query_params.pop("present", None)


def draw(say: Language) -> None:
    """What a room needs, where there is one; and the keys, at a press of ``?``."""
    if is_presenting():
        st.html(f"<style>{STYLE}</style>")
    keys = (
        ("?", say("these keys")),
        ("Tab", say("the next control")),
        ("← →", say("move the slider that has the focus")),
        ("→  Page Down", say("the next page, while presenting")),
        ("←  Page Up", say("the page before, while presenting")),
        ("Esc", say("leave the presentation")),
        ("Ctrl Z", say("undo the last change of a setting")),
        ("Ctrl Shift Z", say("redo it")),
    )
    _SHORTCUTS(
        key="shortcuts",
        data={"title": say("Keys"), "keys": keys},
        height=1,
        on_undo_change=undo,
        on_redo_change=redo,
    )


def button(say: Language) -> None:
    """The way in."""
    st.button(
        say("Present"),
        key="present",
        on_click=enter,
        icon=":material/present_to_all:",
        help=say(
            "Large type for a room. Arrow keys or Page Up and Down turn the page, Escape leaves; ? "
            "shows the keys."
        ),
    )


def turned(keys: list[str], current: str, move: str) -> None:
    """For a presenter's key: which page comes now is in ``STATE.turned``.

    Args:
        keys: of all pages, in their order.
        current: the one on show.
        move: as ``keys.listen`` says it.
    """
    if move == "leave":
        leave()
        return
    at = keys.index(current) + (1 if move == "next" else -1)
    if 0 <= at < len(keys):
        STATE.turned = keys[at]
