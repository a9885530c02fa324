"""Authorities, certificates and nodes for the tests of TLS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import crdtsync
from crdtsync.security.identity import CLIENT, NODE, OPERATOR, Identity
from crdtsync.security.making import Pair, issue, make_authority
from crdtsync.security.material import Paths

DEADLINE = 20.0  # s before a condition counts as never met
QUICK = {"heartbeat_interval": 0.1, "pull_interval": 0.1, "reconnect_max": 0.2, "close_timeout": 1.0}


@cache
def authority(name: str) -> Pair:
    return make_authority(name, 365)


def node_pair(name: str, ca: str = "test", days: float = 100) -> Pair:
    return issue(authority(ca), Identity(NODE, name), ["127.0.0.1", "localhost"], days)


def client_pair(name: str, ca: str = "test", days: float = 100) -> Pair:
    return issue(authority(ca), Identity(CLIENT, name), [], days)


def operator_pair(name: str, ca: str = "test", days: float = 100) -> Pair:
    return issue(authority(ca), Identity(OPERATOR, name), [], days)


def write(directory: Path, pair: Pair, *cas: str) -> Paths:
    """The three files, put in place one after the other as an operator would."""
    directory.mkdir(parents=True, exist_ok=True)
    bundle = b"".join(authority(ca).cert for ca in cas or ("test",))
    texts = {"ca.crt": bundle, "cert.crt": pair.cert, "cert.key": pair.key}
    for name, text in texts.items():
        fresh = directory / (name + ".new")
        fresh.touch(mode=0o600)
        fresh.write_bytes(text)
        fresh.rename(directory / name)
    return Paths(*(str(directory / name) for name in texts))


def settings(paths: Paths) -> dict[str, str]:
    return {"tls_ca": paths.tls_ca, "tls_cert": paths.tls_cert, "tls_key": paths.tls_key}


@contextmanager
def closing(nodes: list[crdtsync.Node]) -> Iterator[list[crdtsync.Node]]:
    try:
        yield nodes
    finally:
        for node in nodes:
            node.close()


def open_node(paths: Paths | None, **more: Any) -> crdtsync.Node:
    tls = {} if paths is None else settings(paths)
    return crdtsync.open(None, listen="127.0.0.1:0", **QUICK | tls | {"tls_reload_interval": 0.05} | more)


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


def agree(nodes: list[crdtsync.Node]) -> None:
    until(lambda: len({node.digest() for node in nodes}) == 1, "all nodes have the same state")
