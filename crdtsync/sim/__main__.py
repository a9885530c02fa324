"""python -m crdtsync.sim: run seeds, print a readable trace and the verdict."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from crdtsync.sim.trial import Verdict, run


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds asked for; 0 when all are clean, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m crdtsync.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--seeds", metavar="A:B", help="run seeds A to B - 1")
    parser.add_argument("--trace", action="store_true", help="print every step as it happens")
    options = parser.parse_args(arguments)
    if (options.seed is None) == (options.seeds is None):
        parser.error("give either --seed or --seeds")
    if options.seed is not None:
        return _one(options.seed, options.trace)
    first, _, last = options.seeds.partition(":")
    return _many(int(first), int(last), options.trace)


def _one(seed: int, trace: bool) -> int:
    verdict = run(seed, trace=print if trace else None)
    if not trace and not verdict.ok:
        print("\n".join(verdict.tail))
    print(verdict.summary())
    for name, count in sorted(verdict.counters.items()):
        print(f"  {count:7} {name}")
    return 0 if verdict.ok else 1


def _many(first: int, last: int, trace: bool) -> int:
    totals: Counter[str] = Counter()
    failed: list[Verdict] = []
    begun = time.perf_counter()
    for seed in range(first, last):
        verdict = run(seed, trace=print if trace else None)
        totals.update(verdict.counters)
        if not verdict.ok:
            failed.append(verdict)
            print(verdict.summary(), flush=True)
    for name, count in sorted(totals.items()):
        print(f"  {count:9} {name}")
    spent = (time.perf_counter() - begun) / max(1, last - first)
    print(f"{last - first} seeds, {len(failed)} failed, {spent:.3f} s per seed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
