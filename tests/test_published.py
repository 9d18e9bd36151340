"""The published figures agree with each other where they say they do, and nowhere else."""

import math

import pytest

from dashboard.published import OUTLIERS, QUAMBA2_130M, TOY, X_OUT_SCALES


@pytest.mark.parametrize("layer", QUAMBA2_130M, ids=lambda layer: f"layer {layer.layer}")
def test_the_printed_ratio_is_over_the_weights_scale(layer):
    assert layer.ratio_weight == pytest.approx(layer.ratio, rel=2e-5)


def test_like_for_like_ratios_are_those_of_three_printed_scales():
    found = [f"{layer.ratio_wx:.3g}" for layer in QUAMBA2_130M]
    assert found == ["45.3", "239", "195", "235", "149"]


def test_the_two_alphas_differ_by_less_than_a_part_in_ten_thousand():
    assert max(abs(layer.pa_difference) for layer in QUAMBA2_130M) < 1e-4
    assert QUAMBA2_130M[0].pa_difference == 0


def test_grouped_scales_are_sixteen_minmax_and_know_no_alpha():
    assert X_OUT_SCALES.scales == math.prod((1, 4, 4))
    assert not X_OUT_SCALES.alpha_used


def test_examples_agree_with_themselves():
    assert pytest.approx(TOY.straightforward.utilization, abs=5e-4) == 50 / 127
    assert pytest.approx(OUTLIERS.minmax_scale, abs=5e-5) == OUTLIERS.outlier / 127
    assert pytest.approx(OUTLIERS.percentile_scale, abs=5e-5) == OUTLIERS.bulk / 127
    for scale, code in (
        (OUTLIERS.minmax_scale, OUTLIERS.minmax_code),
        (OUTLIERS.percentile_scale, OUTLIERS.percentile_code),
    ):
        assert math.floor(OUTLIERS.value / scale + 0.5) == code
