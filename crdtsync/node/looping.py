"""The thread that drives the replication engine: transport events and local writes come in, effects go out.

Everything that the engine does happens here, one thing after another: decoding and merging what arrives, ticks when
they are due, and calls from other threads.  The transport's own thread only enqueues.  A link that delivers faster than
the engine takes in is paused, so the inbox is bounded by LINK_HIGH messages a link.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from crdtsync.errors import Closed, CrdtsyncError
from crdtsync.replication.driver import Driver
from crdtsync.replication.messages import Message

if TYPE_CHECKING:
    from crdtsync.replication.engine import Engine
    from crdtsync.transport.base import Transport

T = TypeVar("T")
log = logging.getLogger("crdtsync.node")

LINK_HIGH = 64  # messages of one link that wait; above, the link is paused
LINK_LOW = 16  # messages of one link that wait when it is resumed
DRAIN_MAX = 64  # events handled before effects are carried out and ticks are looked at
AT_ONCE = 0.0  # s on the monotonic clock: a time that has passed
FAULT_PAUSE = 0.1  # s of rest after an error, so that one that comes back at once does not spin


def wall_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class EngineLoop:
    """One engine, its thread, and its inbox.  Meets TransportEvents."""

    def __init__(self, transport: Transport, counters: Counter[str]) -> None:
        self._transport, self._counters = transport, counters
        self._engine: Engine
        self._driver: Driver
        self._inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._waiting: Counter[int] = Counter()  # messages in the inbox, by link
        self._paused: set[int] = set()
        self._links = threading.Lock()  # guards the two above
        self._kicked = False
        self._wakeup: float | None = AT_ONCE  # when the engine wants to be ticked
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="crdtsync-engine", daemon=True)

    def start(self, engine: Engine, driver: Driver) -> None:
        """Begin; events that came before are waiting."""
        self._engine, self._driver = engine, driver
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing; calls that wait in the inbox get Closed."""
        self._inbox.put((self._stop,))
        self._thread.join()
        while not self._inbox.empty():
            handler, *arguments = self._inbox.get()
            if handler == self._carry_out:
                arguments[0].set_exception(Closed("The node has been closed."))

    # -- from other threads

    def ended(self) -> bool:
        """Whether the thread has ended without being told to."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stopping

    def queues(self) -> dict[str, int]:
        """How much waits: events for the engine, and links that are paused until it has caught up."""
        return {"engine_events": self._inbox.qsize(), "links_paused": len(self._paused)}

    def written(self) -> None:
        """Something was written here.  Cheap: one wake-up covers all writes until the engine has pushed."""
        if not self._kicked:
            self._kicked = True
            self._inbox.put((self._local,))

    def call(self, run: Callable[[float, int], T], timeout: float | None = None) -> T:
        """Run `run(now, wall_ms)` between two events, and give its result."""
        if threading.current_thread() is self._thread:
            return run(time.monotonic(), wall_ms())
        future: Future[T] = Future()
        if self._stopping:
            raise Closed("The node has been closed.")
        self._inbox.put((self._carry_out, future, run))
        return future.result(timeout)

    # -- TransportEvents, on the transport's threads

    def link_up(self, link: int, address: str, outgoing: bool, node: str = "") -> None:
        self._inbox.put((self._link_up, link, address, outgoing, node))

    def message(self, link: int, message: Message) -> None:
        with self._links:
            self._waiting[link] += 1
            pause = self._waiting[link] > LINK_HIGH and link not in self._paused
            if pause:
                self._paused.add(link)
        if pause:
            self._counters["links_paused"] += 1
            self._transport.pause(link)
        self._inbox.put((self._message, link, message))

    def link_down(self, link: int, reason: str) -> None:
        self._inbox.put((self._link_down, link, reason))

    def connect_failed(self, address: str, reason: str) -> None:
        self._inbox.put((self._connect_failed, address, reason))

    # -- on the engine's thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._round()
            except CrdtsyncError as error:
                self._counters[error.counter] += 1
                log.error("replication: %s", error)
                time.sleep(FAULT_PAUSE)
            except Exception:
                self._counters["internal_error"] += 1
                log.exception("replication: a bug in crdtsync; it goes on with the next event")
                time.sleep(FAULT_PAUSE)

    def _round(self) -> None:
        """Wait for events or for the time of a tick, whichever is first, and carry out what follows.

        A write is pushed in the round that hears of it: events are looked at before the time of the next tick.
        """
        wakeup, self._wakeup = self._wakeup, AT_ONCE  # until it is known again, should something go wrong
        try:
            if self._take(None if wakeup is None else max(0.0, wakeup - time.monotonic())):
                wakeup = self._engine.next_wakeup()
            if wakeup is not None and time.monotonic() >= wakeup:
                self._kicked = False  # before the tick: what is written from here on may be missed by its push
                self._engine.tick(time.monotonic(), wall_ms())
                wakeup = self._engine.next_wakeup()
            self._wakeup = wakeup
        finally:  # what was decided before an error is carried out all the same
            self._driver.apply(self._engine.take_effects())

    def _take(self, timeout: float | None) -> bool:
        """Wait for an event and handle it, with those right behind it; False when none came in time."""
        try:
            event = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return False
        try:
            for _ in range(DRAIN_MAX):
                event[0](*event[1:])
                event = self._inbox.get_nowait()
            event[0](*event[1:])
        except queue.Empty:
            pass
        return True

    def _stop(self) -> None:
        self._stopping = True

    def _local(self) -> None:
        self._engine.local(time.monotonic())

    def _carry_out(self, future: Future[Any], run: Callable[[float, int], Any]) -> None:
        try:
            future.set_result(run(time.monotonic(), wall_ms()))
        except BaseException as error:
            future.set_exception(error)

    def _link_up(self, link: int, address: str, outgoing: bool, node: str) -> None:
        self._kicked = False
        self._engine.link_up(link, address, outgoing, time.monotonic(), node)

    def _message(self, link: int, message: Message) -> None:
        with self._links:
            self._waiting[link] -= 1
            resume = link in self._paused and self._waiting[link] <= LINK_LOW
            if resume:
                self._paused.discard(link)
        if resume:
            self._transport.resume(link)
        self._kicked = False
        self._engine.receive(link, message, time.monotonic(), wall_ms())

    def _link_down(self, link: int, reason: str) -> None:
        with self._links:
            self._waiting.pop(link, None)
            self._paused.discard(link)
        self._engine.link_down(link, time.monotonic())

    def _connect_failed(self, address: str, reason: str) -> None:
        log.debug("no link to %s: %s", address, reason)
        self._engine.connect_failed(address, time.monotonic())
