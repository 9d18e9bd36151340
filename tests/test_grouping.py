"""Sort-and-cluster finds planted groups, and its tables say the same as its orders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.calibration import calibrate, read_text
from dashboard.checkpoints import load_backbone, load_checkpoint
from dashboard.checkpoints.group_tables import group_of_channel
from dashboard.rules.channels import channel_outputs, even_groups, group_scales
from dashboard.rules.grouping import sort_and_cluster
from dashboard.rules.observers import ScaleRule

# Four kinds of heads, by how many of their 16 channels are at each of four levels.
KINDS = ((1, 1, 1, 13), (1, 1, 13, 1), (1, 13, 1, 1), (13, 1, 1, 1))
LEVELS = (8.0, 4.0, 2.0, 1.0)


def planted(seed: int, ssd_groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shuffled heads and channels: (D,) maxima, (H,) kind of each head, (D,) level of each."""
    rng = np.random.default_rng(seed)
    kinds = np.concatenate([rng.permutation([0, 0, 1, 1, 1, 2, 3, 3]) for _ in range(ssd_groups)])
    levels = np.concatenate([rng.permutation(np.repeat(np.arange(4), KINDS[k])) for k in kinds])
    amax = np.array(LEVELS)[levels] * rng.uniform(0.97, 1.0, len(levels))
    return amax, kinds, levels


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two labelings put the same items together."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


