"""What an operator asks for goes on when the caller leaves: it counts as running until its end, and a stop waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync.errors import MembershipMisuse
from crdtsync.transport.pb import admin_pb2 as pb
from tests.integration.waiting import until
from tests.service.caller import Caller

SECONDS = 30.0
CHANGES = {
    "Join": ("join", pb.JoinClusterRequest(addresses=["127.0.0.1:1"]), "member"),
    "Leave": ("leave", pb.LeaveRequest(), None),
    "Evict": ("evict", pb.EvictRequest(node="b"), None),
    "ReplayRescue": ("rescue.replay", pb.ReplayRescueRequest(name="r"), {"applied": 1, "skipped": 0}),
    "DropRescue": ("rescue.drop", pb.DropRescueRequest(name="r"), None),
}
every_change = pytest.mark.parametrize("name", CHANGES)


class Held:
    """A call that is being carried out, whose caller has left it."""

    def __init__(self, node: crdtsync.Node, directory: Path, name: str) -> None:
        self.path, self.request, self._answer = CHANGES[name]
        self.begun, self.go_on, self.done = threading.Event(), threading.Event(), threading.Event()
        self.error: Exception | None = None
        target, method = (node.rescue, self.path[7:]) if "." in self.path else (node, self.path)
        setattr(target, method, self._hold)
        self.server = crdtsync.serve(node, serve="", admin=f"unix:{directory}/admin")
        with Caller(self.server.admin_address) as caller:
            call = caller.start(name, self.request, None)
            assert self.begun.wait(SECONDS)
            call.cancel()
        until(lambda: bool(self.server._calls._left), SECONDS)

    def _hold(self, *_: Any, **__: Any) -> Any:
        self.begun.set()
        assert self.go_on.wait(SECONDS)
        self.done.set()
        if self.error is not None:
            raise self.error
        return self._answer


@pytest.fixture
def held(node: crdtsync.Node, tmp_path: Path) -> Iterator[Callable[[str], Held]]:
    made: list[Held] = []

    def make(name: str) -> Held:
        made.append(Held(node, tmp_path, name))
        return made[0]

    yield make
    for each in made:
        each.go_on.set()
        each.server.stop()


@every_change
def test_it_counts_as_running_until_its_end(held: Callable[[str], Held], name: str) -> None:
    it = held(name)
    assert it.server.status()["methods"][f"Admin.{name}"]["running"] == it.server.status()["running"] == 1
    it.go_on.set()
    until(lambda: it.server.status()["running"] == 0, SECONDS)
    assert it.done.is_set()


@every_change
def test_a_stop_waits_for_it(held: Callable[[str], Held], name: str) -> None:
    it = held(name)
    stopping = threading.Thread(target=it.server.stop, args=(SECONDS,))
    stopping.start()
    until(lambda: it.server._calls.stopping, SECONDS)
    stopping.join(0.1)
    assert stopping.is_alive()
    it.go_on.set()
    stopping.join(SECONDS)
    assert not stopping.is_alive() and it.done.is_set()


def test_a_stop_waits_no_longer_than_its_grace(held: Callable[[str], Held], caplog: pytest.LogCaptureFixture) -> None:
    it = held("Leave")
    it.server.stop(0.1)
    assert not it.done.is_set() and "1 calls whose callers have left still run" in caplog.text


def test_its_error_is_counted_as_nobody_hears_it(held: Callable[[str], Held], node: crdtsync.Node) -> None:
    it = held("Leave")
    it.error = MembershipMisuse("It is alone.")
    it.go_on.set()
    until(lambda: it.server.status()["running"] == 0, SECONDS)
    assert it.server.status()["methods"]["Admin.Leave"]["errors"] == 1
    assert node.status()["counters"]["membership_misuse"] == 1
