"""A node in a process of its own that does what a benchmark asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice, repeat
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import crdtsync
from crdtsync.node import Node
from crdtsync.ops.bench.processes import Other, answer_all

LISTEN = "127.0.0.1:0"
BATCH = 1000  # registers of a batch
VALUE_BYTES = 20
VALUES: dict[str, Callable[[Random], str | bytes]] = {  # no two alike, each of VALUE_BYTES
    "digits": lambda rng: f"{rng.randrange(10**VALUE_BYTES):0{VALUE_BYTES}}",  # as of prices, times and ids
    "bytes": lambda rng: rng.randbytes(VALUE_BYTES),  # nothing makes them shorter
}


class Hosted:
    """What the process can be asked."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def address(self) -> str:
        return self.node.address

    def fill(self, first: int, last: int, kind: str, seed: int) -> None:
        """Registers `first` to `last` with random values of one kind of VALUES, in batches."""
        rng = Random(seed)
        fill_each(self.node, first, (VALUES[kind](rng) for _ in range(first, last)))

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
    fill_each(node, first, repeat(value, last - first))


def fill_each(node: Node, first: int, values: Iterable[str | bytes]) -> None:
    """Set registers `first` and on, each to a value of its own, in batches."""
    numbered = enumerate(values, first)
    while some := list(islice(numbered, BATCH)):
        with node.batch():
            for number, value in some:
                node.lwwregister(key_of(number)).set(value)
