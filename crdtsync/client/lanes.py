"""Lanes: single writes that come one after another travel on one stream, and not in a call of its own each.

To begin and to end a call of gRPC costs both sides several times what a message on an open stream does.  So once a few
small writes have come in a row, an ApplyStream takes those that follow: one write at a time, whose answer is awaited
before the next one may go, so that no write waits behind another, and an answer is never taken for that of another
write.  A write that finds the lane taken, as by another thread, is a call of its own, as all others are.

Nothing else changes: every request names the start of the node that it is meant for and has its request id, a refusal
is the same error, and a lane that breaks leaves open whether the write was taken, as a call does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from google.protobuf.message import DecodeError

from crdtsync.client.direct import LOOK, Direct
from crdtsync.client.failures import CallFailed, refused
from crdtsync.client.flows import Flow
from crdtsync.client.nodes import Instance
from crdtsync.client.steps import Ask
from crdtsync.errors import ServerBusy, WaitTimeout
from crdtsync.transport.pb import data_pb2 as pb

METADATA = (("crdtsync-lane", "1"),)  # tells the node that it may refuse the stream: there is another way
IN_A_ROW = 8  # writes that come before a lane is worth while
REQUEST_BYTES = 8192  # of a write that may use it
TIMEOUT_MIN = 2 * LOOK  # s that it must have, as a stream looks no oftener whether an answer is late
AGE_MAX = 60.0  # s of one stream: a node that asks callers to connect anew is listened to
PAUSE = 10.0  # s without a lane after a node has had no room for one


class Lane:
    """The lane of one client to one node.  Any thread may ask."""

    def __init__(self, begin: Callable[[Callable[[], bool]], Direct | Flow], idle: float) -> None:
        """`begin(rests)` opens a stream, which asks `rests` whether it ends when it has had no write for `idle` s."""
        self._begin, self._idle = begin, idle
        self._taken = threading.Lock()
        self._flow: Direct | Flow | None = None
        self._there: Instance | None = None  # whom it goes to
        self._row = 0  # writes that have come in a row
        self._last = self._begun = self._not_before = 0.0

    def ask(self, step: Ask) -> bytes | None:
        """The answer of an Apply; None: it has not been sent, and has to be a call of its own.  Raises CallFailed."""
        if len(step.request) > REQUEST_BYTES or step.timeout < TIMEOUT_MIN or not self._taken.acquire(blocking=False):
            return None
        try:
            flow, begun = self._current(step.node.there)
            return None if flow is None else self._answer(flow, step, begun)
        finally:
            self._taken.release()

    def _current(self, there: Instance) -> tuple[Direct | Flow | None, bool]:
        """The stream, if there is one or it is time for one; whether it has just been opened."""
        now = time.monotonic()
        self._row = self._row + 1 if now - self._last < self._idle else 0
        self._last = now
        flow = self._flow
        if flow is not None and there is self._there and now - self._begun < AGE_MAX and not flow.ended:
            return flow, False
        self._end()
        if self._row < IN_A_ROW or now < self._not_before:
            return None, False
        self._begun, self._there = now, there
        self._flow = flow = self._begin(self._rests)
        return flow, True

    def _answer(self, flow: Direct | Flow, step: Ask, begun: bool) -> bytes | None:
        answered = False
        try:
            answer = flow.ask(step.request, step.timeout)
            failure = _refusal(answer)
            answered = failure is None or failure.final
        except CallFailed as lost:
            if begun and isinstance(lost.error, ServerBusy):
                self._not_before = self._begun + PAUSE
                return None
            failure = _lost(lost)
        finally:
            if not answered:  # an answer that still comes, or a refusal of all that follows, must meet no other write
                self._flow, self._last = None, 0.0
                flow.cancel()
        if failure is not None:
            raise failure
        return answer

    def _rests(self) -> bool:
        """Whether the stream ends, as nobody uses it; from then on nobody will."""
        if not self._taken.acquire(blocking=False):
            return False
        self._flow = None
        self._taken.release()
        return True

    def _end(self) -> None:
        flow, self._flow = self._flow, None
        if flow is not None:
            flow.end()

    def close(self) -> None:
        """End the stream, unless a write is on it: whoever waits for that hears of the end from gRPC."""
        if self._taken.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._taken.release()


def _refusal(answer: bytes) -> CallFailed | None:
    """The error that an answer tells of."""
    try:
        response = pb.ApplyResponse.FromString(answer)
    except DecodeError:
        return None  # whoever reads it says so
    return refused(response.error) if response.HasField("error") else None


def _lost(failure: CallFailed) -> CallFailed:
    """The failure of a stream.  A node that ends it for want of a reader has carried out what it was answering."""
    return CallFailed(failure.text) if isinstance(failure.error, WaitTimeout) else failure
