"""Makes the golden backups of this format: `python -m tests.backup.golden`.  Those that were committed stay for ever.

A full backup with every type, long keys and several buckets, and one on top of it that says what is kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from crdtsync import Node
from tests.backup.helpers import SECONDS, clean, contents, fill, opened
from tests.integration.waiting import until

GOLDEN = Path(__file__).parents[1] / "golden" / "backup-v1"


def described(node: Node) -> dict[str, Any]:
    """What must be found again."""
    buckets = {
        name: {
            "clock": sorted(node.bucket(name).clock().items()),
            "floor": sorted(node._store.floor(name).items()),
            "stamp_floor": node._store.stamp_floor(name),
        }
        for name in node.buckets()
    }
    return {"digest": node.digest(), "contents": contents(node), "buckets": buckets}


def make(target: Path) -> None:
    """Write the two backups, and what each leads to."""
    target.mkdir(parents=True)
    with opened(None, name="golden") as node:
        node.backup(target / "empty.backup")
        fill(node, 5)
        until(clean(node), SECONDS)
        node.backup(target / "full.backup")
        full = described(node)
        node.orset("tags").discard("tag-2")
        node.lwwregister("price").clear()
        node.delete("stock")
        node.bucket("second").mvregister("draft").set({"after": None})
        until(clean(node), SECONDS)
        assert node.backup(target / "more.backup", since=target / "full.backup").kept
        expected = {"full": full, "more": described(node)}
    (target / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if GOLDEN.exists():
        sys.exit(f"{GOLDEN} is there and stays as it is; a new format gets a new directory.")
    make(GOLDEN)
