"""Nodes for tests: in memory, and in a directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync import Node


@pytest.fixture
def node() -> Iterator[Node]:
    with crdtsync.open(None) as node:
        yield node


@pytest.fixture
def open_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Opens nodes, each in a directory of its own by name, and closes them at the end."""
    opened: list[Node] = []

    def open_(directory: str = "a", **settings: Any) -> Node:
        node = crdtsync.open(tmp_path / directory, **settings)
        opened.append(node)
        return node

    yield open_
    for node in opened:
        node.close()
