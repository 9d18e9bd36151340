"""percentile-twosided against quantiles of a plain tensor."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from dashboard.analysis.report import report_scale, rule_label
from dashboard.calibration.histogram import Histogram
from dashboard.rules.observers import REGISTERED, ScaleRule, output_scale

V = (torch.randn(100_000, generator=torch.Generator().manual_seed(1)) * 2).half().float()
Y = F.silu(V).half().float()


def seen(y):
    return SimpleNamespace(
        silu_output=Histogram.of(y), batches=(), silu_input=None, scale_wx=1.0, gradients=None
    )


def rule(alpha, name="percentile-twosided"):
    return ScaleRule(name, alpha, symmetric=False)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.9995, 0.99999])
def test_the_range_is_that_of_two_quantiles_of_y_widened_to_hold_0(alpha):
    low = min(torch.quantile(Y, (1 - alpha) / 2).item(), 0.0)
    high = torch.quantile(Y, 1 - (1 - alpha) / 2).item()
    chosen = output_scale(rule(alpha), seen(Y))
    assert chosen.scale == pytest.approx((high - low) / 255, rel=1e-6)
    assert chosen.zero_point == round(-128 - low / chosen.scale)


def test_it_keeps_the_share_alpha_of_the_values():
    """Of values without a bound on one side; SiLU's own low end lies in one heap of values."""
    y = torch.randn(200_000, generator=torch.Generator().manual_seed(2)).half().float()
    for alpha in (0.9, 0.99, 0.999):
        kept = 1 - report_scale(seen(y), rule(alpha)).output.saturation_rate
        assert kept == pytest.approx(alpha, abs=0.1 * (1 - alpha) + 1e-4)


def test_an_asymmetric_percentile_leaves_out_as_much_at_the_middle_of_alpha_and_1():
    for alpha in (0.9, 0.999):
        chosen, other = (
            output_scale(rule(alpha), seen(Y)),
            output_scale(rule((1 + alpha) / 2, "percentile"), seen(Y)),
        )
        assert chosen.scale == pytest.approx(other.scale, rel=1e-5)
        assert chosen.zero_point == other.zero_point
        assert chosen.scale > output_scale(rule(alpha, "percentile"), seen(Y)).scale


def test_at_alpha_1_it_is_minmax():
    assert output_scale(rule(1.0), seen(Y)) == output_scale(rule(1.0, "minmax"), seen(Y))


def test_a_symmetric_scale_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="percentile-twosided is defined for asymmetric INT8 al"):
        ScaleRule("percentile-twosided")
    assert not REGISTERED["percentile-twosided"].symmetric
    assert rule_label(rule(0.999)) == "α 0.999 kept, asymmetric"
