"""Runs: what the journal keeps of a counter that is written again and again, and what a crash leaves of it."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdtsync import kernels
from crdtsync.datatypes import gcounter, gset, lwwregister, mvregister, orset, pncounter, values
from crdtsync.datatypes.keys import Place, top
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import StoreDamaged
from crdtsync.handles import PNCounter
from crdtsync.handles.batches import CURRENT
from crdtsync.pure.tail import SLOT, SLOTS_SIZE
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.files import MappedDisk, PlainDisk
from crdtsync.storage.maps import Changes, MemoryMap
from crdtsync.storage.store import Store
from crdtsync.storage.table import ACTORS, BUCKETS, LOG, META, ROWS
from tests.laws import implementations
from tests.storage.helpers import check_inner, on_seams, open_store, state_of

COMPILED = pytest.mark.skipif(kernels.IMPLEMENTATION == "pure", reason="the pure kernels always go the long way")


class Backend:
    """As much of a bucket as a counter needs, right above a store."""

    def __init__(self, store: Store, name: str = "default") -> None:
        self.store, self.name = store, name
        self.writer = store.writer
        self.writer.batches = CURRENT
        self.long = 0  # writes that did not take the short way

    def write(self, verb: Verb, place: Place, argument: Any) -> None:
        self.long += 1
        if not self.writer.write(self.name, verb, place, argument):
            self.store.transact(self.name, lambda txn: verb.run(txn, place, argument))


def counter(store: Store, name: str = "c") -> tuple[PNCounter, Backend]:
    backend = Backend(store)
    return PNCounter(backend, top(name, pncounter.CODE)), backend  # type: ignore[arg-type]


def value(store: Store, name: str = "c") -> int:
    with store.lock:
        bucket = store.bucket("default")
        return 0 if bucket is None else pncounter.value(bucket.scan(f"{name}\0p".encode()), 0)


# -- the bytes


@pytest.mark.parametrize("make", [MemoryDisk, "plain", "mapped"])
def test_both_tails_write_the_same_bytes(make: Any, tmp_path: Path) -> None:
    rng, contents = random.Random(5), []
    script = [(rng.choice("arssss"), rng.randbytes(rng.randint(1, 90)), rng.getrandbits(40)) for _ in range(300)]
    for which in implementations():
        tail_type = importlib.import_module("crdtsync._native" if which == "native" else "crdtsync.pure.tail").Tail
        kinds: dict[str, Callable[[Path], Any]] = {"plain": PlainDisk, "mapped": MappedDisk}
        disk = kinds[make](tmp_path / which) if isinstance(make, str) else make()
        tail, segment = tail_type(7, 123, 3), disk.create("s", 1 << 17)
        tail.begin(segment, 80)
        numbers = []
        for what, payload, number in script:
            if what == "a":
                numbers.append(tail.append(payload, 0))
            elif what == "r":
                numbers.append(tail.append_run(payload, number, number + 1, number + 2))
            elif tail.open:
                tail.step(number, number + 3, 2**63 - 1)
        assert numbers == list(range(7, 7 + len(numbers)))
        state = tail.next, tail.seed, tail.offset, tail.open
        tail.seal()
        with pytest.raises(ValueError, match="no run is open"):
            tail.step(1, 1, 1)
        tail.let_go()
        segment.close()
        contents.append((disk.read("s"), state))
    assert all(content == contents[0] for content in contents)


def test_the_crc_is_that_of_zlib() -> None:
    """Records of every length around the eight bytes that the compiled one takes at a time."""
    for which in implementations():
        tail_type = importlib.import_module("crdtsync._native" if which == "native" else "crdtsync.pure.tail").Tail
        seeds = []
        for size in range(1, 70):
            disk = MemoryDisk()
            tail = tail_type(1, size, 0)
            tail.begin(disk.create("s", 4096), 0)
            tail.append(bytes(range(size)))
            seeds.append(tail.seed)
        assert len(set(seeds)) == len(seeds)
        if which == "pure":
            expected = seeds
        else:
            assert seeds == expected


# -- crashes


def stepped(disk: MemoryDisk, table: MemoryMap, steps: int) -> tuple[Store, int]:
    """A store whose counter has been written so often that its run is open; where the run's slots begin."""
    store = on_seams(disk, table)
    handle, _ = counter(store)
    for _ in range(steps):
        handle.increment()
    tail = store.journal.tail
    assert tail.open
    return store, tail.offset - SLOTS_SIZE


