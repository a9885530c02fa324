"""Watchers of remote nodes for threads: a thread takes responses in, the reader takes changes out.

When the connection is lost it goes on from the last token, at the same node or the next one, for as long as the watcher
is open; `status()["counters"]["watch_reconnects"]` counts.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc

from crdtsync.client.calls import Call
from crdtsync.client.failures import failed
from crdtsync.client.telling import Telling
from crdtsync.errors import Closed, CrdtsyncError
from crdtsync.handles import Change

if TYPE_CHECKING:
    from crdtsync.client.lines import Line

PUT_INTERVAL = 0.1  # s between two looks whether a reader that is behind has closed its watcher


class Told:
    """Changes of one response, and where to resume when all of them have been told."""

    __slots__ = ("changes", "token")

    def __init__(self, changes: list[Change], token: str) -> None:
        self.changes, self.token = changes, token


class RemoteWatcher:
    """An iterator over changes; made by `watch`."""

    def __init__(self, line: Line, bucket: str | None, prefix: str, after: str | None, values: bool) -> None:
        self.bucket = bucket  # None: all
        self._line = line
        self._telling = Telling(line.caller, bucket, prefix, after, values)
        self._queue: queue.Queue[Told | None] = queue.Queue(line.caller.config.watch_ahead)  # None only wakes
        self._current: deque[Change] = deque()  # being told
        self._token = self._aim = after or ""  # told; told after the current ones
        self._stream: Any = None
        self._started = threading.Event()
        self._closed = False
        self._over = False  # nothing more is taken in
        self._error: Exception | None = None  # why
        self._thread = threading.Thread(target=self._take_in, name="crdtsync-watch", daemon=True)
        patience = line.caller.patience()
        self._thread.start()
        self._await_start(patience)

    def _await_start(self, patience: float) -> None:
        """Return when the node tells from where on it tells everything.  Raises what keeps it from doing so."""
        if not self._started.wait(patience):
            self.close()
            raise self._telling.late()
        first = self._queue.get()
        if first is None:
            self.close()
            raise self._error or self._line.refused(Closed("The client has been closed.", hint="Connect again."))
        self._begin(first)

    # -- the thread that takes in

    def _take_in(self) -> None:
        try:
            while not (self._closed or self._line.caller.closed):
                self._pause(self._follow())
        except Exception as error:
            if not self._line.caller.closed:  # else that is what it ends of
                self._error = error
        self._over = True
        self._wake()

    def _wake(self) -> None:
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            pass  # then nobody waits
        self._started.set()

    def _follow(self) -> float:
        """One stream, until it fails; seconds to wait before the next."""
        caller = self._line.caller
        try:
            there, _, _ = self._line.run(caller.make(Call("Describe", b"")))
        except CrdtsyncError as error:
            return self._telling.outlast(error)
        try:
            self._stream = self._line.open(there.node, "Watch", "unary_stream", self._telling.request(there))
            if self._closed:
                self._stream.cancel()
            for response in self._stream:
                self._put(Told(self._telling.take_in(response, there), self._telling.token))
        except grpc.RpcError as error:
            if self._closed or caller.closed:
                return 0.0
            failure = failed(error)
            caller.lost(there.node, failure)
            return self._telling.pause(failure)
        return 0.0 if self._closed else caller.backoff(1)  # the node has ended it in good order: it is stopping

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._closed and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, PUT_INTERVAL))

    def _put(self, told: Told) -> None:
        if not told.changes and self._started.is_set() and not self._queue.empty():
            return  # a heartbeat that nobody waits for
        while not self._closed:
            try:
                self._queue.put(told, timeout=PUT_INTERVAL)
                break
            except queue.Full:
                continue
        self._started.set()

    # -- the reader's side

    def next(self, timeout: float | None = None) -> Change | None:
        """The next change; None when `timeout` seconds bring none, and at the end.  Raises SlowConsumer."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._current:
            if self._closed or (self._over and self._queue.empty()):
                self._finish()
                return None
            try:
                told = self._queue.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if told is not None:
                self._begin(told)
        change = self._current.popleft()
        if not self._current:
            self._token = self._aim
        return change

    def _finish(self) -> None:
        self.close()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _begin(self, told: Told) -> None:
        self._current.extend(told.changes)
        self._aim = told.token
        if not self._current:
            self._token = self._aim

    @property
    def token(self) -> str:
        """Everything up to here has been told: where to resume when this watcher is lost."""
        return self._token

    @property
    def pending(self) -> int:
        """Responses that have been taken in and wait to be told."""
        return self._queue.qsize()

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def close(self) -> None:
        """End it; a reader that waits is woken."""
        if self._closed:
            return
        self._closed = True
        if self._stream is not None:
            self._stream.cancel()
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(self._line.caller.config.attempt_timeout)

    def __iter__(self) -> RemoteWatcher:
        return self

    def __next__(self) -> Change:
        change = self.next()
        if change is None:
            raise StopIteration
        return change

    def __enter__(self) -> RemoteWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
