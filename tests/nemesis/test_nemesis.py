"""Five nodes on hosts of their own, clients beside them, and everything that can go wrong at once, for a while."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crdtsync

from . import hosts as net
from .clients import FAIL, INFO, OK, History, Op, Worker
from .faults import Nemesis
from .hosts import Hosts
from .judges import judge, read
from .processes import Machine

NODES = 5
SECONDS = float(os.environ.get("NEMESIS_SECONDS", "60"))
SETTLE_MAX = 60.0  # s until all nodes agree after everything is mended


def op(kind: str, value: Any, outcome: str = OK, client: int = 1) -> Op:
    return Op(0, client, kind, value, outcome)


GOOD = {"marks": 2, "grow": [1], "set": [2], "count": 3, "own": [4], "map": {"a": 5, "b": 5}, "digest": "x"}
DONE = [op("mark", ("c", 1, 1)), op("mark", ("c", 1, 2)), op("mark", None, FAIL), op("grow", 1), op("add", 2),
        op("add", 6), op("discard", 6), op("step", 3), op("step", 9, FAIL), op("own", 4), op("map", 5),
        op("own", 8, FAIL)]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"marks": 1}, "1 marks, of 2 to 2"),
        ({"marks": 3}, "3 marks, of 2 to 2"),
        ({"grow": []}, "lost of grow"),
        ({"grow": [1, 7]}, "never added to grow"),
        ({"set": []}, "lost of the set"),
        ({"set": [2, 6]}, "there again"),
        ({"set": [2, 7]}, "never added to the set"),
        ({"count": 12}, "the counter says 12"),
        ({"own": [8]}, "own:1 holds 8"),
        ({"map": {}}, "the map is empty"),
        ({"map": {"a": 9, "b": 5}}, "nobody wrote"),
    ],
)
def test_judges(change: dict, fault: str) -> None:
    wrong = judge(DONE, {"n1": {**GOOD, **change}}, 1)
    assert any(fault in what for what in wrong) if fault else wrong == []


def test_judge_of_dots() -> None:
    again = [*DONE, op("mark", ("c", 1, 2)), op("mark", ("other", 1, 2))]
    assert judge(again, {"n1": {**GOOD, "marks": 4}}, 1) == ["dot ('c', 1, 2) was used 2 times"]


def test_judges_of_unknown_outcomes_and_of_differences() -> None:
    unknown = (("step", 2), ("own", 5), ("discard", 2), ("grow", 9), ("mark", None))
    history = [*DONE, *(op(kind, value, INFO) for kind, value in unknown)]
    one = {**GOOD, "marks": 3, "count": 5, "own": [5], "set": [], "grow": [1, 9]}
    assert judge(history, {"n1": one}, 1) == [] == judge(history, {"n1": GOOD}, 1)
    assert judge(history, {"n1": one, "n2": GOOD}, 1) == ["n2 differs"]


def clock_shim(directory: Path) -> Path:
    """The library that sets a process's wall clock off, compiled."""
    shim, source = directory / "clock.so", Path(__file__).with_name("clock.c")
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    return shim


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Hosts, dict[int, Machine]]]:
    shim = clock_shim(tmp_path)
    place = tmp_path / "machines"
    place.mkdir()
    hosts = Hosts(NODES + 1)
    made: dict[int, Machine] = {}
    try:
        for number in range(1, NODES + 2):
            made[number] = Machine(hosts, number, place, shim)
        yield hosts, made
    finally:
        for machine in made.values():
            machine.close()
        hosts.close()


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.skipif(bool(net.possible()), reason=net.possible() or "possible")
@pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler for the clock")
def test_everything_at_once(machines: tuple[Hosts, dict[int, Machine]], tmp_path: Path, capsys) -> None:
    seed = int(os.environ.get("NEMESIS_SEED", random.randrange(10**6)))
    hosts, all_machines = machines
    spare = all_machines[NODES + 1]
    nodes = {number: machine for number, machine in all_machines.items() if machine is not spare}
    for number, machine in nodes.items():
        machine.start([nodes[1].address] if number > 1 else [])
    history = History(tmp_path / "history.ndjson")
    workers = [
        Worker(number, machine.socket, {n: m.socket for n, m in nodes.items() if n != number}, history, seed)
        for number, machine in nodes.items()
    ]
    nemesis = Nemesis(hosts, nodes, spare, seed)
    for thread in (*workers, nemesis):
        thread.start()
    time.sleep(SECONDS)  # how long everything goes wrong
    for thread in (nemesis, *workers):
        thread.stopping.set()
        thread.join()
        assert thread.bug is None, f"seed {seed}: {thread.bug!r}"
    history.close()
    settled = settle(hosts, nodes)
    wrong = judge(history.ops, settled, len(nodes))
    outcomes = Counter(op.outcome for op in history.ops)
    with capsys.disabled():
        print(f"\n  seed {seed}: {dict(outcomes)} requests, faults {dict(nemesis.met)}")
    assert not wrong, f"seed {seed}, {tmp_path / 'history.ndjson'}: {wrong}"


def settle(hosts: Hosts, nodes: dict[int, Machine]) -> dict[str, dict]:
    """Mend everything, start all again, wait until all agree, and read every node twice."""
    hosts.heal()
    for number, machine in nodes.items():
        machine.drain()
        machine.shift(0.0)
        machine.kill()
        machine.start([other.address for n, other in nodes.items() if n != number])
    end = time.monotonic() + SETTLE_MAX
    while True:
        finals = {machine.name: final(machine, len(nodes)) for machine in nodes.values()}
        again = {machine.name: final(machine, len(nodes)) for machine in nodes.values()}
        if finals == again and len({each["digest"] for each in finals.values()}) == 1:
            return finals
        if time.monotonic() > end:
            return finals
        time.sleep(0.5)


def final(machine: Machine, clients: int) -> dict:
    with crdtsync.connect(machine.socket) as client:
        return read(client, clients)
