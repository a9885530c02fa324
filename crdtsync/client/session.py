"""What this client has written, and read if asked to: a node must hold it before the client goes on there.

The clocks of all answers are joined.  A store that has never had a peer signs its tokens with its own name and calls
its own writer 0; they mean nothing elsewhere.  When it has had its first peer it signs with the cluster's, and
`renewal` names the buckets for which a token has to be had anew from that same node.
"""

from __future__ import annotations

import threading

from crdtsync.client.nodes import Instance
from crdtsync.clocks.tokens import Clocks, make_token, open_token


class Session:
    """Joined tokens.  Any thread may call."""

    def __init__(self, mode: str) -> None:
        self.mode = mode  # none | writes | reads
        self._lock = threading.Lock()
        self._origin: int | str | None = None
        self._clocks: Clocks = {}
        self._version = 0  # grows with every change
        self._last = self._token = ""  # the token that came last; the joined one, made once
        self._renewal: list[str] = []
        self.lost = False  # some of it cannot be named any more, so that no node is known to hold all of it

    def note(self, token: str, there: Instance) -> None:
        """Join one more token, which this node gave and so holds.  Raises InvalidToken."""
        if not token or token == self._last or self.mode == "none":
            return
        origin, clocks = open_token(token)
        with self._lock:
            held = there.holds == self._version
            self._last = token
            if origin != self._origin:
                self._renewal += self._clocks
                self._origin, self._clocks, self._token = origin, {}, ""
                self._version += 1
            for name, clock in clocks.items():
                self._join(name, clock)
            if held:
                there.holds = self._version

    def _join(self, name: str, clock: dict[int, int]) -> None:
        mine = self._clocks.setdefault(name, {})
        later = {actor: seq for actor, seq in clock.items() if seq > mine.get(actor, 0)}
        if later:
            mine.update(later)
            self._token = ""
            self._version += 1

    def held_by(self, there: Instance) -> bool:
        """Whether the node is known to hold all of it."""
        return there.holds == self._version

    def token(self) -> tuple[str, int]:
        """Everything so far, as one token, empty when there is nothing; and its version."""
        with self._lock:
            if not self._token and self._clocks and self._origin is not None:
                self._token = make_token(self._origin, self._clocks)
            return self._token, self._version

    def renewal(self) -> list[str]:
        """Buckets that need a token from the node that gave the last one, told once."""
        if not self._renewal:
            return []
        with self._lock:
            buckets, self._renewal = self._renewal, []
            return list(dict.fromkeys(buckets))

    def lose(self) -> None:
        """A renewal was not to be had."""
        with self._lock:
            self.lost = True
            self._version += 1

    def forget(self) -> None:
        """Begin anew, with nothing."""
        with self._lock:
            self.lost = False
            self._origin, self._clocks, self._last, self._token, self._renewal = None, {}, "", "", []
            self._version += 1
