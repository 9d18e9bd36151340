"""What is kept from page to page and said by the link, without a page."""

import pytest
from streamlit.runtime.state.query_params import QueryParams
from streamlit.testing.v1 import AppTest

from dashboard.pages.remembering import in_link, one_of, switched, whole


def script() -> None:
    import streamlit as st

    from dashboard.pages.remembering import keep, kept, whole

    kept("step", whole(1, 9))
    keep("step", st.number_input("Step", 1, 9, key="step"))


def test_a_run_that_ends_while_it_tells_the_browser_loses_no_choice(monkeypatch):
    app = AppTest.from_function(script)
    app.query_params["step"] = "2"
    app.run()
    assert app.number_input(key="step").value == 2
    tell = QueryParams._send_query_param_msg

    def interrupted(self) -> None:
        monkeypatch.setattr(QueryParams, "_send_query_param_msg", tell)
        raise RuntimeError("a newer run was asked for")

    monkeypatch.setattr(QueryParams, "_send_query_param_msg", interrupted)
    app.number_input(key="step").set_value(5).run()  # said, but not heard
    app.number_input(key="step").set_value(6).run()
    assert not app.exception
    assert app.number_input(key="step").value == 6
    assert app.query_params["step"] in ("6", ["6"])


def test_words_of_a_link_are_read_as_they_are_written():
    for options in ((False, True), (0.00001, 0.9995, 1.0), (0, 7), ("a b", "c")):
        read = one_of(options)
        assert [read(in_link(option)) for option in options] == list(options)
    assert in_link(0.00001) == "0.00001" and in_link(True) == "true"
    assert (whole(1, 5)("9"), whole(1, 5)("-3"), switched("TRUE")) == (5, 1, True)
    for read, text in ((whole(1, 5), "x"), (switched, "maybe"), (one_of((1, 2)), "3")):
        with pytest.raises(ValueError):
            read(text)
