"""One quantity of every layer, a line a column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.compare import Column, layer_numbers
from dashboard.figures.style import Panel, Sheet, nice_ticks, spread
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, scale_text

HEIGHT, FOOT = 280, 40  # px
COLOURS = ("chosen", "output", "saturated", "best", "stranded", "baseline")
RIGHT = 0.72  # of the width; the names stand beyond
LONGEST = 30  # characters of a name's line


def compared_lines(columns: Sequence[Column], quantity: str, say: Language) -> Sheet:
    """A quantity over the layers; scales and ratios on a logarithmic axis, decibels on an even one.

    A layer that a column does not know is left out of its line.
    """
    layers = layer_numbers(columns)
    sheet = Sheet(HEIGHT, f"{quantity} of every layer, a line a column")
    lines = [
        [(i, value) for i, layer in enumerate(layers)
         if (value := column.value(layer, quantity)) is not None and np.isfinite(value)]
        for column in columns
    ]  # fmt: skip
    values = [value for line in lines for _, value in line]
    if not values:
        sheet.text(0.5, 0.5, f"No column knows {quantity}.")
        return sheet
    log = quantity != "sqnr_db"
    height = np.log10 if log else np.asarray
    low, high = float(height(min(values))), float(height(max(values)))
    margin = 0.08 * (high - low) or (0.02 if log else 0.5)
    panel = Panel(
        0.06, RIGHT, FOOT / HEIGHT, 0.97,
        (-0.3, len(layers) - 0.7), (low - margin, high + margin),
    )  # fmt: skip
    _draw_axes(sheet, panel, layers, log)
    named = [(i, line) for i, line in enumerate(lines) if line]
    ends = [float(panel.y(height(line[-1][1]))) for _, line in named]
    names = [_lines(f"{'ABCDEF'[i]}: {columns[i].label}") for i, _ in named]
    apart = (18 if all("\n" not in name for name in names) else 33) / HEIGHT
    for (i, line), name, label_y in zip(named, names, spread(ends, apart), strict=True):
        x = panel.x([place for place, _ in line])
        y = panel.y(height(np.array([value for _, value in line])))
        sheet.line(x, y, COLOURS[i], 2)
        for (place, value), dot_x, dot_y in zip(line, x, y, strict=True):
            sheet.dot(float(dot_x), float(dot_y), COLOURS[i], 7)
            amount = decibels(value) if not log else scale_text(value)
            told = f"{columns[i].label}\nlayer {layers[place]}: {quantity} {amount}"
            sheet.hover(float(dot_x), float(dot_y), told)
        sheet.text(RIGHT + 0.01, label_y, name, COLOURS[i], "middle right", bold=i == 0)
    return sheet


def _lines(name: str) -> str:
    """A name whole, for its end is where columns differ: broken after a comma where it is long."""
    if len(name) <= LONGEST or ", " not in name:
        return name
    breaks = [i + 1 for i, sign in enumerate(name) if sign == "," and i < LONGEST]
    at = breaks[-1] if breaks else name.index(",") + 1
    return f"{name[:at]}\n{name[at:].strip()}"


def _draw_axes(sheet: Sheet, panel: Panel, layers: Sequence[int], log: bool) -> None:
    low, high = panel.y_range
    if log:
        round_values = [m * 10.0**e for e in range(-8, 5) for m in (1, 1.5, 2, 3, 5, 7)]
        ticks = [(np.log10(v), f"{v:g}") for v in round_values if low <= np.log10(v) <= high]
    else:
        ticks = [(tick, f"{tick:g} dB") for tick in nice_ticks(low, high, 5)]
    for tick, name in ticks:
        y = float(panel.y(tick))
        sheet.line([panel.left, panel.right], [y, y], "grid")
        sheet.text(panel.left - 0.006, y, name, anchor="middle left", size=12)
    step = max(1, len(layers) // 16)
    for i, layer in enumerate(layers):
        if i % step == 0:
            sheet.text(float(panel.x(i)), panel.bottom - 0.02, str(layer), anchor="bottom center",
                       size=12)  # fmt: skip
    middle = (panel.left + panel.right) / 2
    sheet.text(middle, 0.0, "layer", anchor="top center", size=12)
