"""accept_damage on a damaged table: what can be read is kept, what is missing is named, and nothing is invented."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from crdtsync.errors import RowDamaged, StoreDamaged
from crdtsync.storage import trust
from crdtsync.storage.check import check
from crdtsync.storage.pages import HEADER, LEAF, NODE
from crdtsync.storage.store import Store
from tests.storage.helpers import add, bucket_of, check_inner, garbage, open_store, publish, remove, rows_of, state_of

PAGE = 4096
LOST = b"s\0o\xabelement 200"  # a row key


def made(path: Path, published: bool = True) -> tuple[dict[bytes, bytes], dict[int, int]]:
    """A closed store of several pages of rows, dead ones, values on overflow pages, and long keys; rows and clock."""
    store = open_store(path, seed=1)
    if published:
        publish(store)
    store.transact("default", lambda txn: [add(txn, "s", f"element {n}") for n in range(400)])
    store.transact("default", lambda txn: [remove(txn, "s", f"element {n}") for n in range(0, 400, 9)])
    store.transact("default", lambda txn: [add(txn, "long", "x" * 600 + str(n)) for n in range(5)])
    store.transact("second", lambda txn: add(txn, "s", 1))
    store.checkpoint()
    rows, clock = rows_of(store), store.clock("default")
    store.close()
    return rows, clock


def test_what_can_be_read_is_kept_whichever_page_is_lost(tmp_path: Path) -> None:
    rows, clock = made(tmp_path / "sound")
    expected = state_of(store := open_store(tmp_path / "sound"))
    store.close()
    rng, outcomes = random.Random(3), {"whole": 0, "in part": 0, "refused": 0}
    for page in range((tmp_path / "sound" / "table.mdb").stat().st_size // PAGE):
        path = tmp_path / f"page{page}"
        shutil.copytree(tmp_path / "sound", path)
        garbage(path / "table.mdb", page, rng)
        damaged = (path / "table.mdb").read_bytes()
        try:
            store = open_store(path, accept_damage=True)
        except StoreDamaged as error:
            outcomes["refused"] += 1
            assert "beyond what can be salvaged" in str(error) and "peer or a backup" in str(error)
            assert (path / "table.mdb").read_bytes() == damaged, "nothing is changed"
            continue
        bucket = bucket_of(store)
        assert store.clock("default") == clock
        named = set(bucket.damaged.values())
        if b"" in named or named:
            outcomes["in part"] += 1
        else:
            outcomes["whole"] += 1
            assert state_of(store) == expected
            check_inner(store)
        found = {}
        for key in rows:
            try:
                found[key] = bucket.get(key)
            except RowDamaged:
                assert key in named or (len(key) > 506 and b"" in named), "a long key can be lost with its row"
        missing = {key for key, image in found.items() if image is None}
        assert not missing or b"" in named, "a row that is missing is named, or the bucket says that some are"
        assert all(image == rows[key] for key, image in found.items() if image is not None)
        store.close()
        assert not trust.problems(path / "table.mdb")
        shutil.rmtree(path)
    assert min(outcomes.values()) > 0, outcomes


def lose_leaf(path: Path, keep_log: bool) -> None:
    """Overwrite the page that holds one row of the middle; with `keep_log` False every page that names it, too."""
    table = path / "table.mdb"
    data, rng = table.read_bytes(), random.Random(1)
    for page in range(2, len(data) // PAGE):
        nodes = leaf_nodes(data[page * PAGE : (page + 1) * PAGE])
        if any(LOST in key or (LOST in value and not keep_log) for key, value in nodes):
            garbage(table, page, rng)


def leaf_nodes(page: bytes) -> list[tuple[bytes, bytes]]:
    """Keys and values of a leaf page; what stands between its nodes is what was there before."""
    _, _, flags, lower, _ = HEADER.unpack_from(page)
    found = []
    for at in range(HEADER.size, lower - 1, 2) if flags == LEAF else ():
        offset = int.from_bytes(page[at : at + 2], "little")
        low, _, kind, size = NODE.unpack_from(page, offset)
        end = offset + NODE.size + size
        found.append((page[offset + NODE.size : end], b"" if kind else page[end : end + low]))
    return found


def mend(store: Store, peer: Store) -> None:
    """As the engine does it: what the peer has under the keys, then a transfer, at once."""
    keys = store.damaged_keys("default")
    with store.lock:
        store.repair("default", keys, peer.rows_at("default", keys))
        answer = peer.answer("default", store.clock("default"), 1 << 20, 1 << 40)
        assert answer is not None
        staged = [store.stage("default", part) for part in answer.parts]
        store.apply("default", staged, answer.target, answer.floor, answer.stamp_floor)


def test_rows_that_the_log_names_are_mended_by_a_peer(tmp_path: Path) -> None:
    rows, _ = made(tmp_path / "s")
    shutil.copytree(tmp_path / "s", tmp_path / "peer")
    lose_leaf(tmp_path / "s", keep_log=True)
    with pytest.raises(StoreDamaged, match="LMDB would not survive it"):
        open_store(tmp_path / "s")
    store = open_store(tmp_path / "s", seed=5, accept_damage=True)
    assert store.counters["tables_salvaged"] == 1
    named = store.damaged("default")
    assert named and b"" not in named and (tmp_path / "s" / "table.mdb.damaged").exists()
    with pytest.raises(RowDamaged):
        bucket_of(store).get(LOST)
    peer = open_store(tmp_path / "peer", seed=6)
    mend(store, peer)
    assert not store.damaged("default")
    assert rows_of(store) == rows
    check_inner(store)
    store.checkpoint()
    check_inner(store)
    store.close()
    report = check(tmp_path / "s")
    assert report.ok, report.lines()
    peer.close()


def test_rows_that_nothing_names_make_the_bucket_start_over(tmp_path: Path) -> None:
    made(tmp_path / "s")
    lose_leaf(tmp_path / "s", keep_log=False)
    store = open_store(tmp_path / "s", seed=5, accept_damage=True)
    assert b"" in store.damaged("default"), "no repair can mend it, so the engine gives the bucket up"
    store.give_up("default")
    kept = len(bucket_of(store).scan_rows(b"", b"", 10_000, skip_damaged=True))
    assert store.replace("default", [], {}, {}, 0, {}).rescued == kept > 100
    assert not store.damaged("default")
    store.close()


def test_a_store_that_was_never_published_goes_on_with_what_is_left(tmp_path: Path) -> None:
    rows, _ = made(tmp_path / "s", published=False)
    lose_leaf(tmp_path / "s", keep_log=True)
    store = open_store(tmp_path / "s", seed=5, accept_damage=True)
    left = rows_of(store)
    assert 100 < len(left) < len(rows) and left.items() < rows.items()
    assert store.counters["rows_forgotten"] == len(rows) - len(left)
    assert not store.damaged("default")
    store.transact("default", lambda txn: add(txn, "s", "element 200"))
    check_inner(store)
    store.checkpoint()
    store.close()
    assert check(tmp_path / "s").ok


def test_what_the_journal_holds_comes_on_top(tmp_path: Path) -> None:
    rows, _ = made(tmp_path / "s")
    store = open_store(tmp_path / "s", seed=4)
    store.transact("default", lambda txn: [add(txn, "s", "element 200"), add(txn, "after", 1)])
    store.abandon()
    lose_leaf(tmp_path / "s", keep_log=True)
    store = open_store(tmp_path / "s", seed=5, accept_damage=True, verify_on_open="always")
    assert bucket_of(store).get(b"after\0o\x01") is not None
    assert bucket_of(store).get(LOST) is not None, "a record holds the whole row"
    assert LOST not in store.damaged("default")
    assert set(store.damaged("default")) < set(rows)
    store.close()
