"""The published figures agree with each other where they say they do, and nowhere else."""

import math
import random
import struct
from fractions import Fraction

import pytest

from dashboard.rules.published import (
    GROUPS_2_7B,
    GROUPS_130M,
    OUTLIERS,
    QUAMBA2_2_7B_PA_1_LAYER_0,
    QUAMBA2_130M,
    TOY,
    X_OUT_SCALES,
    is_float16,
    mean_evidence,
    units_of_the_sum,
)


@pytest.mark.parametrize("layer", QUAMBA2_130M, ids=lambda layer: f"layer {layer.layer}")
def test_the_printed_ratio_is_over_the_weights_scale(layer):
    assert layer.ratio_weight == pytest.approx(layer.ratio, rel=2e-5)


def test_like_for_like_ratios_are_those_of_three_printed_scales():
    ratios = [f"{layer.ratio_wx:.3g}" for layer in QUAMBA2_130M]
    assert ratios == ["45.3", "239", "195", "235", "149"]


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


def float16(value: float) -> Fraction:
    """The nearest float16 number, by Python's own packing."""
    return Fraction(struct.unpack("e", struct.pack("e", value))[0])


def printed(value: Fraction) -> float:
    """A scale as the table has it: rounded to float32, then to eight decimals."""
    return float(f"{struct.unpack('f', struct.pack('f', float(value)))[0]:.8f}")


def test_scales_of_one_float16_maximum_are_told_from_means_of_sixteen():
    draw = random.Random(0)
    for _ in range(300):
        maxima = [float16(draw.uniform(1, 16)) for _ in range(16)]
        assert is_float16(printed(maxima[0] / 127))
        mean = printed(sum(maxima) / 16 / 127)
        units = units_of_the_sum(mean)
        assert round(units) == sum(maxima) * 1024
        assert abs(units - round(units)) < Fraction(3, 100)
    taken = sum(is_float16(printed(Fraction(draw.uniform(1, 16)) / 127)) for _ in range(1000))
    assert taken < 10  # a number that falls anywhere is hardly ever taken for one


def test_inputs_and_weights_have_one_scale_and_the_printed_output_scale_is_a_mean():
    for row in QUAMBA2_130M:
        for scale in (row.x_scale, row.wx_scale):
            amax = 127 * Fraction(str(scale))
            assert abs(amax - float16(float(amax))) < Fraction(1, 10**6)
        for scale in (row.x_out_scale, row.pa_0_5, row.pa_1_0):
            amax = 127 * Fraction(str(scale))
            assert abs(amax - float16(float(amax))) > Fraction(1, 10**5)
            sixteen = amax * 16 * 1024
            assert abs(sixteen - round(sixteen)) < Fraction(2, 100)
    evidence = mean_evidence()
    assert (evidence.single, evidence.singles, evidence.grouped, len(evidence.units)) == (
        10,
        10,
        0,
        9,
    )
    assert evidence.units[0] == 32850 and evidence.units[-1] == 157796
    assert evidence.furthest == pytest.approx(0.0189, abs=5e-5)
    assert (
        evidence.chance == pytest.approx((2 * 0.0188672) ** 9, rel=1e-4) and evidence.chance < 1e-12
    )


def test_the_two_alphas_differ_by_about_one_float16_step_of_one_maximum():
    assert mean_evidence().steps == (0, 8, 4, -8, -6)
    # One step of a maximum from 2 to 4, 4 to 8 and 8 to 16, in 1/1024.
    for low, units in ((2, 2), (4, 4), (8, 8)):
        following = struct.unpack("e", struct.pack("H", 1 + _bits(low)))[0]
        assert (Fraction(following) - low) * 1024 == units


def _bits(value: float) -> int:
    return struct.unpack("H", struct.pack("e", value))[0]


def test_the_printed_groups_of_layer_0_have_the_printed_scale_for_their_mean():
    for groups, scale in (
        (GROUPS_130M, QUAMBA2_130M[0].x_out_scale),
        (GROUPS_2_7B, QUAMBA2_2_7B_PA_1_LAYER_0),
    ):
        every = [Fraction(str(printed)) for row in groups.scales for printed in row]
        assert len(every) == X_OUT_SCALES.scales
        mean = sum(every) / len(every)
        assert abs(mean - Fraction(str(scale))) < Fraction(1, 10**5)  # four decimals, averaged
        assert groups.mean == pytest.approx(float(mean))
    assert f"{GROUPS_130M.least:.4f} {GROUPS_130M.most:.4f}" == "0.0057 0.0518"
    assert f"{GROUPS_2_7B.least:.4f} {GROUPS_2_7B.most:.4f}" == "0.0029 0.0816"
