"""Stored scales: what a quantized checkpoint says, and what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.analysis.health import MOST_LOST_DB, NEIGHBOURS_RATIO
from dashboard.analysis.stored import StoredRun
from dashboard.checkpoints import StoredLayer
from dashboard.text.language import Language
from dashboard.text.numbers import percent

NO_FLOAT_WEIGHTS = (
    "This checkpoint is quantized already: there is no float model to calibrate, only the scales "
    "that it stores."
)
STAND_IN = (
    "There are no activations without a float model: the kernel runs the stored INT8 convolutions "
    "on evenly drawn codes, a stand-in that says nothing about how good the scales are."
)


HEALTH_ALONE = (
    "Examined of each scale: is it finite and positive, equal to its copies, within "
    f"{NEIGHBOURS_RATIO:.0f} times of the layers' median, within reach of the INT8 convolution, "
    "and of the kind that its observer leaves? The float model and a text say what it does to "
    "real activations."
)
HEALTH = (
    "The nearest rule is the one whose scales, in the same groups, differ least from the stored "
    "ones; stored / nearest is 1 where they are the same. Best gains: what the scales of least "
    "squared error, in the same groups, have over the stored ones, in dB; more than "
    f"{MOST_LOST_DB:.0f} dB is a fault."
)


FLOAT_LAYER = "This layer keeps a float convolution: its activations have 16 bits and no scale."


def stored_headline(layers: Sequence[StoredLayer], count: int, say: Language) -> str:
    """Whether α had any part in the stored scales; ``count`` is that of all Mamba layers."""
    if not layers:
        return "No stored scales: every convolution is float, its activations have 16 bits."
    used = sum(layer.alpha_used for layer in layers)
    rest = (
        f" {count - len(layers)} of {count} layers keep a float convolution."
        if len(layers) < count
        else ""
    )
    if used == 0:
        return f"Stored scales, which Quamba sets by MinMax per group: α is never used.{rest}"
    others = [part.name for part in layers[0].slices if part.rule == "minmax"]
    chose = "each output scale by a percentile α"
    if others:
        chose = f"that of x by a percentile α, those of {' and '.join(others)} by MinMax"
    if used == len(layers):
        return f"Stored scales, of which Quamba sets {chose}.{rest}"
    return f"Stored scales, of which Quamba sets {used} of {len(layers)} by a percentile α.{rest}"


def stored_verdict(layers: Sequence[StoredLayer], say: Language) -> str:
    """The shapes of x_out_scales, and whether two places that hold the same scale agree."""
    if not layers:
        return "Such a model is W4A16: 4-bit weights in its projections, 16-bit activations."
    shapes = sorted({layer.slices[0].out_scales.shape for layer in layers})
    copies = sum(len(layer.copies) for layer in layers)
    wrong = [(layer.layer, copy) for layer in layers for copy in layer.mismatches]
    words = f"x_out_scales of shape {' and '.join(map(str, shapes))}"
    if max(map(len, shapes)) == 3:
        words += " are (SSD group, head group, channel group)"
    if len(layers[0].slices) == 1:
        words += "; x_scale was observed on all of in_proj's output, z as well as x"
    if not copies:
        return f"{words}. No other module repeats one of these scales."
    if not wrong:
        return f"{words}. {copies} copies in the modules that follow all agree with them."
    layer, first = wrong[0]
    return (
        f"{words}. **{len(wrong)} of {copies} copies disagree**: first, in layer {layer}, "
        f"{first.name} and {first.copy}"
        + (f" differ by {first.largest_difference:.3g}." if first.largest_difference
           else " have different shapes.")
    )  # fmt: skip


def stored_rows(rows: Sequence[dict], say: Language) -> list[dict]:
    """The columns of a stored table; of several scales the least, mean and greatest."""
    return [_stored_row(row) for row in rows]


def _stored_row(row: dict) -> dict:
    has_scales = row["x_out_scale"] is not None
    rule = "percentile α, moving average" if row["alpha_used"] else "MinMax"
    return {
        "layer": row["layer"],
        "mixer": row["mixer"],
        "x_scale": row["x_scale"],
        "w_scale": row["w_scale"],
        "scale_wx": row["scale_wx"],
        "shape": row["shape"],
        "least x_out_scale": row["x_out_scale_min"],
        "mean": row["x_out_scale_mean"],
        "greatest": row["x_out_scale_max"],
        "ratio_weight": row["ratio_weight"],
        "ratio_wx": row["ratio_wx"],
        "Quamba's rule": rule if has_scales else "none: 16-bit activations",
        "copies": row["mismatches"] or (f"{row['copies']} agree" if row["copies"] else "none"),
    }


def stored_status(runs: Sequence[StoredRun], say: Language) -> str:
    """Which backend ran every layer, and how many codes differ from the reference."""
    if not runs:
        return "no INT8 convolution to run"
    differing, codes = sum(run.differing_codes for run in runs), sum(run.codes for run in runs)
    dot = ":green[●]" if differing == 0 else ":red[●]"
    return (
        f"{dot} **{runs[0].backend}** · {len(runs)} layers · "
        f"**{differing:,}** of {codes:,} codes differ from the reference"
    )


def health_rows(rows: Sequence[dict], say: Language) -> list[dict]:
    """The rows of ``health.rows`` for a page: a share is printed as everywhere else."""
    return [
        row | {"saturation_rate": "–" if share is None else percent(share)}
        if "saturation_rate" in row
        else row
        for row in rows
        for share in [row.get("saturation_rate")]
    ]
