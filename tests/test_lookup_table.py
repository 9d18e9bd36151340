"""The look-up's table against a plain search: the compiled kernel's steps, taken in numpy.

What the table leaves no doubt about must be the code that a search of the specification's y finds;
where there is doubt, the kernel searches. So a table is wrong where it is sure of another code, and
slow where it often doubts.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from kernels.lookup import LEAST, LEAST_AT, MOST_ENTRIES, build_table

RNG = np.random.default_rng(7)


def float_grid(dtype: torch.dtype, patterns: int, greatest: float) -> np.ndarray:
    """Thresholds midway between the values of an 8 bit float, whose greatest is ``greatest``."""
    values = torch.arange(patterns, dtype=torch.uint8).view(dtype).float().numpy()
    both = np.unique(np.concatenate([-values, values]) * greatest / values.max())
    return (both[1:] + both[:-1]) / 2


def quantiles() -> np.ndarray:
    """As an optimal codebook has them: dense where SiLU's outputs are."""
    v = RNG.normal(0, 1.4, 100_000)
    return np.sort(v / (1 + np.exp(-v)))[np.linspace(100, 99_900, 255).astype(int)]


THRESHOLDS = {
    "int8": (np.arange(-127, 128) - 0.5) * 3.1 / 127,
    "asymmetric int8": (np.arange(-127, 128) + 104.5) * 0.0125,
    "int4": (np.arange(-7, 8) - 0.5) * 3.1 / 7,
    "fp8 e4m3": float_grid(torch.float8_e4m3fn, 127, 3.1),
    "fp8 e5m2": float_grid(torch.float8_e5m2, 124, 3.1),
    "quantiles": quantiles(),
    "at the least value": np.array([LEAST, LEAST + 1e-8, LEAST + 1e-4, -0.1]),
    "at zero": np.array([-1e-20, -1e-30, -0.0, 0.0, 1e-30]),
    "equal ones": np.array([-np.inf, -0.1, 0.5, 0.5, 0.5, 7.0, np.inf]),
    "out of reach": np.array([5e3, 1e9, 3e38]),
    "one": np.array([0.25]),
}


def look_up(thresholds: np.ndarray, v: np.ndarray, silu: bool) -> tuple[np.ndarray, np.ndarray]:
    """The codes that the kernel takes from the table for float32 v, and which are in doubt."""
    header, words = build_table(thresholds, silu=silu)
    entries = words[: 4 * header.sixteens].view(np.uint32).reshape(-1, 2)
    assert len(entries) <= MOST_ENTRIES
    share = np.minimum(np.abs(v) * header.shrink, np.float32(1))
    cells = ((share * header.factor).view(np.uint32) >> header.shift) & ~np.uint32(7)
    at = (cells + np.where(v < 0, header.negative, 0)) // 8
    edge, packed = entries[at, 0].copy().view(np.float32), entries[at, 1].copy()
    distance = v - edge
    code = np.where(distance >= 0, packed >> 8, packed).astype(np.uint8).view(np.int8)
    return code, np.abs(distance) < packed.view(np.float32)


def searched(thresholds: np.ndarray, v: np.ndarray, silu: bool) -> np.ndarray:
    y = reference.silu(torch.from_numpy(v)).numpy() if silu else v
    return (np.searchsorted(thresholds, y, side="right") - 128).astype(np.int8)


def values(thresholds: np.ndarray) -> np.ndarray:
    """float32 v: spread evenly and by magnitude, about the least value, and near each threshold."""
    near = thresholds[np.isfinite(thresholds) & (np.abs(thresholds) < 2.0**30)]
    steps = np.arange(-4, 5) * 2.0**-24
    spread = [
        RNG.normal(0, 1.3, 50_000),
        RNG.uniform(-100, 100, 20_000),
        10 ** RNG.uniform(-20, 8, 20_000) * RNG.choice([-1, 1], 20_000),
        LEAST_AT + RNG.normal(0, 1e-3, 20_000),
        np.outer(near, 1 + steps).ravel(),
        np.array([0.0, -0.0]),
    ]
    return np.concatenate(spread).astype(np.float32)


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_code_without_doubt_is_the_one_that_a_search_finds(name, silu):
    thresholds = THRESHOLDS[name].astype(np.float32)
    v = values(thresholds)
    if silu:  # and where SiLU passes a threshold, the float32 about it
        fine = np.linspace(-12, 4, 400_001).astype(np.float32)
        passed = np.flatnonzero(np.diff(searched(thresholds, fine, silu)))
        about = [fine[passed]]
        low, high = fine[passed], fine[passed + 1]
        below = searched(thresholds, low, silu)
        for _ in range(30):
            middle = ((low.astype(np.float64) + high) / 2).astype(np.float32)
            same = searched(thresholds, middle, silu) == below
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        for direction in (-np.inf, np.inf):
            step = low
            for _ in range(6):
                step = np.nextafter(step, np.float32(direction))
                about.append(step)
        v = np.concatenate([v, *about])
    code, doubt = look_up(thresholds, v, silu)
    wrong = (code != searched(thresholds, v, silu)) & ~doubt
    assert not wrong.any(), v[wrong][:5]


@pytest.mark.parametrize("name", ["int8", "asymmetric int8", "int4", "fp8 e4m3", "fp8 e5m2"])
def test_few_values_of_a_usual_format_are_in_doubt(name):
    """In doubt are some 10^-5: a few float32 about each of up to 255 thresholds."""
    thresholds = THRESHOLDS[name].astype(np.float32)
    v = RNG.normal(0, 1.3, 1_000_000).astype(np.float32)
    assert look_up(thresholds, v, silu=True)[1].mean() < 1e-4
    assert not look_up(thresholds, v, silu=False)[1].any()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-(2.0**20), 2.0**20, width=32), min_size=1, max_size=255),
    st.sampled_from([1e-6, 1e-2, 1.0]),
    st.booleans(),
)
def test_any_thresholds(drawn, scale, silu):
    thresholds = np.sort(np.array(drawn) * scale).astype(np.float32)
    v = values(thresholds)
    code, doubt = look_up(thresholds, v, silu)
    assert not ((code != searched(thresholds, v, silu)) & ~doubt).any()
