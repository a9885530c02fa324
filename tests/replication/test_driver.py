"""The driver carries effects out in order, and says nothing that a failed flush would make untrue."""

from __future__ import annotations

import pytest

from crdtsync.errors import JournalFailed
from crdtsync.replication.driver import Driver
from crdtsync.replication.effects import Connect, Disconnect, Effect, Notify, Persist, Send
from crdtsync.replication.messages import Bye, Message


class Recorder:
    """Notes what it is asked to do."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.fail = False

    def connect(self, address: str) -> None:
        self.done.append(("connect", address))

    def send(self, link: int, message: Message) -> bool:
        self.done.append(("send", link, message))
        return True

    def disconnect(self, link: int, reason: str = "") -> None:
        self.done.append(("disconnect", link, reason))

    def flush(self) -> None:
        if self.fail:
            raise JournalFailed("The disk is gone.")
        self.done.append("flush")


BYE = Bye(reason="closing")
EFFECTS: list[Effect] = [
    Connect("127.0.0.1:1"), Persist(), Send(1, BYE), Disconnect(1, "closing"), Notify("state", {"state": "left"}),
]  # fmt: skip


def driver_and(recorder: Recorder) -> Driver:
    return Driver(recorder, recorder.flush, lambda event, details: recorder.done.append((event, details)))


def test_effects_are_carried_out_in_order() -> None:
    recorder = Recorder()
    driver_and(recorder).apply(EFFECTS)
    assert recorder.done == [
        ("connect", "127.0.0.1:1"), "flush", ("send", 1, BYE), ("disconnect", 1, "closing"),
        ("state", {"state": "left"}),
    ]  # fmt: skip


def test_nothing_is_said_after_a_flush_that_failed() -> None:
    recorder = Recorder()
    recorder.fail = True
    with pytest.raises(JournalFailed):
        driver_and(recorder).apply(EFFECTS)
    assert recorder.done == [("connect", "127.0.0.1:1")]
