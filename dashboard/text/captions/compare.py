"""Compare: what differs most between the columns, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashboard.analysis.compare import (
    Column,
    ColumnCost,
    Difference,
    differences,
    largest,
    layer_numbers,
)
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, percent, scale_text, signed, small, with_error

LETTERS = "ABCDEF"  # of the columns


def compare_headline(columns: Sequence[Column], quantity: str, say: Language) -> str:
    """Where the quantity on show differs most; where no column knows it, which one does."""
    known = [d for d in differences(columns, quantity) if np.isfinite(d.relative)]
    if known and quantity == "sqnr_db":
        most = max(known, key=lambda d: abs(d.relative))
        if abs(most.relative) < 0.005:
            return say("{quantity} is the same in all columns.", quantity=quantity)
        return say(
            "{quantity} of layer {layer} differs most: {difference}, {column} against {first}.",
            quantity=quantity,
            layer=most.layer,
            difference=decibels(most.relative, 1),
            column=LETTERS[most.column],
            first=LETTERS[0],
        )
    if known:
        return _largest_difference(max(known, key=_factor), say)
    most_known = largest(columns)
    if most_known is None:
        return say("These columns share no layer of which both know the same quantity.")
    return _largest_difference(most_known, say)


def _largest_difference(most: Difference, say: Language) -> str:
    factor = _factor(most)
    if abs(most.relative) < 5e-7:
        return say("{quantity} is the same in all columns.", quantity=most.quantity)
    if factor >= 1.1:
        return say(
            "{quantity} of layer {layer} differs most: {factor} times.",
            quantity=most.quantity,
            layer=most.layer,
            factor=f"{factor:,.3g}",
        )
    return say(
        "{quantity} of layer {layer} differs most: by {share}.",
        quantity=most.quantity,
        layer=most.layer,
        share=percent(factor - 1),
    )


def _factor(difference: Difference) -> float:
    return max(difference.value / difference.first, difference.first / difference.value)


def compare_verdict(columns: Sequence[Column], say: Language) -> str:
    """For each column: how its scales and its SQNR lie against the first's."""
    return say.sentences(*(_against_first(columns, i, say) for i in range(1, len(columns))))


def _times_first(factor: float) -> str:
    """A factor with enough digits to be distinguished from 1."""
    return f"{factor:.3g}" if abs(factor - 1) >= 0.005 else f"{factor:.5f}"


def _against_first(columns: Sequence[Column], i: int, say: Language) -> str:
    pair = [columns[0], columns[i]]
    clauses = []
    out = [d.value / d.first for d in differences(pair, "x_out_scale")]
    if out:
        same = np.allclose(out, 1, rtol=5e-7)
        clauses.append(
            say("the same {quantity} in every layer", quantity="x_out_scale")
            if same
            else say(
                "{quantity} is {low} to {high} times A's",
                quantity="x_out_scale",
                low=_times_first(min(out)),
                high=_times_first(max(out)),
            )
        )
    gains = [d.relative for d in differences(pair, "sqnr_db")]
    if gains:
        clauses.append(
            say(
                "SQNR differs by {low} to {high} dB, {mean} on average",
                low=signed(min(gains), 1),
                high=signed(max(gains), 1),
                mean=decibels(float(np.mean(gains)), 1),
            )
        )
    ratios = [d.value / d.first for d in differences(pair, "ratio_weight")]
    if ratios and not out:
        clauses.append(
            say(
                "{quantity} is {low} to {high} times A's",
                quantity="ratio_weight",
                low=f"{min(ratios):.3g}",
                high=f"{max(ratios):.3g}",
            )
        )
    return say(
        "**{column}**: {comparison}.",
        column=say(columns[i].label),
        comparison=say.clauses(clauses) if clauses else say("nothing in common"),
    )


def column_names(columns: Sequence[Column], say: Language) -> list[str]:
    """What each column is called beside the others: "A: mamba2-tiny, MinMax"."""
    return [
        say("{letter}: {column}", letter=letter, column=say(column.label))
        for letter, column in zip(LETTERS, columns, strict=False)
    ]


def compare_rows(columns: Sequence[Column], quantity: str, say: Language) -> list[dict]:
    """A row a layer: the quantity in each column, and how far from the first."""
    by_place = {(d.layer, d.column): d for d in differences(columns, quantity)}
    names = column_names(columns, say)
    rows = []
    for layer in layer_numbers(columns):
        row: dict[str, object] = {say("layer"): layer}
        for i, column in enumerate(columns):
            row[names[i]] = _text(quantity, column.value(layer, quantity))
            if i:
                header = say("{column} against {first}", column=names[i], first=LETTERS[0])
                row[header] = _difference(by_place.get((layer, i)))
        rows.append(row)
    return rows


def _text(quantity: str, value: float | None) -> str:
    if value is None:
        return "–"
    if quantity == "sqnr_db":
        return decibels(value)
    return f"{value:.2f}" if quantity.startswith("ratio") else scale_text(value)


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    more = difference.relative
    amount = decibels(more) if difference.quantity == "sqnr_db" else f"{signed(100 * more, 1)} %"
    return f"+{amount}" if more > 0 else amount


def cost_rows(costs: Sequence[ColumnCost], say: Language) -> list[dict]:
    """A row a column: predicted, measured with its error, and against A, paired."""
    names = column_names([cost.column for cost in costs], say)
    is_predicted = any(cost.predicted_nats is not None for cost in costs)
    return [
        {
            say("column"): name,
            **({"predicted_nats": _predicted(cost)} if is_predicted else {}),
            **_measured(cost),
            say("against {first}", first=LETTERS[0]): _against(cost, i, say),
        }
        for i, (name, cost) in enumerate(zip(names, costs, strict=True))
    ]


def _predicted(cost: ColumnCost) -> str:
    return "–" if cost.predicted_nats is None else small(cost.predicted_nats)


def _measured(cost: ColumnCost) -> dict[str, str]:
    if cost.impact is None:
        return dict.fromkeys(("kl_nats", "delta_nats", "same_top"), "–")
    kl, delta = cost.impact.kl_nats, cost.impact.delta_nats
    return {
        "kl_nats": with_error(kl.mean, kl.error),
        "delta_nats": with_error(delta.mean, delta.error),
        "same_top": percent(cost.impact.same_top.mean),
    }


def _against(cost: ColumnCost, i: int, say: Language) -> str:
    more = cost.against_first
    if i == 0 or more is None:
        return "–"
    nats = with_error(more.mean, more.error)
    if more.is_noise:
        return say("{nats}, which is noise", nats=nats)
    return f"+{nats}" if more.mean > 0 else nats


def costs_caption(costs: Sequence[ColumnCost], say: Language) -> str:
    """Which of the measured columns costs least, and what is left out."""
    known = [
        (letter, cost.impact)
        for letter, cost in zip(LETTERS, costs, strict=False)
        if cost.impact is not None
    ]
    basis = say(
        "All layers and slices with each column's scales; kl_nats and delta_nats in nats a token, "
        "with the standard error over windows."
    )
    if len(known) < 2:
        return basis
    least, impact = min(known, key=lambda entry: entry[1].kl_nats.mean)
    kl = with_error(impact.kl_nats.mean, impact.kl_nats.error)
    return say.sentences(say("{column} costs least, {kl} nats.", column=least, kl=kl), basis)
