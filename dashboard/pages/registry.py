"""The register of pages: what each is called, which question it answers, where it stands.

A page is a function that registers itself; navigation, addresses, links between pages, headings and
the browser's tests are read from here. Adding a page is adding its file, and its name to ``FILES``.

    @page("held-out", title=Message("Held-out"), question=Message("Does a scale …?"), group="scale",
          drawings=("held_out",))
    def held_out(frame: Frame, say: Language) -> None:
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from dashboard.analysis.report import format_alpha
from dashboard.figures.theme import unchecked
from dashboard.messages import Message
from dashboard.pages import address, heading, keys, presenting, speaking
from dashboard.pages.remembering import STATE, VIEW, note_settings
from dashboard.pages.speaking import spoken
from dashboard.pages.waiting import Frame
from dashboard.rules.observers import ScaleRule
from dashboard.text.language import Language

# The modules of this folder that have pages, in the order of the navigation.
FILES = (
    "explore",
    "kernel",
    "layers",
    "groups",
    "compare",
    "sweep",
    "batches",
    "held_out",
    "formats",
    "impact",
    "lesson",
    "claims",
    "terms",
)

# The groups of the navigation. Pages of a group without a title stand by themselves, before all.
GROUPS = {
    "": "",
    "model": Message("Model"),
    "scale": Message("Scale"),
    "learn": Message("Learn"),
}

STYLE = Path(__file__).with_name("page.css")
HOME = "explore"  # the page at the root; its own name leads there, too

Body = Callable[[Frame, Language], None]


@dataclass(frozen=True)
class Page:
    """One page of the app. ``title`` and ``question`` are English messages."""

    key: str  # its address: /held-out
    title: str
    question: str  # the one that the page answers, a sentence
    group: str  # one of GROUPS
    body: Body  # draws everything below the heading
    drawings: tuple[str, ...]  # the keys of its figures, on a float Mamba-2 checkpoint
    own_keys: bool  # whether a presenter's keys turn something of its own, and no page


_PAGES: dict[str, Page] = {}


def page(
    key: str,
    *,
    title: str,
    question: str,
    group: str,
    drawings: tuple[str, ...] = (),
    own_keys: bool = False,
) -> Callable[[Body], Body]:
    """Register the function below as a page.

    Raises ValueError for an address that is taken, and for a group that is none of ``GROUPS``.
    """
    if key in _PAGES:
        raise ValueError(f"a page at /{key} is registered already")
    if group not in GROUPS:
        raise ValueError(f"the group of /{key} is {group!r}; allowed are {', '.join(GROUPS)}")

    def registered(body: Body) -> Body:
        _PAGES[key] = Page(key, title, question, group, body, drawings, own_keys)
        return body

    return registered


def pages() -> Mapping[str, Page]:
    """Every page by its key, in the order of the navigation."""
    for name in FILES:
        import_module(f"dashboard.pages.{name}")
    return _PAGES


def navigation(home: str = HOME) -> Callable[[], None]:
    """Draw the navigation; the page that it leads to, to be run.

    Args:
        home: the key of the page that is opened where the address names none.
    """
    STATE.home = home
    note_settings()
    st.html(STYLE)
    speaking.style()
    say = spoken()
    address.follow(say.code)
    sections: dict[str, list[StreamlitPage]] = {say(title): [] for title in GROUPS.values()}
    for entry in pages().values():
        sections[say(GROUPS[entry.group])].append(_navigable(entry, say))
    # The home page's address is the root, so that its own name is free for a way there.
    named = st.Page(
        _by_its_name, title=say(pages()[home].title), url_path=home, visibility="hidden"
    )
    sections[""].append(named)
    chosen = st.navigation(sections, position="top")
    st.set_page_config(page_title=f"{chosen.title} · Scalescope")
    return chosen.run


def _navigable(entry: Page, say: Language) -> StreamlitPage:
    """A page as Streamlit knows it: the same whenever it is asked for."""
    home = entry.key == STATE.home
    return st.Page(
        partial(_run, entry),
        title=say(entry.title),
        url_path="home" if home else entry.key,
        default=home,
    )


def _run(entry: Page) -> None:
    """A page: its heading, and what it draws below; or where a click or a key led from it."""
    if "clicked" in STATE:
        open_page("explore", STATE.pop("clicked"))
    if "turned" in STATE:
        open_page(STATE.pop("turned"), st.query_params.to_dict())
    say = spoken()
    presenting.draw(say)
    if entry.key != HOME:
        STATE.welcome = False
    if not entry.own_keys:
        order = list(pages())
        keys.listen(
            order.index(entry.key),
            presenting.is_presenting(),
            partial(presenting.turned, order, entry.key),
        )
    with unchecked():
        entry.body(heading.draw(say(entry.title), say(entry.question), say), say)


def _by_its_name() -> None:
    open_page(STATE.home, st.query_params.to_dict())


def open_page(key: str, settings: Mapping[str, str] | None = None) -> None:
    """Leave for another page, in the same tab; ends the run.

    Args:
        settings: what its link says; without them, what was chosen here.
    """
    entry = pages()[key]
    linked = {name: text for name, text in (settings or {}).items() if name not in VIEW}
    st.switch_page(_navigable(entry, spoken()), query_params=linked)


def link(key: str, label: str, settings: Mapping[str, str] | None = None) -> None:
    """A link to a page; ``settings`` as in ``open_page``."""
    entry = pages()[key]
    st.page_link(
        _navigable(entry, spoken()),
        label=label,
        icon=":material/arrow_forward:",
        query_params=dict(settings or {}),
    )


def lead_to_layer(layer: int, rule: ScaleRule, slice_name: str | None = None) -> None:
    """For a click: open a layer in Explore under a rule, all else as it was chosen here."""
    settings = st.query_params.to_dict() | {"layer": str(layer), "rule": rule.observer}
    if slice_name:
        settings["slice"] = slice_name
    settings.pop("asymmetric", None)
    if not rule.symmetric:
        settings["asymmetric"] = "true"
    if rule.registered.uses_alpha:
        settings["alpha"] = format_alpha(rule.alpha)
    STATE.clicked = settings
