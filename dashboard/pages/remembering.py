"""What was chosen, kept from page to page and said by the link.

Streamlit forgets a widget's value with its page, and its own binding to the link
(``bind="query-params"``) takes from a link whatever the page before was bound to, and leaves out a
value that is one page's default though another's is different. So the link is written here, in the
words that it is read in: a page's widget is given what ``kept`` finds, and ``keep`` notes what came
of it. ``address.js`` makes a change of page one step of the browser's history; a step back comes as
a link, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import streamlit as st

STATE = st.session_state
UNDO_STEPS = 100
LATE_SECONDS = 2.0  # for a link that is on its way while the next is written
VIEW = {"zoom", "probe"}  # parts that the browser keeps in the link by itself, a page's own
APART = {"lang", "present", *VIEW}  # parts of a link that say how a page is shown, not what


def take_link() -> None:
    """Take in a link that is not the one written last: it says everything.

    What it leaves out is at its default. An empty one, as a plain way to another page has it,
    leaves all as it was, and says so.
    """
    STATE.setdefault("kept", {})
    STATE.setdefault("asked", {})  # what the link says and no widget has taken yet
    linked = {key: text for key, text in st.query_params.items() if key not in APART}
    if linked == STATE.get("written", {}) or _is_late(linked):
        return
    if not linked:
        st.query_params.update(STATE.written)
        return
    STATE.written = linked
    for key, value in list(STATE.kept.items()):
        if key not in APART and linked.get(key) != in_link(value):
            del STATE.kept[key]
            STATE.pop(key, None)
    STATE.asked = {key: text for key, text in linked.items() if key not in STATE.kept}


def note_settings() -> None:
    """Once a run, before its page: what the last run left can be undone to."""
    past = STATE.setdefault("past", [])
    settings = {key: value for key, value in STATE.get("kept", {}).items() if key not in APART}
    if settings and (not past or past[-1] != settings):
        past.append(settings)
        del past[:-UNDO_STEPS]
        STATE.future = []


def undo() -> None:
    """For a key: the settings before the last change, whichever page changed them."""
    note_settings()
    if len(STATE.past) > 1:
        STATE.future.append(STATE.past.pop())
        _restore(STATE.past[-1])


def redo() -> None:
    """For a key: the settings that the last undo left."""
    if STATE.get("future"):
        STATE.past.append(STATE.future.pop())
        _restore(STATE.past[-1])


def _restore(settings: dict[str, Any]) -> None:
    """Put every setting back, those at their defaults too: the browser is told of each."""
    for key in set(STATE.kept) - set(settings) - APART:
        STATE.pop(key, None)
    apart = {key: value for key, value in STATE.kept.items() if key in APART}
    STATE.kept = settings | apart
    STATE.asked = {}
    for key, value in settings.items():
        STATE[key] = value


def _is_late(linked: dict[str, str]) -> bool:
    """Whether a link is one that was written over a moment ago, on the same page.

    With each key press the browser sends the link that it has, and the next press may leave before
    the answer to the last has arrived. Taken for a new link, it would undo the press.
    """
    now = time.monotonic()
    return any(
        linked == link and page == st.context.url and now - since < LATE_SECONDS
        for since, page, link in STATE.get("over", ())
    )


def kept(key: str, read: Callable[[str], Any] = str) -> Any:
    """What the link asks a widget to hold, or what it held when last on show; None if neither.

    It is the widget's value from here on. ``read`` makes a value of the link's text; one that it
    raises ValueError for is not asked for.
    """
    take_link()
    held = STATE.kept
    if key in STATE.asked:
        try:
            STATE[key] = held[key] = read(STATE.asked.pop(key))
        except ValueError:
            STATE.pop(key, None)
    elif key in held and STATE.get(key, held[key]) == held[key]:
        STATE[key] = held[key]
    return STATE.get(key)


def keep(key: str, value: Any, default: Any = None) -> Any:
    """Note a widget's value for the next page that shows it, and in the link.

    ``default`` is what every page that has the widget shows without a word in the link.
    """
    STATE.kept[key] = value
    put_in_link(key, None if value == default else value)
    return value


def put_in_link(key: str, value: Any) -> None:
    """Say a value in the link; None leaves it out."""
    text = None if value is None else in_link(value)
    if st.query_params.get(key) == text:
        return
    linked = {name: word for name, word in st.query_params.items() if name not in APART | {key}}
    if text is not None and key not in APART:
        linked[key] = text
    now = time.monotonic()
    over = [entry for entry in STATE.get("over", ()) if now - entry[0] < LATE_SECONDS]
    STATE.over = [*over, (now, st.context.url, STATE.get("written", {}))]
    STATE.written = linked  # first: a run can be ended where it tells the browser
    if text is None:
        del st.query_params[key]
    else:
        st.query_params[key] = text


def in_link(value: Any) -> str:
    """A value as a link has it: no exponent, no capital."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return np.format_float_positional(value, trim="-")
    return str(value)


def one_of(options: Sequence, form: Callable[[Any], str] = in_link) -> Callable[[str], Any]:
    """Reads one of a widget's options, by its text in a link or, with ``form``, on the page."""
    known = {form(option): option for option in options}
    known |= {in_link(option): option for option in options}

    def read(text: str) -> Any:
        if text not in known:
            raise ValueError(f"{text!r} is none of {', '.join(known)}")
        return known[text]

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """Reads a whole number, the nearest one from ``low`` to ``high``."""
    return lambda text: min(max(int(text), low), high)


def switched(text: str) -> bool:
    """Reads a toggle."""
    return one_of((False, True))(text.lower())
