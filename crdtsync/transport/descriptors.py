"""File descriptors: connections must not take those that the store needs.

A store that cannot open its next journal segment takes no more writes, so whoever may open connections could stop it.
Connections beyond a bound are closed as they come, by gRPC itself; the bound leaves room for everything else.
"""

from __future__ import annotations

import logging
import resource

log = logging.getLogger("crdtsync.transport")
RESERVED = 256  # descriptors for the store, for what the process opens itself, and for connections of our own
LISTENERS = 3  # of one node, which share what is left: peers, programs, operators
LEAST = 16  # connections that a listener takes however few descriptors there are


def connections(what: str, most: int) -> int:
    """How many connections a listener may hold: `most`, or fewer where the process may not open so many files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    room = max((soft - RESERVED) // LISTENERS, LEAST)
    if room < most:
        log.info("%s takes %d connections, not %d: the process may open %d files (ulimit -n)", what, room, most, soft)
    return min(room, most)


def raise_limit() -> None:
    """Let this process open as many files as it may.  For processes that are a node, not for those that embed one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            log.warning("the limit of open files stays at %d: %s", soft, error)
