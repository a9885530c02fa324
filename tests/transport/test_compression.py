"""Compressed parts: who sends them to whom, that they come back equal, and that no frame of lies gets far."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

import crdtsync
from crdtsync.config import Config
from crdtsync.datatypes.rows import PackedRows
from crdtsync.errors import BadFrame, ConfigError
from crdtsync.replication import messages as m
from crdtsync.transport import compression
from crdtsync.transport.outbox import Outbox
from crdtsync.transport.pb import replication_pb2 as pb
from crdtsync.transport.shapes import DEFAULT_LIMITS, Limits
from crdtsync.transport.wire import decode, decode_all, encode
from tests.transport.support import Net

PLAIN = b"\x00\x03abc" * 2000
HELLO = m.Hello(node="n", cluster=1, start=1, instance=1, actor=1, address="h:1", state="member")


def part(keys: bytes = PLAIN, images: bytes = PLAIN, push: bool = False) -> m.Part:
    rows = PackedRows(actors=(1, 2), count=len(keys) // 5, keys=keys, images=images)
    return m.Part(transfer=1, bucket="b", push=push, node="n", start=1, number=0, base={}, rows=rows, last=False)


def sealed(message: m.Part) -> bytes:
    rows, bits = compression.compress(message.rows)
    return encode(msgspec.structs.replace(message, rows=rows), bits)


def lying(*columns: Any, compressed: int = 3) -> bytes:
    """A frame of parts with these as compressed keys and images."""
    rows = [pb.PackedRows(actors=[1], count=1, keys=column, images=column, compressed=compressed) for column in columns]
    parts = [pb.Message(part=pb.Part(bucket="b", node="n", rows=each)) for each in rows]
    return pb.Frame(messages=parts).SerializeToString()


def packed(column: bytes, **how: Any) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True, **how).compress(column)


# ---- one frame


def test_round_trip() -> None:
    message = part()
    frame = sealed(message)
    assert len(frame) < len(encode(message)) // 10
    assert decode(frame) == message


def test_a_column_that_does_not_shrink_stays_plain() -> None:
    noise = random.Random(1).randbytes(8000)
    rows, bits = compression.compress(part(images=noise).rows)
    assert bits == compression.KEYS and rows.images == noise
    assert decode(sealed(part(images=noise))) == part(images=noise)


def test_what_is_worth_it() -> None:
    assert compression.worth_it(part())
    assert not compression.worth_it(part(push=True))
    assert not compression.worth_it(part(keys=b"\x00\x03abc", images=b"x" * 100))


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (b"", "zstd frame"),
        (b"garbage that is no frame", "zstd frame"),
        (packed(PLAIN)[:-5], "zstd frame"),
        (packed(PLAIN)[:7], "zstd frame"),
        (packed(PLAIN) + b"more", "zstd frame"),
        (packed(PLAIN)[:-1] + b"\0", "zstd frame"),  # its checksum
        (packed(PLAIN, write_content_size=False), "tell its size"),
        (b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd", "tell its size"),  # a frame to be skipped
        (packed(b""), "tell its size"),
    ],
    ids=["empty", "garbage", "cut", "head alone", "two", "damaged", "no size", "skipped", "of nothing"],
)  # fmt: skip
def test_bad_columns_are_refused_by_name(column: bytes, says: str) -> None:
    with pytest.raises(BadFrame, match=rf"part\.rows\.keys .*{says}"):
        decode(lying(column))


@pytest.mark.parametrize("told", [len(PLAIN) - 1, len(PLAIN) + 1])
def test_a_frame_that_lies_about_its_size(told: int) -> None:
    honest = packed(PLAIN)
    assert zstandard.get_frame_parameters(honest).content_size == len(PLAIN)
    field = (len(PLAIN) - 256).to_bytes(2, "little")  # as a frame of 256 to 65791 bytes tells it
    assert honest[5:7] == field
    with pytest.raises(BadFrame, match=r"part\.rows\.keys .*zstd frame"):
        decode(lying(honest[:5] + (told - 256).to_bytes(2, "little") + honest[7:]))


def test_a_bomb_is_refused_before_it_is_allocated() -> None:
    bomb = packed(bytes(DEFAULT_LIMITS.frame_bytes + 1))
    frame = lying(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame, match=r"would grow to 16777217 bytes; 16777216 are left of message_bytes_max"):
            decode(frame)
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_many_small_bombs_share_one_bound() -> None:
    with pytest.raises(BadFrame, match="message_bytes_max"):
        decode_all(lying(*[packed(bytes(1024 * 1024))] * 20))


def test_unknown_bits_and_other_messages() -> None:
    with pytest.raises(BadFrame, match=r"part\.rows\.compressed is 4"):
        decode(lying(packed(PLAIN), compressed=4))
    rows = pb.PackedRows(actors=[1], count=1, keys=packed(PLAIN), compressed=1)
    request = pb.Frame(messages=[pb.Message(repair_request=pb.RepairRequest(bucket="b", keys=rows))])
    with pytest.raises(BadFrame, match=r"repair_request\.keys .*compressed"):
        decode(request.SerializeToString())


def test_who_has_not_asked_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadFrame, match="not asked"):
        decode(sealed(part()), Limits.of(Config(compression="off")))
    frame = sealed(part())
    monkeypatch.setattr(compression, "zstandard", None)
    assert not compression.possible(Config())
    with pytest.raises(BadFrame, match="not asked"):
        decode(frame)


def test_settings() -> None:
    with pytest.raises(ConfigError, match="compression"):
        Config(compression="lz4").validate()


def test_what_travels_together_is_bounded_once_expanded() -> None:
    box = Outbox(1000, 100)
    for frame, expanded in ((b"a", 0), (b"b", 60), (b"c", 60), (b"d", 500)):
        box.put(frame, expanded)
    assert [box.take() for _ in range(4)] == [(b"ab", 2), (b"c", 1), (b"d", 1), (b"", 0)]


# ---- links


@pytest.mark.parametrize("theirs", ["auto", "off"])
@pytest.mark.parametrize("ours", ["auto", "off"])
def test_both_must_want_it(ours: str, theirs: str) -> None:
    net = Net("grpc")
    try:
        (a, mine), (b, others) = net.started(compression=ours), net.started(compression=theirs)
        link = net.join(a, mine, b, others)[0]
        back = others.ups[-1][0]
        a.send(link, HELLO)
        b.send(back, HELLO)
        net.until(lambda: mine.got.get(link) and others.got.get(back))
        for message in (part(), part(push=True), part(keys=b"\x00\x03abc", images=b"")):
            a.send(link, message)
        net.until(lambda: len(others.got[back]) == 4)
        assert others.got[back][1:] == [part(), part(push=True), part(keys=b"\x00\x03abc", images=b"")]
        both = ours == theirs == "auto"
        assert (a.counters["bytes_before_compression"] > 10 * a.counters["bytes_after_compression"]) == both
        assert others.got[back][0] == msgspec.structs.replace(HELLO, zstd=ours == "auto")
    finally:
        net.close()


def test_nothing_is_compressed_for_who_has_not_said_hello() -> None:
    net = Net("grpc")
    try:
        a, _, link, _, others, back = net.pair()
        a.send(link, part())
        net.until(lambda: others.got.get(back))
        assert others.got[back] == [part()] and not a.counters["bytes_before_compression"]
    finally:
        net.close()


# ---- a cluster


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_a_catch_up_takes_fewer_bytes(tmp_path: Path, setting: str) -> None:
    settings: dict[str, Any] = {"listen": "127.0.0.1:0", "compression": setting}
    with crdtsync.open(tmp_path / "a", **settings) as stays:
        with stays.batch():
            for number in range(2000):
                stays.lwwregister(f"key {number:06}").set("a value of some length")
        with crdtsync.open(tmp_path / "b", join=[stays.address], **settings) as comes:
            comes.wait_for(stays.token(), 20)
            assert comes.digest() == stays.digest()
        counters = stays.status()["counters"]
    smaller = counters.get("bytes_after_compression", 0) < counters.get("bytes_before_compression", 0) // 2
    assert smaller == (setting == "auto")
