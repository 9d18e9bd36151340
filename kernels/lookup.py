"""A look-up's table: which code a value before the activation gets, without the activation.

A code is how many of a format's thresholds are not above y. y is a function of v alone, and one
whose course is known: SiLU falls to its least value, -0.2785 at v = -1.2785, and rises from there.
So every threshold on y is one on v, or two, one to each side, and a code is decided on v: neither
exp nor a division is needed. ``kernels.compiled`` does so with one load for a value:

    cell     where |v| lies, linear up to V0 and by the leading bits of the float beyond, once for
             each sign: the upper bits of |v| times a power of two that makes V0 the least normal
             float32. What is smaller counts evenly, what is larger by binades.
    entry    a float32 on the v axis, the code below it, the code from it on, and how near it a
             value is in doubt

**Exact.** The specification's y is within 3 units of 2^-24 of SiLU(v), relative. So a threshold is
passed for certain, or for certain not, unless SiLU(v) is within ``SLACK`` of it; an entry's float
stands in the middle of the v for which it is. A value in doubt is computed as the specification
says and sought among the thresholds themselves. Where several thresholds share a cell, all that
lies between them is in doubt, so that any thresholds are right, and ordinary ones are fast. Without
an activation y is v, and nothing is in doubt.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels.int8 import QMIN
from kernels.remembered import recall, remember

STEPS = 8  # of a search that halves 255 thresholds
SLACK = 5 * 2.0**-24  # relative; the specification's three roundings, and room
MOST_ENTRIES = 2048  # 16 KiB of a multiprocessor's shared memory for a program
BLUR = 2.0**-21  # relative; by what rounding may move a value over the edge of its cell
MOST_V = 2.0**31  # beyond any |v| of ordinary scales

LEAST_AT = -1.2784645427610738  # SiLU's least value is here
LEAST = LEAST_AT / (1.0 + math.exp(-LEAST_AT))
FAR = -60.0  # from here down SiLU is nearer to 0 than NEAR_ZERO
NEAR_ZERO = -1e-24


def padded(thresholds: Tensor) -> Tensor:
    """float32 (T,) -> (2^n - 1,), T < 2^n, those that lack infinite: for a search of n steps."""

    table = recall(thresholds, "padded")
    if table is None:
        table = thresholds.new_full((2 ** len(thresholds).bit_length() - 1,), float("inf"))
        table[: len(thresholds)] = thresholds
        remember(thresholds, "padded", table)
    return table


class Header(NamedTuple):
    """A table's first words, 32 bits each: how the entries are found."""

    shrink: np.float32  # times |v|, and no more than 1
    factor: np.float32  # times that, which makes it a float32 whose upper bits are the cell
    shift: int  # by so many bits to the right, to be a cell's bytes
    negative: int  # bytes from the entries of positive values to those of negative ones
    sixteens: int  # 16 bytes so many times are all entries
    reserved: int = 0  # so that entries begin at a multiple of 16 bytes
    reserved_2: int = 0
    reserved_3: int = 0


def table_for(thresholds: Tensor, *, silu: bool) -> Tensor:
    """The table of thresholds, made once: int32, a header, the entries, then 255 thresholds.

    Args:
        thresholds: float32 (T,), ascending, T at most 255.
        silu: whether y is SiLU(v), else v.
    """

    purpose = f"table, silu={silu}"
    table = recall(thresholds, purpose)
    if table is None:
        header, words = build_table(thresholds.cpu().numpy(), silu=silu)
        floats, whole = np.array(header[:2], np.float32), np.array(header[2:], np.int32)
        memory = np.concatenate([floats.view(np.int32), whole, words])
        table = torch.from_numpy(memory).to(thresholds.device)
        remember(thresholds, purpose, table)
    return table


def build_table(thresholds: np.ndarray, *, silu: bool) -> tuple[Header, np.ndarray]:
    """``table_for`` on the host: its header, and the words that follow.

    An entry has two words: the float32 on the v axis, and the float32 that is compared with the
    distance from it, its lowest byte the code below, the next the code from there on.
    """
    steps = _steps_on_v(np.asarray(thresholds, np.float64), silu=silu)
    grid = _best_grid(steps)
    header = Header(
        np.float32(1 / grid.limit),
        np.float32(grid.limit * 2.0 ** (-126 - grid.linear)),
        shift=23 - grid.bits - 3,
        negative=8 * grid.cells,
        sixteens=grid.cells,
    )
    search = np.full(2**STEPS - 1, np.inf, np.float32)
    search[: len(thresholds)] = thresholds
    words = [_entries(steps, grid).ravel(), search.view(np.uint32)]
    return header, np.concatenate(words).view(np.int32)


