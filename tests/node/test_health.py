"""health() and the figures of status() that operators live by."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

import crdtsync
from crdtsync import Node
from crdtsync.errors import WaitTimeout
from crdtsync.storage.timing import BOUNDS, Timing
from tests.integration.waiting import until


def test_an_open_node_is_alive_and_ready_until_it_is_closed(node: Node) -> None:
    assert node.health() == (True, True, ())
    node.close()
    assert node.health() == (False, False, ("The node has been closed.",))


def test_a_node_that_is_closing_or_cannot_write_is_not_ready(node: Node) -> None:
    node._store.journal.failed = "the test says so"
    assert node.health() == (True, False, ("The journal cannot be written.",))
    assert node.status()["storage"]["journal_error"] == "the test says so"
    node._store.journal.failed = ""
    node.local.write_refusal = lambda: crdtsync.errors.Closed("closing")
    assert node.health() == (True, False, ("The node is being closed.",))
    node.local.write_refusal = None
    node._network.state = "starting_over"
    assert node.health() == (True, False, ("The node's state is starting_over.",))
    node._network.state = "member"
    assert node.health().ready


def test_a_thread_that_has_ended_is_told() -> None:
    node = crdtsync.open(None, name="a")
    try:
        node._network._loop.stop()
        node._network._loop._stopping = False
        assert node.health() == (False, False, ("The replication thread has ended.",))
        node._network._loop._stopping = True
        worker = node._opened.background._checkpointer
        worker.stopping.set()
        worker.thread.join()
        worker.stopping.clear()
        assert node.health() == (False, False, ("The thread crdtsync-checkpointer-a has ended.",))
        worker.stopping.set()
    finally:
        node.close()


def test_a_busy_engine_has_its_last_figures_told(node: Node) -> None:
    assert node.status()["engine_age"] < 5.0
    busy, go_on = threading.Event(), threading.Event()

    def hold(now: float, wall: int) -> None:
        busy.set()
        go_on.wait(30)

    held = threading.Thread(target=lambda: node._network._loop.call(hold))
    held.start()
    try:
        assert busy.wait(10)
        status = node.status(timeout=0.01)
        assert status["engine_age"] >= 0.01 and status["state"] == "member"
        assert status["queues"]["engine_events"] >= 1, "the question that was not answered"
        node._network._snapshot = {}
        with pytest.raises(WaitTimeout, match=r"busy for 0\.01 s"):
            node.status(timeout=0.01)
    finally:
        go_on.set()
        held.join()
    assert node.status()["engine_age"] < 5.0


def test_syncs_and_checkpoints_are_timed(open_node: Callable[..., Node]) -> None:
    node = open_node(checkpoint_interval=0.1)
    before = node.status()["storage"]["sync_times"]["count"]
    for _ in range(3):
        node.gcounter("n").increment()
        node.sync()
    until(lambda: node.status()["storage"]["checkpoint_times"]["count"] >= 2, 20)
    status = node.status()
    storage = status["storage"]
    for times in (storage["sync_times"], storage["checkpoint_times"]):
        assert 0 < times["last"] <= times["longest"] <= times["seconds"]
        assert times["buckets"]["10.0"] <= times["count"]
    assert storage["sync_times"]["count"] >= before + 3
    assert storage["checkpoint_seconds"] == storage["checkpoint_times"]["last"]
    assert (storage["checkpoint_error"], storage["journal_error"]) == ("", "")
    assert storage["journal_segments"] >= 1
    assert storage["journal_bytes"] == storage["journal_segments"] * node.config.segment_bytes
    assert storage["disk_free_bytes"] > 0
    assert status["buckets"]["default"]["rows"] == 1 and status["buckets"]["default"]["dead_rows"] == 0
    json.dumps(status)


def test_a_disk_that_is_gone_has_no_room(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(node._store.disk, "free", gone)
    assert node.status()["storage"]["disk_free_bytes"] == 0


def test_a_timing_is_a_histogram() -> None:
    timing = Timing()
    for seconds in (0.0004, 0.001, 0.0011, 0.3, 99.0):
        timing.add(seconds)
    shown = timing.shown()
    assert (shown["count"], shown["last"], shown["longest"]) == (5, 99.0, 99.0)
    assert shown["seconds"] == pytest.approx(99.3025)
    assert shown["buckets"]["0.0005"] == 1 and shown["buckets"]["0.001"] == 2 and shown["buckets"]["0.0025"] == 3
    assert shown["buckets"]["0.25"] == 3 and shown["buckets"]["0.5"] == 4 == shown["buckets"]["10.0"]
    assert list(shown["buckets"]) == [str(bound) for bound in BOUNDS] and list(BOUNDS) == sorted(BOUNDS)
