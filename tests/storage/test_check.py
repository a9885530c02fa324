"""`check` finds nothing in a sound store, and names each thing that is planted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from crdtsync.errors import ForeignDirectory, StoreInUse
from crdtsync.kernels import encode_log, encode_row
from crdtsync.storage.check import check, counted
from crdtsync.storage.table import (
    ACTORS,
    BUCKETS,
    DEAD,
    LOG,
    META,
    ROWS,
    decode_meta,
    decode_row,
    encode_meta,
    physical,
    prefix,
)
from tests.storage.helpers import add, batch, open_store, publish, pull, remove

RAW = dict[str, dict[bytes, bytes]]
DATABASES = (ROWS, LOG, DEAD, BUCKETS, ACTORS, META)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with a bit of everything."""
    store, other, rng = open_store(tmp_path / "s", name="a"), open_store(seed=2, name="b"), random.Random(4)
    publish(store, other)
    for _ in range(30):
        batch(store, rng, 5)
        batch(other, rng, 5)
    pull(store, other)
    store.transact("default", lambda txn: [add(txn, "s", "y" * 700), add(txn, "s", "dead")])
    store.transact("default", lambda txn: remove(txn, "s", "dead"))
    store.close()
    return tmp_path / "s"


def edit(path: Path, change: Callable[[RAW], None]) -> None:
    """Change the content of the row table behind the store's back."""
    with lmdb.open(str(path / "table.mdb"), subdir=False, max_dbs=16, map_size=1 << 26) as env:
        handles = {name: env.open_db(name.encode()) for name in DATABASES}
        with env.begin() as txn:
            before = {name: dict(txn.cursor(handle)) for name, handle in handles.items()}
        after: RAW = {name: {bytes(k): bytes(v) for k, v in held.items()} for name, held in before.items()}
        change(after)
        with env.begin(write=True) as txn:
            for name, handle in handles.items():
                txn.drop(handle, delete=False)
                for key, value in after[name].items():
                    txn.put(key, value, db=handle)


def record(raw: RAW, change: Callable[[list], None]) -> None:  # type: ignore[type-arg]
    key = prefix(1)
    held = decode_meta(key, raw[BUCKETS][key], "record")
    change(held)
    raw[BUCKETS][key] = encode_meta(key, held)


def test_a_sound_store_is_sound_open_or_killed(tmp_path: Path, path: Path) -> None:
    report = check(path)
    assert report.ok and not report.notes, report.lines()
    assert report.figures["rows"] > 10 and report.figures["log_entries"] >= report.figures["rows"]
    assert report.figures["dead_rows"] > 0
    assert "is sound" in report.lines()[-1]
    store = open_store(tmp_path / "killed")
    store.transact("default", lambda txn: add(txn, "s", 1))
    store.abandon()
    report = check(tmp_path / "killed")
    assert report.ok and report.figures["journal_records"] >= 1


def flip_row(raw: RAW) -> None:
    key = next(iter(raw[ROWS]))
    raw[ROWS][key] = raw[ROWS][key][:-1] + bytes((raw[ROWS][key][-1] ^ 1,))


def malform_row(raw: RAW) -> None:
    key = next(key for key in raw[ROWS] if len(key) < 400)
    raw[ROWS][key] = encode_row(key, key[4:], b"\x00\x01\x00\x00\x00")


def move_row(raw: RAW) -> None:
    long = next(key for key in raw[ROWS] if len(key) == 511)
    row = decode_row(long, raw[ROWS][long])
    assert row is not None
    other = long[:-1] + bytes((long[-1] ^ 1,))
    raw[ROWS][other] = encode_row(other, row[0], row[1])


def drop_log(raw: RAW) -> None:
    raw[LOG].pop(next(iter(raw[LOG])))


def flip_log(raw: RAW) -> None:
    key = next(iter(raw[LOG]))
    raw[LOG][key] = raw[LOG][key][:-1] + bytes((raw[LOG][key][-1] ^ 1,))


def stale_log(raw: RAW) -> None:
    key = next(iter(raw[LOG]))[:-1] + b"\xff"
    raw[LOG][key] = encode_log(key, next(iter(raw[ROWS])))


def lost_row(raw: RAW) -> None:
    raw[ROWS].pop(next(key for key in raw[ROWS] if key not in raw[DEAD]))


def mark_dead(raw: RAW) -> None:
    raw[DEAD][next(key for key in raw[ROWS] if key not in raw[DEAD])] = b""


def mark_alive(raw: RAW) -> None:
    raw[DEAD].pop(next(iter(raw[DEAD])))


def mark_nothing(raw: RAW) -> None:
    raw[DEAD][physical(1, b"nobody\0f")] = b""


