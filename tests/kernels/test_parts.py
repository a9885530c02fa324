"""Parts taken in column by column: the same rows, the same joins, and only what is canonical passes at a glance."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.datatypes import values
from crdtsync.kernels import CELL, LATEST, VALUES
from tests.kernels.histories import IDS, KINDS, History, Step, row_key, steps
from tests.kernels.test_columns import NAMES, actor_table

STAMP_LAST, DEPTH_MAX, BYTES_MAX = 1000, 2, 64
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
PLAIN = st.none() | st.booleans() | NUMBERS | st.text() | st.binary()
EDGES = [
    *(sign * 2**bits + more for bits in (5, 7, 8, 15, 16, 31, 32, 62) for sign in (1, -1) for more in (-1, 0, 1)),
    2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1.5, math.inf, -math.inf, None, True, False,
    *(kind * size for kind in ("x", b"x") for size in (0, 1, 31, 32, 255, 256, 65535, 65536)), "é€😀", "a\0b",
]  # fmt: skip


def checked(kernels: Any, rows: list[tuple[bytes, bytes]], actors: int = 1, bytes_max: int = BYTES_MAX) -> Any:
    columns = kernels.rows_pack(rows, {actor: actor for actor in range(actors)})
    return kernels.part_check(len(rows), *columns, actors, STAMP_LAST, DEPTH_MAX, bytes_max)


def is_clear(kernels: Any, key: bytes, image: bytes, bytes_max: int = BYTES_MAX) -> bool:
    return checked(kernels, [(key, image)], bytes_max=bytes_max)[1] == []


def value_is_clear(kernels: Any, value: bytes, bytes_max: int = 2**20) -> bool:
    return is_clear(kernels, b"k\0l", kernels.latest_set(None, 0, 1, 1, value), bytes_max)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=steps(), names=st.lists(NAMES, min_size=1, max_size=3, unique=True))
@settings(max_examples=60, deadline=None)
def test_rows_come_with_local_indexes(kernels: Any, kind: int, steps: list[Step], names: list[str]) -> None:
    states = History(kernels, kind).play(steps).states
    rows = [(name.encode() + key[1:], images[-1]) for name in sorted(names) for key, images in states.items()]
    positions, mapping = actor_table(kernels, rows)
    columns = kernels.rows_pack(rows, positions)
    keys, images = kernels.part_rows(len(rows), *columns, mapping)
    assert list(zip(keys, images, strict=True)) == rows
    last, *_ = kernels.part_check(len(rows), *columns, len(mapping), STAMP_LAST, DEPTH_MAX, BYTES_MAX)
    dots = [dot for _, image in rows for dot in kernels.row_context(image)]
    assert last == [max(seq for actor, seq in dots if actor == local) for local in mapping]
    packed = kernels.pairs_pack(keys, images)
    head = b"\xdc" + (2 * len(rows)).to_bytes(2, "big")
    assert msgspec.msgpack.decode(head + packed) == [item for row in rows for item in row]


@pytest.mark.parametrize("kind", KINDS)
@given(steps=steps(), clock=st.dictionaries(st.integers(0, 5), st.integers(1, 5)))
@settings(max_examples=60, deadline=None)
def test_a_merge_is_the_join_of_every_row(kernels: Any, kind: int, steps: list[Step], clock: dict[int, int]) -> None:
    pairs = []
    for images in History(kernels, kind).play(steps).states.values():
        pairs += [(mine, theirs) for mine in (None, *images[:5]) for theirs in images[:5]]
    keys = [b"%d" % number for number in range(len(pairs))]
    current, incoming = [mine for mine, _ in pairs], [theirs for _, theirs in pairs]
    found = kernels.rows_merge(keys, current, incoming, clock, IDS, 3)
    joined = kernels.rows_join(current, incoming, clock, IDS)
    changed = [number for number, image in enumerate(joined) if image is not None]
    assert found[:3] == tuple([column[n] for n in changed] for column in (keys, joined, current))
    stamps = [kernels.row_latest(incoming[n])[0] for n in changed] if kind == LATEST else []
    assert found[3] == sum(stamp > 3 for stamp in stamps)
    assert found[4] == [
        n for n in changed if (mine := current[n]) is not None and kernels.row_conflict(mine, incoming[n])
    ]
    assert found[5] == []  # correct replicas never contradict each other


def test_contradictions_are_seen(kernels: Any) -> None:
    def register(seq: int, stamp: int, value: bytes) -> bytes:
        image: bytes = kernels.latest_set(None, 0, seq, stamp, value)
        return kernels.row_mend(image, kernels.latest_set(None, 1, seq, 0, b"x"), IDS) if seq == 2 else image

    def cell(p: int, seq: int = 3) -> bytes:
        image: bytes = kernels.cell_add(kernels.cell_add(None, 0, 1, 1, 0), 0, seq, p, 0)
        return image

    def multi(value: bytes, other: int) -> bytes:
        image, beside = kernels.values_set(None, 0, 1, value), kernels.values_set(None, other, 1, b"x")
        both: bytes = kernels.row_mend(image, beside, IDS)
        return both

    cleared = kernels.values_set(kernels.values_set(None, 2, 1, b"z"), 2, 2, None)
    pairs = [
        (register(1, 5, b"a"), register(2, 5, b"b")), (register(1, 5, b"a"), register(2, 6, b"b")),
        (cell(5), kernels.cell_add(cell(3, 2), 0, 4, 1, 0)), (cell(5), kernels.cell_add(cell(5), 0, 4, 1, 0)),
        (multi(b"a", 1), kernels.row_mend(multi(b"b", 1), cleared, IDS)), (multi(b"a", 1), multi(b"b", 2)),
    ]  # fmt: skip
    mine, theirs = [one for one, _ in pairs], [other for _, other in pairs]
    assert kernels.rows_merge([b""] * len(pairs), mine, theirs, {}, IDS, 9)[5] == [0, 2, 4]


@pytest.mark.parametrize("value", EDGES, ids=lambda value: repr(value)[:24])
def test_plain_values_pass_in_their_canonical_form_alone(kernels: Any, value: Any) -> None:
    assert value_is_clear(kernels, values.encode(value))
    if isinstance(value, (int, str, bytes)) and not isinstance(value, bool):
        for data in longer_forms(value):
            assert not value_is_clear(kernels, data)


def longer_forms(value: int | str | bytes) -> list[bytes]:
    """What means the same in MessagePack, and more bytes than needed."""
    plain = values.encode(value)
    forms = []
    if isinstance(value, int):
        for tag, size, signed in (
            (0xCC, 1, False), (0xCD, 2, False), (0xCE, 4, False), (0xCF, 8, False),
            (0xD0, 1, True), (0xD1, 2, True), (0xD2, 4, True), (0xD3, 8, True),
        ):  # fmt: skip
            try:
                forms.append(bytes((tag,)) + value.to_bytes(size, "big", signed=signed))
            except OverflowError:
                continue
    else:
        data = value.encode() if isinstance(value, str) else value
        tags = (0xD9, 0xDA, 0xDB) if isinstance(value, str) else (0xC4, 0xC5, 0xC6)
        for tag, size in zip(tags, (1, 2, 4), strict=True):
            if len(data) < 256**size:
                forms.append(bytes((tag,)) + len(data).to_bytes(size, "big") + data)
    return [form for form in forms if form != plain]


@given(value=st.binary(min_size=1, max_size=12) | PLAIN.map(lambda value: values.encode(value)), cut=st.integers(0, 3))
@settings(max_examples=500, deadline=None)
def test_what_passes_is_canonical(kernels: Any, value: bytes, cut: int) -> None:
    for data in (value, value[: len(value) - cut], value + b"\0" * cut):
        if data and value_is_clear(kernels, data):
            assert values.encode(values.decode(data)) == data


def test_what_is_doubtful_is_told(kernels: Any) -> None:
    flag, sale = kernels.presence_add(None, 0, 1), values.encode("sale")
    assert is_clear(kernels, b"k\0f", flag) and is_clear(kernels, b"k\0o" + sale, flag)
    assert is_clear(kernels, b"k\0ma\0mb\0f", flag) and not is_clear(kernels, b"k\0ma\0mb\0mc\0f", flag)
    assert not is_clear(kernels, b"k\0o" + values.encode(("a", 1)), flag) and not is_clear(kernels, b"k\0s\xa2a", flag)
    assert not is_clear(kernels, b"k\0o\xa1\xff", flag)
    assert not is_clear(kernels, b"k\0o" + values.encode("x" * 70), flag)
    up, down = kernels.cell_add(None, 0, 1, 1, 0), kernels.cell_add(None, 0, 1, 0, 1)
    assert is_clear(kernels, row_key(CELL), down)
    assert is_clear(kernels, b"k\0g\0\0\0\0", up) and not is_clear(kernels, b"k\0g\0\0\0\0", down)
    assert is_clear(kernels, row_key(LATEST), kernels.latest_set(None, 0, 1, STAMP_LAST, sale))
    assert not is_clear(kernels, row_key(LATEST), kernels.latest_set(None, 0, 1, STAMP_LAST + 1, sale))
    assert is_clear(kernels, row_key(LATEST), kernels.latest_set(None, 0, 1, 1, None))
    assert is_clear(kernels, row_key(VALUES), kernels.values_set(None, 0, 1, sale))
    assert not is_clear(kernels, row_key(VALUES), kernels.values_set(None, 0, 1, values.encode([1])))


def test_keys_that_ascend_are_told_apart(kernels: Any) -> None:
    flag, cells = kernels.presence_add(None, 0, 1), [kernels.cell_add(None, actor, 1, 1, 0) for actor in range(2)]
    names = [b"a\0f", b"ab\0f", b"ab\0oe", b"b\0f"]
    assert checked(kernels, [(name, flag) for name in names])[2:] == (b"a\0f", b"b\0f", True)
    for order in ((0, 0), (1, 0), (2, 1), (3, 2), (0, 2, 1)):
        assert not checked(kernels, [(names[number], flag) for number in order])[4]
    rows = [(row_key(CELL, 0), cells[0]), (row_key(CELL, 1), cells[1])]
    assert checked(kernels, rows, 2)[2:] == (b"k\0p", b"k\0p", True)
    assert not checked(kernels, rows[::-1], 2)[4]
    assert checked(kernels, [])[1:] == ([], b"", b"", True)


def test_columns_of_unequal_length_are_refused(kernels: Any) -> None:
    image = kernels.presence_add(None, 0, 1)
    for args in (([b"k"], [None], []), ([b"k"], [], [image]), ([], [None], [image])):
        with pytest.raises(ValueError, match="lists differ in length"):
            kernels.rows_merge(*args, {}, IDS, 0)
    with pytest.raises(ValueError, match="lists differ in length"):
        kernels.pairs_pack([b"k"], [])
    assert kernels.pairs_pack([b"k"], [None]) == b"\xc4\x01k\xc0"
    assert kernels.pairs_pack([b"k"], [None], b"head") == b"head\xc4\x01k\xc0"
    for size in (255, 256, 65535, 65536):
        assert kernels.pairs_pack([b"k"], [b"x" * size])[3:] == msgspec.msgpack.encode(b"x" * size)
