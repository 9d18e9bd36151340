"""Stored scales: what a quantized checkpoint says, and what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.checkpoints import StoredLayer
from dashboard.stored import StoredRun

NO_FLOAT_WEIGHTS = (
    "This checkpoint is quantized already: it has no float weights to calibrate, only the scales "
    "that it stores."
)
STAND_IN = (
    "There are no activations without float weights: the kernel runs the stored INT8 convolutions "
    "on evenly drawn codes, a stand-in that says nothing about how good the scales are."
)


def stored_headline(layers: Sequence[StoredLayer]) -> str:
    """Whether α had any part in the stored scales."""
    used = sum(layer.alpha_used for layer in layers)
    if used == len(layers):
        return "Stored scales: a percentile α chose each output scale."
    if used == 0:
        return "Stored scales: MinMax per group. α was never used."
    return f"Stored scales: α was used in {used} of {len(layers)} layers."


def stored_verdict(layers: Sequence[StoredLayer]) -> str:
    """The shapes of x_out_scales, and whether two places that hold the same scale agree."""
    shapes = sorted({layer.slices[0].out_scales.shape for layer in layers})
    copies = sum(len(layer.copies) for layer in layers)
    wrong = [(layer.layer, copy) for layer in layers for copy in layer.mismatches]
    told = f"x_out_scales of shape {' and '.join(map(str, shapes))}"
    if max(map(len, shapes)) == 3:
        told += " are (SSD group, head group, channel group)"
    if not copies:
        return f"{told}. No other module repeats one of these scales."
    if not wrong:
        return f"{told}. {copies} copies in the modules that follow all agree with them."
    layer, first = wrong[0]
    return (
        f"{told}. **{len(wrong)} of {copies} copies disagree**: first, in layer {layer}, "
        f"{first.name} and {first.copy}"
        + (f" differ by {first.largest_difference:.3g}." if first.largest_difference
           else " have different shapes.")
    )  # fmt: skip


def stored_rows(rows: Sequence[dict]) -> list[dict]:
    """The columns of a stored table; of several scales the least, the greatest and its ratios."""
    return [_stored_row(row) for row in rows]


def _stored_row(row: dict) -> dict:
    scales = row["x_out_scale"] if isinstance(row["x_out_scale"], list) else [row["x_out_scale"]]
    return {
        "layer": row["layer"],
        "source": row["source"],
        "x_scale": row["x_scale"],
        "w_scale": row["w_scale"],
        "scale_wx": row["scale_wx"],
        "shape": row["shape"],
        "least x_out_scale": min(scales),
        "greatest": max(scales),
        "ratio_weight": max(scales) / row["w_scale"],
        "ratio_wx": max(scales) / row["scale_wx"],
        "α used": "yes" if row["alpha_used"] else "no, MinMax per group",
        "copies": row["mismatches"] or f"{row['copies']} agree",
    }


def stored_status(runs: Sequence[StoredRun]) -> str:
    """Which backend ran every layer, and how many codes differ from the reference."""
    differing, codes = sum(run.differing_codes for run in runs), sum(run.codes for run in runs)
    dot = ":green[●]" if differing == 0 else ":red[●]"
    return (
        f"{dot} **{runs[0].backend}** · {len(runs)} layers · "
        f"**{differing:,}** of {codes:,} codes differ from the reference"
    )
