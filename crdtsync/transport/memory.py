"""The transport without sockets: links between transports of one process, driven by a scheduler.

There are no threads here.  A `Schedule` runs each action after a delay, in virtual time if it likes.  Without one,
`Turns` runs what is due in the thread that caused it, and what is delayed when told to `advance`.

Every message crosses as the frame that the real wire would carry, through the same encoder, decoder and limits.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from crdtsync.config import Config, check_address, split_address
from crdtsync.errors import BadFrame, Closed, CrdtsyncError, ListenFailed
from crdtsync.replication.messages import Message
from crdtsync.transport.base import PREFIX_BYTES, Ledger, Traffic, TransportEvents
from crdtsync.transport.shapes import Limits
from crdtsync.transport.wire import decode_all

log = logging.getLogger("crdtsync.transport")

Action = Callable[[], None]
Schedule = Callable[[float, Action], None]  # run the action after so many seconds
Delay = Callable[[str, str, int], float | None]  # (from, to, bytes) -> seconds on the way; None: lost


class Turns:
    """The scheduler of those who have none: actions run one at a time, in order of time, in whoever's thread."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()
        self._busy = False

    def __call__(self, delay: float, action: Action) -> None:
        with self._lock:
            heapq.heappush(self._due, (self.now + delay, next(self._numbers), action))
        self._run()

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, with all that falls due in it."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now = self._due[0][0]
            self._run()
        self.now = end

    def _run(self) -> None:
        with self._lock:
            if self._busy:  # whoever is running sees to it
                return
            self._busy = True
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > self.now:
                    self._busy = False
                    return
                action = heapq.heappop(self._due)[2]
            try:
                action()
            except BaseException:
                self._busy = False
                raise


