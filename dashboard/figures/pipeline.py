"""The pipeline: one channel's numbers at every step of the kernel, a lane a step."""

from __future__ import annotations

import numpy as np

from dashboard.analysis.pipeline import ChannelTrace
from dashboard.figures.style import Panel, Sheet
from dashboard.text.language import Language
from dashboard.text.numbers import signed
from kernels.int8 import QMAX, QMIN

LANE, GAP, FOOT = 74, 12, 30  # px
LEFT, RIGHT = 0.15, 0.9  # of the width: names before, the value at the position after
LANES = (
    ("x_q", "INT8 input", "input", 0),
    ("acc", "integer sum", "input", 0),
    ("v", "dequantized", "input", 3),
    ("s", "SiLU", "output", 3),
    ("s / scale_out", "in codes", "output", 2),
    ("y_q", "INT8 output", "output", 0),
)


def pipeline(trace: ChannelTrace, at: int, say: Language) -> Sheet:
    """Every step over the window, with a cursor.

    Args:
        at: the position on show, counted from the window's first.

    A click answers with a position, counted likewise.
    """
    count = len(trace.code)
    height = len(LANES) * (LANE + GAP) + FOOT
    sheet = Sheet(height, f"Channel {trace.channel}, the six steps from INT8 input to INT8 output")
    values = (trace.window[:, -1], trace.acc, trace.v, trace.s, trace.quotient, trace.code)
    x_range = (-0.5, count - 0.5)
    for i, ((name, told, colour, digits), lane) in enumerate(zip(LANES, values, strict=True)):
        top = 1 - (i * (LANE + GAP)) / height
        bottom = top - LANE / height
        low, high = min(float(lane.min()), 0.0), max(float(lane.max()), 0.0)
        margin = 0.12 * (high - low) or 1.0
        panel = Panel(LEFT, RIGHT, bottom, top, x_range, (low - margin, high + margin))
        sheet.area([LEFT, LEFT, RIGHT, RIGHT], [bottom, top, top, bottom], "panel", 0.6)
        zero = float(panel.y(0))
        sheet.line([LEFT, RIGHT], [zero, zero], "line")
        for place, value in enumerate(lane):
            x = panel.x(np.array([place - 0.38, place - 0.38, place + 0.38, place + 0.38]))
            y = float(panel.y(float(value)))
            clipped = name == "s / scale_out" and not QMIN - 0.5 < value < QMAX + 0.5
            shade = 1.0 if place == at else 0.55
            sheet.area(x, [zero, y, y, zero], "saturated" if clipped else colour, shade)
        sheet.text(LEFT - 0.01, (top + bottom) / 2 + 8 / height, name, "text", "middle left",
                   bold=True)  # fmt: skip
        sheet.text(LEFT - 0.01, (top + bottom) / 2 - 10 / height, told, "muted", "middle left",
                   size=11.5)  # fmt: skip
        sheet.text(RIGHT + 0.01, (top + bottom) / 2, signed(float(lane[at]), digits), "text",
                   "middle right", size=14, bold=True)  # fmt: skip
    _draw_cursor(sheet, trace, at, x_range, FOOT / height)
    return sheet


def _draw_cursor(
    sheet: Sheet, trace: ChannelTrace, at: int, x_range: tuple[float, float], foot: float
) -> None:
    """The window that the position sees, the position, and a place to click for each."""
    panel = Panel(LEFT, RIGHT, 0.0, 1.0, x_range, (0.0, 1.0))
    width = len(trace.weight)
    first = max(at - width + 1, 0)
    low, high = float(panel.x(first - 0.5)), float(panel.x(at + 0.5))
    top = 1 - LANE / sheet.height
    sheet.line([low, low, high, high, low], [1, top, top, 1, 1], "chosen", 1.5)
    x = float(panel.x(at))
    sheet.line([x, x], [foot, 1], "chosen", 1, "2 3")
    step = max(1, len(trace.code) // 8)
    for place, position in enumerate(trace.positions):
        left, right = (float(panel.x(place + side)) for side in (-0.5, 0.5))
        if place % step == 0:
            sheet.text((left + right) / 2, foot - 0.008, str(position), anchor="bottom center",
                       size=11.5)  # fmt: skip
        told = f"position {position}: code {trace.code[place]}"
        sheet.pick((left, right), place, told, by_key=False)
        sheet.hover([left, right], top, told)
