"""The lesson's pictures of a trained model: its layers, their ratios, their groups, a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dashboard.analysis.report import format_alpha
from dashboard.calibration.histogram import Histogram
from dashboard.figures.lesson_ideas import axis, box
from dashboard.figures.style import Panel, Sheet, count_height, steps
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import PUBLISHED_ALPHAS, log_alpha
from dashboard.rules.published import QUAMBA2_130M
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, scale_text, signed
from kernels.int8 import QMAX

TICKS = (0.99, 0.999, 0.9999, 0.99999)

# 6. Every layer


def every_layer(
    landscapes: Mapping[int, Landscape],
    chosen: int,
    alpha: float,
    output: Histogram,
    say: Language,
) -> Sheet:
    """SQNR over α of every layer, each with its best; and one layer's values with the cut."""
    height = 500
    sheet = Sheet(height, say("SQNR over α for every layer, and where α cuts one layer's values"))
    t_end = max(log_alpha(float(curve.alphas[-2])) for curve in landscapes.values()) + 0.25
    best = [curve.best_db for curve in landscapes.values()]
    panel = Panel(0.1, 0.98, 0.48, 0.93, (2.0, t_end + 0.05), (min(best) - 14, max(best) + 2))
    sheet.text(0, 0.985, say("SQNR"), "text", "bottom right", bold=True)
    sheet.text(0.98, 0.985, say("each layer's best α"), "best", "bottom left", bold=True)
    for value in np.arange(np.ceil(panel.y_range[0] / 5) * 5, panel.y_range[1], 5):
        y = float(panel.y(value))
        sheet.line([panel.left, panel.right], [y, y], "grid")
        sheet.text(panel.left - 0.012, y, f"{value:.0f} dB", anchor="middle left", size=11)
    for number in sorted(landscapes, key=lambda number: number == chosen):
        curve, current = landscapes[number], number == chosen
        t = np.array([log_alpha(float(a)) for a in curve.alphas])
        t[-1] = t_end
        inside = (t >= panel.x_range[0]) & (curve.sqnr_db >= panel.y_range[0])
        curve_x, curve_y = panel.x(t), panel.y(curve.sqnr_db)
        sheet.line(curve_x[inside], curve_y[inside], "chosen" if current else "baseline",
                   2.4 if current else 1.2)  # fmt: skip
        best_x, best_y = float(curve_x[curve.best]), float(curve_y[curve.best])
        sheet.dot(best_x, best_y, "best", 10 if current else 7)
        words = say("layer {layer}: best α {alpha}, {sqnr}", layer=number,
                   alpha=format_alpha(curve.best_alpha), sqnr=decibels(curve.best_db))  # fmt: skip
        sheet.hover(best_x, best_y, words)
    for value in TICKS:
        x = float(panel.x(log_alpha(value)))
        sheet.line([x, x], [panel.bottom, panel.bottom - 0.01], "line")
        sheet.text(x, panel.bottom - 0.012, format_alpha(value), anchor="bottom center", size=11)
    sheet.text(float(panel.x(t_end)), panel.bottom - 0.012, "1", anchor="bottom center", size=11)
    for value in PUBLISHED_ALPHAS:
        x = float(panel.x(log_alpha(value)))
        sheet.line([x, x], [panel.bottom, panel.top], "baseline", 1.1, "6 5")
        sheet.text(x, panel.top, format_alpha(value), "muted", "top center", 11.5, halo="page")
    layer = landscapes[chosen]
    sqnr_db = float(layer.sqnr_db[layer.index(alpha)])
    at = float(panel.x(min(log_alpha(alpha), t_end)))
    y = float(panel.y(np.clip(sqnr_db, *panel.y_range)))
    sheet.line([at, at], [panel.bottom, y], "chosen", 1.8)
    sheet.dot(at, y, "chosen", 10)
    side = "middle left" if at > 0.5 else "middle right"
    sheet.text(at + (-0.025 if at > 0.5 else 0.025), panel.bottom + 0.03,
               f"α {format_alpha(alpha)}: {decibels(sqnr_db, 1)}", "text", side, 13,
               bold=True, halo="page")  # fmt: skip

    top_y = 1.04 * output.max
    edges = np.linspace(output.min, output.max, 160)
    heights = count_height(output.rebin(edges), log=True)
    below = Panel(0.02, 0.98, 0.09, 0.35, (output.min, top_y), (0.0, 1.12 * float(heights.max())))
    cut = float(layer.scales[layer.index(alpha)]) * QMAX
    for colour, low, high in (("output", -np.inf, cut), ("saturated", cut, np.inf)):
        position, outline = steps(edges, heights, low, high)
        sheet.area(below.x(position), below.y(outline), colour)
    axis(sheet, below, np.arange(0, int(top_y) + 1))
    x = float(below.x(cut))
    sheet.line([x, x], [below.bottom, below.top], "chosen", 2)
    words = say("code {code}", code=QMAX)
    left = x > 0.75
    sheet.text(x + (-0.015 if left else 0.015), below.top - 0.02, words, "text",
               "middle left" if left else "middle right", bold=True, halo="page")  # fmt: skip
    sheet.text(0, 0.41, say("layer {layer}: SiLU output, log counts", layer=chosen), "output",
               "bottom right", bold=True)  # fmt: skip
    return sheet


