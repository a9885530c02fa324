"""Rows in columns: packed, unpacked and remapped they are the same rows; and hostile columns are refused."""

from __future__ import annotations

import random
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.kernels import CELL, LATEST, PRESENCE, VALUES
from crdtsync.pure.varint import varint_encode
from tests.kernels.histories import IDS, KINDS, History, Step, row_key, steps

Rows = list[tuple[bytes, bytes]]
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


def actor_table(kernels: Any, rows: Rows) -> tuple[dict[int, int], list[int]]:
    """(local index -> position, position -> local index), positions in order of ids."""
    mapping = sorted(kernels.rows_actors(rows), key=lambda actor: IDS[actor])
    return {actor: position for position, actor in enumerate(mapping)}, mapping


def packed(kernels: Any, rows: Rows) -> tuple[int, bytes, bytes, int]:
    """Arguments of rows_unpack."""
    positions, mapping = actor_table(kernels, rows)
    return (len(rows), *kernels.rows_pack(rows, positions), len(mapping))


@pytest.mark.parametrize("kind", KINDS)
@given(steps=steps(), names=st.lists(NAMES, min_size=1, max_size=3, unique=True))
@settings(max_examples=60, deadline=None)
def test_rows_travel_and_come_back(kernels: Any, kind: int, steps: list[Step], names: list[str]) -> None:
    states = History(kernels, kind).play(steps).states
    rows = [(name.encode() + key[1:], images[-1]) for name in sorted(names) for key, images in states.items()]
    positions, mapping = actor_table(kernels, rows)
    keys, images = kernels.rows_pack(rows, positions)
    unpacked = kernels.rows_unpack(len(rows), keys, images, len(mapping))
    assert kernels.rows_remap(unpacked, mapping) == rows
    assert kernels.keys_unpack(len(rows), keys, len(mapping)) == [key for key, _ in unpacked]
    assert kernels.keys_pack([key for key, _ in rows], positions) == keys
    assert kernels.keys_remap([key for key, _ in unpacked], mapping) == [key for key, _ in rows]
    assert kernels.rows_digest(unpacked) == kernels.rows_digest(rows)


def test_an_actor_without_a_position_is_refused(kernels: Any) -> None:
    rows = [(row_key(CELL, 1), kernels.cell_reset(kernels.cell_add(None, 1, 1, 1, 0), 2, 1))]
    for positions in ({}, {1: 0}, {2: 0}):
        with pytest.raises(ValueError, match="has no position"):
            kernels.rows_pack(rows, positions)
    with pytest.raises(ValueError, match="actor 2 has no position"):
        kernels.rows_remap(rows, [0, 1])
    with pytest.raises(ValueError, match="two actors share a position"):
        kernels.rows_pack(rows, {1: 0, 2: 0})
    with pytest.raises(OverflowError):
        kernels.rows_remap(rows, [0, 2**32, 1])


def test_large_contexts_are_sorted_anew(kernels: Any) -> None:
    image = None
    for actor in range(120):
        image = kernels.row_mend(image, kernels.values_set(None, actor, actor + 1, bytes([actor])), IDS)
    rows = [(row_key(VALUES), image)]
    positions = {actor: (actor * 77) % 120 for actor in range(120)}
    mapping = sorted(positions, key=lambda actor: positions[actor])
    count, keys, images = 1, *kernels.rows_pack(rows, positions)
    moved = kernels.rows_unpack(count, keys, images, 120)
    assert [position for position, _ in kernels.row_context(moved[0][1])] == list(range(120))
    assert kernels.row_payloads(moved[0][1]) == [bytes([actor]) for actor in range(120)]
    assert kernels.rows_remap(moved, mapping) == rows
    with pytest.raises(ValueError, match="actor 119 is not in the table"):
        kernels.rows_unpack(count, keys, images, 119)


def test_no_rows_are_no_bytes(kernels: Any) -> None:
    assert kernels.rows_pack([], {}) == (b"", b"")
    assert kernels.rows_unpack(0, b"", b"", 0) == []
    assert kernels.rows_digest([]) == 0 and kernels.rows_actors([]) == set() and kernels.rows_beyond([], {}) == -1


def test_neighbours_share_their_prefix(kernels: Any) -> None:
    rows = [(b"warehouse:north:%04d\0f" % n, kernels.presence_add(None, 0, n + 1)) for n in range(100)]
    keys, images = kernels.rows_pack(rows, {0: 0})
    assert len(keys) < 100 * 7 + 20 and len(images) < 100 * 10


# ---- hostile columns ----

