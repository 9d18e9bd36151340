"""A layer's channel maxima -> groups of channels that share a scale: Quamba2's sort-and-cluster.

Mamba-2's x has heads of ``head_dim`` channels, and no order among either: heads of one SSD group
may be exchanged, and channels within a head, as long as the weights around them follow. Quamba2
(arXiv 2503.22879) uses that freedom to put together what has the same range on calibration data:

1. sort each head's channels by their greatest magnitude, the largest first: its profile;
2. cluster the heads of each SSD group by the shape of their profiles, agglomeratively;
3. cluster the sorted channel positions of each head group by k-means, on the maxima there;
4. lay heads and channels out anew, so that every group is one contiguous range.

A scale then belongs to an SSD group, a head group and a channel group, and the two tables of range
ends, with head_dim, say which channels those are. Here only the grouping is made: any scale rule
can be applied to the groups afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HEAD_GROUPS = CHANNEL_GROUPS = 4
KMEANS_STARTS = 10


@dataclass(frozen=True)
class ChannelGrouping:
    """The groups of the D = heads · head_dim channels of one layer's x."""

    head_dim: int
    head_order: np.ndarray  # (H,) int64, the heads as laid out anew, by their old numbers
    channel_order: np.ndarray  # (D,) int64, the channels as laid out anew, by their old numbers
    head_group_range: np.ndarray  # (G, M) int64, where each head group ends in its SSD group
    dim_group_range: np.ndarray  # (G, M, N) int64, where each channel group ends in its heads

    @property
    def shape(self) -> tuple[int, int, int]:
        """(SSD groups, head groups, channel groups): the shape of a table of scales."""
        return self.dim_group_range.shape

    @property
    def group(self) -> np.ndarray:
        """(D,) int64: the group of each channel as it was before, an index in the raveled table."""
        group = np.empty(len(self.channel_order), np.int64)
        group[self.channel_order] = group_of_channel(
            self.head_group_range, self.dim_group_range, self.head_dim
        )
        return group


def group_of_channel(
    head_group_range: np.ndarray, dim_group_range: np.ndarray, head_dim: int
) -> np.ndarray:
    """(D,) int64: the group of each channel in the new layout, from the two tables of range ends.

    Args:
        head_group_range: (G, M) integers, ends counted in heads from each SSD group's first.
        dim_group_range: (G, M, N) integers, ends counted in channels from each head's first.
        head_dim: channels of a head; the last end of every head group.

    Raises ValueError for tables whose shapes or ends do not fit each other.
    """
    heads, dims = np.asarray(head_group_range), np.asarray(dim_group_range)
    if heads.ndim != 2 or dims.ndim != 3 or dims.shape[:2] != heads.shape or not dims.size:
        raise ValueError(
            f"head_group_range has shape {heads.shape} and dim_group_range {dims.shape}; they must "
            "be (G, M) and (G, M, N)"
        )
    if heads.dtype.kind not in "iu" or dims.dtype.kind not in "iu":
        raise ValueError(f"range ends must be integers, not {heads.dtype} and {dims.dtype}")
    heads, dims = heads.astype(np.int64), dims.astype(np.int64)
    for name, ends in (("head_group_range", heads), ("dim_group_range", dims)):
        if (np.diff(ends, axis=-1, prepend=0) < 0).any():
            raise ValueError(f"{name} must hold ends that never fall, from 0")
    if (dims[..., -1] != head_dim).any() or (heads[:, -1] != heads[0, -1]).any():
        raise ValueError(
            f"every range must end where its heads end: dim_group_range at {head_dim}, and "
            "head_group_range at the same number in each SSD group"
        )
    table = np.arange(dims.size).reshape(dims.shape)
    group = []
    for ssd in range(dims.shape[0]):
        for part, count in enumerate(np.diff(heads[ssd], prepend=0)):
            widths = np.diff(dims[ssd, part], prepend=0)
            group.append(np.tile(np.repeat(table[ssd, part], widths), count))
    return np.concatenate(group)


