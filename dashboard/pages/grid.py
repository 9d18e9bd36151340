"""The table of every layer: sortable, filterable, coloured by value, a sparkline in each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd  # here: what looks for it in a run must not meet it half imported
import streamlit as st

from dashboard.analysis.report import LayerReport
from dashboard.figures import PALETTES
from dashboard.figures.theme import count_height
from dashboard.pages.registry import lead_to_layer
from dashboard.pages.remembering import STATE, keep, kept, one_of
from dashboard.rules.observers import ScaleRule
from dashboard.text import captions
from dashboard.text.language import Language
from dashboard.text.numbers import percent

SCROLLBAR = 16  # px, under the last row where the columns are wider than the page
BINS = 32  # of a sparkline
RANGE_STEPS = 1000  # of the slider that filters; by itself it would step by 0.01
DEEPEST = 0.45  # opacity of a cell's colour
SHARES = ("saturation_rate", "code_utilization")  # printed as everywhere else

# The columns, what decides first: format, width in px, the colour that a greater value deepens.
COLUMNS = {
    "x_out_scale": ("%.5f", 92, "output"),
    "sqnr_db": ("%.2f", 74, "output"),
    "predicted_nats": ("%.3e", 104, "saturated"),
    "best_alpha": ("%.6f", 84, ""),
    "gain_db": ("%.2f", 72, "best"),
    "saturation_rate": (None, 110, "saturated"),
    "code_utilization": (None, 112, "output"),
    "effective_bits": ("%.2f", 100, "output"),
    "ratio_weight": ("%.2f", 92, ""),
    "ratio_wx": ("%.1f", 72, ""),
    "x_scale": ("%.5f", 68, ""),
    "w_scale": ("%.5f", 68, ""),
    "scale_wx": ("%.3e", 80, ""),
    "shape": (None, 56, ""),
}


def table_row(report: LayerReport, index: int) -> dict:
    """One slice of a layer as a row: its SiLU output as a sparkline, and its measures."""
    chosen = report.slices[index]
    output = chosen.silu_output
    edges = np.linspace(output.min, max(output.max, output.min + 1e-6), BINS + 1)
    measures = report.measures(chosen.name)
    return {
        "layer": report.layer,
        "SiLU output": count_height(output.rebin(edges), log=True).tolist(),
        **{name: measures[name] for name in COLUMNS if name in measures},
        "shape": str(tuple(measures["shape"])),
    }


def filtered(rows: Sequence[dict], say: Language) -> list[dict]:
    """The rows that a column and a range, chosen here, leave."""
    numbers = [name for name in COLUMNS if isinstance(rows[0].get(name), float)]
    kept("filter", one_of(numbers))
    if STATE.get("filter") not in numbers:
        STATE.filter = None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.selectbox(
            say("Filter by"),
            numbers,
            index=None,
            key="filter",
            width=200,
            placeholder=say("no filter"),
        )
        keep("filter", name)
        values = [row[name] for row in rows] if name else [0.0]
        if name and max(values) > min(values):
            ends = min(values), max(values)
            low, high = st.slider(
                name,
                *ends,
                ends,
                (ends[1] - ends[0]) / RANGE_STEPS,
                key=f"within_{name}",
                format="%.4g",
                width=376,
            )
            return [row for row in rows if low <= row[name] <= high]
    return list(rows)


def show_table(rows: Sequence[dict], rule: ScaleRule, key: str, say: Language) -> None:
    """Draw the rows of ``table_row``; a press in a row opens its layer in Explore."""
    frame = pd.DataFrame(rows)
    if "gain_db" in frame:  # what is written as 0.00 has no minus
        gains = frame["gain_db"]
        frame["gain_db"] = gains.where((gains <= -0.005) | (gains >= 0), 0.0)
    config: dict[str, Any] = {}
    shown = {name: column for name, column in COLUMNS.items() if name in rows[0]}
    for name, (form, width, _) in shown.items():
        if rows[0][name] is None:
            frame[name] = "–"
            config[name] = st.column_config.TextColumn(
                name, width=width, help=say(captions.NO_RATIOS)
            )
        elif form or name in SHARES:
            config[name] = st.column_config.NumberColumn(name, format=form, width=width)
        else:
            config[name] = st.column_config.TextColumn(name, width=width)
    config["SiLU output"] = st.column_config.AreaChartColumn(
        say("SiLU output"),
        width=80,
        y_min=0,
        help=say("Number of values (log) over the output's range."),
    )
    shades = {name: colour for name, (_, _, colour) in shown.items() if colour}
    layers = [row["layer"] for row in rows]
    config["layer"] = st.column_config.NumberColumn(say("layer"), width=56, pinned=True)
    _show(frame, layers, config, shades, lambda _: rule, key, say)
    st.caption(say("*Open* shows a layer in Explore. Click a column's name to sort."))


def show_layers(
    rows: Sequence[dict],
    layers: Sequence[int],
    rule_of: Callable[[int], ScaleRule],
    key: str,
    say: Language,
    slices: Sequence[str] = (),
) -> None:
    """A table with a row for each layer, or for several of one; a press opens it in Explore.

    Args:
        rows: of words and numbers as text, the layer first.
        layers: the layer of each row, by the model's own number.
        rule_of: the rule to open a row under, by the row's place.
        slices: the slice of each row, where it is not the one on show.
    """
    _show(pd.DataFrame(rows), layers, {}, {}, rule_of, key, say, slices)


def _show(
    frame: pd.DataFrame,
    layers: Sequence[int],
    config: dict[str, Any],
    shades: dict[str, str],
    rule_of: Callable[[int], ScaleRule],
    key: str,
    say: Language,
    slices: Sequence[str] = (),
) -> None:
    frame.insert(1, "open", say("Open"))

    def open_row() -> None:
        row = STATE[f"{key}_open"].row
        lead_to_layer(layers[row], rule_of(row), slices[row] if slices else None)

    config["open"] = st.column_config.ButtonColumn(
        "",
        width=64,
        type="tertiary",
        key=f"{key}_open",
        on_click=open_row,
        help=say("This layer in Explore."),
    )
    shaded = frame.style.apply(_shades, axis=0, subset=list(shades)) if shades else frame.style
    st.dataframe(
        shaded.format({name: _share for name in SHARES if name in frame}),
        key=key,
        hide_index=True,
        width="stretch",
        column_config=config,
        height=min(35 * (len(frame) + 1) + 3 + SCROLLBAR, 640),
    )


def _share(value: object) -> str:
    return percent(float(str(value)))


def _shades(column: pd.Series) -> list[str]:
    """A column's cells, the deeper the greater; alike on a light and on a dark page."""
    red, green, blue = (
        int(PALETTES["light"][COLUMNS[str(column.name)][2]][i : i + 2], 16) for i in (1, 3, 5)
    )
    values = column.to_numpy(dtype=float)
    if column.name == "gain_db":  # a rule that beats every α has nothing to gain
        values = np.maximum(values, 0.0)
    spread = np.ptp(values)
    share = (values - values.min()) / spread if spread > 0 else np.zeros(len(values))
    return [f"background-color: rgba({red}, {green}, {blue}, {DEEPEST * s:.3f})" for s in share]
