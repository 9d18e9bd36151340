"""The heatmap: a row a layer or a group, a column a choice; shade says what is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import ScaleReport
from dashboard.figures.theme import LIGHT, faded, new_figure, pick, plain, text_width, tick_step
from dashboard.rules.landscape import NEGLIGIBLE_DB
from dashboard.text.captions.layers import rules_caption, rules_caption_by_loss
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, scale_text, small

ROW, GAP = 26, 2  # px
CELL_TEXT, HEAD_TEXT = 12.5, 11.5  # px, where there is room
SMALLER = (11.0, 9.5, 9.0)  # px of a cell's text; below these it stands on hover alone
UPRIGHT = 13  # px that a name takes which stands upright
PHONE = 320  # px that a figure has at least
DARKEST = 0.55  # opacity: text upon it stays legible, in the light and in the dark
DARKEST_LOSS_DB = 12.0
DARKEST_TIMES = 1.5  # as a power of ten: some thirty times the least
FINEST_OCTAVES = 2.5


def heatmap(
    alt: str,
    rows: Sequence[str],
    columns: Sequence[str],
    shade: np.ndarray,
    texts: Sequence[Sequence[str]],
    hovers: Sequence[Sequence[str]],
    marked: np.ndarray | None = None,
    concept: str = "saturated",
    answers: bool = True,
) -> go.Figure:
    """A grid of cells.

    Args:
        alt: what the drawing shows, for whoever cannot see it.
        rows, columns: their names, R and C.
        shade: (R, C) from 0 to 1, how dark; NaN leaves a cell empty.
        texts, hovers: (R, C), in the cell and beside the pointer.
        marked: (R, C) bool, cells with a rim: the best of a row.
        concept: what dark cells mean, one of the palette's colours.
        answers: whether a click on a cell chooses it: r · C + c.

    Where columns' names do not fit side by side they stand upright, and where a cell is too narrow
    for its text that gets smaller, and at last is told on hover alone.
    """
    count = len(columns)
    best = np.zeros(shade.shape, bool) if marked is None else np.asarray(marked, bool)
    left = max(text_width(name, CELL_TEXT) for name in rows) + 10
    heads = [re.sub(", |，", "\n", name) for name in columns]
    widest = max(text_width(name, HEAD_TEXT) for name in heads)
    lines = max(name.count("\n") for name in heads) + 1
    head, head_upright = 15 * lines + 8, widest + 10
    upright = {
        "height": round(head_upright + ROW * len(rows)),
        "margin.t": head_upright,
        "xaxis.tickangle": -90,
    }
    step = tick_step([""] * count, (PHONE - left) * 8 / UPRIGHT)
    thinned = {
        "xaxis.tickvals": list(range(0, count, step)),
        "xaxis.ticktext": [plain(name) for name in heads[::step]],
        "data[0].xgap": GAP / 4,
        "data[1].xgap": GAP / 4,
    }
    broadest = max((text for row in texts for text in row), key=len)
    sizes = [
        (left + count * (text_width(broadest, size, bold=True) + GAP), smaller)
        for size, smaller in zip((CELL_TEXT, *SMALLER), (*SMALLER, None), strict=True)
    ]
    words = [
        [f"<b>{plain(text)}</b>" if best[r, c] else plain(text) for c, text in enumerate(row)]
        for r, row in enumerate(texts)
    ]
    figure = new_figure(
        round(head + ROW * len(rows)),
        alt,
        margin={"l": left, "r": 2, "t": head, "b": 1},
        xaxis={
            "range": [-0.5, count - 0.5],
            "side": "top",
            "tickvals": list(range(count)),
            "ticktext": [plain(name) for name in heads],
            "tickangle": 0,
            "tickfont": {"size": HEAD_TEXT},
            "ticks": "",
        },
        yaxis={
            "range": [len(rows) - 0.5, -0.5],
            "tickvals": list(range(len(rows))),
            "ticktext": [plain(name) for name in rows],
            "tickfont": {"size": CELL_TEXT},
            "ticks": "",
            "ticklabelstandoff": 4,
        },
        shapes=[_rim(r, c) for r, c in np.argwhere(best)],
        meta={
            "picks": []
            if not answers
            else [
                pick(
                    r * count + c, hovers[r][c], (c - 0.5, c + 0.5), (r - 0.5, r + 0.5), ("x", "y")
                )
                for r in range(len(rows))
                for c in range(count)
            ],
            "under": [
                (left + count * (widest + 8), upright),
                (left + count * UPRIGHT, thinned),
                *(
                    (
                        width,
                        {"data[1].textfont.size": size} if size else {"data[1].texttemplate": ""},
                    )
                    for width, size in sizes
                ),
            ],
        },
    )
    cells = {"type": "heatmap", "zmin": 0, "zmax": 1, "xgap": GAP, "ygap": GAP, "showscale": False}
    ground = np.zeros(shade.shape)
    figure.add_trace(
        cells | {"z": ground, "colorscale": _shades("panel", 1, 1), "hoverinfo": "skip"}
    )
    figure.add_trace(
        cells
        | {
            "z": np.where(np.isfinite(shade), np.clip(shade, 0, 1), 0.0),
            "colorscale": _shades(concept, 0, DARKEST),
            "text": words,
            "texttemplate": "%{text}",
            "textfont": {"size": CELL_TEXT, "color": LIGHT["text"]},
            "customdata": [[plain(text) for text in row] for row in hovers],
            "hovertemplate": "%{customdata}<extra></extra>",
        }
    )
    return figure


def _shades(concept: str, least: float, most: float) -> list[tuple[int, str]]:
    return [(0, faded(concept, least)), (1, faded(concept, most))]


def _rim(row: int, column: int) -> dict[str, object]:
    """A frame around a cell."""
    return {
        "type": "rect",
        "x0": column - 0.5,
        "x1": column + 0.5,
        "y0": row - 0.5,
        "y1": row + 0.5,
        "line": {"color": LIGHT["best"], "width": 2},
    }


def rule_heatmap(
    layers: Sequence[int],
    scales: Sequence[Sequence[ScaleReport]],
    bests: Sequence[ScaleReport],
    say: Language,
) -> go.Figure:
    """SQNR of every layer under every rule; shade is what is lost against the layer's best α.

    Args:
        scales: ``scales[i]`` are those of ``layers[i]``; the rules in the same order everywhere.
        bests: what each layer's own best α makes of it.
    """
    sqnr = np.array([[float(scale.output.sqnr_db) for scale in row] for row in scales])
    most = np.array([float(best.output.sqnr_db) for best in bests])[:, None]
    with np.errstate(invalid="ignore"):
        loss = np.where(sqnr == most, 0.0, most - sqnr)  # two infinities lose nothing
    return heatmap(
        say(
            "SQNR of every layer under every rule. {finding}",
            finding=rules_caption(layers, scales, say),
        ),
        [say("Layer {layer}", layer=layer) for layer in layers],
        [say(scale.short) for scale in scales[0]],
        loss / DARKEST_LOSS_DB,
        [
            ["–" if np.isnan(value) else decibels(value, 1).removesuffix(" dB") for value in row]
            for row in sqnr.tolist()
        ],
        [
            [
                say(
                    "Layer {layer}, {rule}\nsqnr_db {sqnr}, x_out_scale {scale}",
                    layer=layer,
                    rule=say(scale.label),
                    sqnr=decibels(float(scale.output.sqnr_db)),
                    scale=f"{scale.x_out_scale:.5g}",
                )
                for scale in row
            ]
            for layer, row in zip(layers, scales, strict=True)
        ],
        marked=sqnr >= sqnr.max(axis=1, keepdims=True) - NEGLIGIBLE_DB / 10,
    )


def cost_heatmap(
    layers: Sequence[int], scales: Sequence[Sequence[ScaleReport]], say: Language
) -> go.Figure:
    """What every layer is predicted to cost under every rule; shade is how many times a row's best.

    Args:
        scales: as of ``rule_heatmap``, with ``predicted_nats``.
    """
    nats = np.array([[scale.predicted_nats or 0.0 for scale in row] for row in scales])
    return heatmap(
        say(
            "What every layer is predicted to cost under every rule. {finding}",
            finding=rules_caption_by_loss(layers, scales, say),
        ),
        [say("Layer {layer}", layer=layer) for layer in layers],
        [say(scale.short) for scale in scales[0]],
        _times(nats) / DARKEST_TIMES,
        [[small(value) for value in row] for row in nats.tolist()],
        [
            [
                say(
                    "Layer {layer}, {rule}\npredicted_nats {nats}, sqnr_db {sqnr}",
                    layer=layer,
                    rule=say(scale.label),
                    nats=small(scale.predicted_nats or 0.0),
                    sqnr=decibels(float(scale.output.sqnr_db)),
                )
                for scale in row
            ]
            for layer, row in zip(layers, scales, strict=True)
        ],
        marked=nats <= 1.01 * nats.min(axis=1, keepdims=True),
    )


def _times(nats: np.ndarray) -> np.ndarray:
    """How many times the least of its row each costs, as a power of ten; 0 where nothing costs."""
    least = nats.min(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(nats > least, np.log10(nats / least), 0.0)


def group_heatmap(
    scales: np.ndarray, widths: np.ndarray, single: float, say: Language
) -> go.Figure:
    """A layer's scale for each (SSD group, head group) row and channel group column.

    Args:
        scales: (G, M, N), real units per code.
        widths: (G · M · N,), how many channels share each.
        single: the scale that would serve all; shade is how much finer a group's is, in octaves.
    """
    groups, heads, channels = scales.shape
    table = scales.reshape(groups * heads, channels)
    shared = widths.reshape(table.shape)
    rows = [
        say("SSD {group}, heads {heads}", group=g + 1, heads=m + 1)
        if groups > 1
        else say("Heads {heads}", heads=m + 1)
        for g in range(groups)
        for m in range(heads)
    ]
    finest = np.unravel_index(np.argmin(table), table.shape)
    return heatmap(
        say(
            "The scale of each group of channels: from {low}, {times} times finer than the one "
            "that would serve all, to {high}. The finest is that of {row}, channels {column}.",
            low=scale_text(float(table.min())),
            high=scale_text(float(table.max())),
            times=f"{single / table.min():.3g}",
            row=rows[int(finest[0])],
            column=int(finest[1]) + 1,
        ),
        rows,
        [say("channels {number}", number=n + 1) for n in range(channels)],
        np.log2(single / table) / FINEST_OCTAVES,
        [[scale_text(value) for value in row] for row in table.tolist()],
        [
            [
                say(
                    "{row}, channels {column}: {count} channels share {scale},\n"
                    "{times} times finer than {single}",
                    row=rows[r],
                    column=c + 1,
                    count=int(shared[r, c]),
                    scale=f"{table[r, c]:.5g}",
                    times=f"{single / table[r, c]:.2f}",
                    single=f"{single:.5g}",
                )
                for c in range(channels)
            ]
            for r in range(len(rows))
        ],
        concept="output",
        answers=False,
    )