def sort_and_cluster(
    channel_amax: np.ndarray,
    head_dim: int,
    n_groups: int = 1,
    head_groups: int = HEAD_GROUPS,
    channel_groups: int = CHANNEL_GROUPS,
) -> ChannelGrouping:
    """Group the channels of one layer's x by their greatest magnitudes.

    Args:
        channel_amax: (D,) the greatest magnitude of each channel on the calibration batches, of
            SiLU's output where x_out_scales are wanted; finite, >= 0.
        head_dim: channels of a head, a divisor of D.
        n_groups: SSD groups, a divisor of the number of heads; heads never leave theirs.
        head_groups: M, groups of heads in each SSD group.
        channel_groups: N, groups of channels in each head group.

    Every group has a head and a channel at least; the group with the largest maxima comes first.
    The same maxima give the same groups. Raises ValueError where D cannot be cut so, or an SSD
    group has fewer heads than M, or a head fewer channels than N.
    """
    amax = np.asarray(channel_amax, np.float64)
    if amax.ndim != 1 or not np.isfinite(amax).all() or (amax < 0).any():
        raise ValueError(
            f"channel_amax has shape {amax.shape}; it must be (D,), finite and not negative"
        )
    sizes = {"head_dim": head_dim, "n_groups": n_groups, "head_groups": head_groups,
             "channel_groups": channel_groups}  # fmt: skip
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")
    if not len(amax) or len(amax) % (head_dim * n_groups):
        raise ValueError(
            f"{len(amax)} channels cannot be cut into {n_groups} SSD groups of heads of {head_dim}"
        )
    heads_each = len(amax) // (head_dim * n_groups)
    if heads_each < head_groups or head_dim < channel_groups:
        raise ValueError(
            f"an SSD group has {heads_each} heads of {head_dim} channels; that is too few for "
            f"{head_groups} head groups and {channel_groups} channel groups"
        )

    by_head = amax.reshape(n_groups, heads_each, head_dim)
    ranked = np.argsort(-by_head, axis=-1, kind="stable")  # the old place of each sorted channel
    profiles = np.take_along_axis(by_head, ranked, axis=-1)
    head_order: list[int] = []
    channel_order: list[np.ndarray] = []
    head_ends = np.zeros((n_groups, head_groups), np.int64)
    dim_ends = np.zeros((n_groups, head_groups, channel_groups), np.int64)
    for ssd in range(n_groups):
        found = _cluster_heads(profiles[ssd], head_groups)
        head_ends[ssd] = np.cumsum([len(heads) for heads in found])
        for part, heads in enumerate(found):
            positions = _cluster_positions(profiles[ssd, heads].T, channel_groups)
            dim_ends[ssd, part] = np.cumsum([len(p) for p in positions])
            layout = np.concatenate(positions)
            for head in ssd * heads_each + heads:
                head_order.append(int(head))
                channel_order.append(head * head_dim + ranked.reshape(-1, head_dim)[head, layout])
    return ChannelGrouping(
        head_dim, np.array(head_order), np.concatenate(channel_order), head_ends, dim_ends
    )


def _cluster_heads(profiles: np.ndarray, groups: int) -> list[np.ndarray]:
    """(heads, head_dim) sorted maxima -> the heads of each group, ascending."""
    if groups == 1:
        return [np.arange(len(profiles))]
    # Imported here: it takes half a second, and only this step needs it.
    from sklearn.cluster import AgglomerativeClustering

    # By each head's own maximum; by the layer's, SQNR on the samples is at most 0.12 dB other.
    loudest = profiles.max(axis=1, keepdims=True)
    shapes = profiles / np.where(loudest > 0, loudest, 1)
    labels = AgglomerativeClustering(n_clusters=groups).fit(shapes).labels_
    found = [np.flatnonzero(labels == label) for label in range(groups)]
    return sorted(found, key=lambda heads: (-profiles[heads].mean(), heads[0]))


def _cluster_positions(maxima: np.ndarray, groups: int) -> list[np.ndarray]:
    """(head_dim, heads) the maxima at each sorted position -> the positions of each group."""
    if groups == 1:
        return [np.arange(len(maxima))]
    from sklearn.cluster import KMeans

    distinct = len(np.unique(maxima, axis=0))
    clusters = KMeans(min(groups, distinct), n_init=KMEANS_STARTS, random_state=0).fit(maxima)
    found = [np.flatnonzero(clusters.labels_ == label) for label in np.unique(clusters.labels_)]
    while len(found) < groups:  # equal channels: any cut is as good, and no group stays empty
        largest = max(range(len(found)), key=lambda i: len(found[i]))
        found += np.array_split(found.pop(largest), 2)
    return sorted(found, key=lambda positions: (-maxima[positions].mean(), positions[0]))
