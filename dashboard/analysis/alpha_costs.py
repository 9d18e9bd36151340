"""What every α costs some layers: predicted for all of them, measured at a few.

One α is given to all slices of the layers, as a percentile rule gives it. The α that SQNR calls
best and the one with the least predicted cost are both named, and both are measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.impact import Impact
from dashboard.analysis.measurements import Measurements, Setting
from dashboard.rules.landscape import Landscape, recommend
from dashboard.rules.observers import PUBLISHED_ALPHAS, ScaleRule

MEASURED = (0.9, 0.99, 0.999, *PUBLISHED_ALPHAS, 0.9999, 0.999999, 1.0)


@dataclass(frozen=True, eq=False)
class AlphaCosts:
    """Some layers at every α.

    ``alphas`` (A,) ascending, the last is 1; ``predicted_nats`` (A,), None where no gradients were
    counted; ``measured`` by α, None where nothing was measured yet.
    """

    layers: tuple[int, ...]
    symmetric: bool
    alphas: np.ndarray
    predicted_nats: np.ndarray | None
    measured: Mapping[float, Impact | None]
    best_by_sqnr: float
    best_by_loss: float | None

    def predicted_at(self, alpha: float) -> float | None:
        """At one of ``alphas``."""
        if self.predicted_nats is None:
            return None
        return float(self.predicted_nats[int(np.searchsorted(self.alphas, alpha))])

    @property
    def known(self) -> dict[float, Impact]:
        """What was measured, by α ascending."""
        return {
            alpha: impact for alpha, impact in sorted(self.measured.items()) if impact is not None
        }


@dataclass(frozen=True, eq=False)
class AlphaLandscape:
    """The same before anything is measured: from the counts alone."""

    layers: tuple[int, ...]
    symmetric: bool
    alphas: np.ndarray
    predicted_nats: np.ndarray | None
    best_by_sqnr: float
    best_by_loss: float | None

    def settings(self) -> dict[float, Setting]:
        """What is worth measuring, by α: round ones, and both bests."""
        tried = {*MEASURED, self.best_by_sqnr, self.best_by_loss or self.best_by_sqnr}
        return {
            alpha: Setting(ScaleRule("percentile", alpha, symmetric=self.symmetric), self.layers)
            for alpha in sorted(tried & set(self.alphas.tolist()))
        }

    def with_measured(self, measurements: Measurements) -> AlphaCosts:
        """The same with what was measured of its settings so far."""
        return AlphaCosts(
            self.layers,
            self.symmetric,
            self.alphas,
            self.predicted_nats if measurements.mode == "output" else None,
            {alpha: measurements.impact(entry) for alpha, entry in self.settings().items()},
            self.best_by_sqnr,
            self.best_by_loss if measurements.mode == "output" else None,
        )


def alpha_landscape(
    by_sqnr: Mapping[tuple[int, str], Landscape], by_loss: Mapping[tuple[int, str], Landscape]
) -> AlphaLandscape:
    """Of some layers' slices, each tried at its own α; those that all tried are kept.

    Args:
        by_sqnr: by (layer, slice), going by "sqnr_db".
        by_loss: the same slices going by "predicted_nats"; empty where no gradients were counted.
    """
    landscapes = list(by_sqnr.values())
    shared = set.intersection(*(set(landscape.alphas.tolist()) for landscape in landscapes))
    alphas = np.array(sorted(shared))
    predicted = None
    if by_loss:
        predicted = np.zeros(len(alphas))
        for landscape in by_loss.values():
            assert landscape.predicted_nats is not None  # it goes by it
            predicted = predicted + landscape.predicted_nats[_places(landscape, alphas)]
    return AlphaLandscape(
        tuple(sorted({layer for layer, _ in by_sqnr})),
        landscapes[0].symmetric,
        alphas,
        predicted,
        recommend(by_sqnr).alpha,
        recommend(by_loss).alpha if by_loss else None,
    )


def _places(landscape: Landscape, alphas: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.searchsorted(landscape.alphas, alphas)
