"""A few α for all layers of a model: what each loses in SQNR, and what it costs in nats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dashboard.analysis.impact import Impact, kl_difference


@dataclass(frozen=True, eq=False)
class LossOverAlpha:
    """Some α for all layers of a model; entry i everywhere belongs to ``alphas[i]``, ascending."""

    alphas: tuple[float, ...]
    lost_db: tuple[float, ...]  # SQNR against each layer's own best α, on average
    impacts: tuple[Impact, ...]  # with the outputs of all layers in INT8

    @property
    def quiet_from(self) -> float | None:
        """The least α from which on the loss moves within its error; None if at 1 it does not."""
        quiet = None
        for alpha, impact in reversed(list(zip(self.alphas, self.impacts, strict=True))):
            if not impact.delta_nats.is_noise:
                break
            quiet = alpha
        return quiet

    @property
    def least(self) -> int:
        """Where the KL is least."""
        return int(np.argmin([impact.kl_nats.mean for impact in self.impacts]))

    def is_least(self, index: int) -> bool:
        """Whether an α costs least, or cannot be told from the one that does."""
        best = self.impacts[self.least]
        return index == self.least or kl_difference(self.impacts[index], best).is_noise
