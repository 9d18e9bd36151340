"""Scale rules against their definitions, written out on plain tensors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dashboard.histogram import Histogram
from dashboard.observers import PUBLISHED_ALPHAS, RULES, alpha_grid, log_alpha, output_scale

V = (torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * 2).half().float()
Y = F.silu(V).half().float()
INPUT, OUTPUT = Histogram.of(V), Histogram.of(Y)
SCALE_WX = float(np.float32(0.00031))


def as_scale(amax: torch.Tensor) -> float:
    return float(amax.to(torch.float32) / torch.tensor(127.0))


def test_each_rule_is_its_definition():
    found = {rule: output_scale(rule, INPUT, OUTPUT, SCALE_WX, 0.9995) for rule in RULES}
    assert found == {
        "percentile": as_scale(torch.quantile(Y.abs(), 0.9995)),
        "minmax": as_scale(Y.abs().max()),
        "conv-absmax": as_scale(V.abs().max()),
        "scale-wx": SCALE_WX,
    }


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9, 0.99999])
def test_percentile_is_the_quantile_of_the_magnitude(alpha):
    found = output_scale("percentile", INPUT, OUTPUT, SCALE_WX, alpha)
    assert found == as_scale(torch.quantile(Y.abs(), alpha))
    if alpha < 0.9:  # where SiLU's negative side still counts
        assert found != as_scale(torch.quantile(Y, alpha).abs())


def test_percentile_1_is_minmax():
    assert output_scale("percentile", INPUT, OUTPUT, SCALE_WX, 1.0) == output_scale(
        "minmax", INPUT, OUTPUT, SCALE_WX
    )


def test_a_silent_layer_gets_the_least_scale():
    zeros = Histogram.of(torch.zeros(10))
    assert output_scale("percentile", zeros, zeros, 1e-6, 0.9995) == float(np.float32(1e-6))


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1.5, float("nan")])
def test_alpha_outside_its_range_is_named(alpha):
    with pytest.raises(ValueError, match=r"alpha is .*0 < alpha <= 1"):
        output_scale("percentile", INPUT, OUTPUT, SCALE_WX, alpha)


def test_an_unknown_rule_is_named_with_the_allowed_ones():
    with pytest.raises(ValueError, match=r"'median'.*percentile, minmax"):
        output_scale("median", INPUT, OUTPUT, SCALE_WX)


@pytest.mark.parametrize("total", [4096, 262_144, 2_097_152, 3_145_728, 10**9])
def test_the_alpha_grid_is_logarithmic_and_holds_the_published_values_exactly(total):
    grid = alpha_grid(total)
    assert grid[0] == 0.9 and grid[-1] == 1.0
    assert list(grid) == sorted(set(grid))
    for alpha in PUBLISHED_ALPHAS:
        assert (alpha in grid) == ((1 - alpha) * total > 1)
    steps = np.diff([log_alpha(a) for a in grid[:-1]])
    assert steps.min() > 0.02 and steps.max() < 0.08  # 0.05, and 1 - α rounded to two digits
    assert all((1 - a) * total >= 1 - 1e-6 for a in grid[:-1])