@pytest.mark.parametrize("ssd_groups", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_planted_heads_and_levels_are_found_again(seed, ssd_groups):
    amax, kinds, levels = planted(seed, ssd_groups)
    grouping = sort_and_cluster(amax, head_dim=16, n_groups=ssd_groups)
    assert grouping.shape == (ssd_groups, 4, 4)
    heads = np.arange(len(kinds))
    expected = (heads // 8)[:, None] * 16 + kinds[:, None] * 4 + levels.reshape(-1, 16)
    assert same_partition(grouping.group, expected.ravel())
    for i in range(ssd_groups):
        assert set(grouping.head_order[8 * i : 8 * i + 8]) == set(range(8 * i, 8 * i + 8))
    # Within a head group the smallest channels come first.
    largest = np.array([amax[grouping.group == g].max() for g in range(ssd_groups * 16)])
    assert (np.diff(largest.reshape(-1, 4), axis=1) > 0).all()


def spelled_out(grouping) -> list[int]:
    """The group of each channel in the old layout, from the orders and ends, one by one."""
    ssd_groups, head_groups, channel_groups = grouping.shape
    heads = len(grouping.head_order) // ssd_groups
    group = [-1] * len(grouping.channel_order)
    for place, channel in enumerate(grouping.channel_order.tolist()):
        head, dim = divmod(place, grouping.head_dim)
        assert (
            channel // grouping.head_dim == grouping.head_order[head]
        )  # channels stay in their head
        ssd, head = divmod(head, heads)
        head_group = next(m for m in range(head_groups) if head < grouping.head_group_range[ssd, m])
        inner = next(
            n for n in range(channel_groups) if dim < grouping.dim_group_range[ssd, head_group, n]
        )
        group[channel] = (ssd * head_groups + head_group) * channel_groups + inner
    return group


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
def test_any_maxima_make_whole_groups_that_the_tables_describe(data):
    ssd_groups, head_groups, channel_groups = (
        data.draw(st.integers(1, n), label=name) for n, name in ((3, "G"), (4, "M"), (4, "N"))
    )
    heads = data.draw(st.integers(head_groups, head_groups + 4), label="heads")
    head_dim = data.draw(st.integers(channel_groups, channel_groups + 6), label="head_dim")
    # Few distinct values: ties, and heads of zeros.
    amax = np.array(
        data.draw(
            st.lists(
                st.sampled_from([0.0, 1e-9, 0.5, 1.0, 3.0, 1e4]),
                min_size=ssd_groups * heads * head_dim,
                max_size=ssd_groups * heads * head_dim,
            )
        )
    )
    as_quamba2 = data.draw(st.booleans(), label="as_quamba2")
    counts = (head_dim, ssd_groups, head_groups, channel_groups, as_quamba2)
    grouping = sort_and_cluster(amax, *counts)
    assert sorted(grouping.channel_order.tolist()) == list(range(len(amax)))
    assert sorted(grouping.head_order.tolist()) == list(range(ssd_groups * heads))
    assert grouping.group.tolist() == spelled_out(grouping)
    assert set(grouping.group.tolist()) == set(range(ssd_groups * head_groups * channel_groups))
    again = sort_and_cluster(amax, *counts)
    assert np.array_equal(again.channel_order, grouping.channel_order)
    assert np.array_equal(again.dim_group_range, grouping.dim_group_range)


def test_one_group_of_each_is_the_whole_tensor():
    grouping = sort_and_cluster(np.array([3.0, 1.0, 2.0, 5.0]), 2, head_groups=1, channel_groups=1)
    assert grouping.shape == (1, 1, 1)
    assert grouping.group.tolist() == [0, 0, 0, 0]
    assert grouping.head_order.tolist() == [0, 1]
    assert grouping.channel_order.tolist() == [1, 0, 2, 3]


def test_its_groups_buy_more_than_as_many_neighbours_on_a_trained_layer():
    checkpoint = load_checkpoint("mamba2-small")
    text = read_text(checkpoint, batches=2, seq_len=128)
    calibration = calibrate(checkpoint, load_backbone(checkpoint), text, layers=[5], keep=[5])
    outputs = channel_outputs(calibration.capture(5), checkpoint.slices[0])
    amax = np.array([max(abs(h.min), abs(h.max)) for h in outputs])
    architecture = checkpoint.architecture
    grouping = sort_and_cluster(amax, architecture.head_dim, architecture.n_groups)
    rule = ScaleRule("minmax")
    grouped = group_scales(outputs, grouping.group, rule)
    by_hand = [amax[grouping.group == g].max() / 127 for g in range(16)]
    assert grouped.scales == pytest.approx(by_hand, rel=1e-6)
    neighbours = group_scales(outputs, even_groups(len(amax), len(amax) // 16), rule)
    assert grouped.sqnr_db > neighbours.sqnr_db + 2  # 16 scales each


@pytest.mark.parametrize(
    ("amax", "sizes", "fault"),
    [
        (np.ones((2, 8)), (4,), r"sizes has shape \(2, 8\)"),
        (np.array([1.0, np.nan, 1, 1]), (2, 1, 1, 1), "finite and not negative"),
        (np.array([1.0, -1, 1, 1]), (2, 1, 1, 1), "finite and not negative"),
        (np.ones(0), (2, 1, 1, 1), "0 channels cannot be cut"),
        (np.ones(30), (4,), "30 channels cannot be cut into 1 SSD groups of heads of 4"),
        (np.ones(32), (4, 3), "32 channels cannot be cut into 3 SSD groups"),
        (np.ones(32), (16,), "an SSD group has 2 heads of 16 channels; that is too few for 4"),
        (np.ones(32), (2,), "16 heads of 2 channels; that is too few"),
        (np.ones(32), (4, 1, 0), "head_groups is 0; it must be at least 1"),
        (np.ones(32), (0,), "head_dim is 0; it must be at least 1"),
    ],
)
def test_maxima_that_cannot_be_grouped_say_why(amax, sizes, fault):
    with pytest.raises(ValueError, match=fault):
        sort_and_cluster(amax, *sizes)


@pytest.mark.parametrize(
    ("heads", "dims", "fault"),
    [
        ([2, 4], [[[4]]], r"shape \(2,\) and dim_group_range \(1, 1, 1\)"),
        ([[2, 4]], [[[1, 4]]], r"must be \(G, M\) and \(G, M, N\)"),
        ([[3, 2]], [[[1, 4], [2, 4]]], "head_group_range must hold ends that never fall"),
        ([[2, 4]], [[[-1, 4], [2, 4]]], "dim_group_range must hold ends that never fall"),
        ([[2.0, 4.0]], [[[1, 4], [2, 4]]], "range ends must be integers, not float64"),
        ([[2, 4]], [[[1, 4], [2, 5]]], "dim_group_range at 4"),
        ([[2, 4], [2, 5]], [[[1, 4], [2, 4]]] * 2, "the same number in each SSD group"),
    ],
)
def test_tables_that_do_not_fit_are_refused(heads, dims, fault):
    with pytest.raises(ValueError, match=fault):
        group_of_channel(np.array(heads), np.array(dims), 4)


def test_a_hand_worked_pair_of_tables():
    # Two head groups of 1 and 2 heads; channels of a head cut 1 + 2, and 2 + 1.
    groups = group_of_channel(np.array([[1, 3]]), np.array([[[1, 3], [2, 3]]]), 3)
    assert groups.tolist() == [0, 1, 1, 2, 2, 3, 2, 2, 3]
