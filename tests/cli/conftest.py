"""One running node for all commands of a module; each test has a bucket of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.running import Done, Process, call, started

_NUMBERS = itertools.count(1)
Run = Callable[..., Done]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A `crdtsync start` in a process of its own."""
    with started(tmp_path_factory.mktemp("node") / "data", "--name", "served") as node:
        yield node
        assert node.end() == 0, node.stderr


@pytest.fixture
def directory(served: Process) -> Path:
    """Its directory, which `--node` takes."""
    return Path(served.addresses["operators"].removeprefix("unix:")).parent


@pytest.fixture
def run(served: Process, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command against it, in this process, in a new bucket."""
    monkeypatch.setenv("CRDTSYNC_NODE", served.addresses["programs"])
    monkeypatch.setenv("CRDTSYNC_BUCKET", f"b{next(_NUMBERS)}")
    return call
