"""What every α costs some layers: predicted as a line, measured as points with their errors."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.alpha_costs import AlphaCosts
from dashboard.analysis.report import format_alpha
from dashboard.figures.alpha_axis import END, alpha_ticks
from dashboard.figures.nats import legend_entry, log_range, measured_dots, powers_of_ten
from dashboard.figures.theme import line, new_figure, plain, rule, wrapped
from dashboard.rules.observers import log_alpha
from dashboard.text.captions.costs import alpha_cost_caption
from dashboard.text.language import Language
from dashboard.text.numbers import small, with_error

HEIGHT, HEIGHT_NARROW = 340, 420  # px; a narrow one has its legend in several lines
FIRST = 1.0  # −log10(1 − α) of the least α on show: 0.9
BEFORE = 0.12  # of a power of ten, left of it
ROOM, ROOM_NARROW = 500, 250  # px that the axis has at least
NAMES, NAMES_NARROW = 540, 250  # px of a name in the legend
LEAST = 1e-12  # nats: below it a prediction is nothing


def impact_alpha(costs: AlphaCosts, say: Language, *, alpha: float | None = None) -> go.Figure:
    """Nats of KL over α, on a logarithmic axis, both bests marked.

    Args:
        alpha: the one on show, where the rule on show has one.
    """
    places = _places(costs.alphas)
    shown = places >= FIRST
    predicted = np.full(len(places), np.nan)
    if costs.predicted_nats is not None:
        predicted = np.where(costs.predicted_nats > LEAST, costs.predicted_nats, np.nan)
    measured = {a: one for a, one in costs.known.items() if _place(costs, a, places) >= FIRST}
    estimates = [impact.kl_nats for impact in measured.values()]
    ends = [one.mean + (one.error or 0.0) for one in estimates] + [one.mean for one in estimates]
    low, high = log_range([*predicted[shown].tolist(), *ends])
    x_range = (FIRST - BEFORE, float(places[-1]) + END)
    narrow = alpha_ticks(float(places[-1]), x_range, ROOM_NARROW)
    figure = new_figure(
        HEIGHT,
        say("KL over α. {finding}", finding=alpha_cost_caption(costs, say)),
        uirevision=f"{costs.layers} {x_range}",
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        xaxis={
            "range": list(x_range),
            **alpha_ticks(float(places[-1]), x_range, ROOM),
            "title": {"text": say("percentile α, evenly in log(1 − α)")},
            "automargin": True,
        },
        yaxis={
            "type": "log",
            "range": [float(np.log10(low)), float(np.log10(high))],
            **powers_of_ten(low, high),
            "showgrid": True,
            "title": {"text": say("nats of KL a token")},
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

    def mark(at: float | None, concept: str, width: float, dash: str, name: str) -> None:
        if at is None:
            return
        place = max(_place(costs, at, places), x_range[0])
        figure.add_shape(
            rule((place, place), (0, 1), concept, width, dash, ("x", "paper"), layer="below")
        )
        figure.layout.meta["narrow"][f"data[{len(figure.data)}].name"] = plain(
            wrapped(name, NAMES_NARROW)
        )
        entry = line([np.nan], [np.nan], concept, width, dash, name=plain(wrapped(name, NAMES)))
        figure.add_trace(entry)

    if alpha is not None:
        words = say("α {alpha}, on show", alpha=format_alpha(alpha))
        mark(alpha, "baseline", 1.2, "4px,4px", words)
    by_sqnr = say("best by SQNR: α {alpha}", alpha=format_alpha(costs.best_by_sqnr))
    mark(costs.best_by_sqnr, "output", 2, "2px,3px", by_sqnr)
    if costs.best_by_loss is not None:
        by_loss = say("best by predicted loss: α {alpha}", alpha=format_alpha(costs.best_by_loss))
        mark(costs.best_by_loss, "best", 2, "8px,4px", by_loss)
    if costs.predicted_nats is not None:
        at = np.flatnonzero(shown & np.isfinite(predicted))
        predictions = [
            say("α {alpha}\npredicted: {nats} nats", alpha=format_alpha(float(costs.alphas[i])),
                nats=small(float(predicted[i])))
            for i in at.tolist()
        ]  # fmt: skip
        figure.add_trace(
            line(
                places[at],
                predicted[at],
                "input",
                2.5,
                name=plain(say("predicted")),
                customdata=[plain(text) for text in predictions],
                hovertemplate="%{customdata}",
            )
        )
    if measured:
        figure.add_trace(
            measured_dots(
                [_place(costs, a, places) for a in measured],
                estimates,
                "chosen",
                [
                    say(
                        "α {alpha}\nmeasured: {nats} nats",
                        alpha=format_alpha(a),
                        nats=with_error(one.mean, one.error),
                    )
                    for a, one in zip(measured, estimates, strict=True)
                ],
                log=True,
                showlegend=False,
            )
        )
        figure.add_trace(legend_entry(plain(say("measured ± standard error")), "chosen", "circle"))
    return figure


def _places(alphas: np.ndarray) -> np.ndarray:
    """Where each α stands; 1 a little beyond the last below it."""
    t = np.array([log_alpha(float(alpha)) for alpha in alphas])
    t[-1] = (t[-2] if len(t) > 1 else FIRST) + END
    return t


def _place(costs: AlphaCosts, alpha: float, places: np.ndarray) -> float:
    """Of any α, which need not be one of the costs' own."""
    return min(log_alpha(alpha), float(places[-1]))
