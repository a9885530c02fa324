"""Bulk calls on real nodes: checkpoints, peers, watchers, threads, the ends of processes, and how rows are found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crdtsync
from crdtsync import Node
from crdtsync.errors import Closed, Forked
from crdtsync.storage import bulk
from tests.node.test_cluster import cluster, converge
from tests.storage.helpers import check_inner

__all__ = ["cluster"]
KEYS = [f"key:{number:04}" for number in range(3000)]

CHILD = """
import sys
import crdtsync
node = crdtsync.open(sys.argv[1], checkpoint_interval=0.05)
keys = [f"key:{number:04}" for number in range(3000)]
for number in range(1, 1 << 40):
    node.increment_many(keys)
    print(number, flush=True)
"""


def test_a_call_that_has_returned_outlives_its_process_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "d")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        returned = 0
        while returned < 40:
            returned = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        returned = max([returned, *map(int, child.stdout.read().split())])
    with crdtsync.open(tmp_path / "d") as node:
        [value] = set(node.read_many(KEYS).tolist())  # all of a call, or none of it
        assert value in (returned, returned + 1)


def test_rows_are_found_wherever_they_are(open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    node = open_node()
    wanted = np.zeros(len(KEYS), np.int64)

    def write(step: int, start: int) -> None:
        node.increment_many(KEYS[start:], step)
        wanted[start:] += step

    def check() -> None:
        assert node.read_many(KEYS).tolist() == wanted.tolist()
        assert [node.pncounter(key).value for key in KEYS[::500]] == wanted[::500].tolist()
        with monkeypatch.context() as patched:
            patched.setattr(bulk, "PROBED_MAX", 0)  # as in a bucket of many actors
            assert node.read_many(KEYS).tolist() == wanted.tolist()
        for _ in range(2):  # what is absent is remembered, too
            assert node.read_many(["none", KEYS[0]]).tolist() == [0, wanted[0]]
            assert node.read_many(["none"], type="lwwregister").tolist() == [None]
        [page] = node.columns("key:", rows=10_000)
        assert page.values.tolist() == [value for value in wanted.tolist() if value]

    for start in (0, 1000, 2000):
        write(5, start)
        check()
        node._store.checkpoint()
        check()
        write(-2, start)
        check()
    node._store.checkpoint()
    rows = node._store.bucket("default")
    assert rows is not None
    rows.cache.clear()
    check()
    write(1, 500)
    digest = node.digest()
    node.close()
    node = open_node()
    check()
    assert node.digest() == digest
    write(3, 0)
    check()
    node.read_many(["new"])
    node.increment_many(["new"])
    assert node.read_many(["new"]).tolist() == [1]
    check_inner(node._store)


def test_peers_hold_the_same(cluster: Any) -> None:
    a, b = cluster("a", "b")
    a.increment_many(KEYS, np.arange(len(KEYS)))
    b.increment_many(KEYS, -1)
    a.add_many([f"tags:{number % 7}" for number in range(500)], list(range(500)))
    b.set_many(KEYS, KEYS)
    converge((a, b))
    assert a.read_many(KEYS).tolist() == b.read_many(KEYS).tolist() == list(range(-1, len(KEYS) - 1))
    assert a.read_many(KEYS, type="lwwregister").tolist() == KEYS
    assert sum(map(len, b.read_many([f"tags:{number}" for number in range(7)], type="orset"))) == 500


def test_watchers_are_told(node: Node) -> None:
    with node.watch() as changes:
        node.increment_many(["a", "b", "a"], [1, 2, 3])
        told = {(change.key, change.value) for change in (next(changes), next(changes))}
    assert told == {("a", 4), ("b", 2)}


def test_threads_write_the_same_keys(open_node: Callable[..., Node]) -> None:
    node = open_node(checkpoint_interval=0.02)

    def work() -> None:
        for _ in range(10):
            node.increment_many(KEYS[:1500])
            node.pncounter(KEYS[0]).increment()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        values = node.read_many(KEYS[1:1500])
        assert values.min() == values.max(), "no call is seen half"
    for thread in threads:
        thread.join()
    assert node.read_many(KEYS[:1501]).tolist() == [60, *[30] * 1499, 0]


def test_durability_each_waits(open_node: Callable[..., Node]) -> None:
    node = open_node(durability="each")
    node.increment_many(KEYS)
    storage = node.status()["storage"]
    assert storage["synced_record"] == storage["last_record"]


def test_closed_and_forked_nodes_refuse(tmp_path: Path) -> None:
    node = crdtsync.open(tmp_path / "d")
    node.increment_many(["a"])
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            node.increment_many(["a"])
        except Forked:
            ended = 0
        os._exit(ended)
    assert os.waitpid(child, 0)[1] == 0
    node.close()
    for call in (lambda: node.increment_many(["a"]), lambda: node.read_many(["a"]), lambda: list(node.columns())):
        with pytest.raises(Closed):
            call()
