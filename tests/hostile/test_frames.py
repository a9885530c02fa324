"""Bytes that are no frames, on the link of a member (list (d), item 1): the link ends, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from crdtsync import Node
from crdtsync.config import MIB
from crdtsync.replication import messages as m
from crdtsync.transport.pb import replication_pb2 as pb
from crdtsync.transport.shapes import bytes_field
from crdtsync.transport.wire import encode
from tests.hostile.liar import Liar
from tests.hostile.rows import columns, presence, varint
from tests.hostile.watch import DEADLINE, refusal, state, works
from tests.integration.waiting import until

BIG = 2**63


def field(number: int, *pieces: bytes) -> bytes:
    return b"".join(bytes_field(number, *pieces))


def framed(**body: Any) -> bytes:
    """A frame of one message, by the name of its field."""
    return pb.Frame(messages=[pb.Message(**body)]).SerializeToString()


def raw(kind: int, data: bytes) -> bytes:
    """A frame of one message whose body is `data`."""
    return field(1, field(kind, data))


def part(**fields: Any) -> bytes:
    return framed(part=pb.Part(**({"bucket": "default", "node": "liar", "push": True, "last": True} | fields)))


def clock(actors: list[int], seqs: list[int]) -> Any:
    return pb.Clock(actors=actors, seqs=seqs)


def announce(**fields: Any) -> bytes:
    return framed(announce=pb.Announce(**({"node": "liar", "start": 1} | fields)))


def record(**fields: Any) -> Any:
    return pb.MemberRecord(**({"node": "x", "epoch": 1, "state": pb.MEMBER_STATE_MEMBER} | fields))


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = b"\x0b" + data + b"\x0c"  # groups: the one shape that nests without lengths
    return data


PART, BYE = 8, 14
FRAMES: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no message", field(2, b"x")),
    ("a message of no kind", field(1, b"")),
    ("a message of an unknown kind", raw(15, b"")),
    ("zeros", bytes(100)),
    ("0xff", b"\xff" * 100),
    *((f"{size} random bytes", os.urandom(size)) for size in (1, 2, 5, 20, 100, 1000, 70_000)),
    ("a length beyond the end", b"\x0a\x7f"),
    ("a length of 2^31", b"\x0a" + varint(2**31)),
    ("a length of 2^63", b"\x0a" + varint(2**63) + bytes(100)),
    ("a number that does not end", b"\x0a" + b"\xff" * 11),
    ("200 groups deep", raw(PART, nested(200))),
    ("100000 groups deep", raw(PART, nested(100_000))),
    ("a group that ends nowhere", raw(PART, b"\x0b")),
    ("text where a message is due", raw(PART, field(8, b"hello"))),
    ("a number where text is due", raw(PART, b"\x10\x01" + b"\x12\xff")),
    ("an odd number of actor bytes", raw(PART, field(10, field(1, b"1234567")))),
    ("10^6 empty messages", field(1, b"") * 10**6),
    ("10^6 empty records", raw(13, field(1, b"") * 10**6)),
    ("10^6 kinds in a Hello", framed(hello=pb.Hello(node="x", state=1, kinds=[1] * 10**6))),
    ("text that is not UTF-8", raw(BYE, field(1, b"\xff\xfe"))),
    ("text with a surrogate", raw(BYE, field(1, b"\xed\xa0\x80"))),
    ("a node's name that is not UTF-8", raw(PART, field(4, b"\xff"))),
    ("a reason of 64 KiB", framed(bye=pb.Bye(reason="x" * 65_536))),
    ("a state that is none", framed(members_update=pb.MembersUpdate(members=[record(state=9)]))),
    ("no state", framed(members_update=pb.MembersUpdate(members=[record(state=0)]))),
    ("a negative state", framed(members_update=pb.MembersUpdate(members=[record(state=-1)]))),
    ("a member twice", framed(members_update=pb.MembersUpdate(members=[record(), record()]))),
    ("a member without a name", framed(members_update=pb.MembersUpdate(members=[record(node="")]))),
    ("a member's name of 64 KiB", framed(members_update=pb.MembersUpdate(members=[record(node="x" * 65_536)]))),
    ("a member's name with NUL", framed(members_update=pb.MembersUpdate(members=[record(node="a\0b")]))),
    ("a member's address of 64 KiB", framed(members_update=pb.MembersUpdate(members=[record(address="x" * 65_536)]))),
    ("an epoch of 2^63", framed(members_update=pb.MembersUpdate(members=[record(epoch=BIG)]))),
    ("a start of 2^64 - 1", framed(members_update=pb.MembersUpdate(members=[record(start=2**64 - 1)]))),
    ("10^5 members", framed(members_update=pb.MembersUpdate(members=[record(node=f"n{k}") for k in range(100_000)]))),
    ("more actors than seqs", part(target=clock([1, 2], [1]))),
    ("an actor twice", part(target=clock([1, 1], [1, 2]))),
    ("actor 0", part(target=clock([0], [1]))),
    ("seq 0", part(target=clock([1], [0]))),
    ("seq 2^63", part(target=clock([1], [BIG]))),
    ("seq 2^64 - 1, a negative one", part(base=clock([1], [2**64 - 1]))),
    ("10^6 actors", part(target=clock(list(range(1, 10**6 + 1)), [1] * 10**6))),
    ("a row actor twice", part(rows=pb.PackedRows(actors=[1, 1], count=1, keys=b"xxxx", images=b"xxxx"))),
    ("row actors unsorted", part(rows=pb.PackedRows(actors=[2, 1], count=1, keys=b"xxxx", images=b"xxxx"))),
    ("10^6 row actors", part(rows=pb.PackedRows(actors=range(1, 10**6), count=1, keys=b"xxxx", images=b"xxxx"))),
    ("2^63 rows in a byte", part(rows=pb.PackedRows(actors=[1], count=BIG, keys=b"x", images=b"x"))),
    ("2^40 rows in a byte", part(rows=pb.PackedRows(actors=[1], count=2**40, keys=b"x", images=b"x"))),
    ("a part's number of 2^63", part(number=BIG)),
    ("a part's start of 2^63", part(start=BIG)),
    ("no bucket", part(bucket="")),
    ("a bucket's name of 65 bytes", part(bucket="b" * 65)),
    ("a bucket's name with NUL", part(bucket="a\0b")),
    ("a sender without a name", part(node="")),
    ("a bucket twice in an announcement", announce(buckets=[pb.BucketClocks(bucket="b"), pb.BucketClocks(bucket="b")])),
    ("100000 buckets", announce(buckets=[pb.BucketClocks(bucket=f"b{k}") for k in range(100_000)])),
    ("a wall clock of 2^64 - 1", announce(wall_ms=2**64 - 1)),
    ("an announcement's number of 2^63", announce(seq=BIG)),
    ("an abort's code of 64 KiB", framed(abort=pb.Abort(code="x" * 65_536))),
    ("a credit for part 2^63", framed(credit=pb.Credit(number=BIG))),
    ("a setting twice", framed(hello=pb.Hello(node="x", state=1, settings=[pb.Setting(name="a")] * 2))),
    ("protocols upside down", framed(hello=pb.Hello(node="x", state=1, protocol_min=2, protocol_max=1))),
    ("a good message before a bad one", encode(m.Bye(reason="closing")) + field(1, b"")),
]  # fmt: skip


@pytest.mark.parametrize("frame", [frame for _, frame in FRAMES], ids=[what for what, _ in FRAMES])
def test_bad_frame(node: Node, liar: Liar, frame: bytes) -> None:
    liar.ready()
    with refusal(node, "bad_frame"):
        liar.post(frame)
        until(liar.is_down, DEADLINE)


def test_a_frame_cut_at_every_byte(node: Node, liar: Liar) -> None:
    liar.ready()
    seq = liar.next_dot()
    rows = columns([(b"s\0o\xa1z", presence([(0, seq)], [(0, seq)]))], (Liar.ACTOR,))
    whole = encode(liar.part(rows, {Liar.ACTOR: seq}))
    before = state(node)
    for at in range(len(whole)):
        liar.dial()  # each costs its link; the others, a greeting one among them, go on
        liar.post(whole[:at])
        until(liar.is_down, DEADLINE)
    assert state(node) == before
    works(node)


def test_a_frame_beyond_the_bound(node: Node, liar: Liar) -> None:
    """Refused by name, on both sides."""
    liar.ready()
    with refusal(node, "oversized_frame"):
        liar.post(bytes(16 * MIB + 1))
        until(liar.is_down, DEADLINE)
    assert "message_bytes_max" in liar.owner.downs[-1][1]
    assert liar.transport.counted()["frames_refused"] == 1


def test_a_frame_beyond_all_bounds(node: Node, liar: Liar) -> None:
    """From twice the bound on gRPC itself refuses it, looks at no byte of it, and tells the sender alone why."""
    liar.ready()
    before, refused = state(node), liar.transport.counted().get("frames_refused", 0)
    liar.post(bytes(40 * MIB))
    until(liar.is_down, DEADLINE)
    assert "RESOURCE_EXHAUSTED" in liar.owner.downs[-1][1]
    assert liar.transport.counted()["frames_refused"] == refused + 1
    until(lambda: "liar" not in node.status()["reachable"], DEADLINE)
    assert state(node) == before
    works(node)


STRAYS: list[tuple[str, str, Callable[[Liar], m.Message]]] = [
    ("a part that nobody asked for", "unknown_transfer", lambda liar: liar.part(push=False)),
    ("a repair that nobody asked for", "unknown_repair", lambda liar: m.RepairReply(
        bucket="default", clock={}, keys=columns([], ()), rows=columns([], ()))),
    ("a request for impossible keys", "bad_transfer", lambda liar: m.RepairRequest(
        bucket="default", clock={}, keys=columns([(b"nonsense", b"")], ()))),
    ("a second Hello", "hellos_repeated", lambda liar: liar.hello()),
    ("somebody else asks to be let in", "bad_record", lambda liar: m.JoinRequest(node="other", address="")),
    ("somebody else has joined", "bad_record", lambda liar: m.JoinDone(node="other")),
    ("let in by nobody's leave", "joins_unasked", lambda liar: m.JoinAccept(cluster=7, members=(), buckets=("b",))),
]  # fmt: skip


@pytest.mark.parametrize(("counter", "make"), [case[1:] for case in STRAYS], ids=[case[0] for case in STRAYS])
def test_stray_message(node: Node, liar: Liar, counter: str, make: Callable[[Liar], m.Message]) -> None:
    liar.ready()
    with refusal(node, counter):
        liar.send(make(liar))


EARLY = [m.Bye(reason="x"), m.Pull(transfer=1, bucket="default", clock={})]


@pytest.mark.parametrize("message", EARLY, ids=["Bye", "Pull"])
def test_before_its_hello(node: Node, liar: Liar, message: m.Message) -> None:
    liar.dial()
    with refusal(node, "before_greeting"):
        liar.send(message)
