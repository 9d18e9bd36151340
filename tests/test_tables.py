"""Rows and lines of text, from values that tell one column from another."""

from types import SimpleNamespace

import pytest
import torch

from dashboard.calibration.histogram import Histogram
from dashboard.export import tables
from dashboard.rules.observers import MovingAverage


def test_a_row_a_batch_has_its_own_quantile_mean_and_weight():
    average = MovingAverage((2, 0), (5.0, 7.0), (5.0, 5.5), (0.75, 0.25))
    assert tables.average_rows(average) == [
        {"batch": 2, "quantile": 5.0, "mean": 5.0, "weight": 0.75},
        {"batch": 0, "quantile": 7.0, "mean": 5.5, "weight": 0.25},
    ]


def test_a_judged_row_names_the_text_that_each_measure_is_of():
    own = Histogram.of(torch.linspace(0, 127, 128)).quantize(1.0)
    there = Histogram.of(torch.tensor([1.0, 500.0])).quantize(1.0)
    judged = SimpleNamespace(layer=3, own=SimpleNamespace(x_out_scale=1.0, output=own), there=there)
    (row,) = tables.held_out_rows([judged], ("a.txt", "b.txt"))
    assert row["layer"] == 3 and row["x_out_scale"] == 1.0
    assert row["saturation_rate, a.txt"] == 0 and row["saturation_rate, b.txt"] == 0.5
    assert row["effective_bits, a.txt"] == 7 and row["effective_bits, b.txt"] == 1


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "4 × 64 tokens of a.txt, percentile α 0.99"),
        ({"observer": "percentile-ema"}, "4 × 64 tokens of a.txt, percentile-ema α 0.99 σ 0.1"),
        ({"observer": "mse"}, "4 × 64 tokens of a.txt, mse"),
        (
            {"observer": "minmax", "symmetric": False, "number_format": "int8-asymmetric"},
            "4 × 64 tokens of a.txt, minmax int8-asymmetric",
        ),
        ({"observer": None}, "stored scales"),
    ],
)
def test_a_tables_head_says_of_a_rule_what_matters_to_it(changed, line):
    document = {
        "checkpoint": "m", "family": "mamba", "backend": None, "text": "a.txt", "batches": 4,
        "seq_len": 64, "observer": "percentile", "alpha": 0.99, "sigma": 0.1, "symmetric": True,
        "number_format": "int8", "layers": [],
    }  # fmt: skip
    head = tables.as_table(document | changed).splitlines()[0]
    assert head == f"m (mamba), {line}, no kernel run"
