"""Messages and frames: every message comes back equal; every frame is messages within the limits, or a BadFrame."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.clocks.members import MemberRecord
from crdtsync.config import Config
from crdtsync.datatypes.rows import PackedRows
from crdtsync.errors import BadFrame, InvariantViolated
from crdtsync.replication import messages as m
from crdtsync.transport.pb import replication_pb2 as pb
from crdtsync.transport.shapes import DEFAULT_LIMITS, Limits, varint
from crdtsync.transport.wire import decode, decode_all, encode
from tests.transport.strategies import ANY_MESSAGE, MESSAGES

FULL_PART = m.Part(
    transfer=7, bucket="b", push=True, node="n", start=3, number=1, base={1: 2},
    rows=PackedRows(actors=(5, 9), count=2, keys=b"\x00\x03abc\x01\x01d", images=b"\x01x\x01y"), last=True,
    target={1: 2, 3: 4}, floor={1: 1}, stamp_floor=2**64 - 1, synced={1: 2},
    members=(MemberRecord("n", 1, "member", "h:1", 2),), scan=True, scan_clock={5: 6}, scan_next=b"k",
    members_digest=7,
)  # fmt: skip


def framed(**body: Any) -> bytes:
    """A frame of one message with this body, as protobuf lets anyone write it."""
    return pb.Frame(messages=[pb.Message(**body)]).SerializeToString()


def test_every_message_has_a_strategy() -> None:
    assert set(MESSAGES) == set(m.ALL_MESSAGES)


@pytest.mark.parametrize("kind", m.ALL_MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_round_trip(kind: type[m.Message], data: st.DataObject) -> None:
    message = data.draw(MESSAGES[kind])
    assert decode(encode(message)) == message


@given(st.lists(ANY_MESSAGE, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_joined_frames_are_a_frame(messages: list[m.Message]) -> None:
    assert decode_all(b"".join(encode(message) for message in messages)) == messages


def test_every_field_of_a_part_crosses() -> None:
    assert all(getattr(FULL_PART, field) for field in FULL_PART.__struct_fields__), "give the new field a value here"
    assert decode(encode(FULL_PART)) == FULL_PART


def test_a_frame_is_what_protobuf_makes_of_it() -> None:
    """Rows are spliced in past protobuf: anybody's encoder gives the same message."""
    parsed = pb.Frame.FromString(encode(FULL_PART))
    assert parsed == pb.Frame.FromString(parsed.SerializeToString())
    assert parsed.messages[0].part.rows.images == FULL_PART.rows.images
    assert decode(parsed.SerializeToString()) == FULL_PART


def valid_or_bad(frame: bytes) -> list[m.Message] | None:
    """Decode; anything but messages or BadFrame fails the test.  What decodes must encode and decode again."""
    try:
        messages = decode_all(frame)
    except BadFrame as error:
        assert error.message
        return None
    assert decode_all(b"".join(encode(message) for message in messages)) == messages
    return messages


@given(ANY_MESSAGE)
@settings(max_examples=40, deadline=None)
def test_truncated_at_every_byte(message: m.Message) -> None:
    frame = encode(message)
    for length in range(len(frame)):
        assert valid_or_bad(frame[:length]) is None  # the outermost length never fits


@given(ANY_MESSAGE, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_mutations(message: m.Message, rng: random.Random) -> None:
    frame = bytearray(encode(message))
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(frame))
        match rng.randrange(4):
            case 0:
                frame[place] ^= 1 << rng.randrange(8)
            case 1:
                frame[place] = rng.randrange(256)
            case 2:
                frame[place:place] = rng.randbytes(rng.randint(1, 5))
            case 3:
                del frame[place : place + rng.randint(1, 5)]
        if not frame:
            return
    valid_or_bad(bytes(frame))


