"""Whatever a peer sends: no exception, a counter, and not a byte of state changed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crdtsync.clocks.members import EVICTED, LEFT, MEMBER, MemberRecord
from crdtsync.datatypes.rows import NO_ROWS, PackedRows
from crdtsync.replication import messages as m
from crdtsync.replication.effects import Effect, Send
from crdtsync.replication.validate import ID_MAX, SEQ_MAX
from tests.replication.cluster import BUCKET, Cluster, Node


def pair() -> tuple[Cluster, Node, int]:
    """Two members with something to lose; a link of the first to the second."""
    cluster = Cluster()
    a = cluster.node("a")
    a.start()
    b = cluster.node("b")
    b.start(join=(a.address,))
    cluster.until(lambda: b.engine.state == "member")
    a.add("k", "1")
    b.add("k", "2")
    b.remove("k", "2")
    cluster.run(5.0)
    return cluster, a, next(iter(a.links))


def effects_of(node: Node) -> list[Effect]:
    return node.engine.take_effects()


def state_of(node: Node) -> object:
    store = node.store
    return (
        store.digest(), {b: (store.clock(b), store.floor(b), store.stamp_floor(b)) for b in store.buckets()},
        store.members(), store.cluster(), store.start, node.engine.state, node.rows(), store.last_record,
    )  # fmt: skip


B = "b"
ONE = {5: 1}
MANY = dict.fromkeys(range(1, 70000), 1)
LONG = "x" * 300
RECORD = MemberRecord(node="z", epoch=1, state=MEMBER, address="127.0.0.1:9")
ROWS = PackedRows(actors=(5,), count=1, keys=b"\x00\x05k\x00o\xa19", images=b"\x07\x00\x01\x00\x01\x01\x00\x01")


def part(**fields: Any) -> m.Part:
    plain: dict[str, Any] = {
        "transfer": 1,
        "bucket": BUCKET,
        "push": True,
        "node": B,
        "start": 0,
        "number": 0,
        "base": {},
        "rows": NO_ROWS,
        "last": True,
    }
    return m.Part(**(plain | fields))


def announce(**fields: Any) -> m.Announce:
    return m.Announce(**({"node": B, "start": 0, "actor": 1, "wall_ms": 1, "seq": 10**9} | fields))


def clocks(bucket: str = BUCKET, clock: m.Clock | None = None, synced: m.Clock | None = None) -> m.BucketClocks:
    return m.BucketClocks(bucket, clock or {}, synced or {})


BAD: dict[str, m.Message] = {
    "push: seq beyond 63 bits": part(target={5: SEQ_MAX + 1}),
    "push: seq 0": part(target={5: 0}),
    "push: actor 0": part(target={0: 1}),
    "push: actor beyond 64 bits": part(target={ID_MAX + 1: 1}),
    "push: too many actors": part(target=MANY),
    "push: floor beyond target": part(target=ONE, floor={5: 2}),
    "push: synced beyond target": part(target=ONE, synced={6: 1}),
    "push: in somebody else's name": part(node="z", target=ONE),
    "push: not the last part": part(last=False),
    "push: second part": part(number=1),
    "push: scan": part(scan=True, scan_clock=ONE),
    "push: bucket without a name": part(bucket=""),
    "push: bucket with a long name": part(bucket="x" * 65),
    "push: bucket with NUL": part(bucket="a\0b"),
    "push: bucket not UTF-8": part(bucket="\ud800"),
    "push: row beyond the claim": part(rows=ROWS, target={6: 1}),
    "push: rows cut off": part(rows=msgspec.structs.replace(ROWS, images=ROWS.images[:-1]), target=ONE),
    "push: rows miscounted": part(rows=msgspec.structs.replace(ROWS, count=2), target=ONE),
    "push: rows without keys": part(rows=msgspec.structs.replace(ROWS, keys=b""), target=ONE),
    "push: actors that do not ascend": part(rows=msgspec.structs.replace(ROWS, actors=(6, 5)), target=ONE),
    "push: actor in a row beyond the table": part(rows=msgspec.structs.replace(ROWS, actors=()), target=ONE),
    "push: oversized": part(rows=PackedRows((5,), 1, b"", b"x" * (10 * 2**20)), target=ONE),
    "part: of no transfer": part(push=False, transfer=99),
    "part: claim before the last": part(push=False, transfer=99, last=False, target=ONE),
    "part: base after the first": part(push=False, transfer=99, number=3, base=ONE),
    "part: scan with a claim": part(push=False, scan=True, scan_clock=ONE, target=ONE),
    "part: scan that ends and goes on": part(push=False, scan=True, scan_clock=ONE, scan_next=b"x"),
    "credit: of no transfer": m.Credit(transfer=99, push=False, number=0, window=4),
    "credit: window 0": m.Credit(transfer=1, push=False, number=0, window=0),
    "credit: huge window": m.Credit(transfer=1, push=False, number=0, window=10**6),
    "abort: of no transfer": m.Abort(transfer=99, push=True, code="x"),
    "abort: long text": m.Abort(transfer=99, push=True, code="x", text="x" * 20_000),
    "announce: in our own name": announce(node="a", seq=1),
    "announce: of a stranger": announce(node="stranger", buckets=(clocks(clock=ONE),)),
    "announce: an earlier start": announce(start=1),
    "announce: synced beyond clock": announce(buckets=(clocks(synced=ONE),)),
    "announce: bucket twice": announce(buckets=(clocks(), clocks())),
    "announce: too many buckets": announce(buckets=tuple(clocks(f"b{n}") for n in range(1025))),
    "announce: member without a name": announce(members=(msgspec.structs.replace(RECORD, node=""),)),
    "members: unknown state": m.MembersUpdate(members=(msgspec.structs.replace(RECORD, state="king"),)),
    "members: epoch 0": m.MembersUpdate(members=(msgspec.structs.replace(RECORD, epoch=0),)),
    "members: twice": m.MembersUpdate(members=(RECORD, RECORD)),
    "members: long address": m.MembersUpdate(members=(msgspec.structs.replace(RECORD, address=LONG),)),
    "members: too many": m.MembersUpdate(
        members=tuple(msgspec.structs.replace(RECORD, node=f"n{number}") for number in range(1500))
    ),
    "join: in another's name": m.JoinRequest(node="z", address="127.0.0.1:9"),
    "join: long name": m.JoinRequest(node=LONG, address=""),
    "accept: of no request": m.JoinAccept(cluster=1, members=(RECORD,), buckets=()),
    "accept: cluster 0": m.JoinAccept(cluster=0, members=(), buckets=()),
    "done: of another": m.JoinDone(node="z"),
    "pull: bad bucket": m.Pull(transfer=1, bucket="", clock={}),
    "pull: bad clock": m.Pull(transfer=1, bucket=BUCKET, clock={5: -1}),
    "pull: resumes where nobody was": m.Pull(transfer=1, bucket=BUCKET, clock={}, scan_from=b"k", scan_clock={77: 7}),
    "pull: resumes after a giant key": m.Pull(transfer=1, bucket=BUCKET, clock={}, scan_from=b"k" * 100_000),
    "repair: bad clock": m.RepairRequest(bucket=BUCKET, clock={0: 1}, keys=NO_ROWS),
    "repair: not for us": m.RepairRequest(bucket=BUCKET, clock={77: 7}, keys=NO_ROWS),
    "repair: keys cut off": m.RepairRequest(bucket=BUCKET, clock={}, keys=PackedRows((), 1, b"\x00\x09", b"")),
    "repair: answer to no question": m.RepairReply(bucket=BUCKET, clock={}, keys=NO_ROWS, rows=NO_ROWS),
    "hello: again": m.Hello(node=B, cluster=1, start=1, instance=1, actor=1, address="", state="member"),
    "hello: no name": m.Hello(node="", cluster=1, start=1, instance=1, actor=1, address="", state="member"),
    "hello: odd state": m.Hello(node=B, cluster=1, start=1, instance=1, actor=1, address="", state="king"),
    "refuse: superseded, meant for another": m.Refuse(code="superseded", text="", hint="1:1"),
    "refuse: endless": m.Refuse(code="x", text="x" * 20_000),
}  # fmt: skip
HARMLESS = {"pull: resumes where nobody was", "repair: not for us", "hello: again", "announce: in our own name",
            "announce: of a stranger", "announce: an earlier start", "accept: of no request", "abort: of no transfer",
            "credit: of no transfer"}  # fmt: skip


@pytest.fixture(scope="module")
def world() -> tuple[Cluster, Node]:
    cluster, a, _ = pair()
    return cluster, a


@pytest.mark.parametrize("name", BAD)
def test_nothing_changes(world: tuple[Cluster, Node], name: str) -> None:
    cluster, a = world
    cluster.until(lambda: bool(a.engine.core.partners()) and a.engine.core.partners()[0].announced)
    message = BAD[name]
    before, counted = state_of(a), sum(a.engine.core.counters.values())
    link = a.engine.core.partners()[0].link
    assert link is not None
    if isinstance(message, m.Announce) and message.start == 0:
        message = msgspec.structs.replace(message, start=a.engine.core.peers["b"].start)
    a.engine.receive(link.number, message, cluster.now, cluster.wall_ms())
    assert state_of(a) == before
    assert name in HARMLESS or sum(a.engine.core.counters.values()) > counted
    cluster.settle(a)


def test_the_cluster_is_as_well_as_before(world: tuple[Cluster, Node]) -> None:
    cluster, a = world
    cluster.until(lambda: bool(a.engine.core.partners()))
    a.add("k", "after")
    cluster.until(cluster.equal)


def test_a_stranger_on_a_fresh_link_gets_nothing() -> None:
    cluster, a, _ = pair()
    before = state_of(a)
    messages = [message for message in BAD.values() if not isinstance(message, m.Hello | m.Refuse)]
    for number, message in enumerate([m.Pull(transfer=1, bucket=BUCKET, clock={}), *messages], start=1000):
        a.engine.link_up(number, "127.0.0.1:1", False, cluster.now)
        a.engine.take_effects()
        a.engine.receive(number, message, cluster.now, cluster.wall_ms())
        assert not any(isinstance(effect, Send) and isinstance(effect.message, m.Part) for effect in effects_of(a))
    assert state_of(a) == before
    assert a.engine.core.counters["before_greeting"] > 0


def test_random_messages_of_a_member_never_raise() -> None:
    cluster, a, _ = pair()
    for message in BAD.values():
        for number in list(a.engine.core.links):
            a.engine.receive(number, message, cluster.now, cluster.wall_ms())
            a.engine.receive(number, message, cluster.now, cluster.wall_ms())
        cluster.run(0.5)
    cluster.run(5.0)
    a.add("k", "after")
    cluster.until(cluster.equal)


def hello_like(a: Node, **fields: Any) -> m.Hello:
    """A greeting that fits but for `fields`."""
    hello = a.engine.sessions._hello()
    return msgspec.structs.replace(hello, **fields)


REFUSALS: dict[str, dict[str, Any]] = {
    "protocol": {"node": "c", "protocol_min": 7, "protocol_max": 9},
    "kinds": {"node": "c", "kinds": (0, 1, 2)},
    "settings": {"node": "c", "settings": {"value_bytes_max": 1}},
    "cluster": {"node": "c", "cluster": 4711},
    "name_taken": {"node": "b", "cluster": 0, "state": "joining", "instance": 7, "start": 1, "members": ()},
    "superseded": {"node": "b", "instance": 7, "start": 1, "members": ()},
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_greeting_that_does_not_fit_is_refused_by_name(code: str) -> None:
    cluster, a, _ = pair()
    before = state_of(a)
    a.engine.link_up(999, "127.0.0.1:1", False, cluster.now)
    a.engine.receive(999, hello_like(a, **REFUSALS[code]), cluster.now, cluster.wall_ms())
    assert state_of(a) == before
    assert a.engine.core.counters["refused_" + code] == 1
    assert 999 not in a.engine.core.links


@pytest.mark.parametrize(("state", "code"), [(EVICTED, "evicted"), (LEFT, "left")])
def test_who_is_out_is_refused(state: str, code: str) -> None:
    cluster, a, _ = pair()
    record = MemberRecord(node="c", epoch=3, state=state)
    a.store.put_members([record])
    a.engine.link_up(999, "127.0.0.1:1", False, cluster.now)
    old = msgspec.structs.replace(record, state=MEMBER)
    hello = hello_like(a, node="c", instance=7, start=1, members=(old,))
    a.engine.receive(999, hello, cluster.now, cluster.wall_ms())
    assert a.engine.core.counters["refused_" + code] == 1
    assert a.store.members()["c"] == record
