"""The best α against a loop over all α, and the recommendation against its definition."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import percentile_scale, requantize

from dashboard.analysis.report import gain_db, report_bests, report_scale
from dashboard.calibration import Calibration
from dashboard.calibration.histogram import Histogram
from dashboard.rules.landscape import Landscape, landscapes, recommend
from dashboard.rules.observers import ScaleRule, fine_alphas
from dashboard.text import captions
from dashboard.text.language import ENGLISH


@pytest.fixture(scope="module")
def calibration(calibrated) -> Calibration:
    return calibrated("mamba2-tiny", 2, 128).calibration


def output(seed: int, spread: float, count: int = 30_000) -> torch.Tensor:
    v = torch.from_numpy(np.random.default_rng(seed).standard_t(5, count)) * spread
    return F.silu(v).half().float()


def sqnr_by_hand(y: torch.Tensor, alpha: float) -> float:
    return requantize(y, percentile_scale(y, alpha)).sqnr_db


def test_the_best_alpha_is_the_best_of_a_loop_over_all():
    y = output(0, 1.5)
    landscape = Landscape.of(Histogram.of(y))
    alphas = fine_alphas(len(y))
    by_hand = [sqnr_by_hand(y, float(alpha)) for alpha in alphas]
    np.testing.assert_allclose(landscape.sqnr_db, by_hand, atol=1e-6)
    assert landscape.best_alpha == alphas[int(np.argmax(by_hand))]
    assert landscape.loss_db(0.9995) == pytest.approx(
        max(by_hand) - sqnr_by_hand(y, 0.9995), abs=1e-6
    )
    with pytest.raises(ValueError, match="was not tried"):
        landscape.loss_db(0.99951234)


def test_the_ceilings_lie_above_and_meet_in_power():
    landscape = Landscape.of(Histogram.of(output(1, 2)))
    noise = 10 ** (-landscape.rounding_ceiling_db / 10) + 10 ** (
        -landscape.clipping_ceiling_db / 10
    )
    np.testing.assert_allclose(10 * np.log10(1 / noise), landscape.sqnr_db, atol=1e-9)


def test_within_is_the_run_around_the_best():
    landscape = Landscape.of(Histogram.of(output(2, 1)))
    first, last = landscape.within(0.5)
    inside = (landscape.alphas >= first) & (landscape.alphas <= last)
    assert inside[landscape.best]
    assert (landscape.sqnr_db[inside] >= landscape.best_db - 0.5).all()
    before = int(np.flatnonzero(inside)[0]) - 1
    assert landscape.sqnr_db[before] < landscape.best_db - 0.5
    assert landscape.within(0.0)[0] <= landscape.best_alpha <= landscape.within(0.0)[1]


def test_a_part_of_a_landscape_has_the_same_points():
    whole = Landscape.of(Histogram.of(output(2, 1)))
    upper = whole.at_least(0.9)
    assert upper.alphas[0] == 0.9 and upper.best_alpha == whole.best_alpha
    np.testing.assert_array_equal(upper.sqnr_db, whole.sqnr_db[-len(upper.alphas) :])


def test_within_ends_where_the_values_of_alpha_do():
    alphas = [0.9, 0.99, 0.999, 0.9999, 1.0]
    assert by_hand(alphas, [30.0, 30.2, 30.4, 30.2, 30.0]).within(0.5) == (0.9, 1.0)
    assert by_hand(alphas, [20.0, 30.2, 30.4, 30.2, 20.0]).within(0.5) == (0.99, 0.9999)
    # A second hill that a valley parts from the best does not count.
    assert by_hand(alphas, [30.4, 20.0, 30.4, 30.2, 30.4]).within(0.5) == (0.999, 1.0)


def test_a_part_without_the_best_is_not_taken():
    landscape = by_hand([0.9, 0.99, 0.999, 1.0], [20.0, 30.0, 25.0, 20.0])
    assert landscape.at_least(0.999) is landscape
    whole = Landscape.of(Histogram.of(output(2, 1)))
    assert whole.at_least(whole.best_alpha).alphas[0] == whole.best_alpha


def test_the_recommended_alpha_loses_least_on_average():
    outputs = {
        (i, "x"): output(i, s, n)
        for i, (s, n) in enumerate([(0.5, 9_000), (1.5, 30_000), (4.0, 30_000)])
    }
    every = {key: Landscape.of(Histogram.of(y)) for key, y in outputs.items()}
    recommended = recommend(every)
    best = {
        key: max(sqnr_by_hand(y, float(a)) for a in fine_alphas(len(y)))
        for key, y in outputs.items()
    }
    losses = {
        float(alpha): np.mean(
            [best[key] - sqnr_by_hand(y, float(alpha)) for key, y in outputs.items()]
        )
        for alpha in fine_alphas(9_000)[-25:]
    }
    assert recommended.alpha == min(losses, key=losses.get)
    assert recommended.mean_loss_db(recommended.alpha) == pytest.approx(min(losses.values()))
    assert recommended.mean_loss_db(1.0) == pytest.approx(losses[1.0])
    worst = recommended.worst
    assert worst.loss_db[recommended.alpha] == max(
        choice.loss_db[recommended.alpha] for choice in recommended.layers
    )
    sentence = captions.recommendation(recommended, ENGLISH)
    assert f"**{recommended.alpha:.6g}" in sentence and "all 3 layers" in sentence


def test_the_average_decides_and_not_the_worst_slice():
    alphas = [0.99, 0.9995, 0.99999, 1.0]
    sqnr = {
        (0, "x"): [20.0, 30.0, 29.0, 28.0],
        (1, "x"): [20.0, 30.0, 29.0, 28.0],
        (2, "x"): [20.0, 24.0, 26.0, 30.0],
    }
    # 0.9995 loses 0, 0 and 6 dB; 0.99999 1, 1 and 4; 1 loses 2, 2 and 0, which is least on average
    # and at worst. With one more slice of the first kind 0.9995 loses 1.5 on average, like 1.
    recommended = recommend({key: by_hand(alphas, values) for key, values in sqnr.items()})
    assert recommended.alpha == 1.0
    for layer in (3, 4):
        sqnr[layer, "x"] = sqnr[0, "x"]
    recommended = recommend({key: by_hand(alphas, values) for key, values in sqnr.items()})
    assert recommended.alpha == 0.9995
    assert recommended.mean_loss_db(0.9995) == pytest.approx(6 / 5)
    assert (recommended.worst.layer, recommended.worst.loss_db[0.9995]) == (2, 6.0)


def by_hand(alphas: list[float], sqnr_db: list[float]) -> Landscape:
    landscape = Landscape(np.array(alphas), np.ones(len(alphas)), output=None)
    landscape.__dict__["sqnr_db"] = np.array(
        sqnr_db
    )  # in place of what is computed from ``output``
    return landscape


def test_silent_layers_lose_nothing():
    zeros = Landscape.of(Histogram.of(torch.zeros(1000)))
    assert zeros.best_alpha == 1.0 and zeros.loss_db(0.9995) == 0.0
    recommended = recommend({(0, "x"): zeros})
    assert recommended.mean_loss_db(recommended.alpha) == 0.0


def test_an_asymmetric_landscape_is_what_asymmetric_scales_report(calibration):
    counted = calibration.layers[0].slices[0]
    landscape = Landscape.of(counted.silu_output, symmetric=False)
    made = [
        report_scale(counted, ScaleRule("percentile", float(alpha), symmetric=False))
        for alpha in landscape.alphas
    ]
    assert landscape.scales.tolist() == [report.x_out_scale for report in made]
    assert landscape.output.zero_point.tolist() == [report.zero_point for report in made]
    assert landscape.sqnr_db.tolist() == [float(report.output.sqnr_db) for report in made]
    assert len(set(landscape.output.zero_point.tolist())) > 10
    assert (
        landscape.best_alpha
        == max(zip(landscape.sqnr_db, landscape.alphas, strict=True), key=lambda pair: pair)[1]
    )
    assert landscape.at_least(0.9).best_rule == ScaleRule(
        "percentile", landscape.best_alpha, symmetric=False
    )


def test_a_slices_best_alpha_is_of_the_kind_of_its_scale(calibration):
    layer = calibration.layers[0]
    for symmetric in (True, False):
        every = landscapes(calibration, symmetric)
        for counted, best in zip(layer.slices, report_bests(layer, every), strict=True):
            others = [
                report_scale(counted, ScaleRule("percentile", alpha, symmetric=symmetric))
                for alpha in (0.99, 0.9995, 0.9999, 1.0)
            ]
            assert best.rule.symmetric == symmetric
            assert all(gain_db(other, best) >= 0 for other in others)


def test_one_alpha_is_recommended_for_one_kind_of_scale(calibration):
    every = landscapes(calibration, symmetric=False)
    recommended = recommend(every)
    assert not recommended.symmetric
    assert "asymmetric" in captions.recommendation(recommended, ENGLISH)
    losses = [landscape.loss_db(recommended.alpha) for landscape in every.values()]
    assert recommended.mean_loss_db(recommended.alpha) == pytest.approx(np.mean(losses))
    mixed = every | {(9, "x"): next(iter(landscapes(calibration).values()))}
    with pytest.raises(ValueError, match="some landscapes are symmetric"):
        recommend(mixed)
