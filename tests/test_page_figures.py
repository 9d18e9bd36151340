"""The figures that pages draw, which are not held to plotly's schema while a page is drawn."""

import json

import plotly.graph_objects as go
import pytest
from opening import opened

from dashboard.lesson.steps import STEPS
from dashboard.pages.registry import pages


@pytest.mark.parametrize(
    ("key", "settings"),
    [(key, {}) for key in pages()] + [("lesson", {"step": str(n + 1)}) for n in range(len(STEPS))],
)
def test_a_pages_figures_are_what_plotlys_schema_makes_of_them(key, settings):
    app = opened(key, checkpoint="mamba2-tiny", batches="3", seq_len="64", **settings)
    sent = [
        json.loads(json.loads(element.proto.json)["figure"])
        for element in app.get("bidi_component")
        if element.proto.component_name == "scalescope_figure"
    ]
    assert len(sent) >= len(pages()[key].drawings) - 1
    for figure in sent:
        figure["layout"] = {name: part for name, part in figure["layout"].items() if part != []}
        assert json.loads(go.Figure(figure).to_json()) == figure
        bases = [trace["base"] for trace in figure["data"] if "base" in trace]
        assert not any(isinstance(base, dict) for base in bases)  # packed, it is not read
