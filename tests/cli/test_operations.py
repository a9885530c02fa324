"""The walk through docs/operations.md, really run: its shell blocks in order, and the outputs that it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.cli.test_cluster import on_free_ports

ROOT = Path(__file__).parent.parent.parent
WALK_MAX = 200  # s


def walk() -> str:
    """The section, up to the next one."""
    text = (ROOT / "docs" / "operations.md").read_text()
    return text.partition("## A cluster of three, with TLS\n")[2].partition("\n## ")[0]


def script(section: str) -> tuple[str, list[str]]:
    """All shell blocks as one script that stops at the first failure, and the outputs shown, in order.

    Output counts from the last command of a block that is followed by one.
    """
    blocks = re.findall(r"^```(sh|text)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    lines, shown = ["set -e", "trap 'kill $(jobs -p) 2>/dev/null' EXIT"], []
    for number, (language, text) in enumerate(blocks):
        if language == "text":
            shown.append(text)
            continue
        lines.append(text)
        if number + 1 < len(blocks) and blocks[number + 1][0] == "text":
            lines.append(f"echo '--- {len(shown)}'")
    return "\n".join(lines), shown


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("pkill"), reason="there is no curl or no pkill here")
def test_the_walk_works_as_written(tmp_path: Path) -> None:
    commands, shown = script(on_free_ports(walk()))
    # Two runs side by side must not end each other's nodes: the walk names them by their directory.
    commands = commands.replace("data/n", f"d{os.getpid()}/n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "crdtsync"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m crdtsync "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path / 'bin'}:{environment()['PATH']}", "PYTHONPATH": str(ROOT)}
    (tmp_path / "walk.sh").write_text(commands)  # a file: pkill -f would find the commands on a command line
    done = subprocess.run(
        ["bash", "walk.sh"],
        cwd=tmp_path, env=environment(**path), capture_output=True, text=True, timeout=WALK_MAX,
    )  # fmt: skip
    logs = "".join(log.read_text()[-2000:] for log in sorted(tmp_path.glob("*.log")))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    for number, wanted in enumerate(shown):
        before = done.stdout.partition(f"--- {number}\n")[0]
        assert before.endswith(wanted), before[-500:]
    digests = json.loads((tmp_path / "digests.json").read_text())
    assert len({str(each["digest"]) for each in digests}) == 1
    assert len(digests) == 3


def test_settings_of_the_unit_exist() -> None:
    """What the unit passes is what `start` knows."""
    text = (ROOT / "docs" / "operations.md").read_text()
    (unit,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    reference = (ROOT / "docs" / "cli.md").read_text()
    for flag in re.findall(r"--[a-z-]+", unit):
        assert flag in reference
