"""One link's life on the loop: writing what waits, reading and decoding what comes, and ending once, with a reason.

A link ends by whichever comes first: the other side finishes or is gone, `close` (drains what waits), `end` (at once:
a bad frame, a full queue, silence).  Frames are decoded here, on the loop: a part's columns are copied as a block, so
the largest frames take a few milliseconds, while handing them over undecoded would move the same work under the same
interpreter lock and let bad frames reach the engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from crdtsync.config import Config
from crdtsync.errors import BadFrame
from crdtsync.replication.messages import Hello
from crdtsync.transport.base import PREFIX_BYTES, Traffic, TransportEvents
from crdtsync.transport.outbox import Outbox
from crdtsync.transport.shapes import Limits
from crdtsync.transport.wire import decode_all

log = logging.getLogger("crdtsync.transport")

Count = Callable[[str, int], None]


# How a stream ends by a frame that is too large, in gRPC's words and ours.
OURS_REFUSED = ("SERVER: Received message larger than max", "message_bytes_max")
THEIRS_REFUSED = "CLIENT: Received message larger than max"


class StreamLost(Exception):
    """A stream broke; the text says how."""


class Stream(Protocol):
    """A gRPC stream, seen from either end.  read and write raise StreamLost when it breaks."""

    async def read(self) -> bytes | None: ...  # None: the other side has finished
    async def write(self, frame: bytes) -> None: ...
    async def finish(self) -> None: ...  # all has been written; returns at once where returning says it
    def abandon(self, reason: str, orderly: bool) -> None: ...  # let go of the stream


class Link:
    """A link, used on the loop thread except for `post`, `ask_close` and the numbers."""

    def __init__(
        self, number: int, address: str, outgoing: bool, stream: Stream, config: Config, events: TransportEvents,
        count: Count, node: str = "",
    ) -> None:  # fmt: skip
        """`node`: who the far end is by its certificate; "" in plaintext."""
        self.number, self.address, self.outgoing, self.node = number, address, outgoing, node
        self.traffic = Traffic()
        self.takes_zstd = False  # whether the other side has told that it takes compressed parts
        self.outbox = Outbox(config.send_queue_bytes_max, config.frame_batch_bytes)
        self._stream, self._config, self._events, self._count = stream, config, events, count
        self._limits = Limits.of(config)
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = ""  # why, once a close in good order has begun
        self._orderly = False  # ended by both sides' will, with nothing left to write

    # -- from any thread
    def post(self, frame: bytes, expanded: int = 0) -> bool:
        """Queue a frame; False when the link is going.  A full queue ends the link.  `expanded`: see Outbox.put."""
        wake = self.outbox.put(frame, expanded)
        if wake:
            self._loop.call_soon_threadsafe(self._wake.set)
        elif wake is None and not self._closing:
            self._loop.call_soon_threadsafe(self._overflow)
        return wake is not None

    def ask_close(self, reason: str) -> None:
        """Close in good order, soon."""
        self.outbox.close()
        self._loop.call_soon_threadsafe(self.close, reason)

    # -- on the loop
    async def run(self) -> None:
        """Carry messages until the link ends.  Tells link_up first and link_down last."""
        silence = self._loop.call_later(self._config.connect_timeout, self._silent)
        tasks: list[asyncio.Task[None]] = []
        reason = "cut by the other side"
        try:
            self._events.link_up(self.number, self.address, self.outgoing, self.node)
            tasks = [self._loop.create_task(self._guard(work)) for work in (self._read, self._write)]
            reason = await self._over
        finally:
            if self._over.cancelled():  # gRPC cancels a stream that breaks, or brings a frame beyond its bound
                self._count("streams_lost", 1)
            silence.cancel()
            self.outbox.close()
            for task in tasks:
                task.cancel()
            self._stream.abandon(reason, self._orderly)
            self._events.link_down(self.number, reason)

    def end(self, reason: str) -> None:
        """End the link now; later reasons do not count."""
        if not self._over.done():
            self._over.set_result(reason)

    def close(self, reason: str) -> None:
        """Write what waits, then end; end anyway after link_drain_timeout."""
        self.outbox.close()
        if not self._closing:
            self._closing = reason or "closed"
            self._reading.set()
            self._wake.set()
            self._loop.call_later(self._config.link_drain_timeout, self.end, self._closing)

    def pause(self) -> None:
        if not self._closing:
            self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run one direction; whatever goes wrong ends the link and nothing else."""
        try:
            await work()
        except StreamLost as error:
            if not self._closing and not self._over.done():
                self._count("streams_lost", 1)
                self._explain(str(error))
            self.end(self._closing or str(error))
        except Exception as error:
            self._count("link_failures", 1)
            log.exception("Link %d to %s failed.", self.number, self.address)
            self.end(f"failed: {error!r}")

    def _explain(self, text: str) -> None:
        """Say so when a frame of ours was too large for the other side, or one of theirs for gRPC here."""
        if THEIRS_REFUSED in text:
            self._count("oversized_frame", 1)  # as OversizedFrame counts the smaller ones
            log.warning("Link %d: %s sent too large a frame: %s", self.number, self.address, text)
        elif any(words in text for words in OURS_REFUSED):
            self._count("frames_refused", 1)
            log.warning("Link %d: a frame was too large for %s: %s", self.number, self.address, text)

    async def _write(self) -> None:
        while True:
            frame, messages = self.outbox.take()
            if messages:
                await self._stream.write(frame)
                self._sent(frame, messages)
            elif self._closing:
                await self._stream.finish()
                self._orderly = True
                if not self.outgoing:  # the caller's end is told by the end of the RPC; the other waits for the answer
                    self.end(self._closing)
                return
            else:
                await self._wake.wait()
                self._wake.clear()

    async def _read(self) -> None:
        while True:
            await self._reading.wait()
            frame = await self._stream.read()
            if frame is None:
                self._orderly = True
                self.end(self._closing or "closed by the other side")
                return
            if self._closing:
                continue
            self._received(frame)

    def _received(self, frame: bytes) -> None:
        size, traffic = len(frame) + PREFIX_BYTES, self.traffic
        traffic.bytes_received += size
        traffic.frames_received += 1
        self._count("bytes_received", size)
        self._count("frames_received", 1)
        try:
            messages = decode_all(frame, self._limits)
        except BadFrame as error:
            self._count(error.counter, 1)
            log.warning("Link %d: %s sent a bad frame: %s", self.number, self.address, error.message)
            self.end(f"bad frame: {error.message}")
            return
        traffic.messages_received += len(messages)
        for message in messages:
            if isinstance(message, Hello):
                self.takes_zstd = message.zstd
            self._events.message(self.number, message)

    def _sent(self, frame: bytes, messages: int) -> None:
        self.outbox.written(len(frame))
        size, traffic = len(frame) + PREFIX_BYTES, self.traffic
        traffic.bytes_sent += size
        traffic.frames_sent += 1
        traffic.messages_sent += messages
        self._count("bytes_sent", size)
        self._count("frames_sent", 1)

    def _overflow(self) -> None:
        if not self._over.done() and not self._closing:
            self._count("send_queue_overflow", 1)
            log.warning("Link %d: %s does not read; cut with %d bytes waiting.",
                        self.number, self.address, self.outbox.queued_bytes)  # fmt: skip
            self.end("cut: the other side does not read")

    def _silent(self) -> None:
        if self.traffic.frames_received == 0 and not self._over.done():
            self._count("silent_links", 1)
            log.warning("Link %d: %s says nothing.", self.number, self.address)
            self.end("cut: the other side says nothing")
