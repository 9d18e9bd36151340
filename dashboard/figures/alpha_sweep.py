"""Every measure at every α, in panels over one axis, each rule a mark on each curve."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import ScaleReport, format_alpha
from dashboard.figures.alpha_axis import alpha_ticks, decibel_range, flags, places
from dashboard.figures.nats import powers_of_ten
from dashboard.figures.theme import (
    LIGHT,
    NARROW,
    RAISED,
    SMALL_SIZE,
    dots,
    label,
    line,
    new_figure,
    number_ticks,
    pick,
    plain,
    rule,
    sensors,
    text_width,
)
from dashboard.rules.landscape import Landscape
from dashboard.text.captions.sweep import sweep_verdict
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, small

HEIGHTS = (250, 150, 110, 120, 110)  # px of the panels
COST_HEIGHT = 150  # px of the one for predicted loss, the second where gradients were counted
COST_BEYOND = 30.0  # times the least cost: what costs more lies beyond its panel
HEAD, FOOT, ROW = 28, 46, 17  # px: over a panel, under the last, a row of flags
MARGIN = 0.22  # of a power of ten, on each side: for rules that no α gives
LEAST_MSE = 1e-12  # where there is no error, any axis will do
OFF_DB = 9.0  # beyond a panel's edge, where nothing shows
SENSORS = 120  # at most, of what is told at α
# Below a figure's width, px that the axis has at least.
ROOMS = ((np.inf, 840), (920, 500), (NARROW, 240))


@dataclass(frozen=True, eq=False)
class _Curve:
    """A measure over α, and what one rule makes of it."""

    name: str
    values: np.ndarray
    of: Callable[[ScaleReport], float]
    concept: str
    text: Callable[[float], str]


@dataclass(frozen=True, eq=False)
class _Panel:
    """Curves on one axis: its range in what plotly takes, and its numbers."""

    curves: tuple[_Curve, ...]
    range: tuple[float, float]
    ticks: dict[str, list]
    log: bool = False

    def clipped(self, value: float) -> float:
        """A value within the panel, on its edge where it lies beyond."""
        low, high = (10.0**end if self.log else end for end in self.range)
        return float(np.clip(value, low, high))


def alpha_sweep(landscape: Landscape, rules: Sequence[ScaleReport], say: Language) -> go.Figure:
    """SQNR, its two errors, bits, shares and the scale over α, every rule a mark on each curve.

    Args:
        landscape: the slice's.
        rules: the chosen first. A rule stands at the α whose quantile its amax is; where its amax
            lies below the least quantile or beyond every value, it stands in the margin.

    A click answers with the index of an α in ``landscape.alphas``.
    """
    panels = _panels(landscape, say)
    t = places(landscape)
    x_range = (float(t[0]) - MARGIN, float(t[-1]) + MARGIN)
    heights = list(HEIGHTS)
    if landscape.predicted_nats is not None:
        heights.insert(1, COST_HEIGHT)
    inner = sum(heights) + HEAD * (len(panels) - 1)
    tops = [1 - (sum(heights[:i]) + HEAD * i) / inner for i in range(len(panels))]
    domains = [(max(top - tall / inner, 0.0), top) for top, tall in zip(tops, heights, strict=True)]
    marks = _marks(landscape, rules, t, say)
    wide, *narrower = (_Flags.of(marks, x_range, room) for _, room in ROOMS)
    left = max(text_width(text, 12) for panel in panels for text in panel.ticks["ticktext"]) + 8
    headings = [_heading(panel, say, first=i == 0) for i, panel in enumerate(panels)]
    figure = new_figure(
        round(inner + wide.height + HEAD + FOOT),
        say(
            "SQNR, errors, bits, shares and scale over α, with every rule marked. {finding}",
            finding=sweep_verdict(landscape, say),
        ),
        uirevision=f"{x_range}",  # another α leaves it zoomed, another slice does not
        margin={"l": left, "r": 6, "t": wide.height + HEAD, "b": FOOT},
        xaxis={
            "range": list(x_range),
            "fixedrange": False,
            "anchor": f"y{len(panels)}",
            **alpha_ticks(float(t[-1]), x_range, ROOMS[0][1]),
            "title": {"text": say("percentile α, evenly in log(1 − α)")},
            "showspikes": True,
            "spikemode": "across",
            "spikesnap": "hovered data",
            "spikethickness": 1,
            "spikedash": "solid",
            "spikecolor": LIGHT["baseline"],
        },
        annotations=[
            label(0, 1, "", anchor="top right", xshift=2 - left, yshift=wide.height + 4)
            | headings[0],
            *(
                label(0, top, "", anchor="top right", xshift=2 - left, yshift=2) | heading
                for top, heading in zip(tops[1:], headings[1:], strict=True)
            ),
            *wide.labels(marks),
        ],
        shapes=[*wide.poles(marks), *_lines(marks, domains)],
        meta={
            "picks": _picks(landscape, t),
            "under": [
                (
                    width,
                    {
                        "height": round(inner + less.height + HEAD + FOOT),
                        "margin.t": less.height + HEAD,
                        "annotations[0].yshift": less.height + 4,
                        **_numbered("annotations", less.labels(marks), len(panels)),
                        **_numbered("shapes", less.poles(marks)),
                        "xaxis.tickvals": ticks["tickvals"],
                        "xaxis.ticktext": ticks["ticktext"],
                    },
                )
                for (width, room), less in zip(ROOMS[1:], narrower, strict=True)
                for ticks in [alpha_ticks(float(t[-1]), x_range, room)]
            ],
        },
    )
    hover_texts = _hover_texts(landscape, panels, say)
    for i, (panel, domain) in enumerate(zip(panels, domains, strict=True)):
        number = str(i + 1) if i else ""
        figure.layout[f"yaxis{number}"] = {
            "domain": domain,
            "type": "log" if panel.log else "linear",
            "range": panel.range,
            "showgrid": True,
            **panel.ticks,
        }
        axis = f"y{number}"
        if i == 0:
            for trace in _ceilings(landscape, t):
                figure.add_trace(trace)
        figure.add_trace(_sensors(t, hover_texts, panel, axis))
        for curve in panel.curves:
            shown = _drawable(curve.values, panel)
            figure.add_trace(line(t[shown], curve.values[shown], curve.concept, 2.2, yaxis=axis))
        for curve in panel.curves:
            figure.add_trace(_points(curve, panel, marks, say) | {"yaxis": axis})
    return figure


def _numbered(name: str, items: Sequence[dict], first: int = 0) -> dict[str, dict]:
    return {f"{name}[{first + i}]": item for i, item in enumerate(items)}


def _panels(landscape: Landscape, say: Language) -> tuple[_Panel, ...]:
    output = landscape.output
    sqnr = _Curve("sqnr_db", output.sqnr_db, lambda r: float(r.output.sqnr_db), "chosen", decibels)
    errors = (
        _Curve("rounding_mse", output.rounding_mse, lambda r: float(r.output.rounding_mse),
               "output", "{:.3g}".format),
        _Curve("clipping_mse", output.clipping_mse, lambda r: float(r.output.clipping_mse),
               "saturated", "{:.3g}".format),
    )  # fmt: skip
    bits = _Curve(
        "effective_bits",
        output.effective_bits,
        lambda r: float(r.output.effective_bits),
        "output",
        "{:.2f}".format,
    )
    shares = (
        _Curve("code_utilization", output.code_utilization,
               lambda r: float(r.output.code_utilization), "output", percent),
        _Curve("saturation_rate", output.saturation_rate,
               lambda r: float(r.output.saturation_rate), "saturated", percent),
    )  # fmt: skip
    scale = _Curve("x_out_scale", landscape.scales, lambda r: r.x_out_scale, "input", scale_text)
    low, high = decibel_range(landscape)
    bottom, top = _powers(errors, landscape.best)
    powers = np.arange(np.ceil(bottom), top)
    greatest = 1.15 * float(landscape.scales.max())
    return (
        _Panel((sqnr,), (low, high), number_ticks(low, high, unit=" dB")),
        *_cost_panel(landscape),
        _Panel(
            errors,
            (bottom, top),
            {
                "tickvals": [10.0**power for power in powers],
                "ticktext": [f"10{str(round(power)).translate(RAISED)}" for power in powers],
            },
            log=True,
        ),
        _Panel((bits,), (0.0, 8.4), {"tickvals": [0, 4, 8], "ticktext": ["0", "4", "8"]}),
        _Panel(
            shares,
            (0.0, 1.05),
            {"tickvals": [0, 0.5, 1], "ticktext": [percent(share) for share in (0, 0.5, 1)]},
        ),
        _Panel((scale,), (0.0, greatest), number_ticks(0.0, greatest, about=3)),
    )


def _cost_panel(landscape: Landscape) -> list[_Panel]:
    """Predicted loss, around its least; nothing where no gradients were counted."""
    nats = landscape.predicted_nats
    if nats is None:
        return []
    known = nats[nats > 0]
    least = float(known.min()) if len(known) else LEAST_MSE
    most = min(float(known.max()) if len(known) else LEAST_MSE, COST_BEYOND * least)
    low, high = least / 1.3, max(most, 2 * least) * 1.3
    curve = _Curve("predicted_nats", nats, lambda r: r.predicted_nats or 0.0, "best", small)
    ticks = powers_of_ten(low, high, 3)
    return [_Panel((curve,), (float(np.log10(low)), float(np.log10(high))), ticks, log=True)]


def _powers(errors: Sequence[_Curve], best: int) -> tuple[float, float]:
    """Powers of ten between which the errors lie that are worth looking at, those of the best."""
    most = max(float(np.max(curve.values)) for curve in errors) or LEAST_MSE
    there = sum(float(curve.values[best]) for curve in errors) or most
    top = float(np.log10(most)) + 0.3
    return min(float(np.log10(there)) - 1.0, top - 2.0), top


def _drawable(values: np.ndarray, panel: _Panel) -> np.ndarray:
    """Which values can be drawn; an error of 0 lies nowhere on a logarithmic axis."""
    return np.isfinite(values) & ((values > 0) | (not panel.log))


def _heading(panel: _Panel, say: Language, first: bool) -> dict:
    """The names of a panel's curves, in their colours."""
    words = [_coloured(f"<b>{curve.name}</b>", curve.concept) for curve in panel.curves]
    if first:
        words += [
            _coloured("┄ " + plain(say("if only rounding")), "output"),
            _coloured("┄ " + plain(say("if only clipping")), "saturated"),
        ]
    return {"text": "   ".join(words), "font": {"size": 12, "color": LIGHT["text"]}}


