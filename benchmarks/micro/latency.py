"""How long a write takes from one node to be told by a watcher of another, in two processes over loopback.

    python -m benchmarks.micro.latency [--seconds S] [--rate WRITES_A_SECOND]

One process writes the time into a register, at a steady rate; the other watches it.  Both read the machine's one
monotonic clock.  Writes that came together are told as one: only the last of them is counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence

import crdtsync

WARM = 1.0  # s at the beginning that do not count: links are made, caches filled


def quantile(numbers: Sequence[float], share: float) -> float:
    """The number below which `share` of them lie."""
    return sorted(numbers)[min(int(share * len(numbers)), len(numbers) - 1)]


def watch(address: str) -> None:
    """The second process: tell, as JSON, how late each change was, in seconds."""
    late: list[float] = []
    with crdtsync.open(None, name="watcher", listen="127.0.0.1:0", join=[address]) as node:
        print("ready", flush=True)
        with node.watch("at") as changes:
            for change in changes:
                if change.value == 0:
                    break
                late.append((time.monotonic_ns() - change.value) / 1e9)
    print(json.dumps(late))


def write(seconds: float, rate: float) -> list[float]:
    """The first process: write for a while; how late the changes were told in the other one."""
    with crdtsync.open(None, name="writer", listen="127.0.0.1:0") as node:
        command = [sys.executable, "-m", "benchmarks.micro.latency", "--watch", node.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            register, begun = node.lwwregister("at"), time.monotonic()
            number = 0
            while (now := time.monotonic()) < begun + WARM + seconds:
                register.set(time.monotonic_ns())
                number += 1
                time.sleep(max(0.0, begun + number / rate - now))
            register.set(0)
            late = json.loads(process.stdout.readline())
    return late[int(len(late) * WARM / (WARM + seconds)) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--watch", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        watch(options.watch)
        return
    late = write(options.seconds, options.rate)
    shown = {f"p{share * 100:g}": f"{quantile(late, share) * 1e3:.2f} ms" for share in (0.5, 0.9, 0.99)}
    print(f"{len(late)} changes told, {options.rate:g} writes/s:", ", ".join(f"{k} {v}" for k, v in shown.items()))


if __name__ == "__main__":
    main()
