"""docs/backup.md's example runs, and FORMAT.md names every field of the header."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec

import crdtsync.backup
from crdtsync.backup.content import Header

ROOT = Path(__file__).parents[2]


def test_the_examples_run() -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "backup.md").read_text(), re.M | re.S)
    assert examples
    for code in examples:
        done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_format_is_documented() -> None:
    text = (Path(crdtsync.backup.__file__).parent / "FORMAT.md").read_text()
    for field in msgspec.structs.fields(Header):
        assert f"| `{field.name}` |" in text
