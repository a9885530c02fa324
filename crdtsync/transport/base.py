"""What a transport does, and what it tells its owner: the two sides of one seam."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any, Protocol

import msgspec

from crdtsync.config import Config
from crdtsync.replication.messages import Message
from crdtsync.transport.wire import encode

log = logging.getLogger("crdtsync.transport")


class TransportEvents(Protocol):
    """Told by a transport, on a thread of its own choosing: implementations enqueue and return, and never raise."""

    def link_up(self, link: int, address: str, outgoing: bool, node: str = "") -> None:
        """A link stands.  `address` is what was dialled, or for an incoming link the caller's end of the connection.

        `node` is who the other side is by its certificate, verified; "" without TLS.
        """

    def message(self, link: int, message: Message) -> None:
        """A message arrived; the messages of one link come in the order in which they were sent."""

    def link_down(self, link: int, reason: str) -> None:
        """The link has ended, whoever ended it.  Said once for every link_up; the last word about this link."""

    def connect_failed(self, address: str, reason: str) -> None:
        """A `connect` came to nothing."""


class Transport(Protocol):
    """Links to other nodes.  All methods may be called from any thread, also from within an event."""

    counters: Counter[str]  # refusals and faults by name; `bytes_sent` and the like count all links since the start

    @property
    def address(self) -> str:
        """host:port that others reach this transport at; known once started."""

    def start(self, events: TransportEvents) -> None:
        """Listen.  Raises ListenFailed when the address is taken or not ours, ConfigError when it is none."""

    def connect(self, address: str) -> None:
        """Dial; the answer is `link_up` with outgoing=True, or `connect_failed`."""

    def send(self, link: int, message: Message) -> bool:
        """Queue a message; False when the link is gone or going, or the message is too large for a frame.

        A link whose queue passes `send_queue_bytes_max` is cut: its other side does not read.  Returns at once.
        """

    def pause(self, link: int) -> None:
        """Take nothing more from this link until `resume`; a few messages may still arrive.  The sender waits."""

    def resume(self, link: int) -> None:
        """Read from a paused link again."""

    def disconnect(self, link: int, reason: str = "") -> None:
        """End a link: what was sent before still leaves, for `link_drain_timeout` at most; nothing more is received."""

    def stats(self) -> dict[str, Any]:
        """`address`, `counters`, and `links`: {link: {address, outgoing, queued_bytes, bytes_sent, ...}}."""

    def stop(self) -> None:
        """End all links as `disconnect` does and close the port.  Returns when no event can follow; may be repeated."""


class Traffic(msgspec.Struct):
    """What one link has carried.  Bytes are those of gRPC messages with their prefix, without HTTP/2 and TCP."""

    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0


PREFIX_BYTES = 5  # gRPC's flag and length before every message


class Ledger:
    """What every transport keeps: counters that any thread may add to, and the size of frames."""

    def __init__(self, config: Config) -> None:
        self.counters: Counter[str] = Counter()
        self._config = config
        self._count_lock = threading.Lock()

    def count(self, name: str, amount: int = 1) -> None:
        """Count a fault, a refusal or traffic."""
        with self._count_lock:
            self.counters[name] += amount

    def frame_of(self, message: Message) -> bytes | None:
        """The message as a frame, or None when it is too large to be sent: logged and counted."""
        frame = encode(message)
        if len(frame) <= self._config.message_bytes_max:
            return frame
        self.count("frame_too_large")
        log.error("A %s of %d bytes is more than message_bytes_max.", type(message).__name__, len(frame))
        return None

    def counted(self) -> dict[str, int]:
        """A copy of the counters."""
        with self._count_lock:
            return dict(self.counters)
