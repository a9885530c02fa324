"""Frames that wait for one link: bounded in bytes, taken in batches, filled from any thread."""

from __future__ import annotations

from collections import deque
from threading import Lock

BATCH_MESSAGES = 256  # small messages joined into one frame at most: bounds what a receiver decodes in one go


class Outbox:
    """A queue between `send`, on any thread, and the one that writes to the link.

    What has been taken still counts until it is `written`: it lies in this process until the link has taken it over.
    """

    def __init__(self, bytes_max: int, batch_bytes: int) -> None:
        self._bytes_max, self._batch_bytes = bytes_max, batch_bytes
        self._lock = Lock()
        self._frames: deque[tuple[bytes, int]] = deque()  # with the bytes that each is once expanded
        self._bytes = 0
        self._awake = False  # the writer has been told, and will look again before it sleeps
        self._closed = False

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait, or are being written."""
        return self._bytes

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, frame: bytes, expanded: int = 0) -> bool | None:
        """Queue a frame.  True: the writer must be woken; False: it is awake; None: closed, or full and now closed.

        A frame always fits into an empty queue.  `expanded`: its bytes when plain, if it is compressed: a receiver
        bounds what all that travels together grows to.
        """
        with self._lock:
            if self._closed:
                return None
            if self._frames and self._bytes + len(frame) > self._bytes_max:
                self._closed = True
                return None
            self._frames.append((frame, expanded or len(frame)))
            self._bytes += len(frame)
            wake, self._awake = not self._awake, True
            return wake

    def take(self) -> tuple[bytes, int]:
        """The next frame to write and how many messages it holds; (b"", 0): none waits, the writer may sleep."""
        with self._lock:
            if not self._frames:
                self._awake = False
                return b"", 0
            frame, size = self._frames.popleft()
            batch = [frame]
            while self._frames and len(batch) < BATCH_MESSAGES and size + self._frames[0][1] <= self._batch_bytes:
                frame, more = self._frames.popleft()
                size += more
                batch.append(frame)
        return (batch[0] if len(batch) == 1 else b"".join(batch)), len(batch)

    def written(self, size: int) -> None:
        """`size` bytes that were taken have left."""
        with self._lock:
            self._bytes -= size

    def close(self) -> None:
        """Take nothing more; what waits can still be taken."""
        with self._lock:
            self._closed = True
