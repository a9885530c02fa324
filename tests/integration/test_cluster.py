"""Real nodes over loopback: joining under load, a partition by a proxy, a member that comes back elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import crdtsync
from crdtsync.ops.demo.proxy import Proxy
from tests.integration.waiting import until

SECONDS = 60.0


def opened(path: Path | None, *join: str, **settings: Any) -> crdtsync.Node:
    return crdtsync.open(path, **{"listen": "127.0.0.1:0", "join": list(join), "collect_interval": 0.05, **settings})


def agree(*nodes: crdtsync.Node) -> None:
    until(lambda: all(n.clock() == nodes[0].clock() and n.digest() == nodes[0].digest() for n in nodes), SECONDS)


@contextmanager
def load(node: crdtsync.Node, name: str) -> Iterator[list[int]]:
    """Writes as fast as it can, from a thread; gives the count of writes that returned."""
    returned, stop = [0], threading.Event()

    def write() -> None:
        while not stop.is_set():
            with node.batch():
                node.gcounter("total").increment()
                node.gcounter(name).increment()
                node.orset(f"{name}:set").add(returned[0] % 1000)
                node.orset(f"{name}:set").discard((returned[0] + 500) % 1000)
                node.map("map").pncounter(name).increment()
            returned[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield returned
    finally:
        stop.set()
        thread.join()


def test_joining_under_load(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as a:
        with load(a, "a") as by_a:
            until(lambda: by_a[0] > 300, SECONDS)
            b = opened(tmp_path / "b", a.address)
            c = opened(tmp_path / "c", b.address)
            assert c.gcounter("a").value > 300  # a joiner that is open holds what was there before
            with load(b, "b") as by_b, load(c, "c") as by_c:
                until(lambda: min(by_b[0], by_c[0]) > 200, SECONDS)
        with b, c:
            agree(a, b, c)
            for node in (a, b, c):
                assert [node.gcounter(name).value for name in "abc"] == [by_a[0], by_b[0], by_c[0]]
                assert node.gcounter("total").value == by_a[0] + by_b[0] + by_c[0]
                assert node.map("map").value == {"a": by_a[0], "b": by_b[0], "c": by_c[0]}


def test_a_partition_heals(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as a:
        outward, inward = Proxy(connect=True), Proxy()  # what b dials, and who dials b
        through = {"advertise": inward.address, "connect_proxy": outward.address}
        try:
            with opened(tmp_path / "b", a.address, **through) as b:
                inward.target = b.address
                b.orset("set").update("abc")
                agree(a, b)
                outward.cut()
                inward.cut()
                for number in range(100):
                    a.pncounter("stock").increment(2)
                    b.pncounter("stock").decrement(1)
                    a.orset("set").add(f"a{number}")
                b.orset("set").clear()
                a.orset("set").add("b")  # not seen by the clear: it survives
                assert (a.pncounter("stock").value, b.pncounter("stock").value) == (200, -100)
                outward.heal()
                inward.heal()
                agree(a, b)
                assert a.pncounter("stock").value == 100
                assert a.orset("set").value == {"b", *(f"a{number}" for number in range(100))}
        finally:
            outward.close()
            inward.close()


def test_a_member_comes_back_at_another_port(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as a, opened(tmp_path / "b", a.address) as b:
        with opened(tmp_path / "c", b.address) as c:
            c.gcounter("hits").increment()
            agree(a, b, c)
            was = c.address
        with opened(tmp_path / "c", listen="127.0.0.1:0") as c:
            assert c.address != was
            c.gcounter("hits").increment()
            agree(a, b, c)
            assert a.gcounter("hits").value == 2


def test_two_processes_on_one_directory_and_two_opens_in_one(tmp_path: Path) -> None:
    import subprocess
    import sys

    with opened(tmp_path / "a") as a:
        a.gcounter("hits").increment()
        for name in ("here", "elsewhere"):
            if name == "here":
                try:
                    crdtsync.open(tmp_path / "a")
                except crdtsync.errors.StoreInUse as error:
                    assert str(tmp_path / "a") in str(error)
                else:
                    raise AssertionError("opened twice")
            else:
                code = f"import crdtsync; crdtsync.open({str(tmp_path / 'a')!r})"
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
                assert done.returncode != 0
                assert "StoreInUse" in done.stderr
        assert a.gcounter("hits").value == 1
