"""What a number format is, and the register of them all.

A format says which values codes of so many bits stand for. Most are grids that a scale stretches: a
rule of ``dashboard/rules`` chooses an amax, and the scale is amax over the format's greatest value
(``amax_units``), as x_out_scale is amax / 127. Two kinds are not: *asymmetric* integers also have
the code of 0, and *fitted* ones are made of the layer's own values and have no scale.

Each stands in a file of its own in ``dashboard/formats/catalogue``; the command line, tables and
pages read them here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.formats.codebook import Codebook, UnitGrid
from dashboard.refusals import Refusal

DEFAULT_FORMAT = "int8"

# From values (K,) float32 ascending and weights (K,), how often each counts: a codebook of them.
Fit = Callable[[np.ndarray, np.ndarray], Codebook]


@dataclass(frozen=True, eq=False)
class NumberFormat:
    """A number format: what it is called, where it is from, and its points.

    Exactly one of ``grid``, ``wide_grid``, ``asymmetric_grid`` and ``fit`` is there.
    """

    name: str  # as the command line, links and files have it
    label: str  # a ``Message`` where it has words
    help: str  # one line, without a full stop: a ``Message``
    source: str  # paper and place, standard, or what defines it
    bits: int  # that its source gives it, the sign's with them
    # How many of the grid's units the rule's amax is: the greatest value, where clipping begins.
    amax_units: float = 1.0
    grid: UnitGrid | None = None
    # The same where a second scale has a say: from outer scale / scale, at least 1.
    wide_grid: Callable[[float], UnitGrid] | None = None
    # Of integers, from the code of 0: lowest … highest code.
    asymmetric_grid: Callable[[int], UnitGrid] | None = None
    fit: Fit | None = None
    family: str = "integer"  # what it stands with in tables and figures: one of FAMILIES

    @property
    def is_asymmetric(self) -> bool:
        """Whether its zero has a code of its own choice."""
        return self.asymmetric_grid is not None

    @property
    def is_fitted(self) -> bool:
        """Whether it is made of the layer's values, so that there is no scale to choose."""
        return self.fit is not None

    def grid_at(self, zero_point: int = 0, ratio: float = 1.0) -> UnitGrid:
        """Its points in units of its scale.

        Args:
            zero_point: of asymmetric integers alone, one of their codes.
            ratio: outer scale / scale, of those with two.

        Raises ValueError for a fitted format.
        """
        if self.grid is not None:
            return self.grid
        if self.wide_grid is not None:
            return self.wide_grid(ratio)
        if self.asymmetric_grid is not None:
            return self.asymmetric_grid(zero_point)
        raise ValueError(f"{self.name} is made of a layer's values and has no scale")


FAMILIES = ("integer", "float", "log", "quantile", "soft-edge", "optimal")

REGISTERED: dict[
    str, NumberFormat
] = {}  # by name, in the order in which boxes and tables list them


def register(number_format: NumberFormat) -> NumberFormat:
    """Register a format; raises ValueError for a name that is taken, or another family."""
    if number_format.name in REGISTERED:
        raise ValueError(f"a number format named {number_format.name!r} is registered already")
    if number_format.family not in FAMILIES:
        raise ValueError(f"family is {number_format.family!r}; allowed are {FAMILIES}")
    REGISTERED[number_format.name] = number_format
    return number_format


def names() -> Sequence[str]:
    """Of every format, in order."""
    return tuple(REGISTERED)


def format_named(name: str) -> NumberFormat:
    """Raises Refusal for a name that no format has."""
    if name not in REGISTERED:
        raise Refusal(
            "number format is {value}; allowed are {formats}", value=repr(name), formats=names()
        )
    return REGISTERED[name]
