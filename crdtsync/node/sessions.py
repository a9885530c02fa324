"""Sessions: a token taken on one node and waited for on another gives read-your-writes and monotonic reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from crdtsync.clocks.tokens import Clocks, make_token, read_token
from crdtsync.clocks.vector import covers, missing
from crdtsync.errors import CrdtsyncError, TokenLost, WaitTimeout

if TYPE_CHECKING:
    from crdtsync.node.watching import Hub
    from crdtsync.node.writing import Local

LOST_CHECK_INTERVAL = 0.25  # s between two questions whether what is waited for can still come


class Sessions:
    """Tokens of one node."""

    def __init__(self, local: Local, hub: Hub) -> None:
        self._local, self._store, self._hub = local, local.store, hub
        self.lost: Callable[[Clocks], bool] | None = None  # whether nobody has these events, nor will: the engine

    def clocks(self, buckets: Iterable[str]) -> Clocks:
        """Where this replica stands in each of the buckets."""
        return {name: clock for name in buckets if (clock := self._store.clock(name))}

    def told(self, buckets: Iterable[str]) -> Clocks:
        """What listeners have heard of each of the buckets."""
        return {name: clock for name in buckets if (clock := self._store.told_clock(name))}

    def token(self, buckets: Iterable[str] | None = None) -> str:
        """The token of all buckets, or of some."""
        self._local.check()
        with self._store.lock:
            return self.token_of(self.clocks(self._store.buckets() if buckets is None else buckets))

    def token_of(self, clocks: Clocks) -> str:
        """The token of given clocks."""
        published = {name: self._published(clock) for name, clock in clocks.items()}
        return make_token(self._store.cluster() or self._store.node, published)

    def read(self, token: str) -> Clocks:
        """The clocks of a token.  Raises InvalidToken."""
        try:
            clocks = read_token(token, (self._store.cluster() or self._store.node, self._store.node))
        except CrdtsyncError as error:
            raise self._local.refused(error) from None
        return {name: self._published(clock) for name, clock in clocks.items()}

    def _published(self, clock: dict[int, int]) -> dict[int, int]:
        """A clock from before this store's first publication names its private actor 0: now it has an id."""
        private = self._store.actors.ids[0]
        return {private if actor == 0 else actor: seq for actor, seq in clock.items()} if private else clock

    def missing(self, wanted: Clocks) -> Clocks:
        """What of these clocks this replica lacks."""
        lacks = {name: missing(self._store.clock(name), clock) for name, clock in wanted.items()}
        return {name: clock for name, clock in lacks.items() if clock}

    def wait_for(self, token: str, timeout: float | None) -> None:
        """Return once this replica holds all that the token names.  Raises WaitTimeout, TokenLost, InvalidToken."""
        self._local.check()
        wanted = self.read(token)
        if self.missing(wanted):
            Waiter(self._local, self._hub, self).wait(wanted, timeout)

    def held(self, wanted: Clocks) -> bool:
        """Whether this replica holds all of these clocks."""
        return all(covers(self._store.clock(name), clock) for name, clock in wanted.items())

    def give_up(self, wanted: Clocks) -> None:
        """Raise TokenLost when what is missing can never come, Closed when the node is closed."""
        self._local.check()
        lacks = self.missing(wanted)
        if lacks and self.lost is not None and self.lost(lacks):
            raise self._local.refused(TokenLost("The token names events that no member has, and whose author is gone."))

    def too_late(self, wanted: Clocks, timeout: float) -> CrdtsyncError:
        """The error of a wait that ended without what it waited for, counted."""
        lacks = self.missing(wanted)
        events = sum(
            seq - self._store.clock(name).get(actor, 0) for name, clock in lacks.items() for actor, seq in clock.items()
        )
        return self._local.refused(
            WaitTimeout(
                f"After {timeout:g} s, {events:,} events are still missing.",
                hint="Look at the peers in status(): is the node that gave the token in reach?",
            )
        )


class Waiter:
    """One caller of `wait_for`, woken by changes."""

    def __init__(self, local: Local, hub: Hub, sessions: Sessions) -> None:
        self._local, self._hub, self._sessions = local, hub, sessions
        self._changed = threading.Condition(local.store.lock)

    def wait(self, wanted: Clocks, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        self._hub.listen(self._note)
        try:
            while True:
                left = (
                    LOST_CHECK_INTERVAL if deadline is None else min(LOST_CHECK_INTERVAL, deadline - time.monotonic())
                )
                with self._changed:
                    if self._changed.wait_for(lambda: self._sessions.held(wanted), max(left, 0.0)):
                        return
                self._sessions.give_up(wanted)
                if deadline is not None and time.monotonic() >= deadline:
                    raise self._sessions.too_late(wanted, timeout or 0.0)
        finally:
            self._hub.forget(self._note)

    def _note(self, bucket: str, changed: list[bytes], local: bool) -> None:
        self._changed.notify_all()
