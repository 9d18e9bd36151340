"""Whether a figure's labels can be read, as Chromium lays them out: the boxes of its real letters.

``Paper(browser).check(figure)`` draws the figure as a page does, at the widths of a phone, a tablet
and a desk, and fails with a list of the labels that leave the frame, lie on one another, or lie on
a curve, a dot or a line. Labels upon filled areas are not its business.
"""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
from playwright.sync_api import Browser

from dashboard.figures import theme

WIDTHS = (340, 736, 1280)  # px that the pages leave a figure on screens of 390, 800 and 1440
FONT = "'Source Sans', 'DejaVu Sans', sans-serif"


class Paper:
    """A blank page of a browser, with what draws figures."""

    def __init__(self, browser: Browser) -> None:
        self.page = browser.new_page(viewport={"width": 1400, "height": 1400})
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.set_content("<body style='margin:0'><div id='plot'></div></body>")
        prepare = (theme.PLOTLY_JS.parent / "prepare.js").read_text("utf-8")
        measure = Path(__file__).with_suffix(".js").read_text("utf-8")
        self.page.add_script_tag(content=theme.PLOTLY_JS.read_text("utf-8"))
        self.page.add_script_tag(
            content=f"{prepare}\n{measure}\nObject.assign(window, {{ fit, faults }});",
            type="module",
        )
        self.page.wait_for_function("window.faults && window.Plotly")

    def faults(self, figure: go.Figure, *widths: int) -> dict[int, list[str]]:
        """What of the figure cannot be read at each width in px: a sentence a fault."""
        written = figure.to_json()
        faults: dict[int, list[str]] = {}
        for width in widths:
            asked = [written, width, theme.NARROW, FONT]
            faults[width] = self.page.evaluate("(asked) => window.faults(asked)", asked)
            faults[width] += self.errors
        return faults

    def check(self, figure: go.Figure, widths: tuple[int, ...] = WIDTHS) -> None:
        """Fails where a label cannot be read."""
        for width, faults in self.faults(figure, *widths).items():
            assert not faults, f"at {width} px: {faults}"

    def picture(self, figure: go.Figure, width: int, path: str) -> None:
        """A screenshot, to look at."""
        self.faults(figure, width)
        self.page.locator("#plot").screenshot(path=path)
