"""Runs a process under the recorder, and reads what it wrote, synced, renamed and removed, in order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent.parent
SOURCE = Path(__file__).with_name("recorder.c")
HEADER = Struct("<IIQQ")
WRITE, WRITE_THROUGH, TRUNCATE, SYNC_BEGIN, SYNC_END, CREATE, RENAME, UNLINK, MKDIR = range(1, 10)

NOTES, STORE, TOLD = "notes", "store", "told"  # the worker's notes, its store, and the key that counts its writes
NOTE = Struct("<QQ")  # writes that have returned, writes that are durable

# Small segments and frequent checkpoints, so that a short record has many of both; no mapped journal, since stores
# into memory cannot be recorded.  To the disk the two are the same: bytes that may or may not be there before a sync.
SETTINGS: dict[str, Any] = {
    "journal_mapped": False,
    "checkpoint_interval": 0.02,
    "segment_bytes": 128 * 1024,
    "cluster": {"value_bytes_max": 16 * 1024, "batch_bytes_max": 64 * 1024, "part_bytes_max": 128 * 1024},
}


class Step(NamedTuple):
    """One thing that the process did to a file below the root."""

    kind: int
    path: str  # relative to the root; "" is the root itself
    offset: int  # of a write; size of a truncate; number of a sync
    data: bytes  # of a write; the new path of a rename


def build(directory: Path) -> Path:
    """Compile the recorder."""
    library = directory / "recorder.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def record(library: Path, root: Path, log: Path, *arguments: str, timeout: float) -> None:
    """Run `python -m tests.power.worker ROOT arguments...` under the recorder until it ends by itself."""
    root.mkdir()
    environment = os.environ | {
        "LD_PRELOAD": str(library), "RECORDER_ROOT": str(root.resolve()), "RECORDER_LOG": str(log),
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.power.worker", str(root.resolve()), *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=timeout)


def steps(log: Path) -> Iterator[Step]:
    """The recorded steps."""
    with log.open("rb") as file:
        while head := file.read(HEADER.size):
            kind, path_size, offset, data_size = HEADER.unpack(head)
            path = file.read(path_size).decode()
            # A truncate and a sync have no data; the field is 0 there.
            yield Step(kind, path, offset, file.read(data_size))
