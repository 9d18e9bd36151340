"""What of Explore's figures moves while a cut line is dragged, for every α beforehand.

A page sends these along with its figures. The browser then redraws a few outlines and moves a few
words, each to where the figure has it for that α: everything that takes a formula of the subject is
worked out here, from the records that the figures are drawn from, and everything that is said is a
text made here. What is left to the browser is geometry: to cut an outline in two, to clamp a curve.

Each function returns a mapping for JSON:

    moves    how named traces change: a list of mappings with a ``kind``
    words    how named annotations change: name -> {"text", "x", "y": (A,) lists}, entry i for α i;
             None where the figure does not have it

Numbers are rounded to six digits, finer than a screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dashboard.analysis.answers import Answers
from dashboard.analysis.report import ScaleReport, SliceReport, format_alpha
from dashboard.figures.layers import CELL, LEAST, TOP, Cells, gain_words
from dashboard.figures.scales import (
    CUT,
    FOOT,
    code_heights,
    cost_text,
    greatest_error,
    has_costs,
)
from dashboard.figures.theme import plain
from dashboard.figures.transfer import (
    Space,
    all_words,
    cut_lines,
    kept_and_lost,
    ladder,
    preimage,
    ruler,
    stranded_heights,
)
from dashboard.figures.under_slider import Merit, SliderAxis
from dashboard.rules.landscape import Landscape, Measure
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text
from kernels.int8 import QMAX, QMIN


def transfer_moves(
    report: SliceReport,
    others: Sequence[tuple[ScaleReport, str]],
    log_counts: bool,
    answers: Answers,
    say: Language,
) -> dict[str, Any]:
    """Of ``figures.transfer`` with the same first three arguments."""
    space = Space.of(report, [report.chosen, *(cut for cut, _ in others)], log_counts)
    words, lines, marks, numbers, ends, below, rungs = [], [], [], [], [], [], []
    kept, lost, stranded = [], [], []
    for chosen in answers.scales:
        words.append(all_words(space, [(chosen, "chosen"), *others], say))
        rungs.append(_texts(ladder(space, [chosen, *(cut for cut, _ in others)])))
        lines.append([_points(trace) for trace in cut_lines(space, [(chosen, "chosen")], say)])
        drawn = {trace["name"]: trace for trace in ruler(space, chosen)}
        marks.append(_points(drawn["ruler"]))
        numbers.append(_texts(drawn["ruler numbers"]))
        ends.append(_texts(drawn["ruler ends"]))
        below.append(_texts(drawn.get("ruler below")))
        own, beyond = kept_and_lost(space, chosen)
        kept.append(_stretches(own))
        lost.append(_stretches(beyond))
        stranded.append({"y": _rounded(stranded_heights(space, chosen))})
    high = _rounded([scale.high for scale in answers.scales])
    low = _rounded([scale.low for scale in answers.scales])
    within = [[low[i], high[i]] for i in range(len(high))]
    outside = [[[None, low[i]], [high[i], None]] for i in range(len(high))]
    return {
        "moves": [
            {
                "kind": "split",
                "traces": ["input kept", "input lost"],
                "upright": True,
                "histograms": [
                    _histogram(space.v_edges, space.v_heights) | {"stretches": [kept, lost]}
                ],
            },
            {
                "kind": "split",
                "traces": ["output kept", "output lost"],
                "upright": False,
                "histograms": [
                    _histogram(space.y_edges, space.across(space.y_heights), space.across(0.0))
                    | {"stretches": [[[stretch] for stretch in within], outside]}
                ],
            },
            {"kind": "points", "trace": "stranded", "points": stranded},
            {"kind": "clamp", "trace": "curve", "low": low, "high": high},
            {
                "kind": "wedge",
                "area": "wedge",
                "line": "ideal",
                "high": high,
                "from": _rounded([preimage(scale.high) for scale in answers.scales]),
                "to": float(space.report.silu_input.max),
            },
            {
                "kind": "stairs",
                "trace": "stairs",
                "window": list(space.window_v),
            },
            {"kind": "points", "trace": "ruler", "points": marks},
            *(
                {"kind": "texts", "trace": name, "texts": texts}
                for name, texts in (
                    ("ruler numbers", numbers),
                    ("ruler ends", ends),
                    ("ruler below", below),
                    ("ladder", rungs),
                )
            ),
            *(
                {
                    "kind": "points",
                    "trace": "line chosen",
                    "nth": k,
                    "points": [entry[k] for entry in lines],
                }
                for k in range(3)
            ),
        ],
        "words": _words(words),
    }


def landscape_moves(
    landscape: Landscape, grid: Sequence[float], answers: Answers
) -> dict[str, Any]:
    """Of ``figures.landscape_under_slider`` with a percentile on show."""
    merit = Merit.of(landscape)
    x = _rounded(SliderAxis(grid).across(answers.alphas))
    values = [merit.of_scale(scale) for scale in answers.scales]
    y = _rounded([merit.clipped(value) for value in values])
    texts = [
        f"<b>{plain(f'α {format_alpha(alpha)}: {merit.text(value)}')}</b>"
        for alpha, value in zip(answers.alphas, values, strict=True)
    ]
    return {
        "moves": [
            {
                "kind": "points",
                "trace": "chosen line",
                "points": [{"x": [a, a], "y": [b, merit.high]} for a, b in zip(x, y, strict=True)],
            },
            {
                "kind": "points",
                "trace": "chosen dot",
                "points": [{"x": [at], "y": [value]} for at, value in zip(x, y, strict=True)],
            },
        ],
        "words": {"chosen": {"text": texts}},
    }


def sweep_moves(answers: Answers, say: Language) -> dict[str, Any]:
    """Of ``figures.utilization_sweep``: its first rule."""
    x = _rounded(np.log10([scale.x_out_scale for scale in answers.scales]))
    texts = [
        f"<b>{plain(f'{say(scale.short)}  {scale_text(scale.x_out_scale)}')}</b>"
        for scale in answers.scales
    ]
    return {
        "moves": [
            {"kind": "shape", "shape": "rule 0", "x": x},
            *(
                {
                    "kind": "points",
                    "trace": f"chosen {measure}",
                    "points": [
                        {"x": [at], "y": [float(getattr(scale.output, measure))]}
                        for at, scale in zip(x, answers.scales, strict=True)
                    ],
                }
                for measure in ("code_utilization", "saturation_rate")
            ),
        ],
        "words": {"rule 0": {"text": texts, "x": x}},
    }


def strip_moves(
    layers: Sequence[int],
    reports: Sequence[SliceReport],
    chosen: int,
    cuts: Sequence[np.ndarray],
    gains: Sequence[np.ndarray],
    say: Language,
    by: Measure = "sqnr_db",
) -> dict[str, Any]:
    """Of ``figures.layer_strip`` with the same first two arguments and the layer on show.

    Args:
        cuts, gains: (A,) of each layer, as ``cuts_and_gains`` has them.
        by: as there.
    """
    cells = Cells.of(reports)
    current = layers.index(chosen)
    groups = {"current": [current], "others": [i for i in range(len(layers)) if i != current]}
    moves: list[dict[str, Any]] = []
    for who, shown in groups.items():
        histograms = []
        for i in shown:
            edges = cells.across(i, cells.edges)
            cut = _rounded(cells.across(i, cuts[i]))
            histograms.append(_histogram(edges, cells.heights[i]) | {"cut": cut})
        moves += [
            {
                "kind": "split",
                "traces": [f"output {who}", f"saturated {who}"],
                "upright": True,
                "histograms": histograms,
            },
            {
                "kind": "ticks",
                "trace": f"cut {who}",
                "cuts": [entry["cut"] for entry in histograms],
                "top": 1.06,
            },
        ]
    moves.append(
        {
            "kind": "gains",
            "trace": "gains",
            "gains": [_rounded(gain) for gain in gains],
            "cell": CELL,
            "least": LEAST,
            "top": TOP,
        }
    )
    words = {
        f"gain {layer}": {"text": [gain_words(float(gain), say, by) for gain in gains[i]]}
        for i, layer in enumerate(layers)
    }
    return {"moves": moves, "words": words}


def table_moves(rows: Sequence[ScaleReport], answers: Answers, say: Language) -> dict[str, Any]:
    """Of ``figures.scale_table``: its first row."""
    heights = [code_heights(scale, rows) for scale in answers.scales]
    ends = [
        [
            code
            for code, count in (
                (QMIN, scale.output.saturated_low),
                (QMAX, scale.output.saturated_high),
            )
            if count
        ]
        for scale in answers.scales
    ]
    inner, outer = _errors(rows, answers)
    texts: dict[str, list[str]] = {}
    for scale in answers.scales:
        output = scale.output
        for name, text, bold in (
            ("name", say(scale.label), True),
            ("scale", scale_text(scale.x_out_scale), False),
            ("used", str(int(output.codes_used)), False),
            ("bits", f"{float(output.effective_bits):.2f}", False),
            ("saturated", percent(float(output.saturation_rate)), False),
            ("sqnr", decibels(float(output.sqnr_db)), True),
            *([("nats", cost_text(scale), True)] if has_costs(rows) else []),
        ):
            marked = f"<b>{plain(text)}</b>" if bold else plain(text)
            texts.setdefault(f"{name} 0", []).append(marked)
    return {
        "moves": [
            {
                "kind": "codes",
                "traces": ["chosen codes", "chosen spikes", "chosen stranded"],
                "heights": _rounded(heights, 3),
                "ends": ends,
                "foot": FOOT - 1,
                "stranded": [scale.stranded_codes for scale in answers.scales],
            },
            {"kind": "bar", "trace": "rounding", "bar": 0, "from": [0.0] * len(inner), "to": inner},
            {"kind": "bar", "trace": "clipping", "bar": 0, "from": inner, "to": outer},
        ],
        "words": {name: {"text": lines} for name, lines in texts.items()},
    }


def _errors(rows: Sequence[ScaleReport], answers: Answers) -> tuple[list[float], list[float]]:
    """Where each α's two errors end, as shares of their column."""
    most = greatest_error(rows)
    rounding = np.array([float(scale.output.rounding_sse) for scale in answers.scales])
    whole = rounding + [float(scale.output.clipping_sse) for scale in answers.scales]
    shown = np.where(whole <= most, 1.0 / most, CUT / np.maximum(whole, 1e-300))
    return _rounded(rounding * shown), _rounded(whole * shown)


