"""Every α of an axis answered beforehand: what lets a page follow a hand without asking a server.

A cut line that is dragged passes over a hundred values of α in a second. None of them is computed
then: each is one entry of a table, made by the function that answers when a single α is asked for
(``report_scale``), so that what is seen while a line moves is what will stand there when it rests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.analysis.report import ScaleReport, SliceReport, report_scale, report_slice
from dashboard.calibration import SliceCalibration
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import ScaleRule


@dataclass(frozen=True, eq=False)
class Answers:
    """What each α makes of one slice by "percentile": entry i everywhere belongs to ``alphas[i]``.

    All scales are symmetric, or all are not.
    """

    alphas: tuple[float, ...]  # ascending
    symmetric: bool
    reports: tuple[SliceReport, ...]

    @property
    def scales(self) -> tuple[ScaleReport, ...]:
        """The scale of each α, with what it makes of the output."""
        return tuple(report.chosen for report in self.reports)

    def agrees(self, scale: ScaleReport) -> bool:
        """Whether a scale that was computed now is the one that the table has, in all numbers.

        Raises ValueError for a scale of an α that the table lacks.
        """
        if scale.rule.alpha not in self.alphas:
            raise ValueError(f"alpha {scale.rule.alpha} is none of the {len(self.alphas)} answers")
        known = self.scales[self.alphas.index(scale.rule.alpha)]
        return (
            known.x_out_scale == scale.x_out_scale
            and known.zero_point == scale.zero_point
            and np.array_equal(known.output.code_counts, scale.output.code_counts)
            and float(known.output.sqnr_db) == float(scale.output.sqnr_db)
        )


def answer_all(calibration: SliceCalibration, alphas: Sequence[float], symmetric: bool) -> Answers:
    """The percentile's scale for every α of an axis, and what it does to a slice's output."""
    rules = [ScaleRule("percentile", alpha, symmetric=symmetric) for alpha in alphas]
    reports = tuple(report_slice(calibration, report_scale(calibration, rule)) for rule in rules)
    return Answers(tuple(alphas), symmetric, reports)


def cuts_and_gains(
    landscape: Landscape, calibration: SliceCalibration, alphas: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Where each α cuts another layer's output, and what that layer's best α has over it.

    Returns:
        (A,) float64 each: the value of code 127; what ``gain_db`` gives, or ``saved_share`` where
        the landscape goes by predicted loss.
    """
    places = np.searchsorted(landscape.alphas, alphas)
    known = landscape.alphas[np.minimum(places, len(landscape.alphas) - 1)] == alphas
    by_loss = landscape.by == "predicted_nats"
    cuts, merit = np.empty(len(alphas)), np.empty(len(alphas))
    tried = landscape.predicted_nats if by_loss else landscape.sqnr_db
    assert tried is not None
    for i, alpha in enumerate(alphas):
        if known[i]:
            zero_point = int(landscape.output.zero_point[places[i]])
            cuts[i] = (127 - zero_point) * landscape.scales[places[i]]
            merit[i] = tried[places[i]]
        else:  # asked for by a link, between those that a landscape tries
            rule = ScaleRule("percentile", alpha, symmetric=landscape.symmetric)
            report = report_scale(calibration, rule)
            cuts[i] = report.high
            merit[i] = report.predicted_nats if by_loss else report.output.sqnr_db
    best = tried[landscape.best]
    with np.errstate(invalid="ignore", divide="ignore"):
        gains = 1 - best / merit if by_loss else best - merit
    return cuts, np.where(merit == best, 0.0, gains)
