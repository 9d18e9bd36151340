"""Shares as text: never rounded to nothing or to the whole, and adding up with what is left."""

import re
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opening import opened

from dashboard.calibration.histogram import Histogram
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule
from dashboard.text.captions.explore import proof
from dashboard.text.language import ENGLISH
from dashboard.text.numbers import percent

SHARES = st.one_of(
    st.floats(1e-9, 1 - 1e-9),
    st.floats(-9, -0.001).map(lambda power: 10.0**power),
    st.floats(-9, -0.001).map(lambda power: 1 - 10.0**power),
)


def printed(text: str) -> Decimal:
    """What stands before the sign; raises for an exponent's letter or another sign."""
    assert text.endswith(" %") and set(text[:-2]) <= set("0123456789.")
    return Decimal(text[:-2])


def last_digit(share: float, digits: int) -> Decimal:
    """What one unit of the last printed digit is worth, in per cent."""
    value = Decimal(repr(share)) * 100
    return Decimal(10) ** (1 - digits + min(value, 100 - value).adjusted())


@given(SHARES, st.sampled_from([2, 3, 4]))
@example(0.995, 2)
@example(0.99945, 2)
@example(255 / 256, 2)
@example(1 - 1e-9, 2)
def test_a_share_reads_back_to_within_half_its_last_digit(share, digits):
    shown = printed(percent(share, digits))
    exact = Decimal(repr(share)) * 100
    assert abs(shown - exact) <= last_digit(share, digits) / 2
    assert 0 < shown < 100


@given(SHARES, SHARES)
@example(0.99945, 0.9999)
@example(0.0999, 0.1)
@example(0.8999, 0.9)
def test_a_greater_share_never_prints_as_less(one, other):
    low, high = sorted((one, other))
    assert printed(percent(low)) <= printed(percent(high))


@given(SHARES)
@example(0.00017)
@example(0.0019)
@example(2.1e-9)
def test_a_share_and_what_is_left_add_up(share):
    exact = float(1 - Decimal(repr(share)))
    assert printed(percent(share)) + printed(percent(exact)) == 100


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"), (1, "100 %"), (0.00049, "0.049 %"), (0.546875, "55 %"), (0.041, "4.1 %"),
        (0.995, "99.5 %"), (0.99945, "99.945 %"), (0.9999, "99.99 %"), (255 / 256, "99.61 %"),
        (1 - 0.00017, "99.983 %"), (0.949, "94.9 %"), (0.97, "97 %"),
        (9.5e-7, "0.000095 %"), (2.1e-9, "0.00000021 %"),
        (1.028, "103 %"), (1.004, "100.4 %"), (12.5, "1250 %"), (-0.041, "−4.1 %"),
    ],
)  # fmt: skip
def test_shares_and_changes_as_text(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(("share", "text"), [(50 / 127, "39.37 %"), (0.9995, "99.95 %")])
def test_more_digits_where_asked_for(share, text):
    assert percent(share, digits=4) == text


@pytest.mark.parametrize("clipping", [0.00000021, 0.0019, 0.5, 0.99, 0.99983])
def test_explores_clipping_and_rounding_add_up(clipping):
    output = SimpleNamespace(
        saturated=5, total=100_000, saturation_rate=5e-5, clipping_share=clipping
    )
    chosen = SimpleNamespace(output=output, rule=ScaleRule("percentile", 0.9995))
    report = SimpleNamespace(chosen=chosen)
    counted = Histogram(np.arange(1, 4, dtype=np.float32), np.array([100, 10, 1]))
    sentence = proof(report, Landscape.of(counted, [0.99, 0.9995, 0.99999, 1.0]), ENGLISH)
    shares = re.search(r"carry (\S+) % of the error; the other (\S+) % is rounding", sentence)
    assert sum(map(Decimal, shares.groups())) == 100


def test_what_is_no_number_is_not_printed_as_one():
    assert percent(float("inf")) == "∞ %" and percent(float("nan")) == "–"


def test_the_table_of_layers_prints_shares_as_explore_does():
    app = opened("layers", checkpoint="mamba2-tiny")
    (table, *_) = app.dataframe
    with pa.ipc.open_stream(table.proto.arrow_data.styler.display_values) as reader:
        shown = reader.read_pandas()
    shown.columns = table.value.columns
    for name in ("saturation_rate", "code_utilization"):
        assert list(shown[name]) == [percent(share) for share in table.value[name]]
