"""Makes the golden store of this format: `python -m tests.storage.golden`.  One that was committed stays for ever.

It holds every row kind, a long key, two buckets, members, a floor, an unfinished scan, answered requests, records that
no checkpoint has seen, a run among them, and a torn tail.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crdtsync.clocks.members import MEMBER, MemberRecord
from crdtsync.kernels import cell_add, cell_at, row_cell
from crdtsync.storage import facts
from crdtsync.storage.facts import payload
from crdtsync.storage.requests import DIGEST_BYTES, Request
from crdtsync.storage.store import Store
from crdtsync.storage.txn import Txn
from tests.storage.helpers import (
    add,
    increment,
    open_store,
    publish,
    pull,
    remove,
    requests_of,
    reset,
    rows_of,
    set_register,
    set_values,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "storage-v1.3"
SETTINGS = {"segment_bytes": 1 << 14, "map_bytes": 1 << 22}


def history(store: Store, other: Store) -> None:
    """A life of a store, short and full."""
    other.transact(
        "default", lambda txn: [set_register(txn, "r", "theirs"), set_values(txn, "v", 1), increment(txn, "c")]
    )
    store.transact("default", lambda txn: [add(txn, "s", item) for item in (1, "é", b"\0", None, True, "x" * 600)])
    publish(store, other)
    store.put_members([MemberRecord("n1", 1, MEMBER, "127.0.0.1:7400", 5), MemberRecord("n2", 3, MEMBER)])
    store.transact("default", lambda txn: [set_register(txn, "r", {"a": [1, 2.5]}), set_values(txn, "v", 2)])
    store.transact("second", lambda txn: increment(txn, "only", -3))
    pull(store, other)
    store.transact("default", lambda txn: [remove(txn, "s", 1), set_register(txn, "gone", 1)])
    store.transact("default", lambda txn: [set_register(txn, "gone", None, delete=True), reset(txn, "c")])
    store.collect("default", store.clock("default"), 1 << 63)
    store.transact("default", lambda txn: [remove(txn, "s", None), increment(txn, "c", 7)])
    part, after = other.scan("default", b"", 1)
    store.stage_scan("third", other.clock("default"), store.stage("third", part), after or b"x")
    ask(store, "default", "in-the-table", lambda txn: add(txn, "s", "asked"))
    store.checkpoint()
    ask(store, "second", "in-the-journal", lambda txn: increment(txn, "only", 2))
    ask(store, "second", "changes-nothing", lambda txn: None)
    store.transact("default", lambda txn: [add(txn, "s", "after the checkpoint"), set_values(txn, "v", 3)])
    journal_run(store)
    store.flush()
    store.transact("second", lambda txn: set_register(txn, "last", "before the torn tail"))


def ask(store: Store, bucket: str, request: str, ops: Callable[[Txn], object]) -> None:
    """A write with a request id."""
    store.transact_once(bucket, Request(request, request[:DIGEST_BYTES].encode()), ops)


def journal_run(store: Store) -> None:
    """Steps of one cell, as the compiled write path journals them; here step by step, on any kernels."""
    bucket, actor = store.named["second"], store.actors.index[store.actor()]
    key, first = b"only\0p" + actor.to_bytes(4, "big"), bucket.clock[actor] + 1
    before = bucket.get(key)
    image = cell_add(before, actor, first, 1, 0)
    _, _, _, ups, downs, *_ = row_cell(image)
    store.journal.tail.append_run(payload(facts.RUN, bucket.number, actor, key, image), first, ups, downs)
    store.journal.tail.step(first + 1, ups + 10, downs)
    store.journal.tail.step(first + 5, ups + 10, downs + 4)
    after = cell_at(image, actor, first + 5, ups + 10, downs + 4)
    bucket.install_events(actor, first + 5, [key], [key], [after], [before])


def described(store: Store) -> dict[str, Any]:
    """What must be found again."""
    requests = {key: [*entry[:-1], entry.digest.hex()] for key, entry in requests_of(store).items()}
    return {
        **({"requests": requests} if requests else {}),  # format 1.0 had none
        "node": store.node,
        "cluster": store.cluster(),
        "start": store.start,
        "actors": store.actors.ids,
        "members": sorted([r.node, r.epoch, r.state, r.address, r.start] for r in store.members().values()),
        "staging": [sorted(store.staging("third")[0].items()), store.staging("third")[1].hex()],  # type: ignore[index]
        "buckets": {
            name: {
                "clock": sorted(store.clock(name).items()),
                "floor": sorted(store.floor(name).items()),
                "stamp_floor": store.stamp_floor(name),
                "digest": f"{store.bucket(name).digest():032x}",  # type: ignore[union-attr]
                "rows": {key.hex(): image.hex() for key, image in rows_of(store, name).items()},
            }
            for name in store.buckets()
        },
    }


def make(target: Path) -> None:
    """Write store.tar.gz and expected.json into `target`."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "store"
        store, other = open_store(path, seed=1, **SETTINGS), open_store(seed=2, name="n2")
        history(store, other)
        expected = described(store)
        at = store.journal.position()
        store.abandon()
        segment = path / "journal" / f"segment-{at.segment:016x}"
        data = bytearray(segment.read_bytes())
        data[at.offset : at.offset + 30] = b"\x20\0\0\0torn by a crash in its middle"[:30]
        segment.write_bytes(data)
        target.mkdir(parents=True, exist_ok=True)
        (target / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
        (path / "table.mdb-lock").unlink()
        with tarfile.open(target / "store.tar.gz", "w:gz") as archive:
            archive.add(path, "store")
        shutil.rmtree(path)


if __name__ == "__main__":
    if GOLDEN.exists():
        sys.exit(f"{GOLDEN} is there and stays as it is; a new format gets a new directory.")
    make(GOLDEN)
