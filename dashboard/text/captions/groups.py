"""Groups: what a scale for each group of heads and channels buys, and which rule made it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dashboard.analysis.report import KernelRun
from dashboard.checkpoints import StoredSlice
from dashboard.rules.channels import GroupScales
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, scale_text, signed

NO_HEADS = (
    "Mamba-1 has no heads, so there is nothing to sort and cluster. Groups of neighbouring "
    "channels stand on the α sweep page."
)
NO_GROUPS = "This layer stores one scale for x, not a table of groups."


def groups_headline(
    found: Mapping[str, GroupScales], tensor: Mapping[str, float], say: Language
) -> str:
    """What grouping buys over the same rule's one scale, by MinMax and by the percentile."""
    gains = {rule: found[rule].sqnr_db - tensor[rule] for rule in ("minmax", "percentile")}
    return (
        f"A scale for each group gains {signed(gains['minmax'], 1)} dB under MinMax and "
        f"{signed(gains['percentile'], 1)} dB under the percentile."
    )


def groups_verdict(
    found: Mapping[str, GroupScales],
    as_quamba2: Mapping[str, GroupScales],
    tensor: Mapping[str, float],
    alpha: str,
    say: Language,
) -> str:
    """Whether the groups or the rule did it: the two are told apart."""
    stored = as_quamba2["minmax"].sqnr_db
    grouped, best = found["minmax"].sqnr_db, max(tensor["percentile"], tensor["mse"])
    rest = (
        f"so here a better rule alone would have done {_times(best - grouped)}"
        if best >= grouped
        else f"so the groups give {decibels(grouped - best, 1)} that no single scale does"
    )
    return (
        f"Grouped MinMax reaches {decibels(grouped)} (as Quamba2 groups, by mean |y|, "
        f"{decibels(stored)}); one scale by mse {decibels(tensor['mse'])}, by the percentile at α "
        f"{alpha} {decibels(tensor['percentile'])}, {rest}. Grouped by mse: "
        f"{decibels(found['mse'].sqnr_db)}."
    )


def _times(gain_db: float) -> str:
    return "as well" if gain_db < 0.05 else f"{gain_db:.1f} dB better"


def groups_caption(scales: np.ndarray, single: float, say: Language) -> str:
    """How far the groups' scales lie from the one that would serve all."""
    return (
        f"The groups' scales lie between {scale_text(float(scales.min()))} and "
        f"{scale_text(float(scales.max()))}, a factor of {scales.max() / scales.min():.1f}; one "
        f"scale for the whole slice would be {scale_text(single)}. "
        f"{int((scales < single).sum())} of {scales.size} groups get a finer one."
    )


def stored_groups_caption(part: StoredSlice, say: Language) -> str:
    """The stored table; by MinMax the greatest group's scale is the whole slice's."""
    scales = part.out_scales
    return (
        f"Stored: {' × '.join(map(str, scales.shape))} scales between "
        f"{scale_text(float(scales.min()))} and {scale_text(float(scales.max()))}. By MinMax one "
        "scale for the whole slice would be the greatest of them."
    )


def groups_kernel(run: KernelRun, live: float, found: GroupScales, say: Language) -> str:
    """What the kernel made of the expanded scales."""
    return (
        f"Live kernel with {len(found.per_channel):,} expanded scales for x: **{decibels(live)}** "
        f"against float, {run.differing_codes:,} of {run.codes:,} codes differ from the reference."
    )