def _histogram(
    edges: np.ndarray, heights: ArrayLike, foot: float | np.ndarray = 0.0
) -> dict[str, Any]:
    """A histogram of even bins, whose outline is cut."""
    return {
        "edges": [float(edges[0]), float(edges[-1])],
        "heights": _rounded(heights),
        "foot": float(foot),
    }


def _stretches(pairs: Sequence[tuple[float, float]]) -> list[list[float | None]]:
    """Pairs of ends; None is beyond everything."""
    return [[_end(low), _end(high)] for low, high in pairs]


def _end(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _points(trace: Mapping[str, Any]) -> dict[str, Any]:
    return {"x": _rounded(trace["x"]), "y": _rounded(trace["y"])}


def _texts(trace: Mapping[str, Any] | None) -> dict[str, Any]:
    if trace is None:
        return {"x": [], "y": [], "text": []}
    return _points(trace) | {"text": list(trace["text"])}


def _words(figures: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, list]]:
    """The named annotations of a figure under every α -> how each changes, where it does."""
    named = [{word["name"]: word for word in words if "name" in word} for words in figures]
    changes: dict[str, dict[str, list]] = {}
    for name in named[0]:
        entries = [words[name] for words in named]
        lists: dict[str, list] = {
            "text": [entry["text"] if entry.get("opacity", 1) else None for entry in entries],
            "x": [_end(entry["x"]) for entry in entries],
            "y": [_end(entry["y"]) for entry in entries],
        }
        changing = {key: values for key, values in lists.items() if len(set(values)) > 1}
        if changing:
            changes[name] = changing
    return changes


def _rounded(values: Any, digits: int = 6) -> Any:
    """Numbers as JSON has them, NaN as None; nested as they were."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim > 1:
        return [_rounded(row, digits) for row in array]
    return [None if np.isnan(value) else float(f"{value:.{digits}g}") for value in array]
