"""The nodes that a client may talk to, and which one it talks to now.

It stays with one node while that answers.  When it does not, the next one of the list has its turn, at once until all
have been tried, then after pauses.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable

from crdtsync.client.requests import meant_for
from crdtsync.config import HOST_CHARACTERS, ConnectConfig, check_address, split_address
from crdtsync.errors import ConfigError

UNIX = "unix:"


class Instance:
    """One start of one node, as it has said of itself; a later start, or another node, is another one.

    What is known of a node belongs in here: a thread that still deals with the one before cannot mix them up.
    """

    def __init__(self, node: Node, name: str = "", number: int = 0, store: int = 0) -> None:
        self.node, self.name = node, name  # where, and who
        self.store = store  # its directory, which remembers request ids over restarts
        self.stamp = meant_for(number)  # ends every request to it
        self.holds = 0  # version of the session that it is known to hold

    def remembers(self, sent: Instance) -> bool:
        """Whether it knows the request ids that `sent` has been sent: it has the same directory."""
        return (self.name, self.store) == (sent.name, sent.store)


class Node:
    """One address, and who answers there."""

    def __init__(self, address: str, config: ConnectConfig) -> None:
        self.address = address
        self.target = target_of(address, config)
        self.there = Instance(self)  # who said so last
        self.greeted = False  # it has said who it is, on a connection that has not failed since
        self.connected: Callable[[], bool] = lambda: True  # whether that connection is still there, as far as is known
        self.trouble = ""  # the last failure

    @property
    def name(self) -> str:
        """Name of the node that said so last."""
        return self.there.name

    @property
    def known(self) -> bool:
        """Whether who is there now has said who it is: a new connection may lead to another node."""
        return self.greeted and self.connected()

    def __str__(self) -> str:
        return f"{self.name} at {self.address}" if self.name else self.address


def _checked(address: object) -> str:
    if type(address) is not str:
        raise ConfigError(f'An address is of type {type(address).__name__}; it is "host:port" or "unix:path".')
    return address


def target_of(address: str, config: ConnectConfig) -> str:
    """gRPC's name of an address.  Raises ConfigError, InsecureAddress."""
    if address.startswith(UNIX):
        if len(address) == len(UNIX) or "\0" in address:
            raise ConfigError(f"The address {address!r} names no socket; write unix:path.")
        return address
    host, port = split_address("The address", address)
    if not port or not HOST_CHARACTERS.issuperset(host):
        raise ConfigError(f"The address {address!r} cannot be dialled.")
    check_address("The address", address, config.anywhere)
    return f"dns:///[{host}]:{port}" if ":" in host else f"dns:///{host}:{port}"


class Nodes:
    """The list, and the place in it.  Any thread may call."""

    def __init__(self, addresses: str | Iterable[str], config: ConnectConfig, rng: random.Random) -> None:
        """Raises ConfigError, InsecureAddress."""
        listed = list(addresses) if isinstance(addresses, Iterable) and not isinstance(addresses, str) else [addresses]
        self.all = [Node(address, config) for address in dict.fromkeys(map(_checked, listed))]
        if not self.all:
            raise ConfigError("There is no address to connect to.")
        if config.shuffle:
            rng.shuffle(self.all)
        self._lock = threading.Lock()
        self._now = 0

    @property
    def now(self) -> Node:
        """The node that calls go to."""
        return self.all[self._now]

    def at(self, address: str) -> Node | None:
        """The node at an address."""
        return next((node for node in self.all if node.address == address), None)

    def pass_on(self, node: Node) -> bool:
        """Take the next one, unless another thread has done so; whether calls now go to another node."""
        with self._lock:
            if self.now is not node or len(self.all) == 1:
                return False
            self._now = (self._now + 1) % len(self.all)
            return True

    def troubles(self) -> str:
        """Why nobody could be reached."""
        return "; ".join(f"{node}: {node.trouble}" for node in self.all if node.trouble)
