"""The bounded store: against a list of values in the order of their use, kept by hand."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.pages.shelf import LEAST, Shelf, size_of


@dataclass(frozen=True, eq=False)
class Grows:
    values: np.ndarray

    @cached_property
    def doubled(self) -> np.ndarray:
        return np.concatenate([self.values, self.values])


def test_a_size_is_that_of_all_arrays_each_once():
    array, tensor = np.zeros(1000, np.float32), torch.zeros(500)
    least = size_of(None)
    assert size_of((array, [array], {"a": tensor, "b": tensor[:10]})) == least + 4000 + 2000
    assert size_of(torch.nn.Linear(10, 5)) == least + 4 * 55
    grows = Grows(array)
    assert size_of(grows) == least + 4000
    assert len(grows.doubled) == 2000 and size_of(grows) == least + 12_000


def test_a_shelf_is_bounded_in_entries():
    shelf = Shelf(2, 10**6)
    shelf.put("a", 1)
    shelf.put("b", 2)
    assert shelf.get("a") == 1  # used last
    shelf.put("c", 3)
    assert (shelf.get("a"), shelf.get("b"), shelf.get("c")) == (1, None, 3)


def test_a_shelf_is_bounded_in_bytes_and_keeps_the_newest_whatever_its_size():
    shelf = Shelf(10, 10_000)
    for name in "abc":
        shelf.put(name, np.zeros(4000, np.uint8))
    assert [shelf.get(name) is not None for name in "abc"] == [False, True, True]
    assert shelf.bytes <= 10_000
    shelf.put("d", np.zeros(50_000, np.uint8))
    assert [shelf.get(name) is not None for name in "bcd"] == [False, False, True]


def test_what_a_value_derives_while_it_is_used_counts():
    shelf = Shelf(10, 20_000, grows=True)
    first = Grows(np.zeros(6000, np.uint8))
    shelf.put("first", first)
    assert len(first.doubled) == 12_000
    shelf.put("second", Grows(np.zeros(6000, np.uint8)))
    assert shelf.get("first") is None and shelf.get("second") is not None


ENTRIES, MOST_BYTES = 3, 10 * LEAST  # room for three values, or for ten times the least


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"), st.sampled_from(["get", "put", "grow"]), st.integers(0, 12)
        ),
        max_size=30,
    ),
    st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_a_shelf_keeps_what_a_list_in_the_order_of_use_would(steps, grows):
    """Oracle: pairs, least recently used first; a size is what a value had when last measured."""
    shelf, used, sizes = Shelf(ENTRIES, MOST_BYTES, grows), [], {}
    for key, step, hundreds in steps:
        at = next((i for i, (name, _) in enumerate(used) if name == key), None)
        if step == "put":
            if at is not None:
                used.pop(at)
            used.append((key, [np.zeros(hundreds * LEAST, np.uint8)]))
            shelf.put(*used[-1])
            for name, value in used if grows else used[-1:]:
                sizes[name] = LEAST + sum(array.nbytes for array in value)
            while len(used) > 1 and (
                len(used) > ENTRIES or sum(sizes[name] for name, _ in used) > MOST_BYTES
            ):
                used.pop(0)
        elif at is None:
            assert shelf.get(key) is None
        else:
            used.append(used.pop(at))
            assert shelf.get(key) is used[-1][1]
            if step == "grow":
                used[-1][1].append(np.zeros(LEAST, np.uint8))
        assert shelf.bytes == min(sum(sizes[name] for name, _ in used), MOST_BYTES)


def test_a_value_is_made_once_and_again_after_it_was_dropped():
    made = []

    def make() -> str:
        made.append("made")
        return f"value {len(made)}"

    shelf = Shelf(1, 1000)
    assert [shelf.get_or_make("a", make) for _ in range(3)] == ["value 1"] * 3
    shelf.put("b", "another")
    assert shelf.get_or_make("a", make) == "value 2"


def test_what_fails_to_be_made_is_not_kept():
    shelf = Shelf(2, 1000)
    with pytest.raises(ZeroDivisionError):
        shelf.get_or_make("a", lambda: 1 / 0)
    assert shelf.get_or_make("a", lambda: 1) == 1
