"""The moving average over calibration batches, and what their order decides."""

from __future__ import annotations

import numpy as np

from dashboard.figures.style import Panel, Sheet, nice_ticks
from dashboard.rules.observers import MovingAverage
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text

LEFT, RIGHT = 0.05, 0.86  # of the width; labels of the lines stand at the right
PLOT, WEIGHTS, GAP, FOOT, TOP = 260, 90, 42, 44, 14  # px
ORDERS = 150  # px
BINS = 60


def moving_average_chart(average: MovingAverage, pooled: float, say: Language) -> Sheet:
    """Each batch's quantile, the mean after it, and the quantile of all batches together.

    Below, the weight of each batch in the final mean. Batches stand in the order taken, under
    their own numbers.
    """
    count = len(average.order)
    height = TOP + PLOT + GAP + WEIGHTS + FOOT
    sheet = Sheet(height, "Each batch's quantile, its moving average, and the pooled quantile")
    values = (*average.quantiles, *average.means, pooled)
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.1 * high or 1.0
    bottom = FOOT + WEIGHTS + GAP
    panel = Panel(LEFT, RIGHT, bottom / height, (bottom + PLOT) / height,
                  (-0.6, count - 0.4), (low - room, high + room))  # fmt: skip
    for tick in nice_ticks(*panel.y_range, 5):
        y = panel.y(tick)
        sheet.line([LEFT, RIGHT], [y, y], "grid")
        sheet.text(LEFT - 0.004, y, f"{tick:.4g}", anchor="middle left", size=11.5)
    sheet.text(0, panel.top, "amax", anchor="bottom right", size=11.5)
    steps = np.arange(count)
    y = float(panel.y(pooled))
    sheet.line([LEFT, RIGHT], [y, y], "best", 1.8, "6 4")
    sheet.line(panel.x(steps), panel.y(average.means), "chosen", 2.2)
    ends = sorted(
        [(pooled, f"all batches pooled\n{scale_text(pooled)}", "best"),
         (average.final, f"moving average\n{scale_text(average.final)}", "chosen")],
        key=lambda end: end[0],
    )  # fmt: skip
    lower, upper = (float(panel.y(end[0])) for end in ends)
    apart = 38 / height
    if upper - lower < apart:
        lower, upper = (lower + upper - apart) / 2, (lower + upper + apart) / 2
    for at, (_, words, colour) in zip((lower, upper), ends, strict=True):
        sheet.text(RIGHT + 0.008, at, words, "text" if colour == "chosen" else colour,
                   "middle right", bold=True)  # fmt: skip
    size = 8 if count <= 64 else 4
    for i, (batch, quantile, mean) in enumerate(
        zip(average.order, average.quantiles, average.means, strict=True)
    ):
        x, y = float(panel.x(i)), float(panel.y(quantile))
        sheet.dot(x, y, "output", size)
        told = (
            f"batch {batch}: its quantile {scale_text(quantile)}\nmean after it {scale_text(mean)}"
        )
        sheet.hover(x, y, told)
    _draw_weights(sheet, average, height)
    return sheet


def _draw_weights(sheet: Sheet, average: MovingAverage, height: float) -> None:
    count = len(average.order)
    panel = Panel(LEFT, RIGHT, FOOT / height, (FOOT + WEIGHTS) / height,
                  (-0.6, count - 0.4), (0.0, max(average.weights)))  # fmt: skip
    sheet.line([LEFT, RIGHT], [panel.bottom, panel.bottom], "line")
    sheet.text(0, panel.top + 0.012, "weight in the final mean", anchor="top right", size=11.5)
    every = max(1, count // 32)
    for i, (batch, weight) in enumerate(zip(average.order, average.weights, strict=True)):
        left, right = float(panel.x(i - 0.38)), float(panel.x(i + 0.38))
        top = max(float(panel.y(weight)), panel.bottom + 0.003)
        sheet.area([left, left, right, right], [panel.bottom, top, top, panel.bottom],
                   "output", 0.9)  # fmt: skip
        sheet.hover([left, right], top, f"batch {batch}: weight {percent(weight)}")
        if i % every == 0:
            sheet.text((left + right) / 2, panel.bottom, str(batch), anchor="bottom center",
                       size=11)  # fmt: skip
    first = average.weights[0]
    sheet.text(float(panel.x(0.5)), panel.top - 0.01, f"first batch: {percent(first)}",
               "text", "bottom right", bold=True, halo="page")  # fmt: skip
    sheet.text((LEFT + RIGHT) / 2, 0.004, "batch, in the order taken", anchor="top center")


def orders_chart(finals: np.ndarray, chosen: float, pooled: float, say: Language) -> Sheet:
    """How often each final mean came out, over many orders of the same batches.

    Args:
        finals: (R,) the moving average's end for each order tried.
    """
    sheet = Sheet(ORDERS, "The final moving average over many orders of the same batches")
    ends = (float(finals.min()), float(finals.max()), chosen, pooled)
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low) or 0.1 * high or 1.0
    edges = np.linspace(low - room, high + room, BINS + 1)
    counts = np.histogram(finals, edges)[0]
    panel = Panel(LEFT, RIGHT, 0.22, 0.84, (float(edges[0]), float(edges[-1])),
                  (0.0, float(counts.max())))  # fmt: skip
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        if count:
            across = panel.x([left, left, right, right])
            sheet.area(across, panel.y([0, count, count, 0]), "output", 0.7)
            told = f"amax {left:.4g} to {right:.4g}\n{count} orders"
            sheet.hover(across[1:3], float(panel.y(count)), told)
    sheet.line([LEFT, RIGHT], [panel.bottom, panel.bottom], "line")
    for tick in nice_ticks(*panel.x_range, 8):
        sheet.text(float(panel.x(tick)), panel.bottom, f"{tick:.4g}", anchor="bottom center",
                   size=11.5)  # fmt: skip
    for value, words, colour in ((chosen, "this order", "chosen"), (pooled, "pooled", "best")):
        x = float(panel.x(value))
        sheet.line([x, x], [panel.bottom, 0.9], colour, 2, "" if colour == "chosen" else "6 4")
        side = "middle left" if value >= pooled else "middle right"
        sheet.text(x, 0.95, words, "text" if colour == "chosen" else colour,
                   "middle center" if chosen == pooled else side, bold=True)  # fmt: skip
    return sheet