def copied(disk: MemoryDisk) -> MemoryDisk:
    copy = MemoryDisk()
    copy.files = {name: bytearray(content) for name, content in disk.files.items()}
    return copy


def same(table: MemoryMap) -> MemoryMap:
    """A copy of a table: the next start writes to it."""
    copy, changes, snapshot = MemoryMap(), Changes(), table.snapshot()
    for name in (ACTORS, BUCKETS, META, ROWS, LOG):
        changes.put(name, list(snapshot.range(name, b"")))
    snapshot.close()
    copy.commit(changes)
    return copy


@COMPILED
def test_a_step_that_is_torn_at_any_byte_leaves_the_one_before() -> None:
    for steps in (5, 6, 7):
        disk, table = MemoryDisk(), MemoryMap()
        store, slots = stepped(disk, table, steps)
        before = copied(disk)
        counter(store)[0].increment()  # another handle of the same counter goes through the lock, and goes on
        assert store.journal.tail.open and store.journal.tail.offset - SLOTS_SIZE == slots
        name = next(name for name, data in disk.files.items() if data != before.files[name])
        after, old = disk.files[name], before.files[name]
        changed = [at for at in range(len(old)) if old[at] != after[at]]
        turn = (changed[0] - slots) // SLOT.size
        start = slots + turn * SLOT.size
        assert slots <= changed[0] and changed[-1] < start + SLOT.size
        for copied_bytes in range(SLOT.size + 1):
            torn = copied(before)
            torn.files[name][start : start + copied_bytes] = after[start : start + copied_bytes]
            expected = steps + 1 if torn.files[name] == after else steps
            again = on_seams(torn, same(table), seed=2)
            assert value(again) == expected, copied_bytes
            check_inner(again)
            again.abandon()
        store.abandon()


@COMPILED
def test_without_a_good_step_a_run_is_a_torn_tail_or_damage() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store, slots = stepped(disk, table, 9)
    name = max(name for name in disk.files if name.startswith("segment-"))
    lost = copied(disk)
    lost.files[name][slots : slots + SLOTS_SIZE] = bytes(SLOTS_SIZE)
    again = on_seams(lost, same(table), seed=2)
    assert value(again) < 9
    check_inner(again)
    again.abandon()
    store.flush()
    ruined = copied(disk)
    ruined.files[name][slots : slots + SLOTS_SIZE] = bytes(SLOTS_SIZE)
    with pytest.raises(StoreDamaged, match="no step that passes its checksum"):
        on_seams(ruined, same(table), seed=3)


@COMPILED
@pytest.mark.parametrize("steps", [5, 6])
def test_what_follows_a_run_is_lost_with_its_last_step(steps: int) -> None:
    """A power cut may leave a sector and lose the one before it: a later event counts only with all steps before."""
    disk, table = MemoryDisk(), MemoryMap()
    store, slots = stepped(disk, table, steps)
    before = copied(disk)
    counter(store)[0].increment()
    store.transact("default", verb_run)
    name = next(name for name, data in disk.files.items() if data != before.files[name])
    cut = copied(disk)
    cut.files[name][slots : slots + SLOTS_SIZE] = before.files[name][slots : slots + SLOTS_SIZE]
    again = on_seams(cut, same(table), seed=2)
    assert value(again) == steps and sum(again.clock("default").values()) == steps
    check_inner(again)
    again.abandon()
    store.flush()
    store.transact("default", verb_run)  # a record that tells of the sync
    ruined = copied(disk)
    ruined.files[name][slots : slots + SLOTS_SIZE] = before.files[name][slots : slots + SLOTS_SIZE]
    with pytest.raises(StoreDamaged, match="fails its checksum"):
        on_seams(ruined, same(table), seed=3)


