"""Puts a figure on the page: one component that keeps every plot alive and changes it in place.

``st.plotly_chart`` takes a chart's data for its identity, so that a change of data makes the chart
anew; here ``Plotly.react`` changes the plot that stands. plotly.js and the component's module
(``browser/figure.js``) come from this server. Colours come from the theme on show; a
bar saves the figure as PNG or SVG, without asking the server.
"""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go
import streamlit as st

from dashboard.figures.theme import NARROW, SentFigure, exchanges
from dashboard.pages import assets
from dashboard.pages.speaking import spoken

_FIGURE = st.components.v2.component(
    "scalescope_figure",
    html="""<div class="scalescope-figure">
<div class="plot"></div>
<div class="words" aria-hidden="true"></div>
<div class="picks"></div>
<div class="bar"><button type="button" data-action="png">PNG</button
><button type="button" data-action="svg">SVG</button
><button type="button" class="zooming" data-action="closer" hidden>+</button
><button type="button" class="zooming" data-action="farther" hidden>−</button
><button type="button" class="zooming" data-action="whole" hidden>⤢</button></div>
</div>""",
    css=(assets.ROOM / assets.BROWSER / "figure.css").read_text("utf-8"),
    js=f"""{assets.module_loader("figure.js")}
const exchange = {exchanges("dark")!r}, library = root + {assets.library()!r}, narrow = {NARROW};
export default ({{ data, parentElement, setTriggerValue }}) => {{
  const figure = parentElement.querySelector(".scalescope-figure");
  const shown = {{ data, exchange, library, narrow, setTriggerValue }};
  modules.then(([{{ show }}]) => show(figure, shown));
  return () => figure.end?.();
}};""",
    isolate_styles=False,
)


def show(
    figure: go.Figure | SentFigure,
    key: str,
    on_pick: Callable[[], None] = lambda: None,
    zoom: float = 1.0,
    file: str = "",
    title: str = "",
    note: str = "",
) -> None:
    """Draw a figure at the width of its container.

    Args:
        on_pick: called when one of the figure's picks is clicked; its value is then
            ``st.session_state[key].picked``.
        zoom: how much larger than on a page everything is drawn, text and lines too.
        file: what a saved copy is called, without its ending; "scalescope-KEY" if empty.
        title, note: what a saved copy says above and below the drawing, as where it comes from.
    """
    say = spoken()
    assets.serve()
    _FIGURE(
        key=key,
        data={
            "key": key,
            "figure": figure.to_json(),
            "zoom": zoom,
            "file": file or f"scalescope-{key}",
            "title": title,
            "note": note,
            # Of the bar's buttons, in their order. A tuple: of a list or a dict Streamlit would ask
            # whether it is a table, for each figure of each run.
            "words": (
                say("Save this figure as PNG"),
                say("Save this figure as SVG"),
                say("Zoom in"),
                say("Zoom out"),
                say("Show the whole"),
            ),
        },
        on_picked_change=on_pick,
    )
