"""Compare: what differs most between the columns, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.compare import Column, Difference, differences, largest, layer_numbers
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, signed

NOTHING_SHARED = "These columns share no layer of which both know the same quantity."


def compare_headline(columns: Sequence[Column], quantity: str, say: Language) -> str:
    """Where the quantity on show differs most; where no column knows it, which one does."""
    known = [d for d in differences(columns, quantity) if np.isfinite(d.relative)]
    if known and quantity == "sqnr_db":
        most = max(known, key=lambda d: abs(d.relative))
        if abs(most.relative) < 0.005:
            return "sqnr_db is the same in all columns."
        return (
            f"sqnr_db of layer {most.layer} differs most: {signed(most.relative, 1)} dB, "
            f"{'ABCDEF'[most.column]} against A."
        )
    if known:
        return _most(max(known, key=_factor))
    found = largest(columns)
    if found is None:
        return NOTHING_SHARED
    return _most(found)


def _most(found: Difference) -> str:
    if abs(found.relative) < 5e-7:
        return f"{found.quantity} is the same in all columns."
    return f"{found.quantity} of layer {found.layer} differs most: {_times(_factor(found))}."


def _factor(found: Difference) -> float:
    return max(found.value / found.first, found.first / found.value)


def _times(factor: float) -> str:
    return f"{factor:,.3g} times" if factor >= 1.1 else f"by {percent(factor - 1)}"


def compare_verdict(columns: Sequence[Column], say: Language) -> str:
    """For each column: how its scales and its SQNR lie against the first's."""
    return " ".join(_against_first(columns, i) for i in range(1, len(columns)))


def _times_first(factor: float) -> str:
    """As many digits as tell it from 1."""
    return f"{factor:.3g}" if abs(factor - 1) >= 0.005 else f"{factor:.5f}"


def _against_first(columns: Sequence[Column], i: int) -> str:
    pair = [columns[0], columns[i]]
    told = []
    out = [d.value / d.first for d in differences(pair, "x_out_scale")]
    if out:
        low, high = min(out), max(out)
        same = np.allclose(out, 1, rtol=5e-7)
        told.append(
            "the same x_out_scale in every layer"
            if same
            else f"x_out_scale is {_times_first(low)} to {_times_first(high)} times the first's"
        )
    gains = [d.relative for d in differences(pair, "sqnr_db")]
    if gains:
        told.append(
            f"SQNR differs by {signed(min(gains), 1)} to {signed(max(gains), 1)} dB, "
            f"{decibels(float(np.mean(gains)), 1)} on average"
        )
    ratios = [d.value / d.first for d in differences(pair, "ratio_weight")]
    if ratios and not out:
        told.append(f"ratio_weight is {min(ratios):.3g} to {max(ratios):.3g} times the first's")
    return f"**{columns[i].label}**: {'; '.join(told) if told else 'nothing in common'}."


def compare_rows(columns: Sequence[Column], quantity: str, say: Language) -> list[dict]:
    """A row a layer: the quantity in each column, and how far from the first."""
    found = {(d.layer, d.column): d for d in differences(columns, quantity)}
    rows = []
    for layer in layer_numbers(columns):
        row: dict[str, object] = {"layer": layer}
        for i, column in enumerate(columns):
            row[_name(columns, i)] = _text(quantity, column.value(layer, quantity))
            if i:
                row[f"{_name(columns, i)} against A"] = _difference(found.get((layer, i)))
        rows.append(row)
    return rows


def _name(columns: Sequence[Column], i: int) -> str:
    return f"{'ABCDEF'[i]}: {columns[i].label}"


def _text(quantity: str, value: float | None) -> str:
    if value is None:
        return "–"
    if quantity == "sqnr_db":
        return decibels(value)
    return f"{value:.2f}" if quantity.startswith("ratio") else scale_text(value)


def _difference(found: Difference | None) -> str:
    if found is None:
        return "–"
    if found.quantity == "sqnr_db":
        return f"{'+' if found.relative > 0 else ''}{decibels(found.relative)}"
    return f"{'+' if found.relative > 0 else ''}{signed(100 * found.relative, 1)} %"
