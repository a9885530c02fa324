"""Applies effects in order: the same few lines under Node and under the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from crdtsync.replication.effects import Connect, Disconnect, Effect, Notify, Persist, Send
from crdtsync.replication.messages import Message


class Network(Protocol):
    """The part of a transport that effects need; see transport/base.py."""

    def connect(self, address: str) -> None: ...
    def send(self, link: int, message: Message) -> bool: ...
    def disconnect(self, link: int, reason: str = "") -> None: ...


class Driver:
    """Carries effects out.  Not thread-safe: one thread drives an engine."""

    def __init__(
        self, network: Network, flush: Callable[[], None], notify: Callable[[str, dict[str, Any]], None]
    ) -> None:
        """`flush` makes the store durable; `notify` is told of events."""
        self.network, self.flush, self.notify = network, flush, notify

    def apply(self, effects: Iterable[Effect]) -> None:
        """Carry out one list of `Engine.take_effects()`.

        An error of `flush` goes to the caller and the rest of the list is not carried out: what follows a Persist may
        only be said of what is on disk.  Peers then see a silent link, and everything is said anew on the next one.
        """
        for effect in effects:
            if isinstance(effect, Send):
                self.network.send(effect.link, effect.message)
            elif isinstance(effect, Persist):
                self.flush()
            elif isinstance(effect, Connect):
                self.network.connect(effect.address)
            elif isinstance(effect, Disconnect):
                self.network.disconnect(effect.link, effect.reason)
            elif isinstance(effect, Notify):
                self.notify(effect.event, effect.details)
