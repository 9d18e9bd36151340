"""What is kept from page to page and said by the link, without a page."""

import pytest

from dashboard.pages.remembering import in_link, one_of, switched, whole


def test_words_of_a_link_are_read_as_they_are_written():
    for options in ((False, True), (0.00001, 0.9995, 1.0), (0, 7), ("a b", "c")):
        read = one_of(options)
        assert [read(in_link(option)) for option in options] == list(options)
    assert in_link(0.00001) == "0.00001" and in_link(True) == "true"
    assert (whole(1, 5)("9"), whole(1, 5)("-3"), switched("TRUE")) == (5, 1, True)
    for read, text in ((whole(1, 5), "x"), (switched, "maybe"), (one_of((1, 2)), "3")):
        with pytest.raises(ValueError):
            read(text)
