"""SQNR over α of the same slice on two texts, each with its best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import format_alpha
from dashboard.figures.alpha_axis import END, alpha_ticks, decibel_range, places
from dashboard.figures.theme import dots, line, new_figure, number_ticks, plain, rule, wrapped
from dashboard.rules.landscape import Landscape
from dashboard.rules.observers import log_alpha
from dashboard.text.captions.held_out import held_out_caption
from dashboard.text.language import Language
from dashboard.text.numbers import decibels

HEIGHT, HEIGHT_NARROW = 330, 370  # px; a narrow one has its legend in several lines
ROOM, ROOM_NARROW = 500, 250  # px that the axis has at least
BEYOND = 5  # dB that are not shown over the best
NAMES, NAMES_NARROW = 540, 250  # px of a name in the legend
LINES = (("chosen", 3.5), ("output", 2.0))  # the second may lie on the first


def held_out_landscapes(
    first: Landscape,
    second: Landscape,
    names: tuple[str, str],
    say: Language,
    *,
    alpha: float | None = None,
) -> go.Figure:
    """SQNR over α of the same slice on two texts, each with its best.

    Args:
        names: of the texts; the calibration text's first.
        alpha: the one on show, where the rule on show has one.
    """
    both = (first, second)
    end = max(float(places(landscape)[-1]) for landscape in both)
    x_range = (1.0 - END, end + END)
    low = min(decibel_range(landscape)[0] for landscape in both)
    high = max(decibel_range(landscape)[1] for landscape in both) - BEYOND
    narrow = alpha_ticks(end, x_range, ROOM_NARROW)
    figure = new_figure(
        HEIGHT,
        say(
            "SQNR over α on {first} and on {second}. {finding}",
            first=names[0],
            second=names[1],
            finding=held_out_caption(both, names, say),
        ),
        uirevision=f"{names} {x_range}",  # another α leaves it zoomed
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        xaxis={
            "range": list(x_range),
            "fixedrange": False,
            **alpha_ticks(end, x_range, ROOM),
            "title": {"text": say("percentile α, evenly in log(1 − α)")},
            "automargin": True,
        },
        yaxis={
            "range": [low, high],
            **number_ticks(low, high, unit=" dB"),
            "showgrid": True,
            "automargin": True,
        },
        meta={
            "narrow": {
                "height": HEIGHT_NARROW,
                "xaxis.tickvals": narrow["tickvals"],
                "xaxis.ticktext": narrow["ticktext"],
            }
        },
    )
    if alpha is not None:
        at = min(log_alpha(alpha), end)
        figure.add_shape(
            rule((at, at), (0, 1), "baseline", 1.2, "4px,4px", axes=("x", "paper"), layer="below")
        )
        name = say("α {alpha}, on show", alpha=format_alpha(alpha))
        figure.add_trace(line([np.nan], [np.nan], "baseline", 1.2, "4px,4px", name=plain(name)))
    for landscape, name, (concept, width) in zip(both, names, LINES, strict=True):
        x = places(landscape)
        x[-1] = end
        shown = np.flatnonzero(np.isfinite(landscape.sqnr_db))
        best = int(landscape.best)
        words = say(
            "{text}: best {alpha}, {sqnr}",
            text=name,
            alpha=format_alpha(landscape.best_alpha),
            sqnr=decibels(landscape.best_db),
        )
        hover_texts = _hover_texts(landscape, name, say)
        slim = plain(wrapped(words, NAMES_NARROW))
        figure.layout.meta["narrow"][f"data[{len(figure.data)}].name"] = slim
        figure.add_trace(
            line(
                x[shown],
                landscape.sqnr_db[shown],
                concept,
                width,
                name=plain(wrapped(words, NAMES)),
                customdata=[hover_texts[i] for i in shown.tolist()],
                hovertemplate="%{customdata}",
            )
        )
        if not np.isnan(landscape.best_db):
            figure.add_trace(
                dots(
                    [x[best]],
                    [min(landscape.best_db, high)],
                    concept,
                    10,
                    showlegend=False,
                    customdata=[hover_texts[best]],
                    hovertemplate="%{customdata}",
                )
            )
    return figure


def _hover_texts(landscape: Landscape, name: str, say: Language) -> Sequence[str]:
    """The number at each α."""
    return [
        plain(
            say(
                "{text}\nα {alpha}: {sqnr}",
                text=name,
                alpha=format_alpha(float(alpha)),
                sqnr=decibels(float(sqnr_db)),
            )
        )
        for alpha, sqnr_db in zip(landscape.alphas, landscape.sqnr_db, strict=True)
    ]
