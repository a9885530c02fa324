"""What the engine wants done: plain values, to be applied in order by `driver.Driver`."""

from __future__ import annotations

from typing import Any

import msgspec

from crdtsync.replication.messages import Message


class Send(msgspec.Struct, frozen=True):
    """Put a message on a link.  A link that is gone swallows it: its end is told by `link_down`."""

    link: int
    message: Message


class Connect(msgspec.Struct, frozen=True):
    """Dial an address; `link_up` or `connect_failed` follows."""

    address: str


class Disconnect(msgspec.Struct, frozen=True):
    """End a link after what was sent on it.  The engine has forgotten it already."""

    link: int
    reason: str


class Persist(msgspec.Struct, frozen=True):
    """Make everything so far durable before the effects that follow."""


class Notify(msgspec.Struct, frozen=True):
    """Something that the embedding program may want to know.

    Events: state (state, reason), peer_up, peer_down (node, reason), member (node, state), skew (node, seconds),
    refused (address, code, text, hint), below_floor (bucket, node), repaired (bucket, rows), rescued (bucket, rows).
    """

    event: str
    details: dict[str, Any]


Effect = Send | Connect | Disconnect | Persist | Notify