def lower_clock(raw: RAW) -> None:
    record(raw, lambda held: held.__setitem__(5, [held[5][0], held[5][1] - 1, *held[5][2:]]))


def strange_clock(raw: RAW) -> None:
    record(raw, lambda held: held[5].extend([4000, 1]))


def high_floor(raw: RAW) -> None:
    record(raw, lambda held: held.__setitem__(6, [held[5][0], held[5][1] + 1]))


def wrong_digest(raw: RAW) -> None:
    record(raw, lambda held: held.__setitem__(0, bytes(16)))


def wrong_count(raw: RAW) -> None:
    record(raw, lambda held: held.__setitem__(1, held[1] + 1))


def flip_record(raw: RAW) -> None:
    raw[BUCKETS][prefix(1)] = raw[BUCKETS][prefix(1)][:-1] + b"\0"


def same_name(raw: RAW) -> None:
    raw[BUCKETS][prefix(9)] = encode_meta(prefix(9), [bytes(16), 0, 0, "default", 0, [], [], 0, [], None])


def same_actor(raw: RAW) -> None:
    key = prefix(2)
    raw[ACTORS][key] = encode_meta(key, decode_meta(prefix(1), raw[ACTORS][prefix(1)], "actor"))


def lost_actor(raw: RAW) -> None:
    raw[ACTORS].pop(prefix(1))


def lost_identity(raw: RAW) -> None:
    raw[META].pop(b"identity")


def flip_position(raw: RAW) -> None:
    raw[META][b"position"] = b"\0" + raw[META][b"position"][1:]


PLANTED = {
    flip_row: "fails its checksum",
    malform_row: "not well formed",
    move_row: "under the key of another row",
    drop_log: "the log lacks event",
    flip_log: "fails its checksum",
    stale_log: "leads to a row without that event",
    lost_row: "leads to no row",
    mark_dead: "alive and marked otherwise",
    mark_alive: "dead and marked otherwise",
    mark_nothing: "stands for no row",
    lower_clock: "beyond the clock",
    strange_clock: "not in the table",
    high_floor: "floor lies beyond",
    wrong_digest: "digest",
    wrong_count: "its record tells of",
    flip_record: "record of bucket 1 fails",
    same_name: "Two buckets have the name",
    same_actor: "has the id",
    lost_actor: "follows where",
    lost_identity: "lacks its identity",
    flip_position: "position fails its checksum",
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_named(plant: Callable[[RAW], None], path: Path) -> None:
    edit(path, plant)
    report = check(path)
    assert not report.ok
    assert PLANTED[plant] in " ".join(report.problems), report.lines()
    assert "is DAMAGED" in report.lines()[-1]


def test_files_that_are_cut_or_gone_are_named(path: Path) -> None:
    table, whole = path / "table.mdb", (path / "table.mdb").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"garbage", whole[:8192] + bytes(len(whole) - 8192)):
        table.write_bytes(content)
        assert "table.mdb" in check(path).problems[0]
    table.unlink()
    assert check(path).problems == ["table.mdb is missing."]
    table.write_bytes(whole)
    (segment,) = (path / "journal").glob("segment-*")
    kept = segment.read_bytes()
    segment.write_bytes(kept[:40] + b"x" + kept[41:])
    assert "header does not check out" in check(path).problems[0]
    segment.write_bytes(kept)
    (path / "journal" / "rescue-1-1").write_bytes(b"CRDTRSC1 and nonsense")
    (path / "journal" / "segment-1.damaged").write_bytes(b"x")
    report = check(path)
    assert "rescue-1-1" in report.problems[0] and "set aside" in report.notes[0]
    (path / "CRDTSYNC").write_text("nonsense")
    assert "does not name a format" in check(path).problems[0]


def test_many_problems_are_counted_and_some_are_told(path: Path) -> None:
    edit(path, lambda raw: raw[LOG].clear())
    edit(path, lambda raw: raw[DEAD].update({physical(1, b"%d\0f" % n): b"" for n in range(300)}))
    report = check(path)
    assert len(report.problems) == 100 and report.figures["problems"] > 300
    assert "more" in report.lines()[100]


def test_what_cannot_be_checked_says_so(path: Path, tmp_path: Path) -> None:
    store = open_store(path, name="")
    with pytest.raises(StoreInUse):
        check(path)
    store.close()
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    with pytest.raises(ForeignDirectory):
        check(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ForeignDirectory, match="is empty"):
        check(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_numbers_stand_before_the_right_noun(path: Path) -> None:
    assert [counted(1, "actors"), counted(2, "log entries"), counted(1, "log entries")] == [
        "1 actor", "2 log entries", "1 log entry",
    ]  # fmt: skip
