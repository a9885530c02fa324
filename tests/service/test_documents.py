"""docs/service.md: its examples run, and it has every setting, every call and the status of every error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from crdtsync.config import ServeConfig
from crdtsync.service.errors import STATUS
from tests.service.caller import SERVICES

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "service.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number: int) -> None:
    code = [sys.executable, "-W", "error", "-c", EXAMPLES[number]]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_setting_and_call_is_there() -> None:
    for field in msgspec.structs.fields(ServeConfig):
        assert f"| `{field.name}` |" in TEXT, field.name
    for name in SERVICES:
        assert f"`{name}`" in TEXT, name


def test_the_table_of_errors_is_the_one_in_use() -> None:
    table = TEXT[TEXT.index("## Errors") : TEXT.index("## Bounds")]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|$", table, re.MULTILINE))
    assert rows == {kind.__name__: status.name for kind, status in STATUS.items()}
