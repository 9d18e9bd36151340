"""The sheet that a drawing which is not yet a plotly figure is drawn on, and its panels.

A figure is a ``Sheet``: areas, lines and text in shares of its width and height, on which a
``Panel`` places its data. It knows neither the browser nor the theme; the page draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from dashboard.figures.theme import (
    PALETTES,
    count_height,
    count_ticks,
    nice_ticks,
    spread,
    steps,
)

__all__ = [
    "PALETTES",
    "Panel",
    "Sheet",
    "count_height",
    "count_ticks",
    "nice_ticks",
    "spread",
    "steps",
]


@dataclass(frozen=True)
class Panel:
    """A part of the sheet with data coordinates of its own; ends of an axis may be reversed."""

    left: float
    right: float
    bottom: float
    top: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @overload
    def x(self, value: float) -> float: ...
    @overload
    def x(self, value: Sequence[float] | np.ndarray) -> np.ndarray: ...
    def x(self, value: float | Sequence[float] | np.ndarray) -> float | np.ndarray:
        """Data to share of the sheet's width."""
        low, high = self.x_range
        return self.left + (np.asarray(value) - low) / (high - low) * (self.right - self.left)

    @overload
    def y(self, value: float) -> float: ...
    @overload
    def y(self, value: Sequence[float] | np.ndarray) -> np.ndarray: ...
    def y(self, value: float | Sequence[float] | np.ndarray) -> float | np.ndarray:
        """Data to share of the sheet's height."""
        low, high = self.y_range
        return self.bottom + (np.asarray(value) - low) / (high - low) * (self.top - self.bottom)


class Sheet:
    """A drawing in shares of the width and height, (0, 0) at the bottom left.

    Areas lie below lines, lines below text; within each, what is drawn first lies lowest. Colours
    are named by concept, as in ``PALETTES``: the page knows whether it is light or dark.
    """

    def __init__(self, height: int, alt: str) -> None:
        """``height`` in px; ``alt`` says what the drawing shows to whoever cannot see it."""
        self.height = height
        self.alt = alt
        self._areas: list[dict] = []
        self._lines: list[dict] = []
        self._texts: list[dict] = []
        self._hovers: list[dict] = []
        self._picks: list[dict] = []

    def area(self, x: ArrayLike, y: ArrayLike, colour: str, opacity: float = 0.85) -> None:
        """A filled polygon, without an outline."""
        self._areas.append({**_points(x, y), "colour": colour, "opacity": opacity})

    def hatch(self, x: ArrayLike, y: ArrayLike, colour: str) -> None:
        """A hatched polygon."""
        self._areas.append({**_points(x, y), "colour": colour, "hatched": True})

    def line(
        self, x: ArrayLike, y: ArrayLike, colour: str, width: float = 1, dash: str = ""
    ) -> None:
        """A polyline; ``width`` in px, ``dash`` as in SVG: px drawn and px left out."""
        self._lines.append({**_points(x, y), "colour": colour, "width": width, "dash": dash})

    def dot(self, x: float, y: float, colour: str, size: float) -> None:
        """A disc with a rim in the page's colour; ``size`` is its diameter in px."""
        self._lines.append({**_points([x, x], [y, y]), "colour": "page", "width": size + 3})
        self._lines.append({**_points([x, x], [y, y]), "colour": colour, "width": size})

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: str = "muted",
        anchor: str = "middle center",
        size: float = 12.5,
        bold: bool = False,
        halo: str = "",
    ) -> None:
        """A label, lines parted by a line feed.

        ``anchor`` says where it stands as seen from (x, y): "middle right", "top center"; ``size``
        in px; ``halo`` is the colour of a ground that keeps it legible upon anything.
        """
        vertical, horizontal = anchor.split()
        self._texts.append(
            {
                **_points([x], [y]),
                "text": text,
                "colour": colour,
                "vertical": vertical,
                "horizontal": horizontal,
                "size": size,
                "bold": bold,
                "halo": halo,
            }
        )

    def hover(self, x: ArrayLike, y: float, text: str) -> None:
        """What the pointer is told near (x, y), or near any x between two."""
        ends = np.broadcast_to(x, 2)
        self._hovers.append({**_points(ends, [y, y]), "text": text})

    def pick(
        self,
        x: tuple[float, float],
        value: int,
        label: str,
        y: tuple[float, float] = (0.0, 1.0),
        by_key: bool = True,
    ) -> None:
        """A rectangle that answers a click with ``value``, and says ``label`` to a screen reader.

        ``by_key`` makes it a stop of the tabulator key: not where another control does the same.
        """
        self._picks.append({**_points(x, y), "value": value, "label": label, "by_key": by_key})

    def as_dict(self) -> dict:
        """Numbers and names alone, for whatever draws it."""
        return {
            "height": self.height,
            "alt": self.alt,
            "areas": self._areas,
            "lines": self._lines,
            "texts": self._texts,
            "hovers": self._hovers,
            "picks": self._picks,
        }

    def _repr_html_(self) -> str:
        """How a notebook shows it: as SVG on a light ground, as wide as its cell at most."""
        from dashboard.figures.svg import to_svg  # which draws what is defined here

        return to_svg(self, 1040).replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)


def _points(x: ArrayLike, y: ArrayLike) -> dict:
    """Coordinates to a hundredth of a pixel."""
    return {
        name: np.round(np.asarray(values, dtype=np.float64), 5).tolist()
        for name, values in (("x", x), ("y", y))
    }
