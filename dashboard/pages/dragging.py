"""A slider whose page follows while it is dragged; Streamlit's own reports when it is let go.

The value lies in the page's state under the slider's key, as a widget's does, so that links, kept
settings and undone steps know it. ``browser/slider.js`` sends the values that a hand comes by, one
after the other is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import streamlit as st

from dashboard.pages import assets
from dashboard.pages.remembering import STATE

Value = TypeVar("Value")

_SLIDER = st.components.v2.component(
    "scalescope_slider",
    html="""<div class="scalescope-slider"><label aria-hidden="true"></label>
<div class="track"><output aria-hidden="true"></output><input type="range" min="0"></div></div>""",
    css=(assets.ROOM / assets.BROWSER / "slider.css").read_text("utf-8"),
    js=f"""{assets.module_loader("slider.js")}
export default ({{ data, parentElement, setTriggerValue }}) => {{
  const root = parentElement.querySelector(".scalescope-slider");
  modules.then(([{{ slide }}]) => slide(root, {{ data, setTriggerValue }}));
}};""",
    isolate_styles=False,
)


def live_slider(
    label: str,
    options: Sequence[Value],
    default: Value,
    form: Callable[[Value], str],
    key: str,
    width: int | Literal["stretch"] = "stretch",
) -> Value:
    """A slider over ``options``; the page runs again at values that it is dragged over.

    Args:
        form: how an option is written beside the thumb, and said to a screen reader.
        key: of the value in the page's state; one that is none of the options counts as not given.
    """
    assets.serve()
    component = f"{key}_slider"

    def move() -> None:
        moved = STATE[component].moved
        STATE[key] = options[max(0, min(int(moved["index"]), len(options) - 1))]
        STATE[f"{key}_moves"] = int(moved["moves"])

    if STATE.get(key) not in options:
        STATE[key] = default
    with st.container(width=width, key=f"{key}_live"):
        _SLIDER(
            key=component,
            data={
                "label": label,
                "texts": [form(option) for option in options],
                "index": options.index(STATE[key]),
                "moves": STATE.get(f"{key}_moves", 0),
            },
            on_moved_change=move,
        )
    return STATE[key]
