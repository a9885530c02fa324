"""Who is not who it says: handshakes, records, announcements, those who were put out (list (d), items 3 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import crdtsync
from crdtsync import Node
from crdtsync.clocks.members import EVICTED, LEFT, MEMBER, MemberRecord
from crdtsync.replication import messages as m
from tests.hostile.conftest import PATIENT
from tests.hostile.liar import Liar
from tests.hostile.rows import columns, presence
from tests.hostile.watch import DEADLINE, counters, refusal, state, works
from tests.integration.waiting import until


def settings_but(liar: Liar, **changes: Any) -> dict[str, int]:
    return {**liar.hello().settings, **changes}


Lies = Callable[[Liar], dict[str, Any]]
HELLOS: list[tuple[str, str, Lies]] = [
    ("an unknown cluster", "cluster", lambda liar: {"cluster": 12345, "state": "member"}),
    ("a member of no cluster", "cluster", lambda liar: {"cluster": 0, "state": "member"}),
    ("an old protocol", "protocol", lambda liar: {"protocol_min": 0, "protocol_max": 0}),
    ("a later protocol", "protocol", lambda liar: {"protocol_min": 99, "protocol_max": 100}),
    ("kinds that are not ours", "kinds", lambda liar: {"kinds": (0, 1, 2, 3, 4)}),
    ("no kinds", "kinds", lambda liar: {"kinds": ()}),
    ("another setting", "settings", lambda liar: {"settings": settings_but(liar, depth_max=17)}),
    ("a setting left out", "settings", lambda liar: {"settings": {}}),
    ("a living member's name, from an empty directory", "name_taken", lambda liar: {
        "node": "b", "cluster": 0, "state": "joining"}),
    ("our own name, from an empty directory", "name_taken", lambda liar: {
        "node": "a", "cluster": 0, "state": "joining"}),
    ("our own name, an earlier start", "superseded", lambda liar: {"node": "a", "start": 0}),
    ("a living member's name, an earlier start", "superseded", lambda liar: {
        "node": "b", "start": 0, "state": "member"}),
    ("ourselves", "myself", lambda liar: {"node": "a", "instance": liar.node.local.store.instance}),
    ("our own actor", "actor", lambda liar: {"actor": liar.node.local.store.actor()}),
    ("a friend's actor", "actor", lambda liar: {"actor": friends_actor(liar.node)}),
    ("an epoch of 0", "fault", lambda liar: {"members": (record("x", 0),)}),
    ("more members than may be", "fault", lambda liar: {
        "state": "member", "members": tuple(record(f"fake{number}") for number in range(1024))}),
    ("an address of 255 letters and no port", "", lambda liar: {"address": "x" * 255}),
]  # fmt: skip


def friends_actor(node: Node) -> int:
    """The actor that the other real member writes under, as it has announced it."""
    network = node._network
    assert network is not None
    return int(network._call(lambda engine, now, wall: engine.core.peers["b"].actor))


def record(name: str, epoch: int = 1, state: str = MEMBER, **fields: Any) -> MemberRecord:
    return MemberRecord(node=name, epoch=epoch, state=state, **fields)


@pytest.fixture
def stranger(node: Node, friend: Node, liar: Liar) -> Iterator[Liar]:
    """One that knows the cluster's id, and is no member."""
    stranger = Liar(node, "stranger")
    stranger.ACTOR = Liar.ACTOR + 100
    stranger.members = tuple(node.local.store.members().values())
    stranger.start = 5
    yield stranger
    stranger.close()


@pytest.mark.parametrize(("code", "lies"), [case[1:] for case in HELLOS], ids=[case[0] for case in HELLOS])
def test_bad_hello(node: Node, friend: Node, stranger: Liar, code: str, lies: Lies) -> None:
    until(lambda: friends_actor(node) != 0, DEADLINE)
    if not code:
        stranger.dial()
        stranger.send(stranger.hello(**lies(stranger)))
        works(node)
        return
    with refusal(node, f"refused_{code}"):
        stranger.dial()
        stranger.send(stranger.hello(**lies(stranger)))
        if code != "myself":
            assert stranger.hear(m.Refuse).code == code
        until(stranger.is_down, DEADLINE)
    assert friend.digest() == node.digest() or friend.wait_for(node.token(), DEADLINE) is None


