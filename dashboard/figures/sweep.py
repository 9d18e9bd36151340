"""The sweep figure: utilization and saturation at every scale, each rule a mark on the curves.

Each rule's line rises from the axis to its name, in rows over the curves: a name stands to the
right of its line, and higher than every line that it would otherwise cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.report import ScaleReport
from dashboard.calibration.histogram import Quantized
from dashboard.figures.theme import (
    TEXT_SIZE,
    SentFigure,
    dots,
    hover,
    label,
    line,
    rule,
    text_width,
    whole_figure,
)
from dashboard.text.language import Language
from dashboard.text.numbers import percent, scale_text

PLOT, LEVEL, FOOT = 210, 18, 62  # px: the curves, a row of names above them, the words below
LEFT = 44  # px, for the shares
WIDTH = 700  # px, the least that names are placed for; on a phone only two rules are named
NARROW_WIDTH = 340
TICK_ROOM = 62  # px for a number of the axis


def utilization_sweep(
    sweep: Quantized, rules: Sequence[ScaleReport], say: Language
) -> go.Figure | SentFigure:
    """code_utilization, top_code_utilization and saturation_rate over scale_out.

    Args:
        sweep: the measures at ascending scales (S,).
        rules: the chosen scale first; each is marked on the curves and named above them.
    """
    names = [f"{say(row.short)}  {scale_text(row.x_out_scale)}" for row in rules]
    at = np.log10([row.x_out_scale for row in rules])
    low = min(float(np.log10(sweep.scale[0])), float(at.min()) - 0.05)
    high = _end(low, float(np.log10(sweep.scale[-1])), at, names)
    levels = name_levels(at, names, (WIDTH - LEFT) / (high - low))
    lane = LEVEL * (max(levels) + 1)
    height = lane + PLOT + FOOT
    shown = range(len(rules))
    words = [
        label(
            at[i],
            1,
            names[i],
            "muted" if i else "text",
            "top right",
            bold=not i,
            xshift=2,
            yshift=LEVEL * levels[i],
            axes=("x", "paper"),
            borderpad=0,
            name=f"rule {i}",
        )
        for i in shown
    ]
    lines = []
    for i in reversed(shown):
        top = 1 + LEVEL * (levels[i] + 0.9) / PLOT
        concept, width, dash = ("baseline", 1.1, "dash") if i else ("chosen", 2.0, "solid")
        lines.append(
            rule((at[i], at[i]), (0, top), concept, width, dash, ("x", "paper"), name=f"rule {i}")
        )
    chosen, wx = rules[0], [row for row in rules if row.observer == "scale-wx"]
    return whole_figure(
        height,
        _alt(chosen, wx[0] if wx else None, say),
        [*_curves(sweep), *_marks(rules, at, say)],
        margin={"l": LEFT, "r": 0, "t": lane, "b": FOOT},
        xaxis={
            "range": [low, high],
            "fixedrange": False,
            "ticks": "outside",
            "ticklen": 4,
            **_ticks(low, high),
        },
        yaxis={
            "range": [0, 1],
            "showgrid": True,
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "tickformat": ".0%",
            "ticktext": ["0 %", "25 %", "50 %", "75 %", "100 %"],
        },
        shapes=lines,
        annotations=[*words, *_legend(say)],
        meta={"narrow": _narrow(rules, lines, len(words), _ticks(low, high, NARROW_WIDTH))},
    )


def _alt(chosen: ScaleReport, wx: ScaleReport | None, say: Language) -> str:
    sentence = say(
        "code_utilization and saturation_rate over scale_out, rules marked. The chosen scale uses "
        "{codes} of 256 codes and saturates {share}.",
        codes=int(chosen.output.codes_used),
        share=percent(float(chosen.output.saturation_rate)),
    )
    if wx is None:
        return sentence
    return f"{sentence} " + say(
        "scale_wx uses {codes} and saturates {share}.",
        codes=int(wx.output.codes_used),
        share=percent(float(wx.output.saturation_rate)),
    )


def _end(low: float, last: float, at: np.ndarray, names: Sequence[str]) -> float:
    """Where the axis ends: the curves and every rule's name fit in a figure of ``WIDTH``."""
    room = WIDTH - LEFT
    ends = [
        low + (x - low) / (1 - (text_width(name, bold=not i) + 6) / room)
        for i, (x, name) in enumerate(zip(at, names, strict=True))
    ]
    return max(last, float(at.max()) + 0.05, *ends)


def name_levels(at: np.ndarray, names: Sequence[str], pixels: float) -> list[int]:
    """Which row each name stands in: above the names of all rules whose lines it would cross.

    Args:
        at: where the rules' lines stand; names begin there and run to the right.
        pixels: px to a unit of ``at``.
    """
    levels = [0] * len(at)
    order = sorted(range(len(at)), key=lambda i: -at[i])
    for place, i in enumerate(order):
        end = at[i] + (text_width(names[i], bold=not i) + 8) / pixels
        crossed = [levels[j] for j in order[:place] if at[j] <= end]
        levels[i] = 1 + max(crossed, default=-1)
    return levels


