"""Collection: what is dead, stable and past goes, with its floor, and nothing else."""

from __future__ import annotations

import random

import pytest

from crdtsync.kernels import LATEST, row_covered, row_dead, row_kind, row_latest
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from tests.storage.helpers import (
    NOW,
    add,
    batch,
    bucket_of,
    check_inner,
    on_seams,
    open_store,
    register,
    remove,
    rows_of,
    set_register,
    state_of,
)


@pytest.mark.parametrize("seed", range(10))
def test_collects_exactly_what_a_full_scan_would(seed: int) -> None:
    rng, seam = random.Random(seed), (MemoryDisk(), MemoryMap())
    store = on_seams(*seam)
    store.transact("default", lambda txn: add(txn, "s", 0))
    for step in range(60):
        batch(store, rng, 4)
        if rng.random() < 0.3:
            store.checkpoint()
        if rng.random() < 0.4:
            clock = store.clock("default")
            stable = {actor: rng.randint(0, seq) for actor, seq in clock.items()} if rng.random() < 0.5 else clock
            now = (NOW << 16) + rng.choice([-1, 1 << 30])
            before, floor = rows_of(store), store.floor("default")
            inward = store.actors.inward(stable)
            dead = {key: image for key, image in before.items() if row_dead(image)}
            ready = {key for key, image in dead.items() if row_covered(image, inward)}
            past = {key for key in ready if row_kind(dead[key]) != LATEST or row_latest(dead[key])[0] <= now}
            done = store.collect("default", stable, now)
            assert (done.rows, done.waiting, done.future) == (len(past), len(dead) - len(ready), len(ready - past))
            assert rows_of(store) == {key: image for key, image in before.items() if key not in past}
            assert all(seq >= floor.get(actor, 0) for actor, seq in store.floor("default").items())
            check_inner(store)
        if rng.random() < 0.1:
            kept = state_of(store)
            store.abandon()
            store = on_seams(*seam, now=NOW + step)
            assert state_of(store) == kept
    store.checkpoint()
    assert bucket_of(store).dead == sum(map(row_dead, rows_of(store).values()))


def test_a_register_from_the_future_waits_and_raises_the_stamp_floor_when_it_goes() -> None:
    store = open_store()
    store.transact("default", lambda txn: set_register(txn, "r", 1))
    store.transact("default", lambda txn: set_register(txn, "r", None, delete=True))
    stamp = row_latest(rows_of(store)[register("r")])[0]
    assert store.collect("default", store.clock("default"), stamp - 1).future == 1
    assert store.stamp_floor("default") == 0
    assert store.collect("default", store.clock("default"), stamp).rows == 1
    assert store.stamp_floor("default") == stamp
    store.transact("default", lambda txn: set_register(txn, "r", 2))
    assert row_latest(rows_of(store)[register("r")])[0] == stamp + 1


def test_rows_that_wait_are_told_every_time_and_looked_at_once() -> None:
    store = open_store()
    store.transact("default", lambda txn: [add(txn, "s", n) for n in range(30)])
    store.transact("default", lambda txn: [remove(txn, "s", n) for n in range(30)])
    store.checkpoint()
    for _ in range(3):
        assert store.collect("default", {}, 0).waiting == 30
    assert bucket_of(store).examined is not None
    assert store.collect("default", store.clock("default"), 0).rows == 30
    assert store.collect("default", store.clock("default"), 0).waiting == 0


def test_what_was_collected_can_be_written_again() -> None:
    seam = MemoryDisk(), MemoryMap()
    store = on_seams(*seam)
    for turn in range(4):
        store.transact("default", lambda txn: add(txn, "s", 1))
        store.transact("default", lambda txn: remove(txn, "s", 1))
        store.checkpoint() if turn % 2 else None
        assert store.collect("default", store.clock("default"), 0).rows == 1
    assert rows_of(store) == {}
    assert bucket_of(store).digest() == 0
    store.transact("default", lambda txn: add(txn, "s", 1))
    store.checkpoint()
    assert len(rows_of(store)) == 1
    check_inner(store)