def test_one_node_from_two_addresses(node: Node, liar: Liar) -> None:
    """The same name and start, another instance: one of the two is a copy, and is told."""
    liar.again()
    twin = Liar(node, "liar")
    twin.members, twin.ACTOR = liar.members, Liar.ACTOR + 1
    try:
        with refusal(node, "refused_superseded"):
            twin.dial()
            twin.send(twin.hello(start=liar.start, instance=liar.start - 1 or 0))
            assert twin.hear(m.Refuse).code == "superseded"
        assert not liar.is_down()
    finally:
        twin.close()


ANNOUNCEMENTS: list[tuple[str, str, Lies]] = [
    ("in our own name", "self_addressed", lambda liar: {"node": "a", "start": 10**9, "seq": 10**9}),
    ("in a stranger's name", "announcements_unknown", lambda liar: {"node": "nobody"}),
    ("of an earlier start", "announcements_outdated", lambda liar: {"start": 0}),
    ("heard before", "announcements_outdated", lambda liar: {"seq": 1}),
    ("with events of ours that we never wrote", "bad_record", lambda liar: {"buckets": (never_written(liar),)}),
    ("passed on, with events of ours that we never wrote", "announcements_impossible", lambda liar: {
        "node": "b", "buckets": (never_written(liar),)}),
    ("that answers one which we never sent", "bad_record", lambda liar: {"answers": 10**9}),
    ("under our actor", "bad_record", lambda liar: {"actor": liar.node.local.store.actor()}),
    ("with more on disk than in all", "bad_record", lambda liar: {"buckets": (m.BucketClocks("b", {}, {1: 1}),)}),
    ("with an epoch of 0", "bad_record", lambda liar: {"members": (record("x", 0),)}),
    ("with 1024 fake members", "bad_record", lambda liar: {
        "members": tuple(record(f"fake{number}") for number in range(1024))}),
]  # fmt: skip


def never_written(liar: Liar) -> m.BucketClocks:
    own = liar.node.local.store.actor()
    clock = {own: liar.clock()[own] + 10**12}
    return m.BucketClocks("default", clock, clock)


@pytest.mark.parametrize(("counter", "lies"), [c[1:] for c in ANNOUNCEMENTS], ids=[c[0] for c in ANNOUNCEMENTS])
def test_bad_announcement(node: Node, liar: Liar, counter: str, lies: Lies) -> None:
    liar.ready()
    with refusal(node, counter):
        liar.announce(**lies(liar))
    until(lambda: liar.is_down() or counter != "bad_record", DEADLINE)  # or what comes next is said to a dying link


def test_announcements_of_ever_new_buckets(node: Node, liar: Liar) -> None:
    """What is remembered of a peer stays bounded."""
    liar.again()
    with refusal(node, "bad_record"):
        for first in range(0, 4000, 500):
            if liar.is_down():
                break
            clocks = tuple(m.BucketClocks(f"b{n}", {1: 1}, {}, whole=False) for n in range(first, first + 500))
            told = m.Announce(
                node=liar.name, start=liar.start, actor=liar.ACTOR, wall_ms=0, seq=10**6 + first, buckets=clocks
            )
            liar.transport.send(liar.link, told)
        until(liar.is_down, DEADLINE)
    liar.again()


STRANGE_ADDRESSES = [
    "169.254.169.254:80", "192.0.2.1:1", "unix:/tmp/x", "no port", "127.0.0.1:99999", "127.0.0.1:1\nlog: injected",
    "http://127.0.0.1:1", "[::1", "127.0.0.1:0", ":1", "a" * 250 + ":1",
]  # fmt: skip


@pytest.fixture
def lone() -> Iterator[Node]:
    """A node of its own for what leaves traces."""
    with crdtsync.open(None, name="lone", members_max=16, actors_per_part_max=16, buckets_max=4, **PATIENT) as lone:
        lone.orset("s").add("x")
        yield lone


