"""A node for tests of metrics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crdtsync
from crdtsync import Node


@pytest.fixture
def node() -> Iterator[Node]:
    with crdtsync.open(None, name="a") as node:
        yield node