# 7. Ratios


def ratios(
    checkpoint: str,
    own: Mapping[int, float],
    guessed: int,
    guess: float,
    shown: bool,
    say: Language,
) -> Sheet:
    """Both ratios of the published layers, and the like-for-like ones of this model with a gap."""
    rows = len(QUAMBA2_130M)
    line = 26
    height = 70 + line * (rows + len(own)) + 92
    sheet = Sheet(height, say("Both ratios of each published layer, and this model's"))
    x_range = (0.0, np.log10(400.0))
    panel = Panel(0.16, 0.97, 0.0, 1.0, x_range, (0.0, 1.0))

    def y_of(pixels: float) -> float:
        return 1 - pixels / height

    def put(ratio: float, y: float, colour: str, words: str, side: str = "middle right") -> None:
        x = float(panel.x(np.log10(max(ratio, 1.0))))
        sheet.dot(x, y, colour, 10)
        away = 0.02 if side.endswith("right") else -0.02
        sheet.text(x + away, y, words, colour, side, 12, bold=True, halo="page")

    bottom = y_of(height - 34)
    for tick in (1, 3, 10, 30, 100, 300):
        x = float(panel.x(np.log10(tick)))
        sheet.line([x, x], [bottom, y_of(40)], "grid")
        sheet.text(x, bottom - 4 / height, str(tick), anchor="bottom center", size=11)
    sheet.text(0.5, 0.0, say("ratio, logarithmic"), anchor="top center")
    sheet.text(0, y_of(4), "Quamba2-130m", "text", "bottom right", bold=True)
    sheet.text(float(panel.x(0.1)), y_of(24), say("over w_scale"), "saturated", "bottom right",
               11.5, bold=True)  # fmt: skip
    sheet.text(0.97, y_of(24), say("over scale_wx"), "output", "bottom left", 11.5, bold=True)
    for i, row in enumerate(QUAMBA2_130M):
        y = y_of(58 + line * i)
        sheet.text(0, y, say("layer {layer}", layer=row.layer), anchor="middle right")
        ends = panel.x(np.log10([row.ratio_weight, row.ratio_wx]))
        sheet.line(ends, [y, y], "line")
        put(row.ratio_weight, y, "saturated", f"{row.ratio_weight:.1f}")
        put(row.ratio_wx, y, "output", f"{row.ratio_wx:.3g}",
            "middle left" if row.ratio_wx > 100 else "middle right")  # fmt: skip
    start = 58 + line * rows + 8
    words = say("{checkpoint}, at each layer's best α", checkpoint=checkpoint)
    sheet.text(0, y_of(start), words, "text", "bottom right", bold=True)
    for i, (layer, ratio) in enumerate(own.items()):
        y = y_of(start + 34 + line * i)
        hidden = layer == guessed and not shown
        sheet.text(0, y, say("layer {layer}", layer=layer), anchor="middle right")
        if layer == guessed:  # the last row: there is room under it
            x = float(panel.x(np.log10(max(guess, 1.0))))
            words = say("your guess {ratio}", ratio=f"{guess:.0f}")
            sheet.dot(x, y, "chosen", 10)
            sheet.text(min(x, 0.9), y - 9 / height, words, "chosen", "bottom center", 12, bold=True)
        if not hidden:
            put(ratio, y, "output", f"{ratio:.1f}")
    return sheet


# 8. (1, 4, 4)


