"""Small stores, row keys and operations for the storage tests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from crdtsync.config import Config
from crdtsync.datatypes import values
from crdtsync.kernels import (
    cell_add,
    cell_reset,
    latest_set,
    presence_add,
    presence_remove,
    row_context,
    row_dead,
    row_latest,
    row_log_dots,
    rows_digest,
    values_set,
)
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.disk import Disk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.requests import ENTRY, Entry
from crdtsync.storage.store import Store
from crdtsync.storage.txn import Txn

PART = 1 << 20
NO_BOUND = 1 << 40
NOW = 1_700_000_000_000


def config(**settings: Any) -> Config:
    """Settings of a small store: a start costs a 64 KiB segment instead of 16 MiB."""
    return Config(**{"name": "n1", "segment_bytes": 1 << 16, "map_bytes": 1 << 26, **settings})


def open_store(path: Path | None = None, seed: int = 1, now: int = NOW, **settings: Any) -> Store:
    """A store with seeded chance and a clock that stands still."""
    return Store.open(path, config(**settings), random=random.Random(seed), now_ms=lambda: now)


def on_seams(disk: Disk, table: MemoryMap, seed: int = 1, now: int = NOW, **settings: Any) -> Store:
    """A store on the given disk and map, which outlive it."""
    return Store.open(
        None, config(**settings), disk=disk, maps=lambda: table, random=random.Random(seed), now_ms=lambda: now
    )


def register(name: str) -> bytes:
    return name.encode() + b"\0l"


def element(name: str, item: Any) -> bytes:
    return name.encode() + b"\0o" + values.encode_element(item)


def set_register(txn: Txn, name: str, value: Any, delete: bool = False) -> None:
    key = register(name)
    image = txn.get(key)
    stamp = txn.stamp(row_latest(image)[0] if image else -1)
    actor, seq = txn.next_event()
    txn.put(key, latest_set(image, actor, seq, stamp, None if delete else values.encode(value)))


def set_values(txn: Txn, name: str, value: Any) -> None:
    key = name.encode() + b"\0v"
    image = txn.get(key)
    actor, seq = txn.next_event()
    txn.put(key, values_set(image, actor, seq, values.encode(value)))


def add(txn: Txn, name: str, item: Any) -> None:
    key = element(name, item)
    image = txn.get(key)
    actor, seq = txn.next_event()
    txn.put(key, presence_add(image, actor, seq))


def remove(txn: Txn, name: str, item: Any) -> None:
    key = element(name, item)
    image = txn.get(key)
    if image is not None and not row_dead(image):
        actor, seq = txn.next_event()
        txn.put(key, presence_remove(image, actor, seq))


def increment(txn: Txn, name: str, by: int = 1) -> None:
    key = name.encode() + b"\0p" + txn.actor.to_bytes(4, "big")
    image = txn.get(key)
    actor, seq = txn.next_event()
    txn.put(key, cell_add(image, actor, seq, max(by, 0), max(-by, 0)))


def reset(txn: Txn, name: str) -> None:
    for key, image in txn.scan(name.encode() + b"\0p"):
        if not row_dead(image):
            actor, seq = txn.next_event()
            txn.put(key, cell_reset(image, actor, seq))


def random_op(rng: random.Random, txn: Txn) -> None:
    """One operation of any kind on a handful of objects."""
    kind, name = rng.randrange(8), rng.choice("abc")
    if kind == 0:
        set_register(txn, f"r{name}", rng.randrange(100))
    elif kind == 1:
        set_register(txn, f"r{name}", None, delete=True)
    elif kind in (2, 3):
        add(txn, f"s{name}", rng.randrange(12))
    elif kind == 4:
        remove(txn, f"s{name}", rng.randrange(12))
    elif kind == 5:
        increment(txn, f"c{name}", rng.choice([1, 5, -2]))
    elif kind == 6:
        set_values(txn, f"v{name}", rng.randrange(5))
    else:
        reset(txn, f"c{name}")


def batch(store: Store, rng: random.Random, size: int = 3, bucket: str = "default") -> None:
    """A transaction of some random operations."""

    def ops(txn: Txn) -> None:
        for _ in range(rng.randint(1, size)):
            random_op(rng, txn)

    store.transact(bucket, ops)


def bucket_of(store: Store, name: str = "default") -> Bucket:
    bucket = store.bucket(name)
    assert bucket is not None
    return bucket


def rows_of(store: Store, name: str = "default") -> dict[bytes, bytes]:
    """Every row, by a scan over all layers."""
    bucket = store.bucket(name)
    return {} if bucket is None else dict(bucket.all_rows())


def state_of(store: Store, name: str = "default") -> tuple[Any, ...]:
    """Everything that a bucket holds, in a form that can be compared."""
    bucket = store.bucket(name)
    digest = 0 if bucket is None else bucket.digest()
    return rows_of(store, name), store.clock(name), store.floor(name), store.stamp_floor(name), digest


def requests_of(store: Store) -> dict[str, Entry]:
    """The requests that a store knows, by bucket and id, in their order."""
    held = store.requests._held
    return {key.decode().replace("\0", "/"): Entry(*ENTRY.unpack(held[key])) for key in store.requests._order}


def live_meaning(store: Store, name: str = "default") -> int:
    """The digest, counted from all rows."""
    return rows_digest(list(rows_of(store, name).items()))


def check_inner(store: Store, name: str = "default") -> None:
    """What must hold at any time: digest, clock and log agree with the rows."""
    bucket, rows = bucket_of(store, name), rows_of(store, name)
    assert bucket.digest() == rows_digest(list(rows.items()))
    for image in rows.values():
        assert all(seq <= bucket.clock.get(actor, 0) for actor, seq in row_context(image))
    for actor, seq in bucket.clock.items():
        for known in {0, seq // 2, seq - 1}:
            clock = {**bucket.clock, actor: known}
            expected = sorted(key for key, image in rows.items() if beyond(image, clock))
            assert bucket.changed_since(clock) == expected
    assert bucket.changed_since({}) == sorted(rows)


def beyond(image: bytes, clock: dict[int, int]) -> bool:
    return any(seq > clock.get(actor, 0) for actor, seq in row_log_dots(image))


def publish(*stores: Store, cluster: int = 7) -> None:
    for store in stores:
        store.publish(cluster)


def lacking(store: Store, bucket: str, clock: dict[int, int], part_bytes: int, bytes_max: int) -> Any:
    """The parts of an answer; None for one that is too large."""
    answer = store.answer(bucket, clock, part_bytes, bytes_max)
    return None if answer is None else answer.parts


def pull(reader: Store, server: Store, bucket: str = "default") -> Any:
    """A whole transfer from one store to another."""
    with server.lock:
        parts = lacking(server, bucket, reader.clock(bucket), PART, NO_BOUND)
        target, floor, stamp = server.clock(bucket), server.floor(bucket), server.stamp_floor(bucket)
    assert parts is not None
    return reader.apply(bucket, [reader.stage(bucket, part) for part in parts], target, floor, stamp)


def garbage(table: Path, page: int, rng: random.Random, size: int = 4096) -> None:
    """Overwrite a page of a file."""
    with open(table, "r+b") as file:
        file.seek(page * size)
        file.write(rng.randbytes(size))