def _coloured(text: str, concept: str) -> str:
    return f"<span style='color:{LIGHT[concept]}'>{text}</span>"


def _ceilings(landscape: Landscape, t: np.ndarray) -> list[dict]:
    """What the curve would be if scales only rounded, and if they only clipped."""
    low, high = decibel_range(landscape)
    return [
        line(
            t[np.isfinite(values)],
            np.clip(values[np.isfinite(values)], low - OFF_DB, high + OFF_DB),
            concept,
            1.6,
            "1px,4px",
        )
        for values, concept in (
            (landscape.rounding_ceiling_db, "output"),
            (landscape.clipping_ceiling_db, "saturated"),
        )
    ]


def _hover_texts(landscape: Landscape, panels: Sequence[_Panel], say: Language) -> list[str]:
    """All measures at each α."""
    lines = []
    for i, alpha in enumerate(landscape.alphas):
        numbers = [
            f"{curve.name} {curve.text(float(curve.values[i]))}"
            for panel in panels
            for curve in panel.curves
        ]
        lines.append("<br>".join([f"<b>α {format_alpha(float(alpha))}</b>", *numbers]))
    return lines


def _sensors(t: np.ndarray, hover_texts: Sequence[str], panel: _Panel, axis: str) -> dict:
    """Bars beside one another that say the numbers at the nearest α."""
    chosen, edges = _bands(t)
    low, high = (10.0**end if panel.log else end for end in panel.range)
    return sensors(
        (edges[1:] + edges[:-1]) / 2,
        np.diff(edges),
        [hover_texts[i] for i in chosen],
        low,
        high,
        marked=True,
        yaxis=axis,
    )


