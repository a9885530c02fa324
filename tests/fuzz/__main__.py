"""The command: see the package."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from .campaign import campaign, keep
from .targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the decoders.")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="only this one; may be repeated")
    parser.add_argument("--count", type=int, default=100_000, help="spoilt inputs a target")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    failed = 0
    for name in chosen.target or TARGETS:
        began = time.monotonic()
        failure = campaign(name, chosen.count, chosen.seed)
        told = f"{name}: {int(chosen.count * TARGETS[name].share):,} inputs in {time.monotonic() - began:.0f} s"
        if failure is None:
            print(f"{told}, clean", flush=True)
            continue
        failed += 1
        traceback.print_exception(failure.error)
        print(f"{told}: FAILED, kept as {keep(name, failure.data)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