def _ticks(low: float, high: float, width: float = WIDTH) -> dict[str, Any]:
    """Round scales between two logarithms, as many as have room in a figure of a width."""
    pixels = (width - LEFT) / (high - low)
    margin = TICK_ROOM / 2 / pixels  # else the outermost numbers would reach over the axis
    ticks = [m * 10.0**e for e in range(-9, 6) for m in (1, 2, 5)]
    shown = [tick for tick in ticks if low + margin <= np.log10(tick) <= high - margin]
    if 0.3 * pixels < TICK_ROOM:  # 0.3: from 1 to 2, and from 5 to 10
        shown = [tick for tick in shown if f"{tick:e}"[0] == "1"]
    while len(shown) > 2 and (np.log10(shown[1]) - np.log10(shown[0])) * pixels < TICK_ROOM:
        shown = shown[::2]
    names = [np.format_float_positional(tick, 1, fractional=False, trim="-") for tick in shown]
    return {"tickvals": np.log10(shown).tolist(), "ticktext": names}


@lru_cache(32)
def _hovers(sweep: Quantized) -> list[str]:
    """What the curves say at each scale: the same for every α, and half of the time it takes."""
    return [
        f"scale_out {scale_text(float(sweep.scale[i]))}\n"
        + "\n".join(
            f"{name} {percent(float(getattr(sweep, name)[i]))}"
            for name in ("code_utilization", "saturation_rate", "top_code_utilization")
        )
        for i in range(len(sweep.scale))
    ]


def _curves(sweep: Quantized) -> list[dict[str, Any]]:
    x, rest = np.log10(sweep.scale), hover(_hovers(sweep))
    return [
        line(x, sweep.top_code_utilization, "input", 1.6, "dash", cliponaxis=False, **rest),
        line(x, sweep.code_utilization, "output", 2.4, cliponaxis=False, **rest),
        line(x, sweep.saturation_rate, "saturated", 2.2, cliponaxis=False, **rest),
    ]


def _marks(rules: Sequence[ScaleReport], at: np.ndarray, say: Language) -> list[dict[str, Any]]:
    """Where the rules' scales lie on both curves, the chosen one larger and on top."""
    traces = []
    for shown, size, name in ((range(1, len(rules)), 7, "others"), (range(1), 10, "chosen")):
        for measure, concept in (("saturation_rate", "saturated"), ("code_utilization", "output")):
            shares = [float(getattr(rules[i].output, measure)) for i in shown]
            hovers = [
                f"{say(rules[i].label)}\nscale_out {scale_text(rules[i].x_out_scale)}\n"
                f"{measure} {percent(share)}"
                for i, share in zip(shown, shares, strict=True)
            ]
            traces.append(
                dots(
                    [at[i] for i in shown],
                    shares,
                    concept,
                    size,
                    **hover(hovers),
                    name=f"{name} {measure}",
                )
            )
    return traces


def _legend(say: Language) -> list[dict[str, Any]]:
    """Under the axis: its name, and what each curve is, in the curve's colour."""
    words = [
        ("code_utilization", say("— code_utilization: codes used of 256"), "output"),
        ("saturation_rate", "— saturation_rate", "saturated"),
        ("top_code_utilization", "- - top_code_utilization", "input"),
    ]
    legend = [
        label(
            1,
            0,
            say("scale_out, real units per code"),
            anchor="bottom left",
            size=12,
            yshift=-24,
            name="axis",
        )
    ]
    x = 0.0
    for name, text, concept in words:
        legend.append(label(0, 0, text, concept, "bottom right", xshift=x, yshift=-42, name=name))
        x += text_width(text, TEXT_SIZE) + 14
    return legend


def _narrow(
    rules: Sequence[ScaleReport], lines: Sequence[dict], legend: int, decades: dict[str, Any]
) -> dict[str, Any]:
    """On a phone two rules are named, the chosen one and scale_wx, in a list over the curves."""
    named = [0] + [i for i, row in enumerate(rules) if row.observer == "scale-wx" and i]
    top = LEVEL * len(named) + 6
    narrow: dict[str, Any] = {
        "margin.t": top,
        "margin.b": FOOT + 2 * LEVEL,
        "height": top + PLOT + FOOT + 2 * LEVEL,
        **{f"xaxis.{name}": value for name, value in decades.items()},
        **{f"shapes[{i}].y1": 1.0 for i in range(len(lines))},
    }
    for i in range(len(rules)):
        narrow[f"annotations[{i}].visible"] = i in named
    for row, i in enumerate(reversed(named)):
        narrow |= {
            f"annotations[{i}].{key}": value
            for key, value in {
                "xref": "paper",
                "x": 0,
                "xshift": 0,
                "yshift": 4 + LEVEL * row,
            }.items()
        }
    for row in range(3):
        narrow |= {
            f"annotations[{legend + 1 + row}].xshift": 0,
            f"annotations[{legend + 1 + row}].yshift": -42 - LEVEL * row,
        }
    return narrow
