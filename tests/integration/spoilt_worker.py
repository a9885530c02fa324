"""The process whose files are spoilt: tells `count` writes of the story, has them on its disk and at a peer, and waits.

It says "ready" then.  It stops in good order when its input ends, and never gets there when it is killed.
"""

from __future__ import annotations

import sys

import crdtsync
from tests.integration.story import tell


def main(directory: str, join: str, count: str) -> int:
    with crdtsync.open(
        directory, listen="127.0.0.1:0", join=[join], checkpoint_interval=0.2, segment_bytes=8 * 1024 * 1024
    ) as node:
        for number in range(int(count)):
            tell(node, number)
        node.sync()
        print(node.token(), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
