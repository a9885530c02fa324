"""Links over messages that may be late, swap places, or be lost: sequence numbers, acknowledgements, and patience.

A link is opened by its caller under an id of its own choice and numbers its frames 1, 2, 3 ... each way.  The receiver
hands frames over in order and tells the last one that it has, with its own frames or, after ACK_DELAY, alone; what is
not acknowledged is sent again after RESEND, and a link that hears nothing of what it has sent for `keepalive_timeout`
seconds, or has too many bytes waiting, ends.  Whoever hears of a link that it does not know says so.
"""

from __future__ import annotations

import base64
import itertools
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from crdtsync.config import Config, check_address, split_address
from crdtsync.errors import BadFrame, CrdtsyncError
from crdtsync.replication.messages import Message
from crdtsync.transport.base import Ledger, Traffic, TransportEvents
from crdtsync.transport.shapes import Limits
from crdtsync.transport.wire import decode_all

TYPE = "crdtsync"  # of the messages between nodes
TICK = 0.02  # s between looks at what is due
RESEND = 0.3  # s
ACK_DELAY = 0.05  # s that an acknowledgement waits for a frame to travel with
AHEAD_MAX = 1024  # frames that are kept while one before them is missing
BASE_PORT = 10_000  # node number n of the cluster has the address 127.0.0.1:(BASE_PORT + n)

Send = Callable[[str, dict[str, Any]], None]


class Addresses:
    """Node ids as the addresses that crdtsync knows nodes by."""

    def __init__(self, nodes: list[str]) -> None:
        self._nodes = nodes

    def of(self, node: str) -> str:
        return f"127.0.0.1:{BASE_PORT + self._nodes.index(node)}"

    def __contains__(self, node: str) -> bool:
        return node in self._nodes

    def node(self, address: str) -> str | None:
        number = split_address("The address", address)[1] - BASE_PORT
        return self._nodes[number] if 0 <= number < len(self._nodes) else None


class Told(msgspec.Struct):
    """What a message of another node says."""

    line: str
    kind: str
    ack: int
    seq: int = 0
    frame: str = ""


class Line:
    """One end of one link."""

    def __init__(self, name: str, node: str, number: int, address: str, outgoing: bool, now: float) -> None:
        self.name, self.node, self.number, self.address, self.outgoing = name, node, number, address, outgoing
        self.up, self.paused = False, False
        self.opened = self.heard = self.progress = now  # `progress`: when something of ours was last acknowledged
        self.sent = 0  # frames numbered so far
        self.unacked: dict[int, tuple[str, float]] = {}  # number -> (frame, when last sent)
        self.queued_bytes = 0
        self.taken = 0  # frames handed over
        self.ahead: dict[int, str] = {}  # frames that came before their turn, or while paused
        self.ack_due: float | None = None
        self.traffic = Traffic()


