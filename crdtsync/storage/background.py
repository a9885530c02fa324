"""The two threads of an open store: one syncs the journal, one writes checkpoints.  Neither dies in silence."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from crdtsync.errors import Closed, CrdtsyncError, JournalFailed
from crdtsync.storage.store import Store

log = logging.getLogger("crdtsync.storage")
LOOK = 0.1  # s between looks at the bounds that start a checkpoint early
PAUSE = 1.0  # s after a failure
MAINTAIN = 60.0  # s between housekeeping of the row table


class Worker:
    """A thread that runs one round after another until it is stopped; a failure is counted, logged, and tried again."""

    def __init__(self, name: str, store: Store, rounds: Callable[[], None]) -> None:
        self.store, self.rounds = store, rounds
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"crdtsync-{name}-{store.node}", daemon=True)

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.rounds()
            except Closed:
                return
            except CrdtsyncError:  # counted and logged where it was raised
                self.stopping.wait(PAUSE)
            except Exception:
                self.store.counters["background_failed"] += 1
                log.exception("%s failed and goes on", self.thread.name)
                self.stopping.wait(PAUSE)


class Background:
    """Flusher and checkpointer of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._flushed = self._maintained = 0.0
        self._checkpointed = time.monotonic()
        self._flusher = Worker("flusher", store, self._flush)
        self._checkpointer = Worker("checkpointer", store, self._checkpoint)

    def start(self) -> None:
        """Start both threads."""
        self._flusher.thread.start()
        self._checkpointer.thread.start()

    def ended(self) -> list[str]:
        """Names of threads that have ended without being told to."""
        workers = (self._flusher, self._checkpointer)
        return [w.thread.name for w in workers if not w.thread.is_alive() and not w.stopping.is_set()]

    def stop(self) -> None:
        """Stop both threads; what they have begun is finished first.  A second call does nothing."""
        for worker in (self._flusher, self._checkpointer):
            worker.stopping.set()
        self.store.appended.set()
        for worker in (self._flusher, self._checkpointer):
            if worker.thread.is_alive():
                worker.thread.join()

    def _flush(self) -> None:
        """One sync for everybody: at once after a pause, gathering for `flush_interval` while writes keep coming."""
        store, config = self.store, self.store.config
        store.appended.wait()
        while not self._flusher.stopping.is_set():
            left = self._flushed + config.flush_interval - time.monotonic()
            if left <= 0 or store.unflushed_bytes() >= config.flush_bytes:
                break
            self._flusher.stopping.wait(left / 2 if left > 0.001 else left)
        store.appended.clear()
        try:
            if config.durability != "os":
                store.flush()
            store.prepare()
        except JournalFailed:
            self._flusher.stopping.wait()  # nothing is written any more until the store is opened again
        self._flushed = time.monotonic()

    def _checkpoint(self) -> None:
        """Housekeeping, and a checkpoint every interval, or as soon as much is dirty; a pause gives memory back."""
        store, config = self.store, self.store.config
        self._checkpointer.stopping.wait(min(LOOK, config.checkpoint_interval))
        now = time.monotonic()
        if now - self._maintained >= MAINTAIN:  # first: it ends old backups, for want of whose pages the next may fail
            self._maintained = now
            store.maintain()
        if now - self._checkpointed >= config.checkpoint_interval or store.dirty >= config.checkpoint_bytes:
            self._checkpointed = now
            if not store.checkpoint():
                store.slim()
