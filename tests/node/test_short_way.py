"""Counters that are written again and again: threads, batches, watchers, forks, ends of nodes and of processes."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from itertools import pairwise
from mmap import mmap
from pathlib import Path

import pytest

import crdtsync
from crdtsync.errors import Closed, CounterOverflow, Forked

CHILD = """
import sys, mmap
import crdtsync
node = crdtsync.open(sys.argv[1], journal_mapped=sys.argv[3] == "mapped")
file = open(sys.argv[2], "r+b")
told = mmap.mmap(file.fileno(), 8)
view = memoryview(told).cast("Q")
counter, other = node.pncounter("hot"), node.pncounter("other")
for number in range(1, 1 << 40):
    counter.increment()
    view[0] = number
    if not number % 5000:
        other.increment()
    if number == 20_000:
        print("going", flush=True)
"""


@pytest.mark.parametrize("journal", ["mapped", "plain"])
def test_a_step_that_has_returned_outlives_its_process(journal: str, tmp_path: Path) -> None:
    for turn in range(3):
        told = tmp_path / f"told-{turn}"
        told.write_bytes(bytes(8))
        args = [sys.executable, "-c", CHILD, str(tmp_path / f"d-{turn}"), str(told), journal]
        with subprocess.Popen(args, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline() == b"going\n"
            time.sleep(0.05 * turn)
            child.send_signal(signal.SIGKILL)
        with told.open("r+b") as file, mmap(file.fileno(), 8) as view:
            (returned,) = struct.unpack("Q", view[:])
        with crdtsync.open(tmp_path / f"d-{turn}") as node:
            assert node.pncounter("hot").value in (returned, returned + 1)
            # What came before the last step of "hot" is there, too.
            assert node.pncounter("other").value in (returned // 5000, returned // 5000 - 1, (returned + 1) // 5000)


def test_threads_share_a_counter(tmp_path: Path) -> None:
    with crdtsync.open(tmp_path / "d") as node:

        def work(handle: crdtsync.PNCounter) -> None:
            for _ in range(20_000):
                handle.increment(3)
                handle.decrement()

        threads = [threading.Thread(target=work, args=(node.pncounter("c"),)) for _ in range(4)]
        seen = []
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            seen.append(node.pncounter("c").value)
        assert node.pncounter("c").value == 160_000
        assert sum(node.clock().values()) == 160_000
        # Of two looks, one after the other, the later shows no less, but for steps down that came between.
        assert all(later >= earlier - 4 for earlier, later in pairwise(seen))
        digest = node.digest()
    with crdtsync.open(tmp_path / "d") as node:
        assert node.pncounter("c").value == 160_000 and node.digest() == digest


def test_a_batch_takes_no_short_way() -> None:
    with crdtsync.open(None) as node:
        counter = node.gcounter("c")
        for _ in range(5):
            counter.increment()
        with pytest.raises(RuntimeError, match="taken back"), node.batch():
            counter.increment(100)
            raise RuntimeError("taken back")
        with node.batch():
            counter.increment(10)
            assert counter.value == 5
        counter.increment()
        assert counter.value == 16


def test_the_bound_of_a_cell_holds() -> None:
    with crdtsync.open(None) as node:
        counter = node.pncounter("c")
        for _ in range(4):
            counter.increment()
        counter.increment(2**63 - 6)
        counter.increment()
        for _ in range(2):
            with pytest.raises(CounterOverflow):
                counter.increment()
        counter.decrement()
        assert counter.value == 2**63 - 2
        assert node.status()["counters"]["counter_overflow"] == 2


def test_who_watches_is_told_soon() -> None:
    with crdtsync.open(None) as node:
        counter = node.pncounter("c")
        with node.watch() as watcher:
            for _ in range(1000):
                counter.increment()
            deadline = time.monotonic() + 10
            for change in watcher:
                assert time.monotonic() < deadline
                if change.value == 1000:
                    break


@pytest.mark.parametrize("durability", ["group", "each", "os"])
def test_every_durability_keeps_the_steps(durability: str, tmp_path: Path) -> None:
    node = crdtsync.open(tmp_path / "d", durability=durability)
    counter = node.pncounter("c")
    for _ in range(300):
        counter.increment()
    if durability == "each":
        assert node.status()["storage"]["unsynced_bytes"] == 0
    node.close()
    with pytest.raises(Closed):
        counter.increment()
    with crdtsync.open(tmp_path / "d") as again:
        assert again.pncounter("c").value == 300


def test_a_forked_child_steps_nowhere(tmp_path: Path) -> None:
    with crdtsync.open(tmp_path / "d") as node:
        counter = node.pncounter("c")
        for _ in range(100):
            counter.increment()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for _ in range(100):
                    counter.increment()
                said = b"stepped"
            except Forked:
                said = b"forked"
            except BaseException as error:
                said = repr(error).encode()
            os.write(writer, said)
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 100) == b"forked"
        os.close(reader)
        os.close(writer)
        counter.increment()
        assert counter.value == 101
    with crdtsync.open(tmp_path / "d") as again:
        assert again.pncounter("c").value == 101


def test_counters_of_two_buckets_do_not_mix() -> None:
    with crdtsync.open(None) as node:
        one, two = node.bucket("one").pncounter("c"), node.bucket("two").pncounter("c")
        for turn in range(50):
            for _ in range(turn % 4 + 1):
                one.increment()
            two.increment(2)
            two.increment(2)
        assert one.value == sum(turn % 4 + 1 for turn in range(50)) and two.value == 200
