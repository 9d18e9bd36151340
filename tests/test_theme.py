"""The theme: colours exchanged whole, documents that need nothing else, plotly.js itself."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import plotly
import plotly.graph_objects as go
import pytest

from dashboard.figures import theme


def drawn() -> go.Figure:
    figure = theme.new_figure(
        200, 'a "drawing" & more', meta={"picks": [theme.pick(3, "third", (0.5, 1))]}
    )
    figure.add_trace(theme.line([0, 1], [0, 1], "output", 2, hovertemplate="%{x}"))
    figure.add_trace(theme.area([0, 1, 1], [0, 0, 1], "saturated", 0.5))
    figure.add_trace(theme.hatch([0, 1, 1], [0, 0, 1], "stranded"))
    figure.add_trace(theme.dots([0, 1], [0, 1], ["best", "chosen"]))
    figure.add_trace(theme.sensors([0.5], 1, ["</script> is a text"]))
    figure.update_layout(title={"text": "</script> in a title"})
    figure.add_annotation(theme.label(0, 1, "x < y\nz", "text", "bottom right", bold=True))
    figure.add_shape(theme.rule((0, 1), (0, 0), "baseline", dash="dash"))
    figure.add_shape(theme.box((0, 1), (0, 1), "panel", 0.5))
    return figure


def colours(figure: go.Figure) -> set[str]:
    return set(re.findall(r"#[0-9A-Fa-f]{6}|rgba\([0-9]+,[0-9]+,[0-9]+,", figure.to_json()))


def as_both(palette: dict[str, str]) -> set[str]:
    """Each colour as it is written where it is opaque, and where it is not."""
    hexes = set(palette.values())
    channels = [[int(value[i : i + 2], 16) for i in (1, 3, 5)] for value in hexes]
    return hexes | {"rgba({},{},{},".format(*rgb) for rgb in channels}


def test_colours_are_concepts_that_both_themes_know():
    assert set(theme.PALETTES["light"]) == set(theme.PALETTES["dark"])


def test_a_figure_has_the_light_palettes_colours_and_its_dark_twin_the_dark_ones():
    light = drawn()
    nothing = {"rgba(0,0,0,"}
    assert colours(light) - nothing <= as_both(theme.PALETTES["light"])
    dark = theme.themed(light, "dark")
    assert colours(dark) - nothing <= as_both(theme.PALETTES["dark"])
    assert dark.data[0].line.color == theme.PALETTES["dark"]["output"]
    assert dark.data[1].fillcolor == "rgba(255,138,87,0.5)"  # #FF8A57
    assert len(colours(dark)) == len(colours(light))
    again = theme.themed(light, "light").to_json()
    assert json.loads(again) == json.loads(light.to_json())


def test_the_same_colour_never_stands_for_two_concepts_that_differ_in_the_dark():
    light, dark = theme.PALETTES["light"], theme.PALETTES["dark"]
    for first in light:
        for second in light:
            if light[first] == light[second]:
                assert dark[first] == dark[second], (first, second)


def test_another_theme_is_refused_by_name():
    with pytest.raises(ValueError, match="theme is 'sepia'; allowed are light, dark"):
        theme.themed(drawn(), "sepia")


class Texts(HTMLParser):
    """The attributes of every element, and the text of every script."""

    def __init__(self):
        super().__init__()
        self.attributes, self.scripts, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def test_what_a_page_sends_of_a_figure_is_what_plotly_writes():
    """Arrays of every kind, wherever they stand; plotly's own figure is the oracle."""
    arrays = [
        np.linspace(-1, 1, 7, dtype=np.float32),
        np.array([1.5, np.nan, np.inf]),
        np.arange(6).reshape(2, 3),
        np.arange(6).reshape(2, 3).T,
        *(np.array(ends) for ends in ([-128, 127], [0, 128], [-129, 0], [0, 2**15], [2**31 - 1])),
        np.array([2**31]),
        np.zeros(0),
        np.zeros(0, np.int64),
        np.array([True, False]),
        np.array(["a", "b"]),
        np.arange(3, dtype=np.uint8),
        np.linspace(0, 1, 8)[::2],
    ]
    traces = [
        {"type": "scatter", "y": values, "marker": {"color": values}, "meta": [values.tolist()]}
        for values in arrays
    ]
    rest = {
        "xaxis": {"range": arrays[1], "tickvals": arrays[0], "domain": (0.0, np.float64(0.5))},
        "annotations": [{"text": "NaN", "x": np.float32(0.1)}, {"customdata": arrays[4]}],
        "shapes": [],
        "meta": {"picks": [{"x": [0.0, float("nan")]}], "narrow": {"data[0].x": (1, 2)}},
    }
    with theme.unchecked():
        plotlys = theme.new_figure(100, "all kinds", traces, **rest)
        sent = theme.whole_figure(100, "all kinds", traces, **rest)
    assert isinstance(plotlys, go.Figure) and not isinstance(sent, go.Figure)
    assert json.loads(sent.to_json()) == json.loads(plotlys.to_json())
    assert 'aria-label="all kinds"><div style="height:100px">' in theme.to_html(sent)


def test_a_figure_in_a_document_is_complete_and_says_what_it_shows():
    page = Texts()
    page.feed(theme.to_html(drawn(), 500))
    places = [attrs for _, attrs in page.attributes if attrs.get("class") == "plotly-figure"]
    assert [place["aria-label"] for place in places] == ['a "drawing" & more']
    (script,) = page.scripts  # a text with "</script>" in it did not end it
    figure = json.loads(script)
    assert figure["data"][4]["customdata"] == ["&lt;/script&gt; is a text"]
    assert figure["layout"]["title"]["text"] == "</script> in a title"
    assert figure["layout"]["annotations"][0]["text"] == "<b>x &lt; y<br>z</b>"


def test_what_draws_in_a_document_fetches_nothing():
    scripts = theme.document_scripts()
    assert scripts.count("<script") == 2 and "src=" not in re.sub(r'"[^"]*"', "", scripts[:2000])
    own = scripts[scripts.index('<script type="module">') :]
    assert "http" not in own and "import " not in own
    assert '"#2A69B8": "#66A3EE"' in own
    assert "EXCHANGE=null" in theme.document_scripts(themes=False)


def test_plotly_js_is_of_the_version_that_plotly_makes_figures_for():
    wheel = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    with wheel.open(encoding="utf-8") as file:
        version = re.search(r"plotly\.js v([0-9.]+)", file.read(200))[1]
    own = theme.PLOTLY_JS.read_text("utf-8")[:300]
    assert f"plotly.js (cartesian - minified) v{version}" in own
    assert "MIT" in (theme.PLOTLY_JS.parent / "LICENSE").read_text("utf-8")
