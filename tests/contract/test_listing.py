"""Keys, items, and iteration: in order, each once, right while others write, and past the size of a slice."""

from __future__ import annotations

import random
import threading

import pytest

from crdtsync.datatypes.txn import SLICE
from crdtsync.errors import InvalidValue
from tests.contract.conftest import Data, drain


def test_keys_are_told_once_in_byte_order_while_they_are_live(node: Data) -> None:
    names = ["b", "a", "a\x01", "ab", "a b", "\u00e9", "z", "A", "a\x01b"]
    for name in names:
        node.pncounter(name).increment()
        node.orset(name).update(["x", "y"])
    node.delete("ab")
    node.lwwregister("never")
    kept = sorted(set(names) - {"ab"}, key=str.encode)
    assert list(node.keys()) == kept
    assert list(node.keys("a")) == ["a", "a\x01", "a\x01b", "a b"]
    assert list(node.keys("\u00e9")) == ["\u00e9"]
    assert list(node.keys("zz")) == []
    assert [item.key for item in node.items("a ")] == ["a b", "a b"]
    assert [item.type for item in node.items("a ")] == ["orset", "pncounter"]


def test_objects_that_are_larger_than_a_slice(node: Data) -> None:
    count = SLICE * 2 + 7
    node.orset("big").update(range(count))
    node.orset("big2").update(range(SLICE))
    for number in range(SLICE + 3):
        node.lwwregister(f"small{number:05}").set(number)
    for number in range(0, count, 2):
        node.orset("big").discard(number)
    assert len(node.orset("big")) == count // 2
    assert node.orset("big").value == set(node.orset("big")) == set(range(1, count, 2))
    assert list(node.keys()) == ["big", "big2", *(f"small{number:05}" for number in range(SLICE + 3))]
    sizes = [(item.key, len(item.value)) for item in node.items("big")]
    assert sizes == [("big", count // 2), ("big2", SLICE)]
    node.orset("big").clear()
    assert list(node.keys("b")) == ["big2"]


def test_a_set_that_python_cannot_hold_spoils_no_listing(node: Data) -> None:
    """It is a list there; only `.value` of the set itself raises."""
    with node.watch() as changes:
        node.orset("s").update([1, True, "x"])
        node.map("m").gset("s").update([0, 0.0])
        node.pncounter("z").increment()
        assert [item.value for item in node.items()] == [{"s": [0, 0.0]}, [1, "x", True], 1]
        assert {change.key: change.value for change in drain(changes, node)} == {
            "s": [1, "x", True], "m": [0, 0.0], "z": 1,
        }  # fmt: skip
    with pytest.raises(InvalidValue):
        _ = node.orset("s").value


def test_a_map_of_many_fields(node: Data) -> None:
    wide = node.map("m")
    for start in range(0, 5_000, 500):
        with node.batch():
            for number in range(start, start + 500):
                wide.pncounter(f"{number:05}").increment(number + 1)
    assert len(wide) == 5_000
    assert wide.fields() == [f"{number:05}" for number in range(5_000)]
    assert wide.value["04999"] == 5_000


def test_iteration_while_others_write(node: Data) -> None:
    """What stays is told exactly once; what comes or goes meanwhile may be told or not."""
    stays = {f"stays{number:04}" for number in range(2_500)}
    node.orset("s").update(stays)
    for start in range(0, 2_500, 500):
        with node.batch():
            for number in range(start, start + 500):
                node.flag(f"k{number:04}").enable()
    stop = threading.Event()

    def write() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            name = f"{rng.choice('akz')}{rng.randrange(10_000, 99_999)}"
            node.orset("s").add(name)
            node.flag(name).enable()
            node.orset("s").discard(name)
            node.delete(name)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            told = list(node.orset("s"))
            assert len(told) == len(set(told))
            assert {each for each in told if each.startswith("stays")} == stays
            names = list(node.keys())
            assert names == sorted(set(names))
            assert [name for name in names if len(name) == 5] == [f"k{number:04}" for number in range(2_500)]
            assert len([item for item in node.items("k") if len(item.key) == 5]) == 2_500
    finally:
        stop.set()
        thread.join()


def test_the_value_of_an_object_is_of_one_state(node: Data) -> None:
    """A token moves between two elements, batch by batch: no reader ever sees none or both."""
    node.orset("s").update([*range(1_500), "here"])
    stop = threading.Event()

    def move() -> None:
        at, other = "here", "there"
        while not stop.is_set():
            with node.batch():
                node.orset("s").remove(at)
                node.orset("s").add(other)
            at, other = other, at

    thread = threading.Thread(target=move)
    thread.start()
    try:
        for _ in range(25):
            assert len(node.orset("s").value & {"here", "there"}) == 1
            [item] = list(node.items("s"))
            assert len(item.value & {"here", "there"}) == 1
    finally:
        stop.set()
        thread.join()
