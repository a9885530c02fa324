"""Handshakes that a server never hears the end of: gRPC hangs up on them and tells nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("crdtsync.security")


class Handshakes:
    """Counts connections that brought no call, for callers that make one call a connection, as nodes do, and at once.

    What had begun before the last look and has brought no call by this one has therefore failed: it spoke plaintext,
    showed no certificate, or one that does not check out.
    """

    def __init__(self, count: Callable[[str, int], None]) -> None:
        self._count = count
        self._arrived = self._begun = self._told = 0

    def arrived(self) -> None:
        """A call has come."""
        self._arrived += 1

    def look(self, begun: int) -> None:
        """`begun`: connections so far.  To be called at intervals longer than a handshake may take."""
        failed = self._begun - self._arrived - self._told
        self._begun = begun
        if failed > 0:
            self._told += failed
            self._count("tls_handshakes_failed", failed)
            log.warning("%d connections brought no call: the other side spoke plaintext, showed no certificate or one "
                        "that does not check out, or only looked; its own log says which.", failed)  # fmt: skip
