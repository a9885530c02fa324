"""A node in a process of its own that does what a benchmark asks of it."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import crdtsync
from crdtsync.node import Node
from crdtsync.ops.bench.processes import Other, answer_all

LISTEN = "127.0.0.1:0"
BATCH = 1000  # registers of a batch


class Hosted:
    """What the process can be asked."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def address(self) -> str:
        return self.node.address

    def fill(self, first: int, last: int, value: str) -> None:
        """Registers `first` to `last`, in batches."""
        fill(self.node, first, last, value)

    def wait_for(self, token: str, timeout: float) -> None:
        self.node.wait_for(token, timeout)

    def token(self) -> str:
        return self.node.token()

    def digest(self) -> str:
        return self.node.digest()

    def counters(self) -> dict[str, int]:
        """Traffic and refusals."""
        counters: dict[str, int] = self.node.status()["counters"]
        return counters


def host(pipe: Connection, directory: str, settings: dict[str, Any]) -> None:
    """The process."""
    with crdtsync.open(directory, **settings) as node:
        hosted = Hosted(node)
        names = [name for name in vars(Hosted) if not name.startswith("_")]
        answer_all(pipe, {name: getattr(hosted, name) for name in names})


def hosted(directory: Path, **settings: Any) -> Other:
    """Start one; it listens on loopback."""
    return Other(host, str(directory), {"listen": LISTEN, **settings})


def key_of(number: int) -> str:
    """The key of a register."""
    return f"object:{number:09}"


def fill(node: Node, first: int, last: int, value: str) -> None:
    """Set registers `first` to `last`, in batches."""
    for start in range(first, last, BATCH):
        with node.batch():
            for number in range(start, min(start + BATCH, last)):
                node.lwwregister(key_of(number)).set(value)
