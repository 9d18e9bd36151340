"""The lesson's seventh figure: both published ratios, and this model's with a gap to be guessed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from dashboard.figures.theme import SMALL_SIZE, dots, label, line, new_figure, strokes
from dashboard.rules.published import QUAMBA2_130M
from dashboard.text.language import Language

ROW = 27  # px
ABOVE, BETWEEN, BELOW = 50, 44, 44  # px: over the rows, between the two groups, under them
RANGE = (0.45, 420.0)  # of the ratios; logarithmic
TICKS = (1, 3, 10, 30, 100, 300)


def ratios(
    checkpoint: str,
    own: Mapping[int, float],
    guessed: int,
    guess: float,
    shown: bool,
    say: Language,
) -> go.Figure:
    """Both ratios of the published layers, and the like-for-like ones of this model.

    Args:
        own: each layer's like-for-like ratio, by its number.
        guessed: the layer that is hidden unless ``shown``, the last; its ``guess`` stands there.
    """
    height = ABOVE + ROW * (len(QUAMBA2_130M) + len(own) + 1) + BETWEEN + BELOW
    published = [-i * ROW for i in range(len(QUAMBA2_130M))]
    start = -len(QUAMBA2_130M) * ROW - BETWEEN
    rows = {layer: start - i * ROW for i, layer in enumerate(own)}
    last = rows[guessed] - ROW
    at = float(np.clip(guess, *RANGE))
    known = {layer: ratio for layer, ratio in own.items() if layer != guessed or shown}
    figure = new_figure(
        height,
        say(
            "Over the weights' scale the published ratios are {low} to {high}, like for like "
            "{first} to {last}.",
            low=f"{min(r.ratio_weight for r in QUAMBA2_130M):.1f}",
            high=f"{max(r.ratio_weight for r in QUAMBA2_130M):.1f}",
            first=f"{min(r.ratio_wx for r in QUAMBA2_130M):.0f}",
            last=f"{max(r.ratio_wx for r in QUAMBA2_130M):.0f}",
        ),
        margin={"l": 66, "r": 42, "t": ABOVE - ROW / 2, "b": BELOW},
        xaxis={
            "range": np.log10(RANGE).tolist(),
            "showgrid": True,
            "ticks": "",
            "tickvals": np.log10(TICKS),
            "ticktext": list(map(str, TICKS)),
            "tickfont": {"size": SMALL_SIZE},
            "title": {"text": say("ratio, logarithmic")},
        },
        yaxis={
            "range": [last - ROW / 2, ROW / 2],
            "tickvals": [*published, *rows.values()],
            "ticktext": [
                say("layer {layer}", layer=layer)
                for layer in (*(row.layer for row in QUAMBA2_130M), *own)
            ],
        },
        annotations=[
            label(0, 1, "Quamba2-130m", "text", "top right", bold=True, xshift=-66, yshift=14),
            label(0, 1, say("over w_scale"), "saturated", "top right", 11.5, bold=True),
            label(1, 1, say("over scale_wx"), "output", "top left", 11.5, bold=True),
            label(
                0,
                start + ROW,
                say("{checkpoint}, at each layer's best α", checkpoint=checkpoint),
                "text",
                "middle right",
                bold=True,
                axes=("paper", "y"),
                xshift=-66,
            ),
            label(
                np.log10(at),
                rows[guessed],
                say("your guess {ratio}", ratio=f"{guess:.0f}"),
                "chosen",
                "bottom left" if at > 150 else "bottom center",
                12,
                bold=True,
                axes=("x", "y"),
                yshift=-9,
            ),
        ],
    )
    pairs = np.log10([[row.ratio_weight, row.ratio_wx] for row in QUAMBA2_130M])
    figure.add_trace(line(*strokes(tuple(pairs.T), (published, published)), "line", 1.5))
    for column, concept, side in ((0, "saturated", "middle left"), (1, "output", "middle right")):
        figure.add_trace(
            _named(
                pairs[:, column],
                published,
                concept,
                side,
                [f"{10**x:.1f}" if 10**x < 100 else f"{10**x:.0f}" for x in pairs[:, column]],
            )
        )
    figure.add_trace(
        _named(
            [np.log10(np.clip(ratio, *RANGE)) for ratio in known.values()],
            [rows[layer] for layer in known],
            "output",
            "middle right",
            [f"{ratio:.1f}" for ratio in known.values()],
        )
    )
    figure.add_trace(dots([np.log10(at)], [rows[guessed]], "chosen", 11))
    return figure


def _named(x: ArrayLike, y: ArrayLike, concept: str, side: str, words: list[str]) -> dict:
    """Dots with their numbers beside them."""
    named = dots(x, y, concept, 11)
    font = {"size": 12, "color": named["marker"]["color"]}
    bold = [f"  <b>{word}</b>  " for word in words]
    return named | {"mode": "markers+text", "text": bold, "textposition": side, "textfont": font}
