"""The cluster of the README, really run: three processes, and a command that writes on one and reads on another."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import PATIENCE, READY, Process, environment

README = (Path(__file__).parent.parent.parent / "README.md").read_text()


def block(name: str) -> str:
    (found,) = re.findall(rf"^```{name}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(found)


def on_free_ports(commands: str) -> str:
    """The commands with every port of theirs replaced by one that is free."""
    with contextlib.ExitStack() as all_of_them:  # held until each is chosen: none is given twice
        for address in sorted(set(re.findall(r"127\.0\.0\.1:74\d\d", commands))):
            free = all_of_them.enter_context(socket.create_server(("127.0.0.1", 0)))
            commands = commands.replace(address, f"127.0.0.1:{free.getsockname()[1]}")
    return commands


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The first three commands of the README under way; gives the fourth."""
    monkeypatch.chdir(tmp_path)
    *starts, last = on_free_ports(block("sh")).splitlines()
    running: list[Process] = []
    try:
        for start in starts:
            words = shlex.split(start)
            assert words[:2] == ["crdtsync", "start"]
            running.append(Process(*words[2:]))
            running[-1].wait_for(READY)
        yield [last]
        assert [node.end() for node in running] == [0, 0, 0]
    finally:
        for node in running:
            node.process.kill()
            node.wait()


def test_the_four_commands_of_the_readme(cluster: list[str], tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "crdtsync").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m crdtsync "$@"\n')
    (commands / "crdtsync").chmod(0o755)
    root = str(Path(__file__).parent.parent.parent)
    path = {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": root}
    for command in cluster:
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE, env=environment(**path)
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, block("text"), "")