class _Steps(NamedTuple):
    """Where the code changes along v, ascending: float64 intervals that a change lies in."""

    low: np.ndarray
    high: np.ndarray
    codes: np.ndarray  # int64, one more than intervals: before the first, and after each
    scale: float  # of the values that the thresholds are for


def _steps_on_v(thresholds: np.ndarray, *, silu: bool) -> _Steps:
    finite = thresholds[np.isfinite(thresholds)]
    always = int((thresholds == -np.inf).sum())
    scale = max(float(np.abs(finite).max(initial=0.0)) / 4, 1e-3)
    if not silu:
        return _Steps(finite, finite, always + np.arange(len(finite) + 1), scale)
    slack = SLACK * np.abs(finite)
    above, below = finite + slack, finite - slack
    always += int((above < LEAST).sum())
    at_least = (above >= LEAST) & (below <= LEAST)  # the least value may or may not pass these
    rising = below > LEAST
    low, high, change = [], [], []
    falling = rising & (finite < NEAR_ZERO)
    if (rising & (finite >= NEAR_ZERO) & (finite <= 0)).any():  # passed where y vanishes, far down
        low, high = [-np.inf], [FAR]
        change = [-int((rising & (finite >= NEAR_ZERO) & (finite <= 0)).sum())]
    order = np.flatnonzero(falling)[::-1]
    low += list(_inverse(above[order], rises=False))
    high += list(_inverse(below[order], rises=False))
    change += [-1] * len(order)
    if at_least.any():
        end = above[at_least][-1:]
        low += list(_inverse(end, rises=False))
        high += list(_inverse(end, rises=True))
        change.append(0)
    low += list(_inverse(below[rising], rises=True))
    high += list(_inverse(above[rising], rises=True))
    change += [1] * int(rising.sum())
    # What is passed both far down, where y falls from 0, and near the least value: all but these.
    first = always + int(at_least.sum()) + int((rising & (finite <= 0)).sum())
    codes = first + np.concatenate([[0], np.cumsum(change)]).astype(np.int64)
    return _Steps(np.array(low, np.float64), np.array(high, np.float64), codes, scale)


def _inverse(values: np.ndarray, *, rises: bool) -> np.ndarray:
    """The v on one side of SiLU's least value where SiLU is each of the values, float64."""
    values = np.maximum(values, LEAST)
    low = np.full_like(values, LEAST_AT if rises else 2 * FAR)
    high = np.maximum(values, 0.0) + 0.3 if rises else np.full_like(values, LEAST_AT)
    for _ in range(64):
        middle = (low + high) / 2
        up = (_silu(middle) < values) == rises
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    v = (low + high) / 2
    if rises:  # near 0 halving is exact to a difference only: Newton's steps make it a ratio
        near = np.abs(values) < 0.1
        for _ in range(3):
            sigmoid = 1 / (1 + np.exp(-v))
            v = np.where(near, v - (v * sigmoid - values) / (sigmoid * (1 + v * (1 - sigmoid))), v)
    return v


def _silu(v: np.ndarray) -> np.ndarray:
    return v / (1 + np.exp(-v))


