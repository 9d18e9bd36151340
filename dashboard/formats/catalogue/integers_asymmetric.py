"""Asymmetric integers of 4 to 8 bits: equal steps over a range, with the code of 0 moved.

SiLU never goes below −0.2785, so a symmetric scale leaves nearly half of its codes unused; these
spread all of them between a lowest and a highest value, and 0 stays exactly a code (Jacob et al.,
arXiv 1712.05877, equation 1).
"""

from __future__ import annotations

from functools import partial

from dashboard.formats.catalogue.integers import integer_grid
from dashboard.formats.registry import NumberFormat, register
from dashboard.messages import Message

for _bits in (8, 7, 6, 5, 4):
    register(
        NumberFormat(
            f"int{_bits}-asymmetric",
            label=Message("INT{bits} with a zero point", bits=_bits),
            help=Message("equal steps from the lowest value to the highest, 0 among them"),
            source="arXiv 1712.05877, equation 1",
            bits=_bits,
            asymmetric_grid=partial(integer_grid, _bits),
        )
    )
