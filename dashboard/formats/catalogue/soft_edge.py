"""The soft edge of Quamba-SE: finer steps for small values, coarser ones for large, in one grid.

Chen and Hemani, "Quamba-SE: Soft-edge Quantizer for Activations in State Space Models", arXiv
2601.09451, is a page of method; what its variants do is in its repository, github.com/798253405/
Quamba-SE at commit f4d350a, ``quamba/qMambaLayer.py``, and its descriptions in
``quamba/mode_config.py``. Each is a function of the value alone, with s the percentile's scale:

    soft-edge-half            |round(y/s)| < 64 in steps of s/2, the rest of s       (mode 6-3)
    soft-edge-quarter         |round(y/s)| < 32 in steps of s/4, the rest of s       (mode 5-4)
    soft-edge-double          |round(y/s)| > 127 in steps of 2 s                     (mode 5-3)
    soft-edge-minmax          |round(y/s)| > 127 in steps of max|y| / 127            (mode 6-4)
    soft-edge-quarter-log2    |y| <= 8 s in steps of s/4, else 8 s + 2^k s/4         (mode 5-6)
    soft-edge-three-segments  |y| <= 15.75 s in steps of s/4, to 143 s of s, to 395 s of 4 s (5-7)

Mode 5-3 says "outlier: 2x scale"; its code takes the largest value of each call in its place, which
is soft-edge-minmax with a scale that changes from batch to batch. Where a variant does not send a
value to its nearest point (the logarithm is rounded down), neither does the codebook here. All but
soft-edge-quarter-log2 need more than eight bits once both signs are counted (``Codebook.size``).
"""

from __future__ import annotations

import numpy as np

from dashboard.formats.codebook import UnitGrid
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message

POWERS = 41  # of the logarithmic part: 2^40 steps lie beyond float16 at any scale of a rule


def piecewise(pieces: list[tuple[np.ndarray, np.ndarray]], last: float) -> UnitGrid:
    """Both signs of a grid of magnitudes; the lowest code mirrors the highest.

    Args:
        pieces: points > 0 in units of s, ascending over all, and where each one's cell begins; a
            magnitude at the beginning of a cell is in it.
        last: where the range ends.
    """
    points = np.concatenate([own for own, _ in pieces])
    begins = np.concatenate([own for _, own in pieces])
    boundaries = np.concatenate([[-last], -begins[::-1], begins, [last]])
    wide = np.concatenate([-points[::-1], [0.0], points])
    return UnitGrid(wide, boundaries.astype(np.float32).astype(np.float64), boundaries > 0)


def uniform(first: int, final: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points step · (first … final), each cell beginning half a step before its point."""
    numbers = np.arange(first, final + 1)
    return numbers * step, (numbers - 0.5) * step


def fine_inside(limit: int, parts: int) -> UnitGrid:
    """Steps of 1/parts where |round(y/s)| < limit, else of 1, −128 … 127 as INT8's.

    The fine steps end where the rounding to whole ones does, at limit − ½.
    """
    fine = uniform(1, parts * limit - 1, 1 / parts)
    reached = fine[1] < limit - 0.5
    coarse, begins = uniform(limit, 127, 1.0)
    grid = piecewise([(fine[0][reached], fine[1][reached]), (coarse, begins)], 127.5)
    # The lowest code, −128: below −127.5 begins another cell, a step wide.
    return UnitGrid(
        np.concatenate([[-128.0], grid.points]),
        np.concatenate([[-128.5], grid.boundaries]),
        np.concatenate([[False], grid.ties_up]),
    )


def coarse_outside(ratio: float) -> UnitGrid:
    """INT8's steps to 127, then multiples of ratio · s, to −128 and 127 of those."""
    inner = uniform(1, 127, 1.0)
    low, high = (_outer(ratio, most) for most in (128, 127))
    points = np.concatenate([-low[0][::-1], -inner[0][::-1], [0.0], inner[0], high[0]])
    begins = np.concatenate([-low[1][::-1], -inner[1][::-1], inner[1], high[1]])
    ends = -(128.5 * max(ratio, 1.0)), 127.5 * max(ratio, 1.0)
    boundaries = np.concatenate([[ends[0]], begins, [ends[1]]])
    return UnitGrid(points, boundaries.astype(np.float32).astype(np.float64), boundaries > 0)


def _outer(ratio: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Points beyond 127 and where their cells begin, the first at 127.5, where the inner ones end.

    Rounding in steps of ratio can bring a value beyond 127.5 back to 127 or below: such points are
    another's, or would turn the order around, and their values go to the next one above.
    """
    numbers = np.arange(1, most + 1)
    points, begins = numbers * ratio, (numbers - 0.5) * ratio
    beyond = (points > 127) & (begins + ratio > 127.5)
    points, begins = points[beyond], np.maximum(begins[beyond], 127.5)
    if len(begins):
        begins[0] = 127.5
    return points, begins


def three_segments() -> UnitGrid:
    """63 quarters, whole ones from 16 to 143, then fours to 395; segments bound their cells."""
    fine = uniform(1, 63, 0.25)
    middle, begins = uniform(16, 143, 1.0)
    # What is just above 15.75, in float32, is no longer fine, and becomes 16.
    begins[0] = np.nextafter(np.float32(15.75), np.float32(16))
    outer = 143 + 4.0 * np.arange(1, 64)
    return piecewise([fine, (middle, begins), (outer, outer - 2.0)], 397.0)


def quarter_log2() -> UnitGrid:
    """Quarters to 8, then 8 + 2^k / 4 with k rounded down, so that a cell begins at its point."""
    fine = uniform(1, 32, 0.25)
    beyond = 8 + 2.0 ** np.arange(POWERS) / 4
    begins = beyond.copy()
    begins[0] = np.nextafter(np.float32(8), np.float32(9))  # k is at least 0
    return piecewise([fine, (beyond, begins)], 2 * float(beyond[-1]))


def _variant(name: str, label: str, help: str, mode: str, **points: object) -> None:
    register(
        NumberFormat(
            f"soft-edge-{name}",
            label=label,
            help=help,
            source=f"arXiv 2601.09451; mode {mode} of its quamba/qMambaLayer.py",
            bits=8,
            amax_units=127.0,
            family="soft-edge",
            **points,  # type: ignore[arg-type] # ``grid`` or ``wide_grid``
        )
    )


_variant(
    "half",
    Message("Soft edge, half steps"),
    Message("half steps for small values, else INT8's"),
    "6-3",
    grid=fine_inside(64, 2),
)
_variant(
    "quarter",
    Message("Soft edge, quarter steps"),
    Message("quarter steps for small values, else INT8's"),
    "5-4",
    grid=fine_inside(32, 4),
)
_variant(
    "double",
    Message("Soft edge, double steps outside"),
    Message("INT8's steps, and double ones beyond the percentile"),
    "5-3",
    grid=coarse_outside(2.0),
)
_variant(
    "minmax",
    Message("Soft edge, MinMax outside"),
    Message("INT8's steps, and MinMax's beyond the percentile"),
    "6-4",
    wide_grid=coarse_outside,
)
_variant(
    "quarter-log2",
    Message("Soft edge, quarter steps and powers of two"),
    Message("quarter steps for small values, powers of two beyond"),
    "5-6",
    grid=quarter_log2(),
)
_variant(
    "three-segments",
    Message("Soft edge, three segments"),
    Message("quarter, whole and fourfold steps"),
    "5-7",
    grid=three_segments(),
)