@dataclass(frozen=True)
class _Mark:
    """A rule, or the best α, at its place."""

    at: float
    name: str
    report: ScaleReport | None  # None for the best α
    first: bool

    @property
    def style(self) -> tuple[str, float, str]:
        """Colour, width and dash of its line."""
        if self.report is None:
            return "best", 1.6, "solid"
        return ("chosen", 2.0, "solid") if self.first else ("baseline", 1.1, "6px,5px")

    @property
    def ink(self) -> str:
        if self.report is None:
            return "best"
        return "text" if self.first else "muted"

    @property
    def bold(self) -> bool:
        return self.first or self.report is None


def _marks(
    landscape: Landscape, rules: Sequence[ScaleReport], t: np.ndarray, say: Language
) -> list[_Mark]:
    """The best α and the chosen rule first: their flags are the lowest."""
    marks = [
        _Mark(_place(landscape, t, report), say(report.short), report, i == 0)
        for i, report in enumerate(rules)
    ]
    best = say("best {alpha}", alpha=format_alpha(landscape.best_alpha))
    return [_Mark(float(t[landscape.best]), best, None, False), *marks]


def _place(landscape: Landscape, t: np.ndarray, report: ScaleReport) -> float:
    """Where a rule stands on the axis: at the α that has its scale, or in a margin."""
    if report.x_out_scale > landscape.scales[-1]:
        return float(t[-1]) + 0.7 * MARGIN
    if report.x_out_scale < landscape.scales[0]:
        return float(t[0]) - 0.7 * MARGIN
    return float(np.interp(report.x_out_scale, landscape.scales, t))