GOOD_KEYS = [
    (b"k\0f", PRESENCE), (b"k\0oe", PRESENCE), (b"k\0s\0", PRESENCE), (b"k\0v", VALUES), (b"k\0l", LATEST),
    (b"k\0mfield\0l", LATEST), (b"k\0m\0f", PRESENCE), (b"k\0ma\0mb\0om", PRESENCE), ("é€😀\0f".encode(), PRESENCE),
    (b"n" * 255 + b"\0f", PRESENCE), (b"k\0m" + b"n" * 255 + b"\0f", PRESENCE), (b"k\0o" + b"e" * 66557, PRESENCE),
    (b"k\0p\0\0\0\0", CELL), (b"k\0mx\0g\0\0\0\0", CELL),
]  # fmt: skip
BAD_KEYS = [
    b"", b"k", b"\0f", b"k\0", b"k\0z", b"k\0m", b"k\0mfield", b"k\0mfield\0", b"k\0mfield\0m",
    b"k\0ff", b"k\0vx", b"k\0lx", b"k\0s", b"k\0o", b"k\0p", b"k\0p\0\0\0", b"k\0p\0\0\0\0\0",
    b"\xff\0f", b"\xc0\x80\0f", b"\xc1\xbf\0f", b"\xe0\x9f\xbf\0f", b"\xed\xa0\x80\0f", b"\xf0\x8f\xbf\xbf\0f",
    b"\xf4\x90\x80\x80\0f", b"\xf5\x80\x80\x80\0f", b"\xe2\x82\0f", b"\x80\0f", b"k\0m\xed\xbf\xbf\0f",
    b"n" * 256 + b"\0f", b"k\0m" + b"n" * 256 + b"\0f", b"k\0o" + b"e" * 66558,
]  # fmt: skip


def image_of(kernels: Any, kind: int) -> bytes:
    return {
        PRESENCE: lambda: kernels.presence_add(None, 0, 1),
        VALUES: lambda: kernels.values_set(None, 0, 1, b"v"),
        LATEST: lambda: kernels.latest_set(None, 0, 1, 1, b"v"),
        CELL: lambda: kernels.cell_add(None, 0, 1, 1, 0),
    }[kind]()


def columns_of(key: bytes, image: bytes) -> tuple[bytes, bytes]:
    return varint_encode(0) + varint_encode(len(key)) + key, varint_encode(len(image)) + image


@pytest.mark.parametrize(("key", "kind"), GOOD_KEYS)
def test_keys_of_the_grammar_pass_with_their_kind_alone(kernels: Any, key: bytes, kind: int) -> None:
    for other in KINDS:
        keys, images = columns_of(key, image_of(kernels, other))
        if other == kind:
            assert kernels.rows_unpack(1, keys, images, 1) == [(key, image_of(kernels, kind))]
        else:
            with pytest.raises(ValueError, match=f"row kind {other} does not fit"):
                kernels.rows_unpack(1, keys, images, 1)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_keys_outside_the_grammar_are_refused(kernels: Any, key: bytes) -> None:
    for kind in KINDS:
        with pytest.raises(ValueError, match="row key"):
            kernels.rows_unpack(1, *columns_of(key, image_of(kernels, kind)), 1)
    with pytest.raises(ValueError, match="row key"):
        kernels.keys_unpack(1, columns_of(key, b"")[0], 1)
    with pytest.raises(ValueError, match="row key"):
        kernels.keys_pack([key], {0: 0})


@given(name=st.binary(min_size=1, max_size=6).filter(lambda name: b"\0" not in name))
@settings(max_examples=400, deadline=None)
def test_names_are_exactly_utf8(kernels: Any, name: bytes) -> None:
    keys, images = columns_of(name + b"\0f", image_of(kernels, PRESENCE))
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="bad name"):
            kernels.rows_unpack(1, keys, images, 1)
    else:
        assert kernels.rows_unpack(1, keys, images, 1)[0][0] == name + b"\0f"


def test_a_cell_lies_under_its_owner(kernels: Any) -> None:
    keys, images = columns_of(row_key(CELL, 1), kernels.cell_add(None, 0, 1, 1, 0))
    with pytest.raises(ValueError, match="names another owner"):
        kernels.rows_unpack(1, keys, images, 2)
    with pytest.raises(ValueError, match="actor 1 is not in the table"):
        kernels.keys_unpack(1, keys, 1)


def test_a_few_bytes_do_not_unpack_into_many(kernels: Any) -> None:
    """A shared prefix is short, so rows cannot each repeat a key of 64 KiB."""
    long = b"k\0o" + b"e" * 60_000
    keys, images = columns_of(long, image_of(kernels, PRESENCE))
    keys += varint_encode(256) + varint_encode(1) + b"x"
    with pytest.raises(ValueError, match=f"shared prefix is too long at offset {len(keys) - 4}"):
        kernels.rows_unpack(2, keys, images * 2, 1)
    rows = [(long, image_of(kernels, PRESENCE)), (long + b"x", image_of(kernels, PRESENCE))]
    assert kernels.rows_unpack(*packed(kernels, rows)) == rows