@COMPILED
@pytest.mark.parametrize("steps", [4, 5, 6])
def test_a_flipped_bit_in_a_run_that_was_synced_is_damage_unless_what_follows_tells_the_last_step(steps: int) -> None:
    """Not so in one that was not: there a bad slot is what a crash leaves of the step that was being written."""
    disk, table = MemoryDisk(), MemoryMap()
    store, slots = stepped(disk, table, steps)
    name = max(name for name in disk.files if name.startswith("segment-"))
    written = bytes(disk.files[name][slots : slots + SLOTS_SIZE])
    first, second = (int.from_bytes(written[at : at + 8], "little") for at in (0, SLOT.size))
    open_run = copied(disk)
    store.flush()
    synced = copied(disk)
    store.transact("default", verb_run)
    followed = copied(disk)
    store.abandon()
    for at in range(SLOTS_SIZE):
        newer = (at >= SLOT.size) == (second > first)
        for before, what in ((open_run, "torn"), (synced, "damage"), (followed, "damage" if newer else "harmless")):
            harmed = copied(before)
            harmed.files[name][slots + at] ^= 1 << at % 8
            if what == "damage":
                with pytest.raises(StoreDamaged, match=f"{name}, offset .* (slot of the run|fails its checksum)"):
                    on_seams(copied(harmed), same(table), seed=2)
                again = on_seams(harmed, same(table), seed=3, accept_damage=True)
                assert again.counters["damage_accepted"] == 1 and f"{name}.damaged" in harmed.files
            else:
                again = on_seams(harmed, same(table), seed=4)
            assert value(again) == steps - (newer and what != "harmless")
            check_inner(again)
            again.abandon()


