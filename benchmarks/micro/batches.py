"""Operations a second of batches of every type, and of single writes, through handles, journal and memory layer.

    python -m benchmarks.micro.batches [--repetitions N] [--other TREE] [DIRECTORY]

It stands for a service that notes several things down at once: counters, set elements, registers and map fields of a
few hundred objects, half of them in the table already.  Figures are operations per second of CPU time of the writing
thread, the best of the repetitions, since a busy machine only takes away.  `--other` measures the same with the
crdtsync of another source tree, turn by turn with this one, and prints the ratio.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import crdtsync

SIZE = 100  # operations of a batch
BATCHES = 300
OBJECTS = 60  # of each type
Operation = Callable[[], None]


def operations(node: Any, rng: random.Random, count: int) -> list[Operation]:
    """Operations on objects of every type, in random order; one in fifty takes many rows."""
    handles = {
        kind: [getattr(node, kind)(f"{kind}:{n}") for n in range(OBJECTS)]
        for kind in ("gcounter", "pncounter", "gset", "orset", "lwwregister", "mvregister", "flag", "map")
    }
    counts = [handle.pncounter("count") for handle in handles["map"]]
    names = [handle.lwwregister("name") for handle in handles["map"]]
    made: list[Operation] = []
    for _ in range(count):
        at, item = rng.randrange(OBJECTS), rng.randrange(50)
        made.append(rng.choice([
            lambda h=handles["gcounter"][at], n=item: h.increment(n + 1),
            lambda h=handles["pncounter"][at], n=item: h.increment(n - 60),
            lambda h=handles["gset"][at], n=item: h.add(n),
            lambda h=handles["orset"][at], n=item: h.add(f"item {n}"),
            lambda h=handles["orset"][at], n=item: h.discard(f"item {n}"),
            lambda h=handles["lwwregister"][at], n=item: h.set("v" * n),
            lambda h=handles["mvregister"][at], n=item: h.set([n, "v"]),
            lambda h=handles["flag"][at]: h.enable(),
            lambda h=counts[at], n=item: h.increment(n + 1),
            lambda h=names[at], n=item: h.set("v" * n),
        ] if rng.random() < 0.98 else [lambda h=handles["orset"][at]: h.clear()]))  # fmt: skip
    return made


def measure(directory: str) -> tuple[float, float]:
    """(operations a second in batches, one by one)."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        node = crdtsync.open(Path(place, "store"), checkpoint_interval=60.0)
        todo = operations(node, random.Random(1), SIZE * BATCHES)
        for operation in todo[: SIZE * BATCHES // 2]:
            operation()
        node._store.checkpoint()
        began = time.thread_time()
        for start in range(0, len(todo), SIZE):
            with node.batch():
                for operation in todo[start : start + SIZE]:
                    operation()
        batched, began = time.thread_time() - began, time.thread_time()
        for operation in todo:
            operation()
        alone = time.thread_time() - began
        node.close()
    return len(todo) / batched, len(todo) / alone


def elsewhere(tree: str, directory: str) -> tuple[float, float]:
    """`measure`, by a process of its own with the crdtsync of a source tree."""
    environment = {**os.environ, "PYTHONPATH": tree}
    code = [sys.executable, __file__, "--one", directory]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, check=True, cwd=tree)
    batched, alone = map(float, done.stdout.split())
    return batched, alone


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default=tempfile.gettempdir(), help="where the stores lie")
    parser.add_argument("--repetitions", type=int, default=5, help="default 5")
    parser.add_argument("--other", metavar="TREE", help="another source tree to compare with")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(*measure(options.directory))
        return
    here = str(Path(__file__).resolve().parents[2])
    trees = [here, *([options.other] if options.other else [])]
    found: dict[str, list[tuple[float, float]]] = {tree: [] for tree in trees}
    for _ in range(options.repetitions):
        for tree in trees:
            found[tree].append(elsewhere(tree, options.directory))
    for at, what in enumerate(("in batches", "one by one")):
        rates = [max(pair[at] for pair in found[tree]) for tree in trees]
        ratio = f"{rates[0] / rates[1]:6.2f}x" if len(rates) > 1 else ""
        print(f"{what:<12}" + "".join(f"{rate:>12,.0f} op/s" for rate in rates) + ratio)


if __name__ == "__main__":
    main()
