"""aciq against the expected error of Banner et al., minimized by trying."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dashboard.analysis.report import report_scale
from dashboard.calibration.histogram import Histogram
from dashboard.rules.observers import ScaleRule, amax
from dashboard.rules.observers.aciq import laplace_clipping

V = (torch.randn(100_000, generator=torch.Generator().manual_seed(1)) * 2).half().float()
Y = F.silu(V).half().float()
LAPLACE = torch.distributions.Laplace(0.0, 0.3)


def expected_error(clipping: float, bits: int) -> float:
    """Of Laplace values with b = 1: clipping by summing the density up, rounding as Δ² / 12."""
    x = clipping + np.linspace(0, 60, 400_001)
    beyond = 2 * np.trapezoid((x - clipping) ** 2 * np.exp(-x) / 2, x)
    step = 2 * clipping / 2**bits
    return beyond + step**2 / 12


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_constant_has_the_least_expected_error(bits):
    clipping = laplace_clipping(bits)
    tried = np.linspace(0.9 * clipping, 1.1 * clipping, 101)
    least = int(np.argmin([expected_error(u, bits) for u in tried]))
    assert tried[least] == pytest.approx(clipping, abs=tried[1] - tried[0])
    assert 0 < least < 100


def test_the_constants_are_those_that_the_paper_prints():
    """For 2, 3 and 4 bits, some with digits cut off; 9.897 for 8 is of the same equation."""
    constants = [laplace_clipping(bits) for bits in (2, 3, 4, 8)]
    assert constants == pytest.approx([2.83, 3.89, 5.03, 9.89], abs=0.01)
    assert all(
        u == pytest.approx(3 * 4**bits * np.exp(-u))
        for bits, u in zip((2, 3, 4, 8), constants, strict=True)
    )


def test_amax_is_the_constant_times_the_mean_distance_from_the_mean():
    exact = Y.double()
    wanted = 9.89676 * (exact - exact.mean()).abs().mean().item()
    assert amax(ScaleRule("aciq"), Histogram.of(Y)) == pytest.approx(wanted, rel=1e-4)
    moved = (exact + 5).abs().mean() * 9.89676  # as if the mean did not matter
    shifted = amax(ScaleRule("aciq"), Histogram.of(Y + 5))
    assert shifted == pytest.approx(wanted, rel=1e-2) and shifted < moved / 2


def loss_db(values: torch.Tensor) -> float:
    """What the rule loses against the least squared error."""
    seen = SimpleNamespace(silu_output=Histogram.of(values), batches=(), gradients=None)
    mse, aciq = (report_scale(seen, ScaleRule(name)) for name in ("mse", "aciq"))
    return float(mse.output.sqnr_db - aciq.output.sqnr_db)


def test_where_values_are_laplace_nearly_nothing_is_lost_and_of_silus_output_much_more():
    torch.manual_seed(4)
    laplace, silu = loss_db(LAPLACE.sample((200_000,))), loss_db(Y)
    assert 0 <= laplace < 0.2
    assert silu > 4 * laplace + 0.5
