"""The layer strip: the SiLU output of every layer, cut by the scale that the rule gives it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.figures.style import Panel, Sheet, count_height, decibels, scale_text, steps
from dashboard.figures.transfer import cut_value
from dashboard.report import SliceReport

HEIGHT = 84  # px
CELL = 0.89  # of a layer's width; the rest is the gap to the next
BINS = 48
MOST_LABELLED = 12  # more layers than these leave no room for text


def layer_strip(reports: Sequence[SliceReport], chosen: int) -> Sheet:
    """One cell a layer, side by side on a common value range.

    Args:
        reports: one slice of every layer, in order.
        chosen: the layer on show.

    A click on a cell answers with its layer.
    """
    y_high = max(max(r.silu_output.max, cut_value(r.chosen)) for r in reports)
    y_low = min(min(r.silu_output.min for r in reports), 0.0)
    edges = np.linspace(y_low, y_high, BINS)
    heights = [count_height(r.silu_output.rebin(edges), log=True) for r in reports]
    tallest = max(h.max() for h in heights)
    width = 1 / (len(reports) - 1 + CELL)
    sheet = Sheet(HEIGHT, "The SiLU output of every layer, cut by its scale")
    left = chosen * width
    sheet.area(
        [left - 0.004, left - 0.004, left + CELL * width + 0.004, left + CELL * width + 0.004],
        [0, 1, 1, 0],
        "panel",
        1.0,
    )
    for layer, (report, height) in enumerate(zip(reports, heights, strict=True)):
        current = layer == chosen
        noise = decibels(float(report.chosen.output.sqnr_db))
        left, right = layer * width + 0.002, (layer + CELL) * width - 0.002
        panel = Panel(left, right, 0.06, 0.64, (y_low, y_high), (0.0, tallest))
        cut = cut_value(report.chosen)
        for colour, low, high in (
            ("output", -np.inf, cut),
            ("saturated", cut, np.inf),
        ):
            position, outline = steps(edges, height, low, high)
            sheet.area(panel.x(position), panel.y(outline), colour, 0.92 if current else 0.5)
        x = float(panel.x(cut))
        sheet.line([x, x], [0.06, 0.68], "chosen", 2 if current else 1.2)
        if len(reports) <= MOST_LABELLED:
            ink = "text" if current else "muted"
            sheet.text(left, 0.84, f"Layer {layer}", ink, "middle right", bold=current)
            sheet.text(right, 0.84, noise, ink, "middle left")
        told = (
            f"Layer {layer}: sqnr_db {noise}, x_out_scale {scale_text(report.chosen.x_out_scale)}"
        )
        sheet.hover((left + right) / 2, 0.5, told)
        sheet.pick(left, right, layer, told)
    return sheet
