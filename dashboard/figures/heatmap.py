"""The heatmap: a row a layer or a group, a column a choice; shade says what is lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.report import ScaleReport
from dashboard.figures.style import Panel, Sheet
from dashboard.rules.landscape import NEGLIGIBLE_DB
from dashboard.text.language import Language
from dashboard.text.numbers import decibels

ROW, HEAD = 26, 34  # px
LEFT = 0.11  # of the width, for the rows' names
DARKEST = 0.8  # opacity
DARKEST_LOSS_DB = 12.0
FINEST_OCTAVES = 2.5


def heatmap(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    shade: np.ndarray,
    texts: Sequence[Sequence[str]],
    hovers: Sequence[Sequence[str]],
    marked: np.ndarray | None = None,
    colour: str = "saturated",
) -> Sheet:
    """A grid of cells.

    Args:
        title: what the drawing shows, for whoever cannot see it.
        rows, columns: their names, R and C.
        shade: (R, C) from 0 to 1, how dark; NaN leaves a cell empty.
        texts, hovers: (R, C), in the cell and beside the pointer.
        marked: (R, C) bool, cells with a rim: the best of a row.

    A click on a cell answers with r · C + c.
    """
    height = HEAD + ROW * len(rows)
    panel = Panel(LEFT, 1.0, 0.0, 1 - HEAD / height, (0, len(columns)), (len(rows), 0))
    sheet = Sheet(height, title)
    for c, name in enumerate(columns):
        lines = name.replace(", ", "\n")
        sheet.text(float(panel.x(c + 0.5)), panel.top + HEAD / 2 / height, lines, size=11.5)
    for r, name in enumerate(rows):
        y_high, y_low = float(panel.y(r)) - 1 / height, float(panel.y(r + 1)) + 1 / height
        middle = (y_low + y_high) / 2
        sheet.text(LEFT - 0.01, middle, name, "text", anchor="middle left", size=12.5)
        for c in range(len(columns)):
            x_low, x_high = float(panel.x(c)) + 0.0012, float(panel.x(c + 1)) - 0.0012
            corners = [x_low, x_low, x_high, x_high], [y_low, y_high, y_high, y_low]
            sheet.area(*corners, "panel", 1.0)
            if np.isfinite(shade[r, c]):
                opacity = DARKEST * float(np.clip(shade[r, c], 0, 1))
                sheet.area(*corners, colour, opacity)
            best = marked is not None and bool(marked[r, c])
            if best:
                outline = [*corners[0], x_low], [*corners[1], y_low]
                sheet.line(*outline, "best", 2)
            x = (x_low + x_high) / 2
            sheet.text(x, middle, texts[r][c], "text", size=12.5, bold=best)
            sheet.hover([x_low, x_high], middle, hovers[r][c])
            sheet.pick((x_low, x_high), r * len(columns) + c, hovers[r][c], (y_low, y_high))
    return sheet


def rule_heatmap(
    layers: Sequence[int],
    scales: Sequence[Sequence[ScaleReport]],
    bests: Sequence[ScaleReport],
    say: Language,
) -> Sheet:
    """SQNR of every layer under every rule; shade is what is lost against the layer's best α.

    Args:
        scales: ``scales[i]`` are those of ``layers[i]``; the rules in the same order everywhere.
        bests: what each layer's own best α makes of it.
    """
    sqnr = np.array([[float(scale.output.sqnr_db) for scale in row] for row in scales])
    most = np.array([float(best.output.sqnr_db) for best in bests])[:, None]
    loss = np.where(sqnr == most, 0.0, most - sqnr)  # two infinities lose nothing
    return heatmap(
        "SQNR of every layer under every rule",
        [f"Layer {layer}" for layer in layers],
        [scale.short for scale in scales[0]],
        loss / DARKEST_LOSS_DB,
        [[decibels(value, 1).removesuffix(" dB") for value in row] for row in sqnr],
        [
            [
                f"Layer {layer}, {scale.label}\nsqnr_db {decibels(float(scale.output.sqnr_db))}, "
                f"x_out_scale {scale.x_out_scale:.5g}"
                for scale in row
            ]
            for layer, row in zip(layers, scales, strict=True)
        ],
        marked=sqnr >= sqnr.max(axis=1, keepdims=True) - NEGLIGIBLE_DB / 10,
    )


def group_heatmap(scales: np.ndarray, widths: np.ndarray, single: float, say: Language) -> Sheet:
    """A layer's scale for each (SSD group, head group) row and channel group column.

    Args:
        scales: (G, M, N), real units per code.
        widths: (G · M · N,), how many channels share each.
        single: the scale that would serve all; shade is how much finer a group's is, in octaves.
    """
    groups, heads, channels = scales.shape
    table = scales.reshape(groups * heads, channels)
    rows = [
        (f"SSD {g + 1}, heads {m + 1}" if groups > 1 else f"Heads {m + 1}")
        for g in range(groups)
        for m in range(heads)
    ]
    finer = np.log2(single / table)
    return heatmap(
        "The scale of each group of channels",
        rows,
        [f"channels {n + 1}" for n in range(channels)],
        finer / FINEST_OCTAVES,
        [[f"{value:.5f}" for value in row] for row in table],
        [
            [
                f"{rows[r]}, channels {c + 1}: {widths.reshape(table.shape)[r, c]} channels share "
                f"{table[r, c]:.5g}, {single / table[r, c]:.2f} times finer than {single:.5g}"
                for c in range(channels)
            ]
            for r in range(len(rows))
        ],
        colour="output",
    )
