"""Groups: what a scale for each group of heads and channels buys, and which rule made it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dashboard.analysis.report import KernelRun
from dashboard.checkpoints import StoredSlice
from dashboard.messages import Message
from dashboard.rules.channels import GroupScales
from dashboard.text.language import Language
from dashboard.text.numbers import decibels, scale_text

NO_HEADS = Message(
    "Mamba-1 has no heads, so there is nothing to sort and cluster. Groups of neighbouring "
    "channels stand on the α sweep page."
)
NO_GROUPS = Message("This layer stores one scale for x, not a table of groups.")


def groups_headline(
    grouped: Mapping[str, GroupScales], tensor: Mapping[str, float], say: Language
) -> str:
    """What grouping buys over the same rule's one scale, by MinMax and by the percentile.

    Args:
        grouped: the groups' scales, by the rule's name.
        tensor: the SQNR of one scale for all, in dB, by the rule's name.
    """
    return say(
        "A scale for each group gains {minmax} under MinMax and {percentile} under the percentile.",
        minmax=decibels(grouped["minmax"].sqnr_db - tensor["minmax"], 1),
        percentile=decibels(grouped["percentile"].sqnr_db - tensor["percentile"], 1),
    )


def groups_verdict(
    grouped: Mapping[str, GroupScales],
    as_quamba2: Mapping[str, GroupScales],
    tensor: Mapping[str, float],
    alpha: str,
    say: Language,
) -> str:
    """Whether it is the groups that gain, or the rule.

    Args:
        grouped, as_quamba2: scales of groups sorted by maxima, and of Quamba2's groups, by rule.
        tensor: the SQNR of one scale for all, in dB, by rule.
        alpha: the percentile's, written out.
    """
    minmax_db, single_db = grouped["minmax"].sqnr_db, max(tensor["percentile"], tensor["mse"])
    values = say(
        "Grouped MinMax reaches {minmax} (as Quamba2 groups, by mean |y|, {as_quamba2}); one scale "
        "by mse {mse}, by the percentile at α {alpha} {percentile}",
        minmax=decibels(minmax_db),
        as_quamba2=decibels(as_quamba2["minmax"].sqnr_db),
        mse=decibels(tensor["mse"]),
        alpha=alpha,
        percentile=decibels(tensor["percentile"]),
    )
    gain_db = single_db - minmax_db
    if gain_db < 0:
        verdict = say(
            "{values}, so the groups give {gain} that no single scale does.",
            values=values,
            gain=decibels(-gain_db, 1),
        )
    elif gain_db < 0.05:
        verdict = say(
            "{values}, so here a better rule alone would have done as well.", values=values
        )
    else:
        verdict = say(
            "{values}, so here a better rule alone would have done {gain} better.",
            values=values,
            gain=f"{gain_db:.1f} dB",
        )
    return say.sentences(
        verdict, say("Grouped by mse: {sqnr}.", sqnr=decibels(grouped["mse"].sqnr_db))
    )


def groups_caption(scales: np.ndarray, single: float, say: Language) -> str:
    """How far the groups' scales lie from the one that would serve all."""
    return say(
        "The groups' scales lie between {least} and {greatest}, a factor of {factor}; one scale "
        "for the whole slice would be {single}. {finer} of {groups} groups get a finer one.",
        least=scale_text(float(scales.min())),
        greatest=scale_text(float(scales.max())),
        factor=f"{scales.max() / scales.min():.1f}",
        single=scale_text(single),
        finer=int((scales < single).sum()),
        groups=scales.size,
    )


def stored_groups_caption(stored: StoredSlice, say: Language) -> str:
    """The stored table; by MinMax the greatest group's scale is the whole slice's."""
    scales = stored.out_scales
    return say(
        "Stored: {shape} scales between {least} and {greatest}. By MinMax one scale for the whole "
        "slice would be the greatest of them.",
        shape=" × ".join(map(str, scales.shape)),
        least=scale_text(float(scales.min())),
        greatest=scale_text(float(scales.max())),
    )


def groups_kernel(run: KernelRun, sqnr_db: float, scales: GroupScales, say: Language) -> str:
    """What the kernel made of the groups' scales, one for each channel of x."""
    return say(
        "Live kernel with {scales} expanded scales for x: **{sqnr}** against float, {differing} of "
        "{codes} codes differ from the reference.",
        scales=f"{len(scales.per_channel):,}",
        sqnr=decibels(sqnr_db),
        differing=f"{run.differing_codes:,}",
        codes=f"{run.codes:,}",
    )
