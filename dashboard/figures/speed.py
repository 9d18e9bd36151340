"""How fast the kernel is: shares of a copy's time, and the ceilings of the chip."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.analysis.recorded import Roofline, Timing, variant_name
from dashboard.figures.theme import (
    LIGHT,
    area,
    dots,
    faded,
    line,
    new_figure,
    plain,
    rule,
    text_width,
)
from dashboard.text.captions.kernel import roofline_caption
from dashboard.text.language import Language
from dashboard.text.numbers import percent

BAR, BAR_NARROW, HEAD = 21, 34, 24  # px: a row, one whose name stands in two lines, the axis
COLOURS = {"exact": "output", "fast": "best"}
SYMBOLS = {"sequence-last": "circle", "channel-last": "diamond"}
SHARES = (0.25, 0.5, 0.75)
ROOFLINE, ROOFLINE_NARROW = 340, 420  # px; a narrow one has its legend in several lines
INSTRUCTIONS = (4.0, 12.0)  # a byte


def copy_shares(shape: tuple[int, int, int], rows: Sequence[Timing], say: Language) -> go.Figure:
    """A bar a row: how near to a copy of the same bytes.

    Args:
        rows: of one shape; kernels and peers, in the order to show.
    """
    names = [_name(row, say) for row in rows]
    narrow = [re.sub("(, |，)", r"\1\n", name, count=1) for name in names]
    best = max(rows, key=lambda row: row.share_of_copy)
    end = max(1.03, 1.03 * best.share_of_copy)
    ticks = {"tickvals": [*SHARES, 1], "ticktext": [*map(str, SHARES), say("a copy")]}
    figure = new_figure(
        HEAD + BAR * len(rows),
        say(
            "{shape}: the speed of each variant as a share of that of a copy of the same bytes. "
            "The fastest is {name} with {share}.",
            shape=" × ".join(map(str, shape)),
            name=_name(best, say),
            share=percent(best.share_of_copy),
        ),
        margin={"l": _room(names), "r": 44, "t": HEAD, "b": 2},
        xaxis={"range": [0, end], "side": "top", "showgrid": True, **ticks},
        yaxis=_names(names, rows),
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "range": [len(rows) - 0.5, -0.5],
            "tickvals": list(range(len(rows))),
            "ticktext": [
                f"<b>{row.share_of_copy:.2f}</b>"
                if row.kind == "kernel"
                else f"{row.share_of_copy:.2f}"
                for row in rows
            ],
            "tickfont": {"color": LIGHT["text"]},
        },
        shapes=[rule((1, 1), (0, 1), "line", 1, "4px,3px", axes=("x", "paper"))],
        meta={
            "narrow": {
                "height": HEAD + BAR_NARROW * len(rows),
                "margin.l": _room(narrow),
                "yaxis.ticktext": _names(narrow, rows)["ticktext"],
                "xaxis.tickvals": [0.5, 1],
                "xaxis.ticktext": ["0.5", say("a copy")],
            }
        },
    )
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [row.share_of_copy for row in rows],
        "y": list(range(len(rows))),
        "width": 0.72,
        "marker": {
            "color": [
                faded(COLOURS.get(row.mode, "baseline"), 0.9 if row.kind == "kernel" else 0.6)
                for row in rows
            ]
        },
        "customdata": [
            plain(_hover_text(row, name, say)) for row, name in zip(rows, names, strict=True)
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    figure.add_trace(bars)
    figure.add_trace(
        {"type": "scatter", "x": [None], "y": [None], "yaxis": "y2", "hoverinfo": "skip"}
    )
    return figure


def _name(row: Timing, say: Language) -> str:
    name = say(variant_name(row.mode, row.layout)) if row.kind == "kernel" else row.mode
    return say("{name}, vectors", name=name) if row.scales == "vector" else name


def _room(names: Sequence[str]) -> float:
    return max(text_width(name, 12) for name in names) + 10


def _names(names: Sequence[str], rows: Sequence[Timing]) -> dict:
    """The axis of names; those of other people's kernels in the second colour."""
    return {
        "range": [len(names) - 0.5, -0.5],
        "tickvals": list(range(len(names))),
        "ticktext": [
            f"<span style='color:{LIGHT['text' if row.kind == 'kernel' else 'muted']}'>"
            f"{plain(name)}</span>"
            for name, row in zip(names, rows, strict=True)
        ],
        "ticklabelstandoff": 4,
    }


def _hover_text(row: Timing, name: str, say: Language) -> str:
    timing = say(
        "{name}: {time} µs, {speed} TB/s",
        name=name,
        time=f"{row.time_us:,.1f}",
        speed=f"{row.tb_per_s:.2f}",
    )
    if not row.compared:
        return timing
    differing = say(
        "{differing} of {compared} codes differ from the reference",
        differing=f"{row.differing:,}",
        compared=f"{row.compared:,}",
    )
    share = f" ({percent(row.differing / row.compared)})" if row.differing else ""
    return f"{timing}\n{differing}{share}"


def roofline(ceilings: Roofline, say: Language) -> go.Figure:
    """TB/s over instructions a byte, under the ceilings of memory, issue and special functions."""
    top = 1.15 * max(ceilings.copy_tb_per_s, ceilings.special_tb_per_s)
    figure = new_figure(
        ROOFLINE,
        say(
            "TB/s over instructions per byte, under three ceilings. {finding}",
            finding=roofline_caption(ceilings, say),
        ),
        margin={"l": 4, "r": 8, "t": 6, "b": 4, "autoexpand": True},
        showlegend=True,
        xaxis={
            "range": list(INSTRUCTIONS),
            "dtick": 2,
            "title": {"text": say("instructions per byte")},
            "automargin": True,
        },
        yaxis={
            "range": [0, top],
            "dtick": 1,
            "ticksuffix": " TB/s",
            "showgrid": True,
            "automargin": True,
        },
        meta={"narrow": {"height": ROOFLINE_NARROW}},
    )
    x = np.linspace(*INSTRUCTIONS, 200)
    issue = np.array([ceilings.issue_tb_per_s(value) for value in x])
    roof = np.minimum(np.minimum(issue, ceilings.copy_tb_per_s), ceilings.special_tb_per_s)
    figure.add_trace(area(np.r_[x[0], x, x[-1]], np.r_[0, roof, 0], "panel", 0.8, showlegend=False))
    for name, y, concept, dash in (
        (say("memory: a copy"), np.full(len(x), ceilings.copy_tb_per_s), "chosen", "solid"),
        (say("special functions"), np.full(len(x), ceilings.special_tb_per_s), "stranded", "dash"),
        (say("issue of instructions"), issue, "saturated", "solid"),
    ):
        figure.add_trace(
            line(
                x, y, concept, 2, dash, name=name, hovertemplate=f"{plain(name)}<br>%{{y:.2f}} TB/s"
            )
        )
    for name, per_byte, speed in ceilings.points:
        mode, layout = name.split(", ")
        here = min(
            ceilings.issue_tb_per_s(per_byte), ceilings.copy_tb_per_s, ceilings.special_tb_per_s
        )
        hover_text = say(
            "{name}: {instructions} instructions per byte, {speed} TB/s\n{share} of the roof there",
            name=say(name),
            instructions=f"{per_byte:.2f}",
            speed=f"{speed:.2f}",
            share=percent(speed / here),
        )
        dot = dots(
            [per_byte], [speed], COLOURS[mode], 11, name=say(name), hovertemplate=plain(hover_text)
        )
        dot["marker"]["symbol"] = SYMBOLS[layout]
        figure.add_trace(dot)
    return figure
