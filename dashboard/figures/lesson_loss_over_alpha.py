"""The lesson's figure of loss: what α loses in SQNR above, what it costs in nats below."""

from __future__ import annotations

from typing import Literal

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.loss_over_alpha import LossOverAlpha
from dashboard.analysis.report import format_alpha
from dashboard.figures.nats import around, log_range, measured_dots, powers_of_ten
from dashboard.figures.theme import (
    SMALL_SIZE,
    area,
    dots,
    label,
    line,
    new_figure,
    number_ticks,
    rule,
    tick_step,
)
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, with_error

HEIGHT = 470
UPPER, LOWER = (0.66, 0.92), (0.09, 0.5)  # heights of the two panels
HEADS = (0.985, 0.57)  # over them, their names
ROOM_NARROW = 240  # px that the α have at least
BESIDE = 0.5  # beyond the first and the last α


def lesson_loss_over_alpha(
    costs: LossOverAlpha,
    unit: Literal["kl_nats", "delta_nats"],
    chosen: int,
    shown: bool,
    say: Language,
) -> go.Figure:
    """Two panels over the same α, side by side at even distances.

    Args:
        unit: of what is measured; KL on a logarithmic axis, the loss around 0.
        chosen: the place of the reader's α, marked.
        shown: whether what was measured is to be seen already.
    """
    count = len(costs.alphas)
    places = np.arange(count)
    estimates = [
        impact.kl_nats if unit == "kl_nats" else impact.delta_nats for impact in costs.impacts
    ]
    spread = [(one.mean, one.error or 0.0) for one in estimates]
    ends = [end for mean, error in spread for end in (mean - error, mean + error)]
    names = [format_alpha(alpha) for alpha in costs.alphas]
    step = tick_step(names, ROOM_NARROW, SMALL_SIZE)
    log = unit == "kl_nats"
    low, high = log_range([*ends, *(one.mean for one in estimates)]) if log else around(ends)
    ticks = powers_of_ten(low, high) if log else number_ticks(low, high)
    lost_range = around(costs.lost_db)
    own = estimates[chosen]
    alpha = format_alpha(costs.alphas[chosen])
    finding = say(
        "At α {alpha} the layers lose {lost} of SQNR on average.",
        alpha=alpha,
        lost=decibels(costs.lost_db[chosen], 1),
    )
    if shown:
        finding = say.sentences(
            finding,
            say("The model pays {nats} nats.", nats=with_error(own.mean, own.error)),
        )
    name = say("KL, nats a token") if log else say("change of the loss, nats a token")
    figure = new_figure(
        HEIGHT,
        say("SQNR lost, and nats paid, over α. {finding}", finding=finding),
        margin={"l": 66, "r": 12, "t": 0, "b": 0},
        xaxis={
            "range": [-BESIDE, count - 1 + BESIDE],
            "anchor": "y2",
            "tickvals": places.tolist(),
            "ticktext": names,
            "tickfont": {"size": SMALL_SIZE},
            "showline": True,
        },
        yaxis={
            "range": list(lost_range),
            "domain": UPPER,
            **number_ticks(*lost_range, about=4, unit=" dB"),
            "showgrid": True,
            "tickfont": {"size": SMALL_SIZE},
        },
        yaxis2={
            "type": "log" if log else "linear",
            "range": [float(np.log10(low)), float(np.log10(high))] if log else [low, high],
            "domain": LOWER,
            **(ticks if shown else {"tickvals": []}),
            "showgrid": True,
            "tickfont": {"size": SMALL_SIZE},
        },
        shapes=[
            rule((chosen, chosen), span, "chosen", 1.5, "4px,4px", ("x", "paper"), layer="below")
            for span in ((UPPER, LOWER) if shown else (UPPER,))
        ],
        annotations=[
            label(
                0,
                HEADS[0],
                say("SQNR lost on average"),
                "output",
                "bottom right",
                bold=True,
                xshift=-66,
            ),
            label(0, HEADS[1], name, "text", "bottom right", bold=True, xshift=-66),
            *(
                []
                if shown
                else [
                    label(
                        (count - 1) / 2,
                        sum(LOWER) / 2,
                        say("measured, not shown yet"),
                        "muted",
                        size=14,
                        axes=("x", "paper"),
                        halo=True,
                    )
                ]
            ),
        ],
        meta={
            "narrow": {
                "xaxis.tickvals": places[::step].tolist(),
                "xaxis.ticktext": names[::step],
            }
        },
    )
    figure.add_trace(line(places, costs.lost_db, "output", 1.5, opacity=0.6))
    figure.add_trace(
        dots(
            places,
            costs.lost_db,
            "output",
            9,
            customdata=[
                say("α {alpha}: {lost} lost", alpha=format_alpha(a), lost=decibels(lost, 1))
                for a, lost in zip(costs.alphas, costs.lost_db, strict=True)
            ],
            hovertemplate="%{customdata}",
        )
    )
    if not shown:
        middle = area([-BESIDE, count - 1 + BESIDE, count - 1 + BESIDE, -BESIDE],
                      [low, low, high, high], "baseline", 0.12)  # fmt: skip
        figure.add_trace(middle | {"yaxis": "y2"})
        return figure
    if not log:
        figure.add_trace(
            line([-BESIDE, count - 1 + BESIDE], [0, 0], "baseline", 1.2) | {"yaxis": "y2"}
        )
    figure.add_trace(
        measured_dots(
            places,
            estimates,
            "saturated",
            [
                f"α {format_alpha(a)}: {with_error(one.mean, one.error)} nats"
                + (f"\n{say('within its error')}" if one.is_noise else "")
                for a, one in zip(costs.alphas, estimates, strict=True)
            ],
            11,
            log=log,
            yaxis="y2",
        )
    )  # fmt: skip
    return figure
