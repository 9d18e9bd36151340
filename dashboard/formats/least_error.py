"""The points with the least weighted squared error: one-dimensional k-means, solved exactly.

Cells of the best codebook are runs of neighbouring values, so the best j cells of the first i
values end in one last cell after the best j − 1 cells of what is left (Bruce 1965; Wu 1991). With
prefix sums a cell's error takes one subtraction, and where the last cell begins never moves back
as i grows, which is what divide and conquer needs: O(j · K log K) for K values in place of
O(j · K²).

A layer has 5,000 to 30,000 distinct float16 values. Every number of points up to 256 then takes one
to some seconds, with numpy on one core, and all of them come from one run: the whole frontier. No
approximation is made beyond float64's rounding of the sums.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from dashboard.calibration.histogram import prefix_sums


def least_error_points(
    values: np.ndarray, weights: np.ndarray, sizes: Collection[int]
) -> dict[int, np.ndarray]:
    """For each size the best points, (size,) float64 ascending; fewer where there are fewer values.

    Args:
        values: (K,) ascending.
        weights: (K,) at least 0, not all 0; values of weight 0 have no say.
        sizes: how many points, each at least 1.
    """
    has_say = weights > 0
    number, first, _ = prefix_sums(values[has_say], weights[has_say])
    count = int(has_say.sum())
    most = min(max(sizes), count)
    begins = _last_cells(number, first, most)
    points = {}
    for size in sizes:
        ends = [count]
        for layer in range(min(size, count) - 1, 0, -1):
            ends.append(int(begins[layer - 1][ends[-1]]))
        edges = np.array([0, *ends[::-1]])
        points[size] = np.diff(first[edges]) / np.diff(number[edges])
    return points


def _last_cells(number: np.ndarray, first: np.ndarray, most: int) -> np.ndarray:
    """Where the last of 2 … ``most`` cells of the first i values begins: (most − 1, K + 1) int32.

    Args:
        number, first: Σ w and Σ w·v before an index, (K + 1,).

    The error of a cell is Σ w·v² − (Σ w·v)² / Σ w, and the first term is the same however values
    are divided: the sum of the second is made greatest.
    """
    count = len(number) - 1
    gain = np.zeros(count + 1)
    gain[1:] = first[1:] ** 2 / number[1:]
    begins = np.zeros((max(most - 1, 0), count + 1), np.int32)
    last = np.zeros(count + 1, np.int64)
    for layer in range(1, most):  # that many cells come before the last
        gain, last = _one_more(number, first, gain, last, layer)
        begins[layer - 1] = last
    return begins


def _one_more(
    number: np.ndarray, first: np.ndarray, gain: np.ndarray, last: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """From the best of ``cells`` cells to that of one more: gains and where the last cell begins.

    Both (K + 1,), with entries for i > ``cells`` values. The last cell of one more begins no
    earlier than that of one fewer, and no earlier than for a shorter prefix.
    """
    count = len(number) - 1
    begin = np.full(count + 2, 0, np.int64)
    best = np.full(count + 1, -np.inf)
    begin[: cells + 1] = cells  # each cell before the last has one value at least
    begin[count + 1] = count - 1
    stride = 1 << max(int(count).bit_length() - 1, 0)
    while stride >= 1:
        i = np.arange(stride, count + 1, 2 * stride)
        i = i[i > cells]
        if len(i):
            right = np.minimum(i + stride, count + 1)
            least = np.maximum(begin[i - stride], last[i])
            most = np.minimum(begin[right], i - 1)
            best[i], begin[i] = _best_of(number, first, gain, i, least, most)
        stride >>= 1
    return best, begin[: count + 1]


def _best_of(
    number: np.ndarray,
    first: np.ndarray,
    gain: np.ndarray,
    i: np.ndarray,
    least: np.ndarray,
    most: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """For each prefix i the best beginning of its last cell, ``least`` … ``most``."""
    lengths = most - least + 1
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    candidate = np.arange(int(lengths.sum())) + np.repeat(least - starts, lengths)
    mass = np.repeat(first[i], lengths) - first[candidate]
    total = gain[candidate] + mass * mass / (np.repeat(number[i], lengths) - number[candidate])
    best = np.maximum.reduceat(total, starts)
    hits = np.flatnonzero(total == np.repeat(best, lengths))
    return best, candidate[hits[np.searchsorted(hits, starts)]]
