"""Scale rules against their definitions, written out on plain tensors."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import requantize

from dashboard.calibration.histogram import Histogram
from dashboard.rules.observers import (
    ASYMMETRIC_RULES,
    PUBLISHED_ALPHAS,
    RULES,
    SYMMETRIC_RULES,
    OutputScale,
    ScaleRule,
    alpha_grid,
    averaged,
    batch_order,
    entropy_amax,
    fine_alphas,
    least_error_amax,
    least_error_range,
    log_alpha,
    moving_average,
    output_scale,
    range_scale,
)

V = (torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * 2).half().float()
Y = F.silu(V).half().float()
PARTS = Y.split(20_000)


@dataclass(frozen=True)
class Seen:
    """What a slice's calibration shows a rule."""

    silu_input: Histogram
    silu_output: Histogram
    batches: tuple[Histogram, ...]
    scale_wx: float = float(np.float32(0.00031))


SEEN = Seen(Histogram.of(V), Histogram.of(Y), tuple(Histogram.of(batch) for batch in PARTS))


def scale(observer: str, alpha: float = 0.9995, **settings) -> float:
    chosen = output_scale(ScaleRule(observer, alpha, **settings), SEEN)
    assert chosen.zero_point == 0
    return chosen.scale


def as_scale(amax: torch.Tensor) -> float:
    return float(amax.to(torch.float32) / torch.tensor(127.0))


def test_the_plain_rules_are_their_definitions():
    assert scale("percentile") == as_scale(torch.quantile(Y.abs(), 0.9995))
    assert scale("minmax") == as_scale(Y.abs().max())
    assert scale("conv-absmax") == as_scale(V.abs().max())
    assert scale("scale-wx") == SEEN.scale_wx


def test_a_magnitude_may_lie_on_the_negative_side():
    """SiLU of negative values alone is negative, and a convolution may reach further below 0."""
    v = -torch.rand(5000, generator=torch.Generator().manual_seed(3)) * 9 - 0.1
    y = F.silu(v).half().float()
    seen = Seen(Histogram.of(v), Histogram.of(y), (Histogram.of(y),))
    for rule, amax in (
        (ScaleRule("minmax"), -y.min()),
        (ScaleRule("percentile", 0.99), torch.quantile(-y, 0.99)),
        (ScaleRule("percentile-ema", 0.99), torch.quantile(-y, 0.99)),
        (ScaleRule("conv-absmax"), -v.half().float().min()),
    ):
        assert output_scale(rule, seen).scale == as_scale(amax)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9, 0.99999])
def test_percentile_is_the_quantile_of_the_magnitude(alpha):
    assert scale("percentile", alpha) == as_scale(torch.quantile(Y.abs(), alpha))
    if alpha < 0.9:  # where SiLU's negative side still counts
        assert scale("percentile", alpha) != as_scale(torch.quantile(Y, alpha).abs())


def test_percentile_1_is_minmax():
    assert scale("percentile", 1.0) == scale("minmax")


def test_a_silent_layer_gets_the_least_scale():
    zeros = Histogram.of(torch.zeros(10))
    for rule in SYMMETRIC_RULES:
        chosen = output_scale(ScaleRule(rule), Seen(zeros, zeros, (zeros, zeros), 1e-6))
        assert chosen.scale == pytest.approx(1e-6)
    for rule in ASYMMETRIC_RULES:
        chosen = output_scale(ScaleRule(rule, symmetric=False), Seen(zeros, zeros, (zeros,)))
        assert chosen.scale == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observer": "median"}, r"'median'.*percentile, percentile-ema"),
        *(({"alpha": a}, r"alpha is .*0 < alpha <= 1") for a in (0.0, -1.0, 1.5, math.nan)),
        *(({"sigma": s}, r"sigma is .*0 < sigma <= 1") for s in (0.0, -1.0, 1.5, math.nan)),
        *(({"observer": o, "symmetric": False}, "symmetric INT8 alone")
          for o in set(RULES) - set(ASYMMETRIC_RULES)),
        *(({"observer": o}, "asymmetric INT8 alone") for o in set(RULES) - set(SYMMETRIC_RULES)),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ScaleRule(**settings)


# percentile-ema


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("order", [None, 4])
def test_the_moving_average_is_a_loop_over_the_batches_quantiles(sigma, order):
    sequence = batch_order(len(PARTS), order)
    assert sorted(sequence) == list(range(len(PARTS)))
    mean = torch.quantile(PARTS[sequence[0]].abs(), 0.999).item()
    for i in sequence[1:]:
        mean = mean + sigma * (torch.quantile(PARTS[i].abs(), 0.999).item() - mean)
    averaged_scale = scale("percentile-ema", 0.999, sigma=sigma, order=order)
    assert averaged_scale == pytest.approx(mean / 127, rel=1e-6)  # one float32 rounding