@given(ANY_MESSAGE, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_mutations_inside_an_intact_frame(message: m.Message, rng: random.Random) -> None:
    """The lengths around the body fit, so that more of the mutations reach the readers."""
    parsed = pb.Frame.FromString(encode(message)).messages[0]
    field = parsed.WhichOneof("body")
    body = bytearray(getattr(parsed, field).SerializeToString())
    for _ in range(min(3, len(body))):
        body[rng.randrange(len(body))] = rng.randrange(256)
    number = parsed.DESCRIPTOR.fields_by_name[field].number
    inner = bytes([number << 3 | 2]) + varint(len(body)) + bytes(body)
    valid_or_bad(b"\x0a" + varint(len(inner)) + inner)


@given(st.binary(max_size=300))
def test_random_bytes(frame: bytes) -> None:
    valid_or_bad(frame)


# ---- bad values by name


def clock(actors: list[int], seqs: list[int]) -> pb.Clock:
    return pb.Clock(actors=actors, seqs=seqs)


def pull(**fields: Any) -> bytes:
    return framed(pull=pb.Pull(**{"bucket": "b", **fields}))


def rows(**fields: Any) -> bytes:
    good = {"actors": [1, 2], "count": 1, "keys": b"abc", "images": b"x"}
    return framed(part=pb.Part(bucket="b", node="n", rows=pb.PackedRows(**{**good, **fields})))


def hello(**fields: Any) -> bytes:
    return framed(hello=pb.Hello(**{"node": "n", "state": pb.NODE_STATE_MEMBER, **fields}))


def member(**fields: Any) -> pb.MemberRecord:
    return pb.MemberRecord(**{"node": "n", "state": pb.MEMBER_STATE_LEFT, **fields})


def update(*members: pb.MemberRecord) -> bytes:
    return framed(members_update=pb.MembersUpdate(members=members))


BAD: dict[str, tuple[bytes, str]] = {
    "nothing at all": (b"", "no message"),
    "unset oneof": (framed(), "no kind"),
    "a kind from the future": (b"\x0a\x03\xfa\x07\x00", "no kind"),
    "random bytes": (b"\xff" * 40, "not protobuf"),
    "wrong wire type": (b"\x08\x01", "no message"),
    "length beyond the end": (b"\x0a\x7fxx", "not protobuf"),
    "length of 2^31": (b"\x0a\x80\x80\x80\x80\x08", "not protobuf"),
    "bad UTF-8": (pull().replace(b"\x12\x01b", b"\x12\x01\xff"), "not protobuf"),
    "count mismatch": (pull(clock=clock([1, 2], [1])), "pull.clock has 2 actors and 1 seqs"),
    "actor twice": (pull(clock=clock([1, 1], [1, 2])), "pull.clock names an actor twice"),
    "actor 0": (pull(clock=clock([0], [1])), "actor 0"),
    "seq 0": (pull(clock=clock([1], [0])), "seq outside"),
    "seq 2^63": (pull(clock=clock([1, 2], [1, 2**63])), "seq outside"),
    "bad clock deeper down": (
        framed(announce=pb.Announce(node="n", buckets=[pb.BucketClocks(bucket="b", synced=clock([1], [0]))])),
        "announce.buckets.synced",
    ),
    "empty bucket": (pull(bucket=""), "pull.bucket is empty"),
    "bucket of 65 bytes": (pull(bucket="x" * 65), "longer than 64"),
    "bucket of 65 bytes in 33 characters": (pull(bucket="é" * 32 + "x"), "longer than 64"),
    "NUL in a bucket": (pull(bucket="a\0b"), "NUL"),
    "bucket twice": (framed(join_accept=pb.JoinAccept(buckets=["a", "a"])), "bucket twice"),
    "bucket announced twice": (
        framed(announce=pb.Announce(node="n", buckets=[pb.BucketClocks(bucket="b")] * 2)),
        "bucket twice",
    ),
    "rows with descending actors": (rows(actors=[2, 1]), "part.rows has actors that are not ascending"),
    "rows with an actor twice": (rows(actors=[2, 2]), "not ascending"),
    "rows with actor 0": (rows(actors=[0, 2]), "actor 0"),
    "more rows than bytes": (rows(count=2), "claims 2 rows in 3 bytes"),
    "2^64-1 rows": (rows(count=2**64 - 1), "claims"),
    "columns without rows": (rows(count=0), "columns but no rows"),
    "node state 0": (hello(state=0), "hello.state"),
    "node state 99": (hello(state=99), "hello.state"),
    "member state 0": (update(member(state=0)), "state 0"),
    "member state 9": (update(member(state=9)), "state 9"),
    "member twice": (update(member(), member(epoch=2)), "node twice"),
    "ballot without a victim": (update(member(ballot=pb.Ballot(proposer="n"))), "ballot.victim is empty"),
    "ballot with NUL": (update(member(ballot=pb.Ballot(proposer="n\0", victim="o"))), "ballot.proposer contains NUL"),
    "ballot number 2^63": (update(member(ballot=pb.Ballot(proposer="n", victim="o", number=2**63))), "below 2^63"),
    "member revision 2^63": (update(member(revision=2**63)), "below 2^63"),
    "member epoch 2^63": (update(member(epoch=2**63)), "below 2^63"),
    "node name of 64 KiB": (hello(node="x" * 65536), "longer than 255"),
    "address of 256 bytes": (hello(address="x" * 256), "longer than 255"),
    "no node name": (hello(node=""), "hello.node is empty"),
    "protocol range upside down": (hello(protocol_min=2, protocol_max=1), "protocol_min"),
    "a setting twice": (hello(settings=[pb.Setting(name="a", value=1)] * 2), "setting twice"),
    "65 settings": (hello(settings=[pb.Setting(name=f"s{n}") for n in range(65)]), "more than 64"),
    "65 kinds": (hello(kinds=range(65)), "more than 64"),
    "start 2^63": (hello(start=2**63), "hello.start"),
    "code of 65 bytes": (framed(abort=pb.Abort(code="x" * 65)), "abort.code"),
    "text of 5 KB": (framed(abort=pb.Abort(code="x", text="x" * 5000)), "abort.text"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values(name: str) -> None:
    frame, what = BAD[name]
    with pytest.raises(BadFrame) as raised:
        decode_all(frame)
    assert what in raised.value.message
    assert raised.value.counter == "bad_frame"


def test_one_bad_message_condemns_its_frame() -> None:
    with pytest.raises(BadFrame):
        decode_all(encode(m.Bye(reason="")) + pull(bucket=""))


def test_unknown_fields_are_ignored() -> None:
    unknown = b"\xca\x3e" + varint(1 << 20) + b"x" * (1 << 20)  # field 1001, 1 MiB
    assert decode_all(encode(m.Bye(reason="x")) + unknown) == [m.Bye(reason="x")]


def test_limits_come_from_the_settings() -> None:
    limits = Limits.of(Config(actors_per_part_max=2, members_max=1, buckets_max=1))
    decode(pull(clock=clock([1, 2], [1, 1])), limits)
    decode(update(member()), limits)
    for frame, what in (
        (pull(clock=clock([1, 2, 3], [1, 1, 1])), "3 actors, more than 2"),
        (rows(actors=[1, 2, 3]), "3 actors, more than 2"),
        (update(member(), member(node="o")), "2 records, more than 1"),
        (framed(join_accept=pb.JoinAccept(buckets=["a", "b"])), "2 entries, more than 1"),
        (framed(announce=pb.Announce(node="n", buckets=[pb.BucketClocks()] * 2)), "2 entries, more than 1"),
    ):
        with pytest.raises(BadFrame, match=what):
            decode(frame, limits)


def test_a_frame_may_be_as_large_as_the_limit() -> None:
    frame = encode(msgspec.structs.replace(FULL_PART, scan_next=b"x" * 100_000))
    exact = msgspec.structs.replace(DEFAULT_LIMITS, frame_bytes=len(frame))
    assert decode(frame, exact)
    with pytest.raises(BadFrame, match="message_bytes_max"):
        decode(frame, msgspec.structs.replace(exact, frame_bytes=len(frame) - 1))


def empties(field: int, count: int) -> bytes:
    """A Hello with `count` empty messages in one of its repeated fields."""
    body = hello()[4:] + bytes([field << 3 | 2, 0]) * count
    inner = b"\x0a" + varint(len(body)) + body
    return b"\x0a" + varint(len(inner)) + inner


HUGE: dict[str, Callable[[], bytes]] = {
    "10^6 empty members": lambda: empties(13, 10**6),
    "10^6 empty settings": lambda: empties(11, 10**6),
    "10^6 empty messages": lambda: b"\x0a\x00" * 10**6,
    "10^6 empty bodies": lambda: b"\x0a" + varint(4 * 10**6) + b"\x0a\x00\x42\x00" * 10**6,
    "10^6 tiny seqs": lambda: pull(clock=pb.Clock(seqs=[1] * 10**6)),
    "10^6 actors": lambda: pull(clock=clock(list(range(1, 10**6)), [1] * (10**6 - 1))),
    "10^6 names of buckets": lambda: framed(join_accept=pb.JoinAccept(buckets=[""] * 10**6)),
}


@pytest.mark.parametrize("name", HUGE)
def test_memory_is_bounded_by_the_input(name: str) -> None:
    frame = HUGE[name]()
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame):
            decode_all(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20  # nothing was built from it in Python


def test_the_walk_finds_what_protobuf_finds() -> None:
    """Large frames are walked over first: broken ones are refused there, sound ones pass."""
    frame = encode(msgspec.structs.replace(FULL_PART, scan_next=b"x" * 100_000))
    assert decode(frame).scan_next == b"x" * 100_000  # type: ignore[attr-defined]
    for broken in (frame[:-1], frame + b"\x0a", frame + b"\x0b", frame + b"\xff" * 12, frame + b"\x0a\x05x"):
        with pytest.raises(BadFrame):
            decode_all(broken)
    assert len(decode_all(frame + b"\x3d1234" + b"\x391234abcd" + b"\x38\x80\x01")) == 1  # unknown, of every type


# ---- what does not fit is our own bug


@pytest.mark.parametrize(
    "message",
    [
        m.Credit(transfer=-1, push=False, number=0, window=0),
        m.Credit(transfer=2**64, push=False, number=0, window=0),
        m.Pull(transfer=1, bucket="b", clock={1: -1}),
        m.Pull(transfer=1, bucket="\ud800", clock={}),
        m.MembersUpdate(members=(MemberRecord("n", 1, "no such state"),)),
        m.Message(),
    ],
)
def test_encoding_what_does_not_fit(message: m.Message) -> None:
    with pytest.raises(InvariantViolated):
        encode(message)


def test_text_for_people_is_cut_to_what_fits() -> None:
    sent = m.Abort(transfer=1, push=False, code="bad", text="é" * 5000 + "\ud800")
    received = decode(encode(sent))
    assert isinstance(received, m.Abort)
    assert received.text == "é" * 2048
