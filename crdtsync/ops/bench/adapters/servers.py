"""Servers of peers: each started for a sample on loopback, awaited, and ended with it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import which

from crdtsync.errors import EnvironmentFault

START_TIMEOUT = 20.0  # s
GLANCE = 0.05  # s between two looks whether it answers
LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """The path of a program: beside this Python (a wheel may bring it), or on the path; "" without it."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else which(name) or ""


def version_of(name: str, prefix: str, *arguments: str) -> str:
    """What a program says after a prefix when it is asked for its version."""
    told = subprocess.run([program(name), *arguments], capture_output=True, text=True).stdout
    return told.partition(prefix)[2].split()[0] if prefix in told else "unknown"


class Running:
    """One server process."""

    def __init__(self, name: str, arguments: Sequence[str], answers: Callable[[], bool]) -> None:
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([program(name), *arguments], stdin=quiet, stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + START_TIMEOUT
        while not answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise EnvironmentFault(f"{name} does not answer.", changed="")
            time.sleep(GLANCE)

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
