"""docs/client.md: its examples run, and it names every public name, setting and counter."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import crdtsync
from crdtsync.client import RemoteBucket, RemoteWatcher, WriteStream
from crdtsync.client.aio import AsyncBucket, AsyncClient
from crdtsync.client.astreaming import AsyncWriteStream
from crdtsync.client.awatching import AsyncWatcher

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "client.md").read_text()
ALL = TEXT + (ROOT / "docs" / "python-api.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CLASSES = [crdtsync.Client, RemoteBucket, RemoteWatcher, WriteStream, AsyncBucket, AsyncClient,
           AsyncWatcher, AsyncWriteStream]  # fmt: skip
INTERNAL = {"refused", "write", "elements", "count", "ask", "write_all", "write_columns", "read_columns",
            "scan_columns", "values_of"}  # the seam below handles


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number: int) -> None:
    code = [sys.executable, "-W", "error", "-c", EXAMPLES[number]]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_public_names_are_documented() -> None:
    for kind in CLASSES:
        for name, member in inspect.getmembers(kind):
            mine = callable(member) or isinstance(member, property)
            if mine and not name.startswith("_") and name not in INTERNAL and member.__doc__ and name.islower():
                assert re.search(rf"\b{name}\b", ALL), f"{kind.__name__}.{name}"


def test_settings_are_documented_with_their_defaults() -> None:
    for field in msgspec.structs.fields(crdtsync.ConnectConfig):
        row = re.search(rf"^\| `{field.name}` \| (.*?) \|", TEXT, re.MULTILINE)
        assert row is not None, field.name
        assert eval(row[1].replace(" KiB", "*2**10").replace(" MiB", "*2**20")) == field.default, field.name


def test_counters_are_documented() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "crdtsync" / "client").glob("*.py"))
    for name in re.findall(r'counters\.count\("(\w+)"', sources):
        assert f"`{name}`" in TEXT, name
