"""Served nodes for clients: in this process, behind proxies that break, and as processes that are killed."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from tests.proxy import Proxy

DEADLINE = 30.0  # s before a condition counts as never met
QUICK = {"heartbeat_interval": 0.1, "pull_interval": 0.1, "reconnect_max": 0.2, "close_timeout": 1.0}
SERVE = """
import sys, crdtsync
path, address, name = sys.argv[1:]
with crdtsync.open(path, name=name) as node, crdtsync.serve(node, serve=address, stop_grace=0.1):
    print("ready", flush=True)
    sys.stdin.read()
"""


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


class Served:
    """A node in this process, its server, and a proxy in front of it."""

    def __init__(self, stack: ExitStack, **settings: Any) -> None:
        self.node = stack.enter_context(crdtsync.open(None, **settings))
        self.server = stack.enter_context(crdtsync.serve(self.node, stop_grace=0.1))
        self.proxy = stack.enter_context(Proxy(self.server.address))
        self.address = self.proxy.address


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def served(stack: ExitStack) -> Served:
    """One node behind a proxy."""
    return Served(stack, name="a")


@pytest.fixture
def cluster(stack: ExitStack) -> list[Served]:
    """Two nodes of one cluster, each behind a proxy."""
    first = Served(stack, name="a", listen="127.0.0.1:0", **QUICK)
    second = Served(stack, name="b", listen="127.0.0.1:0", join=(first.node.address,), **QUICK)
    until(lambda: first.node.status()["cluster"] == second.node.status()["cluster"], "one cluster")
    return [first, second]


class Process:
    """A node that runs as a process, with a directory and an address that stay."""

    def __init__(self, directory: Path, name: str = "a") -> None:
        self._directory, self._name = directory, name
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._running: subprocess.Popen[str] | None = None

    def start(self, name: str = "", directory: Path | None = None) -> None:
        arguments = [str(directory or self._directory), self.address, name or self._name]
        self._running = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._running.stdout is not None
        assert self._running.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """kill -9."""
        if self._running is not None:
            self._running.send_signal(signal.SIGKILL)
            self._running.wait()
            for pipe in (self._running.stdin, self._running.stdout):
                with contextlib.suppress(BrokenPipeError):
                    assert pipe is not None
                    pipe.close()
            self._running = None


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    running = Process(tmp_path / "a")
    running.start()
    yield running
    running.kill()
