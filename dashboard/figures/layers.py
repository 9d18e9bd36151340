"""The layer strip: the SiLU output of every layer, cut by the scale that the rule gives it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.report import ScaleReport, SliceReport, gain_db
from dashboard.figures.style import Panel, Sheet, count_height, steps
from dashboard.rules.landscape import NEGLIGIBLE_DB
from dashboard.text.language import Language
from dashboard.text.numbers import decibels

HEIGHT = 84  # px
CELL = 0.89  # of a layer's width; the rest is the gap to the next
BINS = 48
MOST_LABELLED = 12  # more layers than these leave no room for text


def layer_strip(
    layers: Sequence[int],
    reports: Sequence[SliceReport],
    bests: Sequence[ScaleReport],
    chosen: int,
    say: Language,
) -> Sheet:
    """One cell a layer, side by side on a common value range.

    Args:
        layers: their numbers, in order.
        reports: one slice of each layer.
        bests: what each layer's own best α makes of that slice.
        chosen: the layer on show.

    A dark tick is the scale on show, a green one the layer's best; the number is what the best
    would gain. A click on a cell answers with its layer.
    """
    gains = [gain_db(r.chosen, best) for r, best in zip(reports, bests, strict=True)]
    most_gain = max(*gains, NEGLIGIBLE_DB)
    y_high = max(max(r.silu_output.max, r.chosen.high) for r in reports)
    y_low = min(min(r.silu_output.min for r in reports), 0.0)
    edges = np.linspace(y_low, y_high, BINS)
    heights = [count_height(r.silu_output.rebin(edges), log=True) for r in reports]
    tallest = max(h.max() for h in heights)
    width = 1 / (len(reports) - 1 + CELL)
    sheet = Sheet(HEIGHT, "The SiLU output of every layer, cut by its scale")
    left = layers.index(chosen) * width
    sheet.area(
        [left - 0.004, left - 0.004, left + CELL * width + 0.004, left + CELL * width + 0.004],
        [0, 1, 1, 0],
        "panel",
        1.0,
    )
    for i, (layer, report, best, gain, height) in enumerate(
        zip(layers, reports, bests, gains, heights, strict=True)
    ):
        current = layer == chosen
        left, right = i * width + 0.002, (i + CELL) * width - 0.002
        panel = Panel(left, right, 0.06, 0.64, (y_low, y_high), (0.0, tallest))
        cut = report.chosen.high
        for colour, low, high in (
            ("output", -np.inf, cut),
            ("saturated", cut, np.inf),
        ):
            position, outline = steps(edges, height, low, high)
            sheet.area(panel.x(position), panel.y(outline), colour, 0.92 if current else 0.5)
        better = gain >= NEGLIGIBLE_DB
        if better:
            x = float(panel.x(best.high))
            sheet.line([x, x], [0.06, 0.68], "best", 2)
        x = float(panel.x(cut))
        sheet.line([x, x], [0.06, 0.68], "chosen", 2 if current else 1.2)
        words = f"+{gain:.1f} dB" if better else "at best"
        if len(layers) <= MOST_LABELLED:
            ink = "text" if current else "muted"
            sheet.text(left, 0.84, f"Layer {layer}", ink, "middle right", bold=current)
            sheet.text(right, 0.84, words, "best", "middle left", bold=better)
        elif better:  # no room for words: a bar as high as the gain
            top = 0.72 + 0.28 * gain / most_gain
            sheet.area([left, left, right, right], [0.72, top, top, 0.72], "best", 0.9)
        told = (
            f"Layer {layer}: sqnr_db {decibels(float(report.chosen.output.sqnr_db))}; "
            f"{best.label} gives {decibels(float(best.output.sqnr_db))}"
        )
        sheet.hover([left, right], 0.5, told)
        sheet.pick((left, right), layer, told)
    return sheet
