"""`python -m tests.model FIRST LAST`: run the schedules of these seeds and say what happened."""

from __future__ import annotations

import sys
import traceback
from collections import Counter

from .schedule import run
from .world import Violation

COUNTED = (
    "steps", "batches", "collected", "crashes", "joins", "start_overs", "rescues", "evictions", "absences",
    "stood", "scans", "repairs",
)  # fmt: skip


def main(first: int, last: int) -> int:
    failed, seen = 0, Counter()
    for seed in range(first, last):
        try:
            world = run(seed)
        except Violation as violation:
            failed += 1
            print("seed", seed, violation)
        except Exception:
            failed += 1
            print("seed", seed)
            traceback.print_exc()
        else:
            seen.update({name: getattr(world, name) for name in COUNTED})
    print(f"{last - first} schedules, {failed} failed;", ", ".join(f"{seen[name]} {name}" for name in COUNTED))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
