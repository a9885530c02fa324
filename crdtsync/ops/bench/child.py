"""The process of one sample: reads a Task from standard input and writes the Sample as its last line.

So no sample inherits memory, caches or threads from the one before, and what the harness does is not measured.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path

import msgspec

from crdtsync.ops.bench.bench import Task, params_of
from crdtsync.ops.bench.drivers import driver
from crdtsync.ops.bench.results import Sample


def main() -> None:
    """Take one sample, or verify what one has left."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not end up in the result
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    Path(task.directory).mkdir(parents=True, exist_ok=True)
    module = driver(task.driver)
    params = params_of(module, task.params)
    if task.expected is None:
        load, begun = os.getloadavg()[0], time.perf_counter()
        sample = module.measure(task, params)
        used = resource.getrusage(resource.RUSAGE_SELF)
        sample.load, sample.seconds = load, time.perf_counter() - begun
        sample.cpu_seconds = used.ru_utime + used.ru_stime
    else:
        sample = Sample({}, module.verify(task, params))
    out.write(msgspec.json.encode(sample) + b"\n")
    out.flush()
    if sample.expected is not None:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
