"""A node that is served, and a caller that knows nothing but the messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import crdtsync
from tests.service.caller import Caller


@pytest.fixture
def node() -> Iterator[crdtsync.Node]:
    with crdtsync.open(None, name="a") as opened:
        yield opened


@pytest.fixture
def server(node: crdtsync.Node, tmp_path: Path) -> Iterator[crdtsync.Server]:
    with crdtsync.serve(node, admin=f"unix:{tmp_path}/admin") as serving:
        yield serving


@pytest.fixture
def caller(server: crdtsync.Server) -> Iterator[Caller]:
    with Caller(server.address) as calling:
        yield calling


@pytest.fixture
def operator(server: crdtsync.Server) -> Iterator[Caller]:
    with Caller(server.admin_address) as calling:
        yield calling
