"""A restore whose caller is killed: not begun, it leaves nothing; begun, it goes on to its end and is waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync.node.backups import RECEIVED
from crdtsync.transport.pb import admin_pb2 as pb
from tests.backup.helpers import opened
from tests.backup.test_merge import lost_write
from tests.integration.waiting import until
from tests.service.caller import Caller

SECONDS = 30.0
SEND = """
import sys, threading
from pathlib import Path
from crdtsync.transport.pb import admin_pb2 as pb
from tests.service.caller import Caller
address, path, whole = sys.argv[1:]
def chunks():
    yield pb.RestoreChunk(data=Path(path).read_bytes(), last=True)
    if whole != "whole":
        threading.Event().wait()
with Caller(address) as caller:
    caller.call("Restore", chunks(), None)
"""


class Restoring:
    """A node that has lost what a backup holds, its server, and a process that sends that backup."""

    def __init__(self, node: crdtsync.Node, directory: Path, whole: bool) -> None:
        self.node, self.home = node, directory / "copy"
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._restore, node.restore = node.restore, self._held  # type: ignore[method-assign]
        self.server = crdtsync.serve(node, serve="", admin=f"unix:{directory}/admin")
        arguments = [self.server.admin_address, str(directory / "b"), "whole" if whole else "half"]
        self.caller = subprocess.Popen([sys.executable, "-c", SEND, *arguments])

    def _held(self, *arguments: Any, **named: Any) -> Any:
        self.begun.set()
        assert self.go_on.wait(SECONDS)
        return self._restore(*arguments, **named)

    def kill(self) -> None:
        """kill -9 the caller."""
        self.caller.kill()
        self.caller.wait()

    @property
    def running(self) -> int:
        """Calls that count as running."""
        return int(self.server.status()["running"])

    def received(self) -> list[Path]:
        """What is kept of files that were sent."""
        found = list(self.home.glob(f"{RECEIVED}*"))
        for place in found[:]:
            with suppress(FileNotFoundError):  # it may go at this very moment
                found += place.iterdir()
        return found

    def left_behind(self) -> bool:
        """Whether the server has noticed that the caller has gone."""
        return bool(self.server._calls._left)

    @property
    def merged(self) -> bool:
        return bool(self.node.pncounter("lost").value == 5)


@contextmanager
def restoring(tmp_path: Path, whole: bool = True) -> Iterator[Restoring]:
    with lost_write(tmp_path) as node:
        running = Restoring(node, tmp_path, whole)
        try:
            yield running
        finally:
            running.go_on.set()
            running.kill()
            running.server.stop()


def test_a_merge_that_has_begun_goes_on_without_its_caller(tmp_path: Path) -> None:
    with restoring(tmp_path) as it:
        until(it.begun.is_set, SECONDS)
        assert it.received()
        it.kill()
        until(it.left_behind, SECONDS)
        assert it.running == 1
        it.go_on.set()
        until(lambda: it.running == 0, SECONDS)
        assert it.merged and not it.received()


def test_a_stop_waits_for_a_merge_without_its_caller(tmp_path: Path) -> None:
    with restoring(tmp_path) as it:
        until(it.begun.is_set, SECONDS)
        it.kill()
        until(it.left_behind, SECONDS)
        stopping = threading.Thread(target=it.server.stop, args=(SECONDS,))
        stopping.start()
        stopping.join(0.2)
        assert stopping.is_alive()
        it.go_on.set()
        stopping.join(SECONDS)
        assert not stopping.is_alive() and it.merged and not it.received()


def test_a_stop_waits_no_longer_than_its_deadline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with restoring(tmp_path) as it:
        until(it.begun.is_set, SECONDS)
        it.kill()
        until(it.left_behind, SECONDS)
        it.server.stop(0.1)
        assert "1 calls whose callers have left still run" in caplog.text
        it.go_on.set()
        until(lambda: not it.received(), SECONDS)
        assert it.merged


def test_a_restore_that_is_not_sent_to_its_end_leaves_nothing(tmp_path: Path) -> None:
    with restoring(tmp_path, whole=False) as it:
        it.go_on.set()
        until(lambda: bool(it.received()), SECONDS)
        it.kill()
        until(lambda: it.running == 0 and not it.received(), SECONDS)
        assert not it.begun.is_set() and not it.merged


def test_an_error_that_nobody_hears_is_counted(tmp_path: Path) -> None:
    with restoring(tmp_path) as it:
        until(it.begun.is_set, SECONDS)
        next(path for path in it.received() if path.is_file()).write_bytes(b"damaged meanwhile")
        it.kill()
        until(it.left_behind, SECONDS)
        it.go_on.set()
        until(lambda: it.running == 0, SECONDS)
        assert it.node.status()["counters"]["backup_damaged"] == 1
        assert it.server.status()["methods"]["Admin.Restore"]["errors"] == 1
        assert not it.merged and not it.received()


def test_what_a_killed_node_had_received_goes_with_the_next_open(tmp_path: Path) -> None:
    left = tmp_path / "a" / f"{RECEIVED}x"
    with opened(tmp_path / "a"):
        left.mkdir()
        (left / "file 1").write_bytes(b"a backup")
    with opened(tmp_path / "a"):
        assert not left.exists()


def test_a_node_without_a_directory_receives_elsewhere(node: crdtsync.Node, operator: Caller, tmp_path: Path) -> None:
    node.gcounter("hits").increment()
    node.backup(tmp_path / "b")
    assert operator.call("Restore", iter([pb.RestoreChunk(data=(tmp_path / "b").read_bytes(), last=True)])).json
