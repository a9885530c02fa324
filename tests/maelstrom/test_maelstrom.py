"""Clusters of `crdtsync maelstrom` under partitions and latency: every workload, judged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import workloads
from .bench import Bench
from .checkers import Op, available, check_counter, check_ids, check_set

Check = Callable[[list[Op], list[str]], list[str]]
WORKLOADS: dict[str, tuple[workloads.Ask, str, Check]] = {
    "g-set": (workloads.grow_set, "value", check_set),
    "broadcast": (workloads.broadcast, "messages", check_set),
    "g-counter": (workloads.grow_counter, "value", check_counter),
    "pn-counter": (workloads.pn_counter, "value", check_counter),
    "unique-ids": (workloads.unique_ids, "id", lambda history, nodes: check_ids(history)),
}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def start(count: int, rng: random.Random, **faults: float) -> Bench:
        benches.append(Bench(count, tmp_path, rng, **faults))
        return benches[-1]

    yield start
    for bench in benches:
        bench.stop()


def judge(bench: Bench, name: str, rng: random.Random, seconds: float, rate: float, cuts: int) -> list[Op]:
    ask, field, check = WORKLOADS[name]
    history = workloads.run(bench, ask, field, seconds, rate, cuts, rng)
    assert check(history, list(bench.nodes)) == []
    assert available(history) == 1.0, "a local write waits for nobody"
    return history


def test_every_workload(make: Callable[..., Bench]) -> None:
    """One cluster, one workload after another: each has objects of its own."""
    rng = random.Random(7)
    bench = make(3, rng, latency=0.01)
    assert bench.ask("c1", "n1", {"type": "echo", "echo": [1, "x"]})["echo"] == [1, "x"]
    assert bench.ask("c1", "n1", {"type": "topology", "topology": {}})["type"] == "topology_ok"
    assert bench.ask("c1", "n1", {"type": "nonsense"})["code"] == 10
    assert bench.ask("c1", "n1", {"type": "broadcast"})["code"] == 12
    for name in ("pn-counter", "unique-ids", "broadcast"):
        judge(bench, name, rng, 1.5, 20, 1)
    assert bench.network.counts["cut off"] > 0


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("faults", [{"latency": 0.1}, {"latency": 0.02, "loss": 0.2}], ids=["late", "lossy"])
def test_long_runs(make: Callable[..., Bench], name: str, faults: dict[str, float], capsys) -> None:
    """Five nodes, a minute, flip-flop partitions: Maelstrom's own conditions, and loss besides."""
    rng = random.Random(11)
    bench = make(5, rng, **faults)
    history = judge(bench, name, rng, 60.0, 5, 3)
    with capsys.disabled():
        between = bench.network.counts["between nodes"]
        print(f"\n  {name} {faults}: {len(history)} requests, {between / len(history):.1f} messages each, "
              f"{dict(bench.network.counts)}")  # fmt: skip
