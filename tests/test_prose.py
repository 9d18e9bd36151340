"""Marks become HTML, text stays text, and every term explains itself."""

import re

import pytest

from dashboard.lesson.int8_range import round_values
from dashboard.text.glossary import Term, glossary
from dashboard.text.language import language
from dashboard.text.prose import plain, table_html, to_html

TERMS = {"scale": Term("scale", "scale", "worth of one code, < 1", "amax / 127")}


def test_marks_become_html_and_everything_else_is_escaped():
    html = to_html("a **b** `c<d` <script>\n\nnext")
    assert html == "<p>a <strong>b</strong> <code>c&lt;d</code> &lt;script&gt;</p><p>next</p>"


def test_a_number_keeps_its_unit():
    assert to_html("39 % and 6 dB") == "<p>39\u00a0% and 6\u00a0dB</p>"


def test_a_term_is_reached_by_the_keyboard_and_described_by_its_explanation():
    html = to_html("the [[scale|scales]]", TERMS)
    number = re.search(r'tabindex="0" aria-describedby="(tip-\d+)">scales', html)[1]
    assert f'role="tooltip" id="{number}"' in html
    assert "worth of one code, &lt; 1" in html and "<code>amax / 127</code>" in html


def test_ids_differ_where_a_term_occurs_twice():
    html = to_html("[[scale]] [[scale]]", TERMS)
    assert len(set(re.findall(r'id="(tip-\d+)"', html))) == 2


def test_an_unknown_term_is_an_error_and_paper_needs_no_terms():
    with pytest.raises(KeyError):
        to_html("[[nothing]]", TERMS)
    assert to_html("[[nothing|words]]") == "<p>words</p>"
    assert plain("**a** [[b|c]] `d`") == "a c d"


def test_a_table_names_its_rows_and_stresses_one():
    html = table_html(("a", "b"), (("x", "1"), ("y", "<2")), chosen=1)
    assert '<th scope="row">x</th><td>1</td>' in html
    assert '<tr class="chosen"><th scope="row">y</th><td>&lt;2</td></tr>' in html


@pytest.mark.parametrize("code", ["en", "zh-CN"])
def test_the_glossary_has_a_meaning_for_every_term_and_keys_are_their_own(code):
    terms = glossary(language(code))
    assert all(term.key == key and term.name and term.meaning for key, term in terms.items())
    assert {"scale", "percentile", "sqnr", "scale_wx", "ratio_wx", "channel_group"} <= set(terms)


def test_saturation_begins_half_a_code_beyond_the_last():
    scale = 0.5  # halves are exact in float32
    formula = glossary(language("en"))["saturation"].formula
    high, low = re.fullmatch(r"v ≥ (\S+) · scale, v ≤ −(\S+) · scale", formula).groups()
    edges = (float(high) * scale, -float(low) * scale)
    for edge, inwards in zip(edges, (-0.001, 0.001), strict=True):
        rounded = round_values(scale, (edge, edge + inwards))
        assert rounded.saturated.tolist() == [True, False]
