"""The process whose disk is watched: tells the story of writes of every type, and notes what it was promised.

Notes go to the file `notes` below the watched directory, so that they stand in the record at their moment: 16 bytes
each, the number of writes that had returned and of those that were said to be durable.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import crdtsync
from tests.integration.story import steps, tell_one
from tests.power.recording import NOTE, NOTES, SETTINGS, STORE, TOLD

LIVES = 2  # times that the store is opened: recovery writes, too


def main(root: str, durability: str, writes: str, sync_every: str) -> int:
    notes = os.open(Path(root) / NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    told, durable = 0, 0
    for _ in range(LIVES):
        with crdtsync.open(Path(root) / STORE, durability=durability, **SETTINGS) as node:
            for number in range(told, told + int(writes) // LIVES):
                write(node, number)
                told = number + 1
                if durability == "each":
                    durable = told
                elif told % int(sync_every) == 0:
                    node.sync()
                    durable = told
                os.write(notes, NOTE.pack(told, durable))
        durable = told  # a clean close has written everything down
        os.write(notes, NOTE.pack(told, durable))
    return 0


def write(node: crdtsync.Node, number: int) -> None:
    """Write `number` of the story, as one batch with its number."""
    with node.batch():
        for part in steps(number):
            tell_one(node, *part)
        node.lwwregister(TOLD).set(number + 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
