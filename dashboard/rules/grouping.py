"""The size of each channel -> groups of channels that share a scale: Quamba2's sort-and-cluster.

Mamba-2's x has heads of ``head_dim`` channels, and no order among either: heads of one SSD group
may be exchanged, and channels within a head, as long as the weights around them follow. Quamba2
(arXiv 2503.22879) uses that freedom to put together what has the same range on calibration data.
The steps are those of ``group_wise_sort_indices`` in its ``reorder_utils.py``:

1. sort each head's channels by their size, the least first, and divide by the L2 norm: its profile;
2. cluster the heads of each SSD group by their profiles, agglomeratively (Ward), and put the heads
   of a group side by side;
3. cluster the sorted positions of each head group by k-means on the profiles there.

Quamba2 sorts by a channel's mean |y| (``channels.channel_means``). MinMax scales are set by maxima,
and sorting by those gives 1.6 to 3.0 dB more on mamba2-small, so both are offered. With
``as_quamba2``, step 3 is exactly as it is there: k-means starts at evenly spaced positions, once,
and sees the profiles of the heads that had the group's places *before* step 2.

A scale then belongs to an SSD group, a head group and a channel group, and the two tables of range
ends, with head_dim, say which channels those are. Here only the grouping is made: any scale rule
can be applied to the groups afterwards. Where channels are equal and leave a cluster empty, which
Quamba2 does not allow, the largest group is cut in two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dashboard.checkpoints.group_tables import group_of_channel
from dashboard.refusals import Refusal

HEAD_GROUPS = CHANNEL_GROUPS = 4
KMEANS_STARTS = 10


@dataclass(frozen=True, eq=False)
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


def sort_and_cluster(
    sizes: np.ndarray,
    head_dim: int,
    n_groups: int = 1,
    head_groups: int = HEAD_GROUPS,
    channel_groups: int = CHANNEL_GROUPS,
    as_quamba2: bool = False,
) -> ChannelGrouping:
    """Group the channels of one layer's x by how large their values are.

    Args:
        sizes: (D,) of each channel: its greatest magnitude, or what ``channels.channel_means``
            gives; finite, >= 0.
        head_dim: channels of a head, a divisor of D.
        n_groups: SSD groups, a divisor of the number of heads; heads never leave theirs.
        head_groups: M, groups of heads in each SSD group.
        channel_groups: N, groups of channels in each head group.
        as_quamba2: cluster positions from the starts and by the profiles that Quamba2 takes.

    Every group has a head and a channel at least; within a head the smallest channels come
    first. The same input gives the same groups. Raises Refusal where D cannot be cut so, or an
    SSD group has fewer heads than M, or a head fewer channels than N.
    """
    size = np.asarray(sizes, np.float32)
    if size.ndim != 1 or not np.isfinite(size).all() or (size < 0).any():
        raise Refusal(
            "sizes has shape {shape}; it must be (D,), finite and not negative", shape=size.shape
        )
    counts = {
        "head_dim": head_dim,
        "n_groups": n_groups,
        "head_groups": head_groups,
        "channel_groups": channel_groups,
    }
    for name, number in counts.items():
        if number < 1:
            raise Refusal("{field} is {value}; it must be at least 1", field=name, value=number)
    if not len(size) or len(size) % (head_dim * n_groups):
        raise Refusal(
            "{channels} channels cannot be cut into {groups} SSD groups of heads of {head_dim}",
            channels=len(size),
            groups=n_groups,
            head_dim=head_dim,
        )
    heads_per_group = len(size) // (head_dim * n_groups)
    if heads_per_group < head_groups or head_dim < channel_groups:
        raise Refusal(
            "an SSD group has {heads} heads of {head_dim} channels; that is too few for "
            "{head_groups} head groups and {channel_groups} channel groups",
            heads=heads_per_group,
            head_dim=head_dim,
            head_groups=head_groups,
            channel_groups=channel_groups,
        )

    by_head = size.reshape(n_groups, heads_per_group, head_dim)
    ranked = np.argsort(by_head, axis=-1, kind="stable")  # the old place of each sorted channel
    ascending = np.take_along_axis(by_head, ranked, axis=-1)
    norms = np.linalg.norm(ascending, axis=-1, keepdims=True)
    profiles = ascending / np.where(norms > 0, norms, np.float32(1))
    head_order: list[np.ndarray] = []
    channel_order: list[np.ndarray] = []
    head_ends = np.zeros((n_groups, head_groups), np.int64)
    dim_ends = np.zeros((n_groups, head_groups, channel_groups), np.int64)
    for ssd in range(n_groups):
        clusters = _cluster_heads(profiles[ssd], head_groups)
        head_ends[ssd] = np.cumsum([len(heads) for heads in clusters])
        for head_group, heads in enumerate(clusters):
            places = np.arange(head_ends[ssd, head_group] - len(heads), head_ends[ssd, head_group])
            rows = profiles[ssd, places if as_quamba2 else heads]
            dim_ends[ssd, head_group] = _cluster_positions(rows.T, channel_groups, as_quamba2)
            head_order.append(ssd * heads_per_group + heads)
            first = (ssd * heads_per_group + heads)[:, None] * head_dim
            channel_order.append((first + ranked[ssd, heads]).ravel())
    return ChannelGrouping(
        head_dim,
        np.concatenate(head_order),
        np.concatenate(channel_order),
        head_ends,
        dim_ends,
    )


def _cluster_heads(profiles: np.ndarray, groups: int) -> list[np.ndarray]:
    """(heads, head_dim) profiles -> the heads of each group, ascending, by the cluster's label."""
    if groups == 1:
        return [np.arange(len(profiles))]
    # Imported here: it takes half a second, and only this step needs it.
    from sklearn.cluster import AgglomerativeClustering

    labels = AgglomerativeClustering(n_clusters=groups).fit(profiles).labels_
    return [np.flatnonzero(labels == label) for label in range(groups)]


def _cluster_positions(profiles: np.ndarray, groups: int, as_quamba2: bool) -> np.ndarray:
    """(head_dim, heads) profiles by sorted position -> (groups,) where each group of them ends.

    Profiles ascend with the position, so that a cluster is a run.
    """
    if groups == 1:
        return np.array([len(profiles)])
    from sklearn.cluster import KMeans

    starts = profiles[:: len(profiles) // groups][:groups]
    distinct = len(np.unique(profiles, axis=0))
    if as_quamba2 and len(np.unique(starts, axis=0)) == groups:
        clusters = KMeans(groups, init=starts, n_init=1)
    else:
        clusters = KMeans(min(groups, distinct), n_init=KMEANS_STARTS, random_state=0)
    labels = clusters.fit(profiles).labels_
    ends = [*(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    if len(ends) > groups:  # beyond float32's resolution a cluster need not be a run
        ends = [len(labels)]
    while len(ends) < groups:  # equal channels: any cut is as good, and no group stays empty
        widths = np.diff(ends, prepend=0)
        largest = int(np.argmax(widths))
        ends.insert(largest, ends[largest] - int(widths[largest]) // 2)
    return np.array(ends)