@COMPILED
@pytest.mark.parametrize("synced", [False, True])
def test_a_step_that_was_torn_or_given_up_is_so_when_that_start_ends_early(
    synced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment that it made before its first checkpoint is chained on the step that it took for the last one."""
    disk, table = MemoryDisk(), MemoryMap()
    store, slots = stepped(disk, table, 6)
    if synced:
        store.flush()
    name = max(name for name in disk.files if name.startswith("segment-"))
    disk.files[name][slots + SLOT.size] ^= 1
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "checkpoint", ended)
        on_seams(disk, table, seed=2, accept_damage=synced)
    assert max(name for name in disk.files if name.startswith("segment-")) > name
    again = on_seams(disk, table, seed=3)
    assert value(again) == 5
    check_inner(again)


def ended(store: Store) -> None:
    raise KeyboardInterrupt


@COMPILED
def test_what_a_sync_or_a_checkpoint_covers_is_not_written_over() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store, _ = stepped(disk, table, 5)
    handle, _ = counter(store)
    for seal in (store.flush, store.checkpoint):
        seal()
        name = max(name for name in disk.files if name.startswith("segment-"))
        frozen = bytes(disk.files[name][: store.journal.tail.offset])
        assert not store.journal.tail.open
        for _ in range(5):
            handle.increment()
        written = bytes(disk.files[name][: len(frozen)])
        assert written[80:] == frozen[80:]  # the header's slots tell what has been synced
    again = on_seams(copied(disk), same(table), seed=2)
    assert value(again) == value(store) == 15


# -- the short way and the long one


OPERATIONS: list[tuple[Verb, Place, Callable[[random.Random], Any]]] = [
    (gcounter.INCREMENT, top("g", gcounter.CODE), lambda rng: rng.randint(1, 9)),
    (pncounter.ADD, top("p", pncounter.CODE), lambda rng: rng.choice((1, 5, -2))),
    (pncounter.ADD, top("q", pncounter.CODE), lambda rng: rng.choice((1, 2**62, -(2**40)))),
    (pncounter.RESET, top("p", pncounter.CODE), lambda rng: None),
    (gset.ADD, top("s", gset.CODE), lambda rng: values.encode(rng.randrange(5))),
    (orset.ADD, top("o", orset.CODE), lambda rng: values.encode("x" * rng.randrange(600))),
    (orset.DISCARD, top("o", orset.CODE), lambda rng: values.encode("x" * rng.randrange(600))),
    (lwwregister.SET, top("l", lwwregister.CODE), lambda rng: values.encode("y" * rng.randrange(70_000))),
    (lwwregister.CLEAR, top("l", lwwregister.CODE), lambda rng: None),
    (mvregister.SET, top("v", mvregister.CODE), lambda rng: values.encode(rng.random())),
]


@COMPILED
@pytest.mark.parametrize("seed", range(12))
def test_the_short_way_does_what_the_long_one_does(seed: int, tmp_path: Path) -> None:
    """The same operations on two stores; one takes the long way only.  Rows, clocks, log and digest are the same."""
    rng = random.Random(seed)
    settings = {"segment_bytes": 1 << 21} | ({"dirty_bytes_max": 1 << 40} if seed % 2 else {})
    short = open_store(tmp_path / "short" if seed % 3 else None, **settings)
    long = open_store(None, **settings)
    told: list[bytes] = []
    if seed % 4 == 3:
        short.on_change.append(lambda bucket, keys, local: told.extend(keys))
    handles = {place.name: PNCounter(Backend(short), place) for _, place, _ in OPERATIONS[1:3]}  # type: ignore[arg-type]
    for _ in range(400):
        verb, place, argue = rng.choice(OPERATIONS)
        for _ in range(rng.choice((1, 1, 2, 6)) if verb is pncounter.ADD else 1):
            argument = argue(rng)
            outcomes = []
            for store in (short, long):
                try:
                    if store is short and place.name in handles and verb is pncounter.ADD:
                        handles[place.name].increment(argument)
                    elif store is long or not short.writer.write("default", verb, place, argument):
                        store.transact("default", lambda txn: verb.run(txn, place, argument))  # noqa: B023
                    outcomes.append("")
                except Exception as error:
                    outcomes.append(f"{type(error).__name__}: {error}")
            assert outcomes[0] == outcomes[1]
        what = rng.randrange(12)
        if what == 0:
            short.flush()
        elif what == 1:
            short.checkpoint()
        elif what == 2 and short.named:
            check_inner(short)
        elif what == 3:
            assert state_of(short) == state_of(long)
    assert state_of(short) == state_of(long)
    check_inner(short)
    if seed % 4 == 3:
        assert set(told) == set(dict(short.named["default"].all_rows()))
    if seed % 3:
        short.abandon()  # as kill -9 leaves it
        again = open_store(tmp_path / "short", **settings)
        assert state_of(again) == state_of(long)
        check_inner(again)


@COMPILED
def test_steps_take_the_short_way_and_whoever_looks_finds_them() -> None:
    store = open_store()
    handle, backend = counter(store)
    for _ in range(1000):
        handle.increment(2)
        handle.decrement()
    assert backend.long < 10
    assert value(store) == 1000
    assert store.clock("default") == {0: 2000} or list(store.clock("default").values()) == [2000]
    log = store.named["default"].active.log
    assert sum(map(len, log.values())) == 1  # one row, one name
    handle.increment()
    assert backend.long < 12 and value(store) == 1001


@COMPILED
def test_another_write_in_between_goes_after_the_steps_before_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    handle, _ = counter(store)
    other = counter(store, "other")[0]
    for turn in range(50):
        for _ in range(4):
            handle.increment()
        if turn % 2:
            other.increment()
        else:
            store.transact("default", lambda txn: verb_run(txn))
    store.abandon()
    again = open_store(tmp_path / "s")
    assert value(again) == 200 and value(again, "other") == 25
    check_inner(again)


def verb_run(txn: Any) -> None:
    orset.ADD.run(txn, top("o", orset.CODE), values.encode(1))


@COMPILED
def test_a_listener_that_writes_ends_the_run_it_was_told_of(tmp_path: Path) -> None:
    """The step that it was told of is not the last record any more: the next one must not go into another's run."""
    store = open_store(tmp_path / "s")
    handle, _ = counter(store)
    other, _ = counter(store, "other")
    told: list[bytes] = []

    def listen(bucket: str, keys: list[bytes], local: bool) -> None:
        told.extend(keys)
        if keys[0].startswith(b"c\0") and len(told) < 40:
            other.increment()
            other.increment()

    store.on_change.append(listen)
    for _ in range(30):
        handle.increment()
    with store.lock:
        assert value(store) == 30 and value(store, "other") > 0
    seen = value(store, "other")
    store.abandon()
    again = open_store(tmp_path / "s")
    assert value(again) == 30 and value(again, "other") == seen
    check_inner(again)