def test_the_order_matters_and_a_shuffle_can_be_repeated():
    assert batch_order(10, None) == tuple(range(10))
    assert batch_order(10, 1) == batch_order(10, 1) != batch_order(10, 2)
    assert scale("percentile-ema", order=1) != scale("percentile-ema", order=2)


def test_the_first_batch_keeps_its_weight():
    """The share that section 1 of the subject is about: 86 % after 16, 0.6 % after 512."""
    one = Histogram.of(torch.ones(3))
    for count, expected in ((1, 1.0), (16, 0.86), (512, 0.0059)):
        average = moving_average((one,) * count, ScaleRule("percentile-ema"))
        assert average.weights[0] == pytest.approx(expected, rel=1e-2)
        assert sum(average.weights) == pytest.approx(1)


def test_the_weights_are_those_of_the_mean():
    average = moving_average(SEEN.batches, ScaleRule("percentile-ema", 0.99, 0.2, 5))
    assert np.dot(average.weights, average.quantiles) == pytest.approx(average.final)


def test_a_moving_average_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs the histogram of each batch"):
        moving_average((), ScaleRule("percentile-ema"))


# mse

SHAPES = {
    "silu": Y,
    "heavy tail": F.silu(torch.from_numpy(
        np.random.default_rng(0).standard_t(2, 60_000)).float()).half().float().clamp(-1, 900),
    "one outlier": torch.cat([Y[:5000], torch.tensor([300.0])]),
    "few values": torch.tensor([0.125, 0.25, 0.26, 3.0, -0.2]),
    "one value": torch.full((7,), 0.3).half().float(),
    "subnormal": (torch.rand(500) * 1e-6).half().float(),
}  # fmt: skip


def squared_error(values: np.ndarray, amax: float) -> float:
    return requantize(values, max(np.float32(amax) / np.float32(127), np.float32(1e-6))).noise


@pytest.mark.parametrize("case", SHAPES)
def test_mse_is_as_good_as_brute_force_over_amax(case):
    values = SHAPES[case].double().numpy()
    if len(values) > 10_000:  # a sample keeps the search by hand short
        values = np.random.default_rng(1).choice(values, 4000)
    histogram = Histogram.of(torch.from_numpy(values))
    most = np.abs(values).max()
    tried = np.geomspace(most * 2.0**-12, most, 4000)
    brute = min(squared_error(values, amax) for amax in tried)
    amax = least_error_amax(histogram)
    assert 0 < amax <= most
    # 0.02 dB: between two of brute force's own steps the error dips by as much.
    assert squared_error(values, amax) <= brute * 1.005 + 1e-18


def test_mse_finds_a_bulk_that_lies_far_below_its_outlier():
    """10^10 times each of 200 values below 1, and 16384 once: clipping it costs less than a scale
    of 129, which would make zeros of all the others."""
    values = np.append(np.linspace(0.5, 1, 200).astype(np.float16), 16384).astype(np.float32)
    counts = np.append(np.full(200, 10**10), 1)
    amax = least_error_amax(Histogram(values, counts))
    assert amax == pytest.approx(1, rel=0.02)


def test_mse_looks_closely_at_the_dip_that_it_found():
    """Two values have errors of next to nothing where both are nearly whole multiples."""
    values = np.array([1.619140625, 1.9248046875])
    amaxes = np.geomspace(values.max() / 64, values.max(), 20_000)
    brute = min(squared_error(values, amax) for amax in amaxes)
    amax = least_error_amax(Histogram.of(torch.from_numpy(values)))
    assert squared_error(values, amax) <= 1.2 * brute


# entropy


def tensorrt_threshold(values: np.ndarray) -> float:
    """The definition, line by line: lists and loops, no arrays."""
    magnitudes = [abs(float(v)) for v in values]
    count, most = len(magnitudes), max(magnitudes)
    width = most / 2048
    bins = [0] * 2048
    for magnitude in magnitudes:
        bins[min(int(magnitude / width), 2047)] += 1
    best, least = None, math.inf
    for i in range(128, 2048):
        reference = list(bins[:i])
        reference[i - 1] += sum(bins[i:])
        members = [[] for _ in range(128)]
        for j in range(i):
            members[j * 128 // i].append(j)
        candidate = [0.0] * i
        for level in members:
            filled = [j for j in level if bins[j]]
            mass = sum(bins[j] for j in filled)
            for j in filled:
                candidate[j] = mass / len(filled)
        kept = sum(bins[:i])
        if not kept:
            continue
        p = [n / count for n in reference]
        q = [n / kept for n in candidate]
        if any(a and not b for a, b in zip(p, q, strict=True)):
            continue
        divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)
        if divergence < least - 1e-15:
            best, least = i, divergence
    return (best + 0.5) * width


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_entropy_is_tensorrts_definition(seed):
    generator = np.random.default_rng(seed)
    draw = generator.standard_normal(3000) * 2 if seed else generator.standard_t(4, 3000)
    if seed == 2:  # nothing in the first bins: many thresholds would keep no value at all
        draw = np.abs(draw) / 4 + 1.5
    values = F.silu(torch.from_numpy(draw)).half().float()
    expected = tensorrt_threshold(values.numpy())
    assert entropy_amax(Histogram.of(values)) == pytest.approx(expected, rel=1e-12)