def groups(scales: np.ndarray, tensor_scale: float, alpha: float, say: Language) -> Sheet:
    """Sixteen scales as a square of squares, and the one scale in which α does act."""
    height = 430
    sheet = Sheet(height, say("Sixteen scales, one for each group, beside the one of the tensor"))
    scales = scales.reshape(-1, scales.shape[-1])
    head_groups, channel_groups = scales.shape
    most, least = float(scales.max()), float(scales.min())
    left, right, bottom, top = 0.13, 0.97, 0.2, 0.88
    sheet.text(0, 0.99, say("{count} scales by MinMax", count=scales.size), "output",
               "bottom right", bold=True)  # fmt: skip
    for column in range(channel_groups):
        x = left + (column + 0.5) * (right - left) / channel_groups
        sheet.text(x, 0.895, str(column), anchor="top center", size=11.5)
    sheet.text(right, 0.99, say("channel group →"), anchor="bottom left")
    sheet.text(0, top, say("head\ngroup\n↓"), anchor="bottom right")
    for row in range(head_groups):
        for column in range(channel_groups):
            scale = float(scales[row, column])
            x0 = left + column * (right - left) / channel_groups
            x1 = left + (column + 1) * (right - left) / channel_groups
            y1 = top - row * (top - bottom) / head_groups
            y0 = top - (row + 1) * (top - bottom) / head_groups
            share = (scale - least) / (most - least) if most > least else 0.0
            box(sheet, x0 + 0.004, x1 - 0.004, y0 + 0.006, y1 - 0.006, "output",
                0.08 + 0.42 * share)  # fmt: skip
            sheet.text((x0 + x1) / 2, (y0 + y1) / 2, scale_text(scale), "text", size=13)
        y = top - (row + 0.5) * (top - bottom) / head_groups
        sheet.text(left - 0.02, y, str(row), anchor="middle left", size=11.5)

    panel = Panel(left, right, 0.0, 0.1, (0.0, 1.15 * max(most, tensor_scale)), (0.0, 1.0))
    sheet.line([left, right], [0.06, 0.06], "line")
    for scale in scales.ravel():
        x = float(panel.x(scale))
        sheet.line([x, x], [0.045, 0.075], "output", 2)
    x = float(panel.x(tensor_scale))
    sheet.dot(x, 0.06, "chosen", 12)
    words = say("one scale, α {alpha}: {scale}", alpha=format_alpha(alpha),
                scale=scale_text(tensor_scale))  # fmt: skip
    sheet.text(min(max(x, 0.3), 0.72), 0.14, words, "text", "middle center", 13, bold=True,
               halo="page")  # fmt: skip
    sheet.text(left, 0.03, "0", anchor="bottom center", size=11)
    sheet.text(right, 0.03, scale_text(panel.x_range[1]), anchor="bottom left", size=11)
    return sheet


# 9. Choose


def score(
    layers: Sequence[int],
    alphas: Sequence[float],
    sqnr_db: Sequence[float],
    best_db: Sequence[float],
    loss_db: Sequence[float],
    say: Language,
) -> Sheet:
    """A bar a layer: the SQNR bought, up to the best possible."""
    line = 44
    height = 54 + line * len(layers) + 30
    sheet = Sheet(height, say("The SQNR of each layer by your α, against the best possible"))
    best = max(best_db)
    low = min(min(sqnr_db), best - 12) - 2
    panel = Panel(0.14, 0.8, 0.0, 1.0, (low, best + 0.5), (0.0, 1.0))
    sheet.text(panel.left, 1, say("SQNR by your α"), "output", "bottom right", bold=True)
    sheet.text(1, 1, say("lost"), "saturated", "bottom left", bold=True)
    sheet.text(panel.right, 1, say("best possible"), "best", "bottom left", bold=True)
    for tick in np.arange(np.ceil(low / 5) * 5, best, 5):
        x = float(panel.x(tick))
        sheet.line([x, x], [30 / height, 1 - 34 / height], "grid")
        sheet.text(x, 26 / height, f"{tick:.0f} dB", anchor="bottom center", size=11)
    for i, (layer, alpha, sqnr, top, loss) in enumerate(
        zip(layers, alphas, sqnr_db, best_db, loss_db, strict=True)
    ):
        y = 1 - (58 + line * i) / height
        half = 12 / height
        x, end = float(panel.x(sqnr)), float(panel.x(top))
        box(sheet, panel.left, x, y - half, y + half, "output", 0.85)
        if loss > 0:
            box(sheet, x, end, y - half, y + half, "saturated", 0.25)
        sheet.line([end, end], [y - 1.4 * half, y + 1.4 * half], "best", 3)
        sheet.text(0, y, say("layer {layer}", layer=layer), "text", "middle right")
        sheet.text(panel.left + 0.012, y, f"α {format_alpha(alpha)}", "on-input", "middle right",
                   12, halo="output")  # fmt: skip
        sheet.text(1, y, f"{signed(loss, 2)} dB", "saturated" if loss >= 0.05 else "best",
                   "middle left", 13, bold=True)  # fmt: skip
    return sheet