class _Grid(NamedTuple):
    """Cells of |v|: 2^bits from 0 to 2^linear, and as many in each binade from there on."""

    linear: int
    bits: int
    limit: float  # what is larger is in the last cell, too

    @property
    def cells(self) -> int:
        """Of one sign."""
        return 1 + (int(self._key(np.array(self.limit * (1 + BLUR)))) >> (23 - self.bits))

    def cells_of(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last cell that v from ``low`` to ``high`` may be in; float64.

        Cells are numbered in the order of v: 0, 1, … upwards from 0 and -1, -2, … downwards.
        """
        return self._cell(low - BLUR * np.abs(low)), self._cell(high + BLUR * np.abs(high))

    def _cell(self, v: np.ndarray) -> np.ndarray:
        cell = self._key(np.minimum(np.abs(v), self.limit * (1 + BLUR))) >> (23 - self.bits)
        return np.where(v < 0, -1 - cell, cell)

    def _key(self, size: np.ndarray) -> np.ndarray:
        """The bits of the float32 that a |v| becomes times 2^(-126 - linear)."""
        size = size / 2.0**self.linear
        binade = np.floor(np.log2(np.maximum(size, 1.0)))
        beyond = (binade + 1) * 2.0**23 + np.rint((size / 2.0**binade - 1) * 2.0**23)
        return np.where(size < 1, np.rint(size * 2.0**23), beyond).astype(np.int64)


def _best_grid(steps: _Steps) -> _Grid:
    """The one that leaves the fewest values in doubt; of like ones, the smallest."""
    ends = np.abs(np.concatenate([steps.low, steps.high]))
    limit = float(np.clip(ends[np.isfinite(ends)].max(initial=0.0) * 1.001, 2.0**-20, MOST_V))
    top = math.ceil(math.log2(limit))
    grids = [
        _Grid(linear, bits, limit)
        for linear in range(top, max(top - 40, -26), -1)
        for bits in range(2, 11)
    ]
    fitting = [grid for grid in grids if 2 * grid.cells <= MOST_ENTRIES]

    # A value in doubt keeps a warp's 512 waiting, for longer than these take.
    def cost(grid: _Grid) -> float:
        return 800 * _share_in_doubt(steps, grid) + grid.cells / 50_000

    return min(fitting, key=cost)


def _share_in_doubt(steps: _Steps, grid: _Grid) -> float:
    """Of values that lie about 0 as a Laplace distribution of the thresholds' scale has them."""
    if not len(steps.low):
        return 0.0
    first, last = grid.cells_of(steps.low, steps.high)
    # Neighbours that meet in a cell are in doubt from the one's beginning to the other's end.
    joined = np.concatenate([[True], first[1:] > last[:-1]])
    starts = np.flatnonzero(joined)
    ends = np.concatenate([starts[1:], [len(first)]]) - 1
    low, high = steps.low[starts], steps.high[ends]

    def below(v: np.ndarray) -> np.ndarray:
        half = np.exp(-np.abs(v) / steps.scale) / 2
        return np.where(v < 0, half, 1 - half)

    return float((below(high) - below(low)).sum())


def _entries(steps: _Steps, grid: _Grid) -> np.ndarray:
    """uint32 (2 · cells, 2): positive values' cells, then negative ones', from 0 outwards."""
    cells = np.arange(-grid.cells, grid.cells)
    first, last = grid.cells_of(steps.low, steps.high)
    # Of a cell: the steps before it, and those before its end; between, those that touch it.
    before = np.searchsorted(last, cells, side="left")
    passed = np.searchsorted(first, cells, side="right")
    touched = passed > before
    codes = steps.codes + QMIN
    one = np.minimum(before, max(len(steps.low) - 1, 0))
    other = np.maximum(passed - 1, 0)
    at = np.full(len(cells), -np.inf, np.float32)
    reach = np.full(len(cells), -0.0, np.float32)
    if len(steps.low):
        low = np.maximum(steps.low[one], -2 * MOST_V)  # from what was infinite
        high = steps.high[other]
        middle = ((low + high) / 2).astype(np.float32)
        half = np.maximum(high - middle, middle - low) * (1 + 2.0**-10)
        exact = low == high
        at = np.where(touched, middle, at)
        reach = np.where(touched & ~exact, half, reach).astype(np.float32)
    # Rounded up to the 16 bits that the codes leave; what has no doubt is below every distance.
    bits = reach.view(np.uint32)
    upper = np.where(np.signbit(reach), bits, (bits + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000))
    low_code = (codes[before] & 0xFF).astype(np.uint32)
    high_code = (codes[passed] & 0xFF).astype(np.uint32)
    entries = np.stack([at.view(np.uint32), upper | high_code << 8 | low_code], axis=1)
    return np.concatenate([entries[grid.cells :], entries[: grid.cells][::-1]]).astype(np.uint32)
