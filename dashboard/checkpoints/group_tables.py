"""The two tables of range ends that Quamba2 stores -> the group of each channel of x."""

from __future__ import annotations

import numpy as np

from dashboard.refusals import Refusal


def group_of_channel(
    head_group_range: np.ndarray, dim_group_range: np.ndarray, head_dim: int
) -> np.ndarray:
    """(D,) int64: the group of each channel in the new layout, from the two tables of range ends.

    Args:
        head_group_range: (G, M) integers, ends counted in heads from each SSD group's first.
        dim_group_range: (G, M, N) integers, ends counted in channels from each head's first.
        head_dim: channels of a head; the last end of every head group.

    Raises Refusal for tables whose shapes or ends do not fit each other.
    """
    heads, dims = np.asarray(head_group_range), np.asarray(dim_group_range)
    if heads.ndim != 2 or dims.ndim != 3 or dims.shape[:2] != heads.shape or not dims.size:
        raise Refusal(
            "head_group_range has shape {heads} and dim_group_range {dims}; they must be (G, M) "
            "and (G, M, N)",
            heads=heads.shape,
            dims=dims.shape,
        )
    if heads.dtype.kind not in "iu" or dims.dtype.kind not in "iu":
        raise Refusal(
            "range ends must be integers, not {heads} and {dims}",
            heads=heads.dtype,
            dims=dims.dtype,
        )
    heads, dims = heads.astype(np.int64), dims.astype(np.int64)
    for name, ends in (("head_group_range", heads), ("dim_group_range", dims)):
        if (np.diff(ends, axis=-1, prepend=0) < 0).any():
            raise Refusal("{name} must hold ends that never fall, from 0", name=name)
    if (dims[..., -1] != head_dim).any() or (heads[:, -1] != heads[0, -1]).any():
        raise Refusal(
            "every range must end where its heads end: dim_group_range at {head_dim}, and "
            "head_group_range at the same number in each SSD group",
            head_dim=head_dim,
        )
    table = np.arange(dims.size).reshape(dims.shape)
    group = []
    for ssd in range(dims.shape[0]):
        for head_group, count in enumerate(np.diff(heads[ssd], prepend=0)):
            widths = np.diff(dims[ssd, head_group], prepend=0)
            group.append(np.tile(np.repeat(table[ssd, head_group], widths), count))
    return np.concatenate(group)
