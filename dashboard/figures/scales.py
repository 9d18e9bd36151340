"""The table-graphic: every scale's 256 codes, what they cost, and how that splits in two.

A row is a stretch of one pair of axes: row i lies between −i and −i − 1. Its histogram and its
error bar take the lower part; on a page its name stands beside them, on a phone above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import ScaleReport
from dashboard.calibration.histogram import CODES
from dashboard.figures.theme import (
    LIGHT,
    RAISED,
    SentFigure,
    area,
    count_height,
    hatch,
    hover,
    label,
    pick,
    whole_figure,
)
from dashboard.rules.landscape import Measure
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, signed, small
from kernels.int8 import QMAX, QMIN

ROW, HEAD = 52, 24  # px
NARROW_ROW, NARROW_HEAD = 122, 44
NAMES, SQNR, NATS = 186, 68, 82  # px, beside the panels: names, SQNR and predicted cost


@dataclass(frozen=True)
class Columns:
    """Shares of what lies between: where codes and numbers end, and where error bars begin."""

    codes: float
    used: float
    bits: float
    saturated: float
    error: float


PLAIN = Columns(0.44, 0.53, 0.6, 0.745, 0.76)
WITH_COSTS = Columns(0.4, 0.495, 0.575, 0.745, 0.755)  # of less room
# Of a row's height: the foot of what is drawn, the tallest histogram, an error bar.
FOOT, TALLEST, BAR = 0.08, 0.62, (0.22, 0.5)

# An error of many times the least would leave the others' bars a pixel wide: such bars are cut and
# say how many times the least error they are.
SHOWN_ERRORS = 4
CUT = 0.5  # of the column, the length of a bar that is cut


def scale_table(
    rows: Sequence[ScaleReport], beside: bool, say: Language, by: Measure = "sqnr_db"
) -> go.Figure | SentFigure:
    """256 codes, codes used, bits, saturation, error split in two, and SQNR of each scale.

    Where gradients were counted, what each is predicted to cost, too.

    Args:
        rows: the chosen scale first.
        beside: whether the second row is one that was asked for beside it, and stands out too.
        by: what the best row has the most, or the least, of; it is in the colour of the best.

    A click on a row answers with its
    number.
    """
    most = max(rows, key=lambda row: float(row.output.sqnr_db))
    least = min(rows, key=_cost) if by == "predicted_nats" else None
    costs = has_costs(rows)
    columns = WITH_COSTS if costs else PLAIN
    leading = range(2 if beside and len(rows) > 1 else 1)
    words = _headings(columns, costs, say)
    for i, row in enumerate(rows):
        best = "nats" if row is least else "sqnr" if row is most and least is None else ""
        words += _numbers(i, row, i in leading, best, columns, costs, say)
    times = Errors.of(rows)
    words += times.words()
    others = [i for i in range(len(rows)) if i not in leading]
    return whole_figure(
        HEAD + ROW * len(rows),
        say(
            "A row a scale: its 256 codes, codes used, bits, saturation, error, SQNR. {best} has "
            "the most SQNR, {most}; {chosen}, which is chosen, has {sqnr}.",
            best=say(most.label),
            most=decibels(float(most.output.sqnr_db)),
            chosen=say(rows[0].label),
            sqnr=decibels(float(rows[0].output.sqnr_db)),
        ),
        [
            *_codes(rows, [0], 0.92, "chosen "),
            *_codes(rows, leading[1:], 0.92),
            *_codes(rows, others, 0.6),
            *times.bars(rows, say),
            _code_sensors(rows, say),
        ],
        margin={"l": NAMES, "r": SQNR + NATS * costs, "t": HEAD, "b": 0},
        xaxis={"domain": (0.0, columns.codes), "range": [QMIN - 0.5, QMAX + 0.5], "visible": False},
        yaxis={"range": [-len(rows), 0], "visible": False},
        xaxis2={"domain": (columns.error, 1.0), "range": [0, 1], "visible": False, "anchor": "y"},
        annotations=words,
        meta={
            "picks": [
                pick(
                    i,
                    say("Choose {rule}", rule=say(row.label)),
                    y=(-i - 1, -i),
                    axes=("figure", "y"),
                )
                for i, row in enumerate(rows)
                if i
            ],
            "narrow": _narrow(words, len(rows)),
        },
    )


def has_costs(rows: Sequence[ScaleReport]) -> bool:
    """Whether every row's predicted cost is known."""
    return all(row.predicted_nats is not None for row in rows)


def _cost(row: ScaleReport) -> float:
    return np.inf if row.predicted_nats is None else row.predicted_nats


def cost_text(row: ScaleReport) -> str:
    """A row's predicted cost, in nats, in at most nine signs."""
    cost = _cost(row)
    if not 0 < cost < 1e-4:
        return small(cost)
    exponent = int(np.floor(np.log10(cost)))
    return f"{cost / 10.0**exponent:.2f}·10{str(exponent).translate(RAISED)}"


