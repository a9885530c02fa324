"""What checkpoints write of changed rows: both kernels say the same, and what they say is read back."""

from __future__ import annotations

import importlib
import random
from typing import Any, NamedTuple

from crdtsync.kernels import LOG_KEY, NUMBER, PLAIN_MAX, TableChanges, row_dead, row_log_dots, rows_digest
from crdtsync.storage.table import decode_log, decode_row, physical
from tests.kernels.golden import IDS, images
from tests.laws import implementations, load


def changed(rng: random.Random) -> tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]]:
    """Rows of every shape, some with keys too long for LMDB, and what each was before: nothing, the same kind, gone."""
    k = load("pure")
    shapes = list(images(k).values())
    rows: dict[bytes, bytes | None] = {}
    origin: dict[bytes, bytes | None] = {}
    for _ in range(400):
        image = rng.choice(shapes)
        others = [other for other in shapes if k.row_kind(other) == k.row_kind(image)]
        size = rng.choice((5, 30, PLAIN_MAX - 1, PLAIN_MAX, PLAIN_MAX + 1, 2000))
        key = rng.randbytes(size)
        rows[key] = rng.choice((image, image, image, None))
        origin[key] = rng.choice((None, *others))
        if rng.random() < 0.3 and rows[key] is not None and k.row_kind(image) != 3:
            origin[key] = k.row_mend(rng.choice(others), image, IDS)
    return rows, origin


class Said(NamedTuple):
    """TableChanges as lists, in the order in which things were said."""

    rows: list[tuple[bytes, bytes]]
    log: list[tuple[bytes, bytes]]
    marks: list[tuple[bytes, bytes]]
    gone: list[bytes]
    stale: list[bytes]
    alive: list[bytes]


def said(which: str, number: int, keys: list[bytes], rows: Any, origin: Any) -> tuple[Any, Said]:
    module = importlib.import_module("crdtsync._native" if which == "native" else "crdtsync.pure.table")
    out = TableChanges(*(module.Entries() for _ in range(6)))
    counts = module.table_rows(number, [(key, rows[key]) for key in keys], origin, out, physical)
    pairs = [list(entries.pairs(0, len(entries))) for entries in out]
    return counts, Said(pairs[0], pairs[1], pairs[2], *(list(entries) for entries in out[3:]))


def test_both_say_the_same() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        rows, origin = changed(rng)
        number = rng.choice((1, 2**32 - 1))
        answers = [said(which, number, list(rows), rows, origin) for which in implementations()]
        assert all(answer == answers[0] for answer in answers)


def test_what_is_said_is_what_has_changed() -> None:
    rng = random.Random(7)
    rows, origin = changed(rng)
    for which in implementations():
        (more, dead, size, digest), out = said(which, 9, list(rows), rows, origin)
        new = {key: image for key, image in rows.items() if image is not None}
        assert more == len(new) - sum(old is not None for old in origin.values())
        assert dead == sum(map(row_dead, new.values())) - sum(row_dead(old) for old in origin.values() if old)
        assert size == sum(len(key) + len(image) for key, image in new.items())
        assert digest == (rows_digest(list(new.items())) - rows_digest(list(origin.items()))) % 2**128 != 0
        assert {decode_row(key, value) for key, value in out.rows} == set(new.items())
        assert {key[:4] for key, _ in out.rows} == {NUMBER.pack(9)}
        assert sorted(out.gone) == sorted(physical(9, key) for key in rows if rows[key] is None)
        for key in rows:
            now = set(row_log_dots(new[key])) if key in new else set()
            before = set() if origin[key] is None else set(row_log_dots(origin[key]))  # type: ignore[arg-type]
            for dot in now - before:
                at = LOG_KEY.pack(9, *dot)
                assert any(entry[0] == at and decode_log(*entry) == physical(9, key) for entry in out.log)
            for dot in before - now:
                assert LOG_KEY.pack(9, *dot) in out.stale
        assert len(out.marks) - len(out.alive) == dead


def some_of(rng: random.Random, written: list[tuple[bytes, bytes]], head: int) -> list[tuple[bytes, bytes]]:
    """Up to eight pairs; half of the time one of them is spoilt, or cut within the `head` bytes that a value needs."""
    pairs = rng.sample(written, min(8, len(written)))
    if rng.random() < 0.5:
        at = rng.randrange(len(pairs))
        key, value = pairs[at]
        broken = bytearray(value)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        pairs[at] = rng.choice(((key, bytes(broken)), (key, value[: rng.randrange(head)]), (key[:3], value)))
    return pairs


def answer_of(kernel: str, pairs: list[tuple[bytes, bytes]], most: int, kept: list[Any]) -> tuple[int, list[Any]]:
    """How far a reader gets, and what it adds to `kept`; the same on all kernels."""
    answers = []
    for which in implementations():
        module = importlib.import_module("crdtsync._native" if which == "native" else "crdtsync.pure.table")
        found = list(kept)
        answers.append((getattr(module, kernel)(pairs, most, found), found))
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def test_both_read_the_same() -> None:
    rng = random.Random(3)
    for _ in range(200):
        rows, origin = changed(rng)
        _, out = said("pure", 9, list(rows), rows, origin)
        pairs = some_of(rng, out.rows, 6)
        answer = answer_of("table_read", pairs, 495, [(b"kept", b"")])
        good = [decode_row(*pair) if len(pair[0]) < 495 else None for pair in pairs]
        until = good.index(None) if None in good else len(good)
        assert answer == (until, [(b"kept", b""), *good[:until]])


def test_both_follow_the_log_alike() -> None:
    rng = random.Random(4)
    for _ in range(200):
        rows, origin = changed(rng)
        _, out = said("pure", 9, list(rows), rows, origin)
        pairs = some_of(rng, out.log, 4)
        answer = answer_of("log_read", pairs, 511, [])
        good = [decode_log(*pair) if len(pair[0]) == 16 else None for pair in pairs]
        short = [key is not None and len(key) < 511 for key in good]
        until = short.index(False) if False in short else len(good)
        assert answer == (until, [key[4:] for key in good[:until] if key is not None])


def test_both_read_one_row_alike() -> None:
    rng = random.Random(5)
    for _ in range(200):
        rows, origin = changed(rng)
        keys = [key for key, image in rows.items() if image is not None]
        _, out = said("pure", 9, keys, rows, origin)
        at = rng.randrange(len(keys))
        (pair,) = some_of(rng, [out.rows[at]], 6)
        number = rng.choice((9, 9, 9, 10))
        answers = [
            importlib.import_module("crdtsync._native" if which == "native" else "crdtsync.pure.table").row_read(
                number, keys[at], pair[1]
            )
            for which in implementations()
        ]
        good = number == 9 and len(keys[at]) <= PLAIN_MAX and decode_row(out.rows[at][0], pair[1]) is not None
        assert answers == [rows[keys[at]] if good else None] * len(answers)