class MemoryNetwork:
    """Who listens where, and what is wrong between whom."""

    def __init__(self, schedule: Schedule | None = None, delay: Delay = lambda sender, receiver, size: 0.0) -> None:
        self.schedule: Schedule = schedule or Turns()
        self.delay = delay
        self.listening: dict[str, MemoryTransport] = {}
        self.lock = threading.RLock()  # held by every action: events of one network never run side by side
        self.ports = itertools.count(40_000)
        self._cut: set[frozenset[str]] = set()
        self._held: set[tuple[str, str]] = set()

    def after(self, delay: float, action: Action) -> None:
        """Run an action later, alone."""

        def alone() -> None:
            with self.lock:
                action()

        self.schedule(delay, alone)

    def cut(self, one: str, other: str) -> None:
        """Break the links between two addresses, and let none be made."""
        with self.lock:
            self._cut.add(frozenset((one, other)))
            for end in self._between(one, other):
                end.snap("connection reset")

    def hold(self, sender: str, receiver: str) -> None:
        """A black hole one way: what is sent waits, and nobody is told."""
        self._held.add((sender, receiver))

    def heal(self) -> None:
        """Everything passes again; what was held arrives."""
        self._cut.clear()
        self._held.clear()
        for transport in list(self.listening.values()):
            for end in transport.ends():
                self.after(0.0, end.flush)

    def is_cut(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self._cut

    def is_held(self, sender: str, receiver: str) -> bool:
        return (sender, receiver) in self._held

    def _between(self, one: str, other: str) -> list[End]:
        here = self.listening.get(one)
        return [end for end in here.ends() if end.far.owner.address == other] if here is not None else []


class End:
    """One end of a link: what it has sent and the other end has not taken."""

    far: End

    def __init__(self, owner: MemoryTransport, number: int, address: str, outgoing: bool) -> None:
        self.owner, self.number, self.address, self.outgoing = owner, number, address, outgoing
        self.traffic = Traffic()
        self.open = True  # takes messages
        self.over = False  # link_down has been told
        self.paused = False
        self.closing = ""  # why, while what was sent still leaves
        self.queued_bytes = 0
        self._lock = threading.Lock()
        self._flight: deque[list[Any]] = deque()  # [frame, has arrived], in the order of sending

    def post(self, frame: bytes, bytes_max: int) -> bool:
        """Put a frame on its way; False when the link is going, or is cut because its other side takes nothing."""
        network = self.owner.network
        delay = network.delay(self.owner.address, self.far.owner.address, len(frame))
        entry = [frame, False]
        with self._lock:
            if not self.open:
                return False
            self.open = not self.queued_bytes or self.queued_bytes + len(frame) <= bytes_max
            if self.open and delay is not None:
                self.queued_bytes += len(frame)
                self._flight.append(entry)
        if not self.open:
            network.after(0.0, self._overflow)
            return False
        self._sent(frame)
        if delay is not None:
            network.after(delay, lambda: self._arrive(entry))
        return True

    def _sent(self, frame: bytes) -> None:
        self.traffic.frames_sent += 1
        self.traffic.messages_sent += 1
        self.traffic.bytes_sent += len(frame) + PREFIX_BYTES
        self.owner.count("frames_sent")
        self.owner.count("bytes_sent", len(frame) + PREFIX_BYTES)

    def _arrive(self, entry: list[Any]) -> None:
        entry[1] = True
        self.flush()

    def flush(self) -> None:
        """Hand over what has arrived, in order, as far as the other end takes it."""
        blocked = self.owner.network.is_held(self.owner.address, self.far.owner.address)
        while self._flight and self._flight[0][1] and not blocked and not self.far.paused and not self.far.over:
            frame = self._flight.popleft()[0]
            with self._lock:
                self.queued_bytes -= len(frame)
            self.far.take(frame)
        if self.closing and not self._flight and not self.over:
            self.finish()

    def take(self, frame: bytes) -> None:
        """A frame from the other end."""
        if not self.open:
            return
        self.traffic.frames_received += 1
        self.traffic.bytes_received += len(frame) + PREFIX_BYTES
        self.owner.count("frames_received")
        self.owner.count("bytes_received", len(frame) + PREFIX_BYTES)
        try:
            messages = decode_all(frame, self.owner.limits)
        except BadFrame as error:
            self.owner.count(error.counter)
            log.warning("Link %d: %s sent a bad frame: %s", self.number, self.address, error.message)
            self.break_off(f"bad frame: {error.message}")
            return
        self.traffic.messages_received += len(messages)
        for message in messages:
            self.owner.events.message(self.number, message)

    def close(self, reason: str) -> None:
        """End in good order, once what was sent has been taken."""
        if self.over or self.closing:
            return
        self.open, self.closing = False, reason or "closed"
        self.owner.network.after(self.owner.drain, lambda: None if self.over else self.finish())
        self.flush()

    def finish(self) -> None:
        """The end of a close: this end had its reason, the other learns of it."""
        self.down(self.closing)
        self.far.down(self.far.closing or "closed by the other side")

    def break_off(self, reason: str) -> None:
        """End at once, by this end's will."""
        self.down(reason)
        self.far.down(f"ABORTED: {reason}")

    def snap(self, reason: str) -> None:
        """The link itself breaks."""
        self.down(reason)
        self.far.down(reason)

    def down(self, reason: str) -> None:
        if not self.over:
            self.open, self.over = False, True
            self._flight.clear()
            self.owner.forget(self)
            self.owner.events.link_down(self.number, reason)

    def silent(self) -> None:
        """Called once after connect_timeout."""
        if not self.over and self.traffic.frames_received == 0:
            self.owner.count("silent_links")
            log.warning("Link %d: %s says nothing.", self.number, self.address)
            self.break_off("cut: the other side says nothing")

    def _overflow(self) -> None:
        if not self.over and not self.closing:
            self.owner.count("send_queue_overflow")
            log.warning("Link %d: %s does not read; cut with %d bytes waiting.",
                        self.number, self.address, self.queued_bytes)  # fmt: skip
            self.break_off("cut: the other side does not read")


class MemoryTransport(Ledger):
    """The Transport within a process; see base.Transport for the methods."""

    events: TransportEvents

    def __init__(self, config: Config, network: MemoryNetwork) -> None:
        super().__init__(config)
        self.network, self.limits, self.drain = network, Limits.of(config), config.link_drain_timeout
        self._address = ""
        self._ends: dict[int, End] = {}
        self._numbers = itertools.count(1)
        self._state = "new"  # new -> running -> stopped

    @property
    def address(self) -> str:
        return self._address

    def ends(self) -> list[End]:
        return list(self._ends.values())

    def start(self, events: TransportEvents) -> None:
        check_address("listen", self._config.listen, self._config.anywhere)
        host, port = split_address("listen", self._config.listen)
        with self.network.lock:
            if self._state != "new":
                raise Closed("The transport has been started before.")
            address = f"{host}:{port or next(self.network.ports)}"
            if address in self.network.listening:
                raise ListenFailed(f"Nothing can listen at {address}: it is in use.")
            self.events, self._address, self._state = events, address, "running"
            self.network.listening[address] = self

    def connect(self, address: str) -> None:
        self.network.after(0.0, lambda: self._dial(address))

    def send(self, link: int, message: Message) -> bool:
        end = self._ends.get(link)
        if end is None:
            return False
        frame = self.frame_of(message)
        return frame is not None and end.post(frame, self._config.send_queue_bytes_max)

    def pause(self, link: int) -> None:
        end = self._ends.get(link)
        if end is not None:
            end.paused = True

    def resume(self, link: int) -> None:
        end = self._ends.get(link)
        if end is not None:
            end.paused = False
            self.network.after(0.0, end.far.flush)

    def disconnect(self, link: int, reason: str = "") -> None:
        end = self._ends.get(link)
        if end is not None:
            end.open = False
            self.network.after(0.0, lambda: end.close(reason))

    def stats(self) -> dict[str, Any]:
        links = {
            end.number: {"address": end.address, "outgoing": end.outgoing, "queued_bytes": end.queued_bytes,
                         **msgspec.structs.asdict(end.traffic)}
            for end in self.ends()
        }  # fmt: skip
        return {"address": self._address, "counters": self.counted(), "links": links}

    def stop(self) -> None:
        with self.network.lock:
            if self._state == "running":
                for end in self.ends():
                    end.close("stopped")
                for end in self.ends():
                    end.finish()
                self.network.listening.pop(self._address, None)
            self._state = "stopped"

    def forget(self, end: End) -> None:
        """An end is over."""
        self._ends.pop(end.number, None)

    def _dial(self, address: str) -> None:
        if self._state != "running":
            return
        try:
            check_address("The address", address, self._config.anywhere)
        except CrdtsyncError as error:
            self._failed(address, error.message, error.counter)
            return
        callee = self.network.listening.get(address)
        if callee is None or self.network.is_cut(self._address, address):
            self._failed(address, "UNAVAILABLE: connection refused", "connects_failed")
        elif self.network.is_held(self._address, address) or self.network.is_held(address, self._address):
            self.network.after(self._config.connect_timeout, lambda: self._give_up(address))
        else:
            self._link(callee, address)

    def _link(self, callee: MemoryTransport, address: str) -> None:
        near, far = self._end(address, True), callee._end(self._address, False)
        near.far, far.far = far, near
        for end in (far, near):
            end.owner.events.link_up(end.number, end.address, end.outgoing)
            self.network.after(end.owner._config.connect_timeout, end.silent)

    def _end(self, address: str, outgoing: bool) -> End:
        self.count("links_opened")
        end = End(self, next(self._numbers), address, outgoing)
        self._ends[end.number] = end
        return end

    def _give_up(self, address: str) -> None:
        if self._state == "running":
            self._failed(address, f"no answer within {self._config.connect_timeout} s", "connects_failed")

    def _failed(self, address: str, reason: str, counter: str) -> None:
        self.count(counter)
        self.events.connect_failed(address, reason)