def test_entropy_of_what_fills_too_few_bins_keeps_everything():
    assert entropy_amax(Histogram.of(torch.tensor([0.0, 5.0, 5.0]))) == 5.0


# Asymmetric


def test_a_range_is_spread_over_256_codes():
    assert range_scale(0.0, 255.0) == OutputScale(1.0, -128)
    assert range_scale(-128.0, 127.0) == OutputScale(1.0, 0)
    assert range_scale(-255.0, 0.0) == OutputScale(1.0, 127)
    assert range_scale(3.0, 5.0).zero_point == -128  # widened to hold 0


def test_asymmetric_ends_are_quantiles_of_both_sides():
    chosen = output_scale(ScaleRule("percentile", 0.999, symmetric=False), SEEN)
    low = -torch.quantile(-Y, 0.999).item()
    high = torch.quantile(Y, 0.999).item()
    assert chosen == range_scale(low, high)
    assert output_scale(ScaleRule("minmax", symmetric=False), SEEN) == range_scale(
        Y.min().item(), Y.max().item()
    )
    one = output_scale(ScaleRule("percentile-ema", 0.999, 1.0, symmetric=False), SEEN)
    last = PARTS[-1]  # with σ = 1 only the last batch counts
    assert one == range_scale(
        -torch.quantile(-last, 0.999).item(), torch.quantile(last, 0.999).item()
    )


@pytest.mark.parametrize("case", ["silu", "heavy tail", "few values"])
def test_asymmetric_mse_is_as_good_as_a_grid_over_both_ends(case):
    histogram = Histogram.of(SHAPES[case])
    low, high = min(histogram.min, 0.0), max(histogram.max, 0.0)
    ends = [
        range_scale(low * a, high * b)
        for a in np.linspace(0, 1, 25)
        for b in np.geomspace(2.0**-9, 1, 120)
    ]
    tried = histogram.quantize(
        np.array([e.scale for e in ends]), np.array([e.zero_point for e in ends])
    )
    brute = (tried.rounding_sse + tried.clipping_sse).min()
    best = least_error_range(histogram)
    quantized = histogram.quantize(best.scale, best.zero_point)
    assert quantized.rounding_sse + quantized.clipping_sse <= brute * 1.012 + 1e-15  # 0.05 dB


# Values of α


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


def test_the_alpha_grid_gives_way_to_what_is_asked_for():
    plain = alpha_grid(2_097_152)
    grid = alpha_grid(2_097_152, (0.999931, 0.9995, 1.0))
    assert len(grid) == len(plain) and 0.999931 in grid and 0.9995 in grid
    assert list(grid) == sorted(set(grid))


def test_fine_alphas_have_two_digits_left_out():
    alphas = fine_alphas(10_000)
    assert list(alphas) == sorted(set(alphas)) and alphas[-1] == 1.0
    for alpha in alphas[:-1]:
        digits = f"{1 - alpha:.10e}".split("e")[0]
        assert float(digits) == pytest.approx(round(float(digits), 1), abs=1e-5)
    assert {0.9, 0.9995, 0.99999, 0.9998, 0.99988} <= set(alphas.tolist())
    assert alphas[-3] == 0.9999  # one of 10,000 left out; then come 0.99999 and 1


@pytest.mark.parametrize("order", [None, 1, 2])
def test_the_average_of_known_quantiles_is_the_moving_average(order):
    generator = np.random.default_rng(0)
    values = [generator.standard_normal(500).astype(np.float32) * spread for spread in (1, 2, 5)]
    batches = [Histogram.of(torch.from_numpy(batch)) for batch in values]
    by_hand = [
        float(torch.quantile(torch.from_numpy(batch).half().float().abs(), 0.99))
        for batch in values
    ]
    taken = range(3) if order is None else np.random.default_rng(order).permutation(3)
    mean = by_hand[taken[0]]
    for i in taken[1:]:
        mean = mean + 0.3 * (by_hand[i] - mean)
    average = averaged([batch.abs.quantile(0.99) for batch in batches], 0.3, order)
    assert average.final == pytest.approx(mean, rel=1e-12)
    assert average == moving_average(batches, ScaleRule("percentile-ema", 0.99, 0.3, order))
    with pytest.raises(ValueError, match="there is none"):
        averaged([], 0.3)
