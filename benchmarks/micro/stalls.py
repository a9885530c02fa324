"""How long a local writer is held up while a long transfer is finished, and while many tiny rows are served.

    python -m benchmarks.micro.stalls [--finished ROWS] [--served ROWS] [DIRECTORY]

A thread increments one counter in a loop; its longest step during the work is set against the length of the work (what
it would wait if the work were one hold of the lock), and against its longest step while nothing else goes on.  The
reader of the long transfer holds half of the rows before, so that both are joined; all stores lie on a real disk.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from crdtsync.config import Config
from crdtsync.datatypes import values
from crdtsync.kernels import cell_add, presence_add
from crdtsync.storage.background import Background
from crdtsync.storage.store import Store
from crdtsync.storage.txn import Txn

BATCH = 5_000  # rows of one transaction while a store is filled
NO_BOUND = 1 << 40
IDLE = 1.0  # s for which the writer is alone
CLUSTER = 7


def open_store(path: Path, name: str) -> Store:
    store = Store.open(path, Config(name=name, checkpoint_interval=60.0))
    store.publish(CLUSTER)
    return store


def fill(store: Store, first: int, last: int) -> None:
    """Elements `first` to `last` of one set."""

    def add(txn: Txn, numbers: range) -> None:
        for number in numbers:
            actor, seq = txn.next_event()
            txn.put(b"stock\0o" + values.encode_element(f"item:{number:07}"), presence_add(None, actor, seq))

    for start in range(first, last, BATCH):
        numbers = range(start, min(start + BATCH, last))
        store.transact("default", lambda txn, numbers=numbers: add(txn, numbers))  # type: ignore[misc]
    store.checkpoint()


def increment(store: Store) -> None:
    """One write, the smallest there is."""

    def once(txn: Txn) -> None:
        key = b"visits\0g" + txn.actor.to_bytes(4, "big")
        image = txn.get(key)
        actor, seq = txn.next_event()
        txn.put(key, cell_add(image, actor, seq, 1, 0))

    store.transact("default", once)


def longest_step(store: Store, work: Callable[[], object]) -> tuple[float, float, int]:
    """(seconds of the longest step of a writer while `work` runs, seconds that it runs, steps)."""
    stop, steps = threading.Event(), [0.0]

    def write() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            increment(store)
            steps.append(time.perf_counter() - began)

    writer = threading.Thread(target=write)
    writer.start()
    began = time.perf_counter()
    try:
        work()
    finally:
        took = time.perf_counter() - began
        stop.set()
        writer.join()
    return max(steps), took, len(steps)


def finishing(directory: Path, rows: int) -> tuple[Store, Callable[[], object]]:
    """A store with all parts of a long transfer staged, and what finishes it."""
    directory.mkdir()
    server, reader = open_store(directory / "server", "server"), open_store(directory / "reader", "reader")
    fill(server, 0, rows)
    fill(reader, rows // 2, rows)
    clock, after = server.clock("default"), b""
    while True:
        part, after = server.scan("default", after, server.config.part_bytes)
        reader.stage_scan("default", clock, reader.stage("default", part), after)
        if not after:
            break
    server.close()
    return reader, lambda: reader.finish_scan("default", [], clock, {}, 0)


def serving(directory: Path, rows: int) -> tuple[Store, Callable[[], object]]:
    """A store with many tiny rows, half of them not in the table yet, and what serves them."""
    directory.mkdir()
    store = open_store(directory / "sender", "sender")
    fill(store, 0, rows // 2)
    fill(store, rows // 2, rows)
    return store, lambda: store.answer("default", {}, store.config.part_bytes, NO_BOUND)


def measure(what: str, store: Store, work: Callable[[], object]) -> None:
    background = Background(store)
    background.start()
    try:
        alone, _, _ = longest_step(store, lambda: time.sleep(IDLE))
        step, took, steps = longest_step(store, work)
        print(f"{what:<28} {took:>8.2f} {1e3 * step:>10.1f} {step / took:>9.1%}", end="")
        print(f" {1e3 * alone:>10.1f} {step / alone:>8.1f}x {steps / took:>9,.0f}")
    finally:
        background.stop()
        store.close()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, default=200_000, help="rows of the long transfer; default 200000")
    parser.add_argument("--served", type=int, default=500_000, help="tiny rows that are served; default 500000")
    parser.add_argument("directory", nargs="?", help="where the stores lie for the time of this run")
    options = parser.parse_args(argv)
    print(
        f"{'work':<28} {'seconds':>8} {'stall ms':>10} {'of work':>9} {'alone ms':>10} {'to alone':>9} {'writes/s':>9}"
    )
    with tempfile.TemporaryDirectory(dir=options.directory) as place:
        what = f"finish {options.finished:,} rows"
        measure(what, *finishing(Path(place, "finish"), options.finished))
        measure(f"serve {options.served:,} rows", *serving(Path(place, "serve"), options.served))


if __name__ == "__main__":
    main()