class LineTransport(Ledger):
    """A Transport over messages; see transport.base.Transport for the methods."""

    events: TransportEvents

    def __init__(self, config: Config, send: Send, addresses: Addresses, node: str) -> None:
        super().__init__(config)
        self._send, self._addresses, self._node = send, addresses, node
        self._limits = Limits.of(config)
        self._lock = threading.RLock()
        self._lines: dict[str, Line] = {}
        self._by_number: dict[int, Line] = {}
        self._numbers = itertools.count(1)
        self._stopping, self._started = threading.Event(), False
        self._ticker = threading.Thread(target=self._run, name="crdtsync-lines", daemon=True)

    @property
    def address(self) -> str:
        return self._addresses.of(self._node)

    # -- Transport

    def start(self, events: TransportEvents) -> None:
        self.events = events
        self._ticker.start()
        self._started = True

    def connect(self, address: str) -> None:
        try:
            check_address("The address", address, self._config.anywhere)
        except CrdtsyncError as error:
            self._failed(address, error.message, error.counter)
            return
        node = self._addresses.node(address)
        if node is None:
            self._failed(address, "UNAVAILABLE: there is no such node", "connects_failed")
            return
        with self._lock:
            line = self._new(f"{self._node}:{secrets.token_hex(8)}", node, address, True)
            self._say(line, "open")

    def send(self, link: int, message: Message) -> bool:
        frame = self.frame_of(message)
        with self._lock:
            line = self._by_number.get(link)
            if line is None or frame is None:
                return False
            text = base64.b64encode(frame).decode()
            line.sent += 1
            line.queued_bytes += len(text)
            if not line.unacked:
                line.progress = time.monotonic()
            line.unacked[line.sent] = (text, time.monotonic())
            line.traffic.frames_sent += 1
            line.traffic.messages_sent += 1
            line.traffic.bytes_sent += len(frame)
            self.count("frames_sent")
            self.count("bytes_sent", len(frame))
            self._say(line, "frame", seq=line.sent, frame=text)
            if line.queued_bytes > self._config.send_queue_bytes_max:
                self.count("send_queue_overflow")
                self._end(line, "cut: the other side does not read")
                return False
            return True

    def pause(self, link: int) -> None:
        with self._lock:
            if line := self._by_number.get(link):
                line.paused = True

    def resume(self, link: int) -> None:
        with self._lock:
            if line := self._by_number.get(link):
                line.paused = False
                self._hand_over(line)

    def disconnect(self, link: int, reason: str = "") -> None:
        with self._lock:
            if line := self._by_number.get(link):
                self._end(line, reason or "closed")

    def stats(self) -> dict[str, Any]:
        with self._lock:
            links = {
                line.number: {"address": line.address, "outgoing": line.outgoing, "queued_bytes": line.queued_bytes,
                              **msgspec.structs.asdict(line.traffic)}
                for line in self._by_number.values()
            }  # fmt: skip
        return {"address": self.address, "counters": self.counted(), "links": links}

    def stop(self) -> None:
        self._stopping.set()
        if self._ticker.is_alive():
            self._ticker.join()
        with self._lock:
            for line in list(self._lines.values()):
                self._end(line, "stopped")

    # -- what comes in

    def receive(self, source: str, body: dict[str, Any]) -> None:
        """A message of another node; before `start` they are lost, and come again.  Raises msgspec.ValidationError."""
        told = msgspec.convert(body, Told)
        if source not in self._addresses:
            raise msgspec.ValidationError(f"There is no node {source[:64]!r}")
        if not self._started:
            return
        kind, name = told.kind, told.line
        with self._lock:
            line = self._lines.get(name)
            if line is None and kind == "open" and not self._stopping.is_set():
                line = self._new(name, source, self._addresses.of(source), False)
                self._rise(line)
            if line is None:
                if kind != "end":
                    self._send(source, {"type": TYPE, "line": name, "kind": "end", "ack": 0})
                return
            self._heard(line, kind, told)

    def _heard(self, line: Line, kind: str, told: Told) -> None:
        line.heard = time.monotonic()
        if kind == "end":
            self._down(line, "closed by the other side")
            return
        if kind == "open":
            self._say(line, "opened")
        elif kind == "opened" and not line.up:
            self._rise(line)
        self._acknowledged(line, told.ack)
        if kind == "frame":
            self._take(line, told.seq, told.frame)

    def _acknowledged(self, line: Line, ack: int) -> None:
        for number in [number for number in line.unacked if number <= ack]:
            line.queued_bytes -= len(line.unacked.pop(number)[0])
            line.progress = line.heard

    def _take(self, line: Line, seq: int, frame: str) -> None:
        if line.ack_due is None:
            line.ack_due = line.heard + ACK_DELAY
        if line.taken < seq <= line.taken + AHEAD_MAX:
            line.ahead[seq] = frame
            self._hand_over(line)

    def _hand_over(self, line: Line) -> None:
        """Frames whose turn has come."""
        while line.up and not line.paused and (text := line.ahead.pop(line.taken + 1, None)) is not None:
            line.taken += 1
            try:
                frame = _unpacked(text)
                messages = decode_all(frame, self._limits)
            except BadFrame as error:
                self.count(error.counter)
                self._end(line, f"bad frame: {error.message}")
                return
            line.traffic.frames_received += 1
            line.traffic.bytes_received += len(frame)
            line.traffic.messages_received += len(messages)
            for message in messages:
                self.events.message(line.number, message)

    # -- time

    def _run(self) -> None:
        while not self._stopping.wait(TICK):
            with self._lock:
                for line in list(self._lines.values()):
                    self._look(line, time.monotonic())

    def _look(self, line: Line, now: float) -> None:
        if not line.up:
            if now - line.opened > self._config.connect_timeout:
                self._forget(line)
                self._failed(line.address, "UNAVAILABLE: no answer", "connects_failed")
            elif now - line.heard > RESEND:
                line.heard = now
                self._say(line, "open")
            return
        if line.unacked and now - line.progress > self._config.keepalive_timeout:
            self._end(line, "UNAVAILABLE: nothing is acknowledged")
            return
        for number, (text, last) in list(line.unacked.items()):
            if now - last > RESEND:
                line.unacked[number] = (text, now)
                self.count("frames_resent")
                self._say(line, "frame", seq=number, frame=text)
        if line.ack_due is not None and now >= line.ack_due:
            self._say(line, "ack")

    # -- the life of a line

    def _new(self, name: str, node: str, address: str, outgoing: bool) -> Line:
        line = Line(name, node, next(self._numbers), address, outgoing, time.monotonic())
        self._lines[name] = line
        return line

    def _rise(self, line: Line) -> None:
        line.up = True
        self._by_number[line.number] = line
        self.count("links_opened")
        self.events.link_up(line.number, line.address, line.outgoing)

    def _say(self, line: Line, kind: str, **rest: Any) -> None:
        line.ack_due = None
        self._send(line.node, {"type": TYPE, "line": line.name, "kind": kind, "ack": line.taken, **rest})

    def _end(self, line: Line, reason: str) -> None:
        self._say(line, "end")
        self._down(line, reason)

    def _down(self, line: Line, reason: str) -> None:
        self._forget(line)
        if line.up:
            self.events.link_down(line.number, reason)
        else:
            self._failed(line.address, f"UNAVAILABLE: {reason}", "connects_failed")

    def _failed(self, address: str, reason: str, counter: str) -> None:
        self.count(counter)
        self.events.connect_failed(address, reason)

    def _forget(self, line: Line) -> None:
        self._lines.pop(line.name, None)
        self._by_number.pop(line.number, None)


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadFrame(f"A frame is not base64: {error}.") from None
