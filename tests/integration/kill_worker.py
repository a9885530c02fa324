"""The process that is killed: opens the directory, checks what it finds, and goes on with the story.

Shared with its parent is a small mapped file: how many writes have returned, how many row changes that were, what the
process is doing.  It outlives the process as the journal's pages do.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import sys
import time
from pathlib import Path

import crdtsync
from tests.integration.story import Model, tell

SHARED = struct.Struct("<QQdQ")  # writes returned, steps in them, seconds spent writing, phase
STARTING, OPENING, CHECKING, WRITING, WRONG = range(5)


def main(directory: str, shared_path: str, join: str) -> int:
    with Path(shared_path).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), SHARED.size)
    returned, done, spent, _ = SHARED.unpack_from(shared)
    model_file = Path(shared_path).with_suffix(".model")
    model = pickle.loads(model_file.read_bytes()) if model_file.exists() else Model()

    SHARED.pack_into(shared, 0, returned, done, spent, OPENING)
    node = crdtsync.open(
        directory, listen="127.0.0.1:0", join=[join], checkpoint_interval=0.05, segment_bytes=8 * 1024 * 1024
    )
    SHARED.pack_into(shared, 0, returned, done, spent, CHECKING)

    # A write that was under way may be there or not; anything else is a loss or an invention.
    model.tell_to(returned)
    wrong = model.differences(node)
    if wrong:
        model.tell_to(returned + 1)
        if more := model.differences(node):
            SHARED.pack_into(shared, 0, returned, done, spent, WRONG)
            print(f"after {returned} returned writes:", *wrong[:5], "or", *more[:5], sep="\n  ", flush=True)
            return 1
    temporary = model_file.with_suffix(".new")
    temporary.write_bytes(pickle.dumps(model))
    temporary.replace(model_file)

    number, began = model.told, time.monotonic()
    SHARED.pack_into(shared, 0, number, done, spent, WRITING)
    while True:
        done += tell(node, number)
        number += 1
        SHARED.pack_into(shared, 0, number, done, spent + time.monotonic() - began, WRITING)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
