"""α sweep: the best α, the one to use, and what other kinds of scale buy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dashboard.analysis.report import (
    ScaleReport,
    format_alpha,
)
from dashboard.rules.landscape import Landscape, Recommendation
from dashboard.rules.observers import PUBLISHED_ALPHAS
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, scale_text, signed


def recommendation(found: Recommendation, say: Language) -> str:
    """One α for the model, with the reason."""
    alpha = found.alpha
    worst = found.worst
    where = f"layer {worst.layer}"
    if len({choice.slice for choice in found.layers}) > 1:
        where += f", slice {worst.slice}"
    others = ", ".join(
        f"{name} {decibels(found.mean_loss_db(a), 1)}"
        for name, a in (*((f"α = {format_alpha(a)}", a) for a in PUBLISHED_ALPHAS), ("MinMax", 1.0))
    )
    return (
        f"One α for all {len({choice.layer for choice in found.layers})} layers"
        f"{'' if found.symmetric else ', asymmetric'}: "
        f"**{format_alpha(alpha)}**. Against each layer's own best it "
        f"loses {decibels(found.mean_loss_db(alpha), 2)} on average and at most "
        f"{decibels(worst.loss_db[alpha], 2)} ({where}); on average the others lose: {others}."
    )


def sweep_verdict(found: Landscape, say: Language) -> str:
    """The best α, and what it gains over the published two and MinMax."""
    gains = ", ".join(
        f"{decibels(found.loss_db(alpha), 2)} over {name}"
        for name, alpha in (("0.9995", 0.9995), ("0.99999", 0.99999), ("MinMax", 1.0))
    )
    return f"Best α {format_alpha(found.best_alpha)}: {decibels(found.best_db)}, {gains}."


def recommendation_rows(found: Recommendation, say: Language) -> list[dict]:
    """A row a layer and slice: its best α, and what others lose there."""
    return [
        {
            "layer": choice.layer,
            "slice": choice.slice,
            "best α": format_alpha(choice.alpha),
            "x_out_scale": scale_text(choice.x_out_scale),
            "SQNR": decibels(choice.sqnr_db),
            f"α {format_alpha(found.alpha)} loses": decibels(choice.loss_db[found.alpha]),
            "0.9995 loses": decibels(choice.loss_db[0.9995]),
            "0.99999 loses": decibels(choice.loss_db[0.99999]),
            "MinMax loses": decibels(choice.loss_db[1.0]),
        }
        for choice in found.layers
    ]


def alpha_sweep_caption(found: Landscape, rows: Sequence[ScaleReport], say: Language) -> str:
    """Where more bits and fewer saturated values part from more signal."""
    bits = found.output.effective_bits
    richest = int(np.argmax(bits))
    told = (
        f"Effective bits are greatest at α {format_alpha(float(found.alphas[richest]))} "
        f"({float(bits[richest]):.2f}), SQNR at {format_alpha(found.best_alpha)} "
        f"({float(bits[found.best]):.2f} bits)."
    )
    beyond = [row.short for row in rows if row.x_out_scale > found.scales[-1]]
    below = [row.short for row in rows if row.x_out_scale < found.scales[0]]
    if beyond:
        told += f" In the right margin, beyond every value: {', '.join(beyond)}."
    if below:
        told += f" In the left margin, below the 0.9-quantile: {', '.join(below)}."
    return told


def kind_rows(kinds: Sequence[tuple[str, dict[str, float]]], say: Language) -> list[dict]:
    """A row a kind of scale, a column a rule: SQNR, or a dash where a rule is not defined."""
    rules = list(dict.fromkeys(rule for _, found in kinds for rule in found))
    return [
        {"scale": name} | {
            rule: decibels(found[rule]) if rule in found else "–" for rule in rules
        }
        for name, found in kinds
    ]  # fmt: skip


def kinds_caption(
    kinds: Sequence[tuple[str, dict[str, float]]], found: Mapping[str, Landscape], say: Language
) -> str:
    """What each kind buys over one symmetric scale a tensor, by the least squared error.

    ``found`` holds the landscapes whose best α the percentiles took, by kind.
    """
    base = kinds[0][1]["mse"]
    gains = [f"{name} {signed(found['mse'] - base, 1)} dB" for name, found in kinds[1:]]
    alphas = " and ".join(f"{format_alpha(each.best_alpha)} {kind}" for kind, each in found.items())
    return (
        f"By mse, against one symmetric scale a tensor: {'; '.join(gains)}. Percentiles are at the "
        f"tensor's best α: {alphas}."
    )


NO_CHANNELS = "A calibration file holds no single channels; choose its checkpoint to see them."
