"""docs/python-api.md: its examples run, and it names every public name, method and status field."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crdtsync
from crdtsync.node.aio import AioNode
from crdtsync.node.rescue import Rescue

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "python-api.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CLASSES = [
    crdtsync.Node, crdtsync.Bucket, crdtsync.Watcher, crdtsync.GCounter, crdtsync.PNCounter, crdtsync.GSet,
    crdtsync.ORSet, crdtsync.LWWRegister, crdtsync.MVRegister, crdtsync.Flag, crdtsync.Map, AioNode, Rescue,
]  # fmt: skip
INTERNAL = {
    "start", "settle", "wake", "refused", "write", "run_all", "rows", "slices", "names", "objects", "attach", "detach",
    "wait_until", "start_watcher", "meaning", "ready", "write_columns", "read_columns", "scan_columns",
    "values_of",
}  # the seam below handles, and between parts


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number: int) -> None:
    code = [sys.executable, "-W", "error", "-c", EXAMPLES[number]]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_public_names_are_documented() -> None:
    for name in crdtsync.__all__:
        assert name.startswith("__") or re.search(rf"\b{name}\b", TEXT), name
    for kind in CLASSES:
        for name, member in inspect.getmembers(kind):
            mine = callable(member) or isinstance(member, property)
            if mine and not name.startswith("_") and name not in INTERNAL and member.__doc__ and name.islower():
                assert re.search(rf"\b{name}\b", TEXT), f"{kind.__name__}.{name}"


def test_status_fields_are_documented(node: crdtsync.Node) -> None:
    table = TEXT[TEXT.index("## Status") : TEXT.index("## Settings")]
    for name in node.status():
        assert f"`{name}`" in table, name