@pytest.mark.parametrize(
    ("count", "keys", "images", "message"),
    [
        (1, b"", b"", "varint is cut off at offset 0"),
        (1, b"\x01\x00", b"", "shared prefix is too long at offset 0"),
        (1, b"\x00\x05k\0f", b"", "row key is cut off at offset 0"),
        (1, b"\x00\x03k\0f", b"", "varint is cut off at offset 0"),
        (1, b"\x00\x03k\0f", b"\x09\x00", "image is cut off at offset 0"),
        (1, b"\x00\x03k\0f", b"\x00", "image is empty at offset 0"),
        (0, b"\x00", b"", "trailing bytes at offset 0"),
        (0, b"", b"\x00", "trailing bytes at offset 0"),
        (2**40, b"\x00\x03k\0f", b"\x05\x00\x01\x00\x01\x00", "varint is cut off at offset 5"),
    ],
)
def test_columns_that_end_early_or_late(kernels: Any, count: int, keys: bytes, images: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernels.rows_unpack(count, keys, images, 1)


# ---- reading many rows ----


def test_the_first_row_beyond_a_clock(kernels: Any) -> None:
    rows = [(b"a\0f", kernels.presence_add(None, 0, 5)), (b"b\0f", kernels.presence_add(None, 1, 2))]
    assert kernels.rows_beyond(rows, {0: 5, 1: 2}) == -1
    assert kernels.rows_beyond(rows, {0: 5, 1: 1}) == 1
    assert kernels.rows_beyond(rows, {0: 4}) == 0
    assert kernels.rows_actors(rows) == {0, 1}


def test_rows_of_every_length_are_hashed_as_the_library_does(kernels: Any) -> None:
    rng = random.Random(5)
    for size in range(300):
        key, payload = rng.randbytes(rng.choice((1, 20, size + 1))), rng.randbytes(size)
        stamp, seq = rng.choice((1, 2**40)), rng.choice((1, 300))
        hashed = b"".join(
            [varint_encode(len(key)), key, *map(varint_encode, (stamp, seq, 0, len(payload))), payload]
        )  # fmt: skip
        row = (key, kernels.latest_set(None, 1, seq, stamp, payload))
        assert kernels.rows_digest([row]) == xxhash.xxh3_128_intdigest(hashed)
        assert kernels.rows_digest([row, row, row]) == 3 * xxhash.xxh3_128_intdigest(hashed) % 2**128


def test_the_digest_knows_meaning_alone(kernels: Any) -> None:
    add, reset = kernels.cell_add, kernels.cell_reset
    one = [(row_key(CELL, 0), add(None, 0, 1, 5, 0)), (b"k\0f", kernels.presence_add(None, 0, 2))]
    other = [(b"k\0f", kernels.presence_add(None, 7, 2)), (row_key(CELL, 3), add(None, 3, 1, 5, 0))]
    assert kernels.rows_digest(one) == kernels.rows_digest(other) != 0
    assert kernels.rows_digest(one + other) == 2 * kernels.rows_digest(one) % 2**128
    dead = [(b"z\0f", None), (row_key(CELL, 0), reset(add(None, 0, 1, 5, 0), 1, 1)),
            (b"z\0l", kernels.latest_set(None, 0, 1, 1, None)), (b"z\0v", kernels.values_set(None, 0, 1, None)),
            (b"z\0f", kernels.presence_remove(kernels.presence_add(None, 0, 1), 0, 2))]  # fmt: skip
    assert kernels.rows_digest(dead) == 0
    assert kernels.rows_digest(one + dead) == kernels.rows_digest(one)
    assert kernels.rows_digest(one[:1]) != kernels.rows_digest([(b"K" + one[0][0][1:], one[0][1])])
    assert kernels.rows_digest(one[:1]) != kernels.rows_digest([(one[0][0], add(None, 0, 1, 0, 5))])
    tied = kernels.row_mend(kernels.values_set(None, 0, 3, b"b"), kernels.values_set(None, 1, 3, b"a"), IDS)
    swapped = kernels.row_mend(kernels.values_set(None, 0, 3, b"a"), kernels.values_set(None, 1, 3, b"b"), IDS)
    assert tied != swapped and kernels.rows_digest([(b"k\0v", tied)]) == kernels.rows_digest([(b"k\0v", swapped)])