@dataclass(frozen=True)
class _Flags:
    """Labels of the marks over the panels, where the axis has a number of px at least."""

    names: tuple[str, ...]
    rights: tuple[bool, ...]  # whether a label stands to the right of its pole
    shifts: tuple[float, ...]  # px
    bottoms: tuple[float, ...]  # px over the panels
    poles_end: tuple[float, ...]
    height: float

    @staticmethod
    def of(marks: Sequence[_Mark], x_range: tuple[float, float], room: float) -> _Flags:
        names = [re.sub(", |，", "\n", mark.name) for mark in marks]
        at = [(mark.at - x_range[0]) / (x_range[1] - x_range[0]) * room for mark in marks]
        widths = [
            text_width(name, SMALL_SIZE, mark.bold) + 6
            for name, mark in zip(names, marks, strict=True)
        ]
        placed = flags(at, widths, room)
        rows = max(flag.row for flag in placed) + 1
        lines = [
            max(
                (n.count("\n") + 1 for n, f in zip(names, placed, strict=True) if f.row == row),
                default=1,
            )
            for row in range(rows)
        ]
        rights = [
            flag.left + width / 2 >= x for flag, width, x in zip(placed, widths, at, strict=True)
        ]
        return _Flags(
            tuple(names),
            tuple(rights),
            tuple(
                flag.left - x if right else flag.left + width - x
                for flag, right, width, x in zip(placed, rights, widths, at, strict=True)
            ),
            tuple(4.0 + ROW * sum(lines[: flag.row]) for flag in placed),
            tuple(
                # Beside its label, which stands to a side of it, or under what is in its way.
                4.0 + ROW * (sum(lines[: flag.row + 1]) - 0.25)
                if flag.pole == flag.row and x in (flag.left, flag.left + width)
                else 4.0 + ROW * sum(lines[: flag.pole])
                for flag, width, x in zip(placed, widths, at, strict=True)
            ),
            4.0 + ROW * sum(lines),
        )

    def labels(self, marks: Sequence[_Mark]) -> list[dict]:
        return [
            label(
                mark.at,
                1,
                name,
                mark.ink,
                "top right" if right else "top left",
                SMALL_SIZE,
                mark.bold,
                axes=("x", "paper"),
                yshift=bottom,
                xshift=shift + (2 if right else -2),
            )
            for mark, name, right, shift, bottom in zip(
                marks, self.names, self.rights, self.shifts, self.bottoms, strict=True
            )
        ]

    def poles(self, marks: Sequence[_Mark]) -> list[dict]:
        """From the panels up to the labels."""
        return [
            rule(
                (mark.at, mark.at),
                (0, end),
                *mark.style,
                axes=("x", "paper"),
                ysizemode="pixel",
                yanchor=1,
            )
            for mark, end in zip(marks, self.poles_end, strict=True)
        ]


def _lines(marks: Sequence[_Mark], domains: Sequence[tuple[float, float]]) -> list[dict]:
    """Each mark's line through every panel, not through the headings between them."""
    return [
        rule((mark.at, mark.at), domain, *mark.style, axes=("x", "paper"), layer="below")
        for mark in reversed(marks)
        for domain in domains
    ]


def _points(curve: _Curve, panel: _Panel, marks: Sequence[_Mark], say: Language) -> dict:
    """What each rule makes of a measure; on the panel's edge, and pale, where it lies beyond."""
    shown = [
        (mark, mark.report, value)
        for mark in reversed(marks)
        if mark.report is not None and np.isfinite(value := curve.of(mark.report))
    ]
    y = [panel.clipped(value) for _, _, value in shown]
    inside = [at == value for at, (_, _, value) in zip(y, shown, strict=True)]
    trace = dots(
        [mark.at for mark, _, _ in shown],
        y,
        [curve.concept if within else "line" for within in inside],
        8,
        customdata=[
            f"<b>{plain(say(report.label))}</b><br>{curve.name} {curve.text(value)}"
            for _, report, value in shown
        ],
        hovertemplate="%{customdata}",
    )
    trace["marker"]["size"] = [9 if mark.first else 7 for mark, _, _ in shown]
    return trace


def _bands(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The α that are told and chosen, (n,) indices, and where the band of each ends, (n + 1,)."""
    chosen = np.unique(np.append(np.arange(0, len(t), -(-len(t) // SENSORS)), len(t) - 1))
    at = t[chosen]
    return chosen, np.concatenate([[at[0] - MARGIN], (at[1:] + at[:-1]) / 2, [at[-1] + MARGIN]])


def _picks(landscape: Landscape, t: np.ndarray) -> list[dict]:
    """A band for each α that the pointer is told of."""
    chosen, edges = _bands(t)
    return [
        pick(
            i,
            f"α {format_alpha(float(landscape.alphas[i]))}",
            (low, high),
            axes=("x", "paper"),
            by_key=False,
        )
        for i, low, high in zip(chosen.tolist(), edges[:-1], edges[1:], strict=True)
    ]