@pytest.fixture
def guest(lone: Node) -> Iterator[Liar]:
    guest = Liar(lone).join()
    yield guest
    guest.close()


@pytest.mark.parametrize("address", STRANGE_ADDRESSES)
def test_an_address_that_must_not_be_dialled(lone: Node, guest: Liar, address: str) -> None:
    """The record is a fact about another node; dialling it is refused, and counted."""
    guest.send(m.MembersUpdate(members=(record("elsewhere", address=address),)))
    until(lambda: "elsewhere" in lone.members(), DEADLINE)
    until(lambda: counters(lone).get("insecure_address", 0) + counters(lone).get("config_error", 0) > 0, DEADLINE)
    assert "links_opened" not in counters(lone) or counters(lone)["links_opened"] == 1, "only the guest's own link"
    works(lone)


def test_more_members_than_may_be_little_by_little(lone: Node, guest: Liar) -> None:
    for number in range(14):
        guest.send(m.MembersUpdate(members=(record(f"fake{number}"),)))
    until(lambda: len(lone.members()) == 16, DEADLINE)
    with refusal(lone, "bad_record"):
        guest.send(m.MembersUpdate(members=(record("one too many"),)))
        assert guest.hear(m.Refuse).code == "fault"


def test_more_actors_than_a_clock_may_name(lone: Node, guest: Liar) -> None:
    target = dict.fromkeys(range(1, 14), 1)
    assert isinstance(guest.push(target=target), m.Credit)
    with refusal(lone, "bad_transfer"):
        answer = guest.push(base={}, target=dict.fromkeys(range(100, 103), 1))
        assert isinstance(answer, m.Abort) and answer.code == "bad"


def test_more_buckets_than_may_be(lone: Node, guest: Liar) -> None:
    for number in range(3):
        assert isinstance(guest.push(target={Liar.ACTOR: 1}, bucket=f"b{number}"), m.Credit)
    with refusal(lone, "too_many_buckets"):
        answer = guest.push(target={Liar.ACTOR: 1}, bucket="one too many")
        assert isinstance(answer, m.Abort) and answer.code == "busy"


def test_a_refused_push_leaves_no_bucket_behind(lone: Node, guest: Liar) -> None:
    row = (b"s\0o\xa1x", presence([(0, 1)], []))
    with refusal(lone, "bad_transfer"):
        answer = guest.push(columns([row, row], (Liar.ACTOR,)), {Liar.ACTOR: 1}, bucket="new")
        assert isinstance(answer, m.Abort) and answer.code == "bad"
    assert "new" not in lone.local.store.named


def test_strangers_leave_no_trace(lone: Node) -> None:
    """Each comes under a name of its own; none of them stays in memory once it is gone."""
    stranger = Liar(lone, "stranger")
    try:
        before = state(lone)
        for number in range(50):
            stranger.name = f"stranger {number}"
            stranger.dial()
            stranger.send(stranger.hello())
            until(lambda: stranger.name in lone.status()["peers"], DEADLINE)
            stranger.send(m.Bye(reason="closing"))
        until(lambda: len(lone.status()["peers"]) <= 1, DEADLINE)
        assert state(lone) == before
    finally:
        stranger.close()


@pytest.mark.parametrize("how", [EVICTED, LEFT])
def test_one_that_is_out_comes_back(lone: Node, guest: Liar, how: str) -> None:
    if how == EVICTED:
        lone.evict(guest.name, force=True)
        assert guest.hear(m.Refuse).code == "evicted"
    else:
        guest.send(m.Bye(reason="leaving"))
        until(lambda: lone.members()[guest.name]["state"] == LEFT, DEADLINE)
    until(lambda: guest.is_down() or how == LEFT, DEADLINE)
    with refusal(lone, f"refused_{how}"):
        guest.dial()
        guest.send(guest.hello())
        assert guest.hear(m.Refuse).code == how
    with refusal(lone, f"refused_{how}"):
        guest.dial()
        guest.send(guest.hello())
        guest.transport.send(guest.link, guest.part(target={Liar.ACTOR: 7}))
        until(guest.is_down, DEADLINE)
    assert guest.members
    assert lone.members()[guest.name]["state"] == how