def _headings(columns: Columns, costs: bool, say: Language) -> list[dict[str, Any]]:
    codes = [QMIN, -64, 0, 64, QMAX]
    return [
        label(0, 1, "scale_out", anchor="top right", xshift=-NAMES, name="heading name"),
        *(
            label(code, 1, signed(code, 0), anchor="top center", axes=("x", "paper"), size=11)
            for code in codes
        ),
        *(
            label(x, 1, words, anchor="top left", size=12, name=f"heading {name}")
            for x, name, words in (
                (columns.used, "used", say("used")),
                (columns.bits, "bits", say("bits")),
                (columns.saturated, "saturated", say("saturated")),
            )
        ),
        label(0, 1, say("rounding"), "output", "top right", axes=("x2 domain", "paper"), size=12),
        label(1, 1, say("clipping"), "saturated", "top left", axes=("x2 domain", "paper"), size=12),
        label(1, 1, "SQNR", anchor="top left", xshift=SQNR, name="heading sqnr"),
        *(
            [label(1, 1, "nats", anchor="top left", xshift=SQNR + NATS, name="heading nats")]
            if costs
            else []
        ),
    ]


def _numbers(
    i: int,
    row: ScaleReport,
    leads: bool,
    best: str,
    columns: Columns,
    costs: bool,
    say: Language,
) -> list[dict[str, Any]]:
    """A row's name and numbers; ``name`` says what each is, and the row.

    Args:
        best: the name of the number in which this row is the best, if any.
    """
    output = row.output
    ink = "text" if leads else "muted"
    saturated = "saturated" if output.saturated else "muted"
    middle, axes = -i - 0.5, ("paper", "y")
    return [
        label(
            0,
            middle,
            say(row.label),
            ink,
            "middle right",
            13,
            bold=leads,
            axes=axes,
            xshift=-NAMES,
            yshift=8,
            name=f"name {i}",
        ),
        label(
            0,
            middle,
            scale_text(row.x_out_scale),
            anchor="middle right",
            size=11.5,
            axes=axes,
            xshift=-NAMES,
            yshift=-8,
            name=f"scale {i}",
        ),
        *(
            label(x, middle, value, colour, "middle left", 13, axes=axes, name=f"{name} {i}")
            for x, name, value, colour in (
                (columns.used, "used", str(int(output.codes_used)), "text"),
                (columns.bits, "bits", f"{float(output.effective_bits):.2f}", "text"),
                (columns.saturated, "saturated", percent(float(output.saturation_rate)), saturated),
            )
        ),
        *(
            label(
                1,
                middle,
                value,
                "best" if name == best else "text",
                "middle left",
                13,
                bold=True,
                axes=axes,
                xshift=shift,
                name=f"{name} {i}",
            )
            for name, value, shift in (
                ("sqnr", decibels(float(output.sqnr_db)), SQNR),
                *([("nats", cost_text(row), SQNR + NATS)] if costs else []),
            )
        ),
    ]


def code_heights(row: ScaleReport, rows: Sequence[ScaleReport]) -> np.ndarray:
    """(256,) how tall a row's codes are drawn; the tallest of what the first is held to fits."""
    held_to = rows[1:] or rows
    tallest = max(float(count_height(r.output.code_counts, log=True).max()) for r in held_to)
    heights = TALLEST * count_height(row.output.code_counts, log=True) / tallest
    return np.minimum(heights, 0.98 - FOOT)


def _codes(
    rows: Sequence[ScaleReport], shown: Sequence[int], opacity: float, who: str = ""
) -> list[dict]:
    """Log counts of the codes; hatched where no output can reach, spikes where values saturate."""
    edges = np.column_stack([CODES - 0.5, CODES + 0.5]).ravel()
    gap = np.full(1, np.nan)
    outline_x, outline_y = [], []
    spikes_x: list[float] = []
    spikes_y: list[float] = []
    hatched_x: list[float] = []
    hatched_y: list[float] = []
    for i in shown:
        row, foot = rows[i], FOOT - i - 1
        height = code_heights(row, rows)
        ends = [QMIN] * bool(row.output.saturated_low) + [QMAX] * bool(row.output.saturated_high)
        outline = np.where(np.isin(CODES, ends), 0.0, height)
        outline_x += [edges[:1], edges, edges[-1:], gap]
        outline_y += [np.zeros(1) + foot, foot + np.repeat(outline, 2), np.zeros(1) + foot, gap]
        for code in ends:
            left = code - 1.5 if code > 0 else code - 0.5  # two codes wide, or it would vanish
            top = foot + height[code - QMIN]
            spikes_x += [left, left, left + 2, left + 2, np.nan]
            spikes_y += [foot, top, top, foot, np.nan]
        if row.stranded_codes:
            left, right = QMIN - 0.5, QMIN + row.stranded_codes - 0.5
            hatched_x += [left, left, right, right, np.nan]
            hatched_y += [foot, foot + 0.26, foot + 0.26, foot, np.nan]
    if not outline_x:
        return []
    return [
        area(
            np.concatenate(outline_x),
            np.concatenate(outline_y),
            "output",
            opacity,
            name=f"{who}codes",
        ),
        area(spikes_x, spikes_y, "saturated", 0.95, name=f"{who}spikes"),
        hatch(hatched_x, hatched_y, "stranded", name=f"{who}stranded"),
    ]


