"""The table of every layer: sortable, filterable, coloured by value, a sparkline in each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.analysis.report import LayerReport
from dashboard.figures import PALETTES
from dashboard.figures.style import count_height
from dashboard.pages.remembering import STATE, keep, kept, one_of
from dashboard.text import captions
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


def table_row(report: LayerReport, part: int, settings: dict[str, str | int]) -> dict:
    """One slice of a layer as a row: its SiLU output as a sparkline, and its measures.

    ``settings`` are what a link to Explore says beside the layer.
    """
    chosen = report.slices[part]
    output = chosen.silu_output
    edges = np.linspace(output.min, max(output.max, output.min + 1e-6), BINS + 1)
    measures = report.measures(chosen.name)
    return {
        "layer": report.layer,
        "open": "./?" + urlencode(settings | {"layer": report.layer, "slice": chosen.name}),
        "SiLU output": count_height(output.rebin(edges), log=True).tolist(),
        **{name: measures[name] for name in COLUMNS},
        "shape": str(tuple(measures["shape"])),
    }


def filtered(rows: Sequence[dict]) -> list[dict]:
    """The rows that a column and a range, chosen here, leave."""
    numbers = [name for name in COLUMNS if isinstance(rows[0][name], float)]
    kept("filter", one_of(numbers))
    if STATE.get("filter") not in numbers:
        STATE.filter = None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.selectbox(
            "Filter by", numbers, index=None, key="filter", width=200, placeholder="no filter",
        )  # fmt: skip
        keep("filter", name)
        values = [row[name] for row in rows] if name else [0.0]
        if name and max(values) > min(values):
            ends = min(values), max(values)
            low, high = st.slider(
                name, *ends, ends, (ends[1] - ends[0]) / RANGE_STEPS, key=f"within_{name}",
                format="%.4g", width=376,
            )  # fmt: skip
            return [row for row in rows if low <= row[name] <= high]
    return list(rows)


def show_table(rows: Sequence[dict], key: str) -> int | None:
    """Draw the rows; returns the index of the selected one, if any."""
    frame = pd.DataFrame(rows)
    config: dict[str, Any] = {}
    for name, (form, width, _) in COLUMNS.items():
        if rows[0][name] is None:
            frame[name] = "–"
            config[name] = st.column_config.TextColumn(name, width=width, help=captions.NO_RATIOS)
        elif form or name in SHARES:
            config[name] = st.column_config.NumberColumn(name, format=form, width=width)
        else:
            config[name] = st.column_config.TextColumn(name, width=width)
    config["layer"] = st.column_config.NumberColumn("layer", width=48, pinned=True)
    config["open"] = st.column_config.LinkColumn(
        "", width=48, display_text="open", help="This layer in Explore, in a tab of its own."
    )
    config["SiLU output"] = st.column_config.AreaChartColumn(
        "SiLU output", width=80, y_min=0, help="Number of values (log) over the output's range."
    )
    shades = frame.style.apply(_shades, axis=0, subset=[n for n, c in COLUMNS.items() if c[2]])
    shown = st.dataframe(
        shades.format({name: _share for name in SHARES}),
        key=key,
        hide_index=True,
        column_config=config,
        on_select="rerun",
        selection_mode="single-row",
        height=min(35 * (len(rows) + 1) + 3 + SCROLLBAR, 640),
    )
    st.caption(
        "*open* shows a layer in Explore, in a tab of its own; a selected row leads there in this "
        "one. Click a column's name to sort."
    )
    return next(iter(shown.selection.rows), None)


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
