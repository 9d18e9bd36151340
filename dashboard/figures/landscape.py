"""SQNR at every α: small under the slider, and with all that goes with it on a page of its own.

The axis is logarithmic in 1 − α, or 0.9995 and 0.99999 would be one point. Two ceilings explain the
curve: what it would be if scales only rounded, and if they only clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.report import ScaleReport, format_alpha
from dashboard.figures.style import Panel, Sheet
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import log_alpha
from dashboard.text.language import Language
from dashboard.text.numbers import decibels

SMALL = 206  # px
INSET = 0.016  # of the width: the slider's track is inset by 6 px of 376
SHOWN_DB = (20.0, 8.0)  # below and above the best
TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999)


def landscape_under_slider(
    found: Landscape, grid: Sequence[float], chosen: ScaleReport | None, say: Language
) -> Sheet:
    """The landscape on the slider's own axis, so that the thumb stands on the curve.

    Args:
        grid: the slider's values of α, each a step apart, whatever their distance.
        chosen: the scale on show, where it is a percentile.

    A click answers with the index in ``grid`` of the nearest α.
    """
    sheet = Sheet(SMALL, "SQNR over α, under the ceilings of rounding alone and clipping alone")
    t_grid = np.array([log_alpha(alpha) for alpha in grid])
    t_grid[-1] = t_grid[-2] + 0.05
    place = np.linspace(0.0, 1.0, len(grid))

    def across(alphas: Sequence[float] | np.ndarray) -> np.ndarray:
        t = [min(log_alpha(float(alpha)), t_grid[-1]) for alpha in alphas]
        return INSET + (1 - 2 * INSET) * np.interp(t, t_grid, place)

    low, high = _decibel_range(found)
    panel = Panel(0.0, 1.0, 0.13, 0.98, (0.0, 1.0), (low, high))
    for tick in np.arange(np.ceil(low / 10) * 10, high, 10):
        y = panel.y(tick)
        sheet.line([0, 1], [y, y], "grid")
        sheet.text(0, y, f"{tick:.0f} dB", anchor="top right", size=11)
    for alpha in (0.99, 0.9995, 0.99999):
        if alpha in grid:
            x = float(across([alpha])[0])
            sheet.line([x, x], [panel.bottom, panel.bottom + 0.03], "line")
            sheet.text(x, panel.bottom, format_alpha(alpha), anchor="bottom center", size=11)
    sheet.text(0, panel.bottom, "0.9", anchor="bottom right", size=11)
    sheet.text(1, panel.bottom, "1", anchor="bottom left", size=11)
    found = found.at_least(grid[0])
    tried = across(found.alphas)
    _draw_ceilings(sheet, panel, tried, found)
    sheet.line(*_clipped(panel, tried, found.sqnr_db), "chosen", 2.2)
    best_x, best_y = float(tried[found.best]), float(panel.y(min(found.best_db, high)))
    sheet.line([best_x, best_x], [panel.bottom, best_y], "best", 1.4)
    sheet.dot(best_x, best_y, "best", 8)
    side = "middle left" if best_x > 0.5 else "middle right"
    sheet.text(best_x + (-0.014 if best_x > 0.5 else 0.014), panel.bottom + 0.09,
               f"best {format_alpha(found.best_alpha)}\n{decibels(found.best_db)}", "best",
               side, bold=True, halo="page")  # fmt: skip
    if chosen is not None:
        at = float(across([chosen.rule.alpha])[0])
        noise = float(np.clip(float(chosen.output.sqnr_db), low, high))
        sheet.line([at, at], [float(panel.y(noise)), 1.0], "chosen", 1.2)
        sheet.dot(at, float(panel.y(noise)), "chosen", 9)
    shown = range(0, len(found.alphas), 4)
    for i in shown:
        told = f"α {format_alpha(float(found.alphas[i]))}\n{decibels(float(found.sqnr_db[i]))}"
        sheet.hover(tried[i], float(panel.y(np.clip(found.sqnr_db[i], low, high))), told)
    ends = np.clip((place[:-1] + place[1:]) / 2 * (1 - 2 * INSET) + INSET, 0, 1)
    for i, (left, right) in enumerate(zip([0, *ends], [*ends, 1], strict=True)):
        sheet.pick((left, right), i, f"α {format_alpha(grid[i])}", by_key=False)
    return sheet


def _decibel_range(found: Landscape) -> tuple[float, float]:
    best = found.best_db if np.isfinite(found.best_db) else 40.0
    return best - SHOWN_DB[0], best + SHOWN_DB[1]


def _draw_ceilings(sheet: Sheet, panel: Panel, x: np.ndarray, found: Landscape) -> None:
    """Each named where it first leaves the curve behind."""
    for decibel, colour, name in (
        (found.rounding_ceiling_db, "output", "if only rounding"),
        (found.clipping_ceiling_db, "saturated", "if only clipping"),
    ):
        sheet.line(*_clipped(panel, x, decibel), colour, 1.6, "1 4")
        inside = np.flatnonzero((decibel < panel.y_range[1]) & (decibel > panel.y_range[0]))
        if not len(inside):
            continue
        at = inside[0] if colour == "output" else inside[-1]
        left = x[at] > 0.6
        sheet.text(float(x[at]) + (-0.012 if left else 0.012),
                   float(panel.y(decibel[at])) - 0.02, name, colour,
                   "bottom left" if left else "bottom right", 11, halo="page")  # fmt: skip


def _clipped(panel: Panel, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve that lies in a panel."""
    inside = np.isfinite(y) & (y >= panel.y_range[0]) & (y <= panel.y_range[1])
    return x[inside], panel.y(y[inside])