def _code_sensors(rows: Sequence[ScaleReport], say: Language) -> dict[str, Any]:
    """Every code of every row says how many values have it.

    A heatmap that is not seen, a line of it to a row: thousands of bars take the browser as long to
    draw as all the rest.
    """
    counts = np.stack([row.output.code_counts for row in rows])
    words = say("code {code}: {count} values", code="%{x:d}", count="%{z:,d}")
    return {
        "type": "heatmap",
        "x": CODES,
        "y": -np.arange(len(rows)) - 0.5,
        "z": counts,
        "opacity": 0,
        "showscale": False,
        "hovertemplate": f"{words}<extra></extra>",
    }


def greatest_error(rows: Sequence[ScaleReport]) -> float:
    """The squared error that fills the column: the same whichever row is the chosen one."""
    held_to = rows[1:] or rows
    error = [float(row.output.rounding_sse + row.output.clipping_sse) for row in held_to]
    return max(SHOWN_ERRORS * min(error), 1e-300)


@dataclass(frozen=True, eq=False)
class Errors:
    """Rounding and clipping error end to end, on one scale for all rows."""

    inner: np.ndarray  # (R,) where rounding ends, as a share of the column's width
    outer: np.ndarray  # (R,) where clipping ends
    times: dict[int, str]  # of a row whose bar is cut: how many times the least error it is

    @staticmethod
    def of(rows: Sequence[ScaleReport]) -> Errors:
        rounding = np.array([float(row.output.rounding_sse) for row in rows])
        error = rounding + np.array([float(row.output.clipping_sse) for row in rows])
        most = greatest_error(rows)
        fits = error <= most
        shown = np.where(fits, 1.0 / most, CUT / np.maximum(error, 1e-300))
        least = max(error.min(), 1e-300)
        times = {int(i): _times(error[i] / least) for i in np.flatnonzero(~fits)}
        return Errors(rounding * shown, error * shown, times)

    def words(self) -> list[dict[str, Any]]:
        middle = sum(BAR) / 2
        return [
            label(
                0.54,
                middle - i - 1,
                text,
                "saturated",
                "middle right",
                axes=("x2", "y"),
                name=f"times {i}",
            )
            for i, text in self.times.items()
        ]

    def bars(self, rows: Sequence[ScaleReport], say: Language) -> list[dict[str, Any]]:
        hovers = [
            f"{say(row.label)}\nrounding_mse {float(row.output.rounding_mse):.3g}\n"
            f"clipping_mse {float(row.output.clipping_mse):.3g}"
            for row in rows
        ]
        middle = sum(BAR) / 2 - np.arange(len(rows)) - 1.0
        bar = {
            "type": "bar",
            "orientation": "h",
            "y": middle,
            "width": BAR[1] - BAR[0],
            **hover(hovers),
            "xaxis": "x2",
            "yaxis": "y",
        }
        zeros = np.zeros(len(rows))
        return [
            bar | {"x": width, "base": base.tolist(), "marker": colour, "name": name}
            for width, base, colour, name in (
                (self.inner, zeros, _solid("output"), "rounding"),
                (self.outer - self.inner, self.inner, _solid("saturated"), "clipping"),
            )
        ]


def _times(factor: float) -> str:
    return f"× {factor:,.0f}" if factor < 1e6 else f"× {factor:.0e}".replace("e+", "e")


def _solid(concept: str) -> dict[str, Any]:
    return {"color": LIGHT[concept], "line": {"width": 0}}


def _narrow(words: Sequence[dict[str, Any]], rows: int) -> dict[str, Any]:
    """On a phone a row's words stand above its codes, and the bars beside them."""
    narrow: dict[str, Any] = {
        "height": NARROW_HEAD + NARROW_ROW * rows,
        "margin.l": 14,
        "margin.r": 4,
        "margin.t": NARROW_HEAD,
        "xaxis.domain": [0.0, 0.6],
        "xaxis2.domain": [0.66, 1.0],
    }
    columns = {"used": 0.42, "bits": 0.56, "saturated": 0.76}
    for i, word in enumerate(words):
        kind, _, row = str(word.get("name", "")).partition(" ")
        moved: dict[str, Any] = {}
        if kind == "heading":
            moved = {"yshift": NARROW_HEAD - 18, "xshift": -14 if row == "name" else 0}
            if row == "nats":  # below SQNR, as each row has them; one heading says both
                moved = {"visible": False}
                narrow[f"annotations[{i - 1}].text"] = f"{words[i - 1]['text']}, {word['text']}"
            if row in columns:
                moved["x"] = columns[row]
        elif kind in ("name", "sqnr"):
            moved = {"y": -int(row), "yshift": -12, "xshift": -14 if kind == "name" else 0}
        elif kind in ("scale", "used", "bits", "saturated", "nats"):
            moved = {"y": -int(row), "yshift": -27, "font.size": 12}
            moved["xshift"] = -14 if kind == "scale" else 0
            if kind in columns:
                moved["x"] = columns[kind]
        narrow |= {f"annotations[{i}].{key}": value for key, value in moved.items()}
    return narrow
