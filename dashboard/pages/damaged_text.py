"""Puts a text coloured by its damage on the page: ``figures.damaged_text`` has what is shown.

The text is one stop of the tabulator key; the arrow keys walk through it, and what is told of a
character stands beside it, where a screen reader reads it out.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.pages import assets

_TEXT = st.components.v2.component(
    "scalescope_damage",
    html="""<div class="scalescope-damage">
<div class="text" role="application" tabindex="0"></div>
<div class="details" role="status" aria-live="polite"></div>
<div class="legend"></div>
</div>""",
    css=(assets.ROOM / assets.BROWSER / "damage.css").read_text("utf-8"),
    js=f"""{assets.module_loader("damage.js")}
export default ({{ data, parentElement }}) => {{
  const root = parentElement.querySelector(".scalescope-damage");
  modules.then(([{{ show }}]) => show(root, data));
}};""",
    isolate_styles=False,
)


def show_damage(shown: dict[str, Any], key: str) -> None:
    """Draw what ``figures.damaged_text`` gives."""
    assets.serve()
    _TEXT(key=key, data=shown)
