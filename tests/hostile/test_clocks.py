"""Stamps and clocks (list (d), item 4): what lies ahead can be overwritten, what leaves no room is refused."""

from __future__ import annotations

import time

import pytest

from crdtsync import Node
from crdtsync.clocks.hybrid import STAMP_LAST, stamp_of_ms
from crdtsync.datatypes.values import encode
from crdtsync.errors import ClockExhausted
from crdtsync.replication import messages as m
from tests.hostile.liar import Liar
from tests.hostile.rows import columns, latest
from tests.hostile.watch import DEADLINE, counters, refusal, works
from tests.integration.waiting import until

YEAR = 365 * 86_400_000  # ms


def push_stamp(liar: Liar, name: str, stamp: int) -> m.Message:
    """A register of that name, written by the liar under `stamp`."""
    seq = liar.next_dot()
    row = (name.encode() + b"\0l", latest([(0, seq)], 0, seq, stamp, encode("liar's")))
    return liar.push(columns([row], (Liar.ACTOR,)), {Liar.ACTOR: seq})


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize("stamp", [
    0,
    1,
    0xFFFF,
    pytest.param(stamp_of_ms(now_ms()) | 0xFFFF, id="a full logical counter"),
    pytest.param(stamp_of_ms(now_ms() + 10 * YEAR), id="now and 10 years"),
    pytest.param(stamp_of_ms(now_ms() + 10 * YEAR) | 0xFFFF, id="the same with a full counter"),
    pytest.param(STAMP_LAST - 2, id="two before the last"),
])  # fmt: skip
def test_a_stamp_that_can_be_overwritten(node: Node, friend: Node, liar: Liar, stamp: int) -> None:
    liar.ready()
    name = f"r{stamp}"
    assert isinstance(push_stamp(liar, name, stamp), m.Credit)
    assert node.lwwregister(name).value == "liar's"
    friend.wait_for(node.token(), DEADLINE)
    friend.lwwregister(name).set("mended")
    node.wait_for(friend.token(), DEADLINE)
    assert node.lwwregister(name).value == "mended"
    node.lwwregister(name).clear()
    friend.wait_for(node.token(), DEADLINE)
    assert not friend.lwwregister(name).exists
    assert node.digest() == friend.digest()


def test_a_stamp_far_ahead_is_counted(node: Node, liar: Liar) -> None:
    liar.ready()
    before = counters(node).get("clock_skew_stamps", 0)
    assert isinstance(push_stamp(liar, "ahead", stamp_of_ms(now_ms() + 10 * YEAR)), m.Credit)
    assert counters(node)["clock_skew_stamps"] == before + 1
    assert isinstance(push_stamp(liar, "near", stamp_of_ms(now_ms() + 1000)), m.Credit)
    assert counters(node)["clock_skew_stamps"] == before + 1


def test_the_last_stamp_there_is(node: Node, liar: Liar) -> None:
    """It can be taken in, since it is below what is refused; writing after it is a typed error, here and everywhere."""
    liar.ready()
    assert isinstance(push_stamp(liar, "last", STAMP_LAST), m.Credit)
    for write in (lambda: node.lwwregister("last").set(1), node.lwwregister("last").clear, lambda: node.delete("last")):
        with refusal(node, "clock_exhausted"), pytest.raises(ClockExhausted):
            write()
    assert node.lwwregister("last").value == "liar's"
    node.lwwregister("another").set("as ever")


def test_a_foreign_clock_drives_no_other_register(node: Node, liar: Liar) -> None:
    from crdtsync.kernels import row_latest

    liar.ready()
    push_stamp(liar, "driver", stamp_of_ms(now_ms() + 10 * YEAR))
    node.lwwregister("untouched").set(1)
    image = node.local.store.bucket("default").get(b"untouched\0l")
    assert image is not None and row_latest(image)[0] <= stamp_of_ms(now_ms()) | 0xFFFF


@pytest.mark.parametrize("wall_ms", [0, 1, 2**63 - 1], ids=["0", "1", "2^63 - 1"])
def test_a_wall_clock_far_off(node: Node, liar: Liar, wall_ms: int) -> None:
    liar.ready()
    with refusal(node, "clock_skew_alarm"):
        liar.announce(wall_ms=wall_ms)
        until(lambda: node.status()["peers"]["liar"]["skew_alarm"], DEADLINE)
    works(node)
