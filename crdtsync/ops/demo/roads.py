"""The roads between the airports: calls to a node come in through one proxy, its own calls go out through another.

Cutting an airport cuts both.  With a proxy before each node alone nobody could tell who is calling, so cutting one
airport's own calls would have cut the others from each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from crdtsync.ops.demo.proxy import Proxy


class Roads:
    """Proxies on loopback.  They stay; the nodes behind them come and go, at other ports."""

    def __init__(self, names: Sequence[str]) -> None:
        self.inward = {name: Proxy() for name in names}
        self.outward = {name: Proxy(connect=True) for name in names}

    def address(self, name: str) -> str:
        """What a node advertises: the address of the proxy before it."""
        return self.inward[name].address

    def exit(self, name: str) -> str:
        """The proxy that a node's own calls go through."""
        return self.outward[name].address

    def lead_to(self, name: str, address: str) -> None:
        """The node listens at `address` from now on."""
        self.inward[name].target = address

    def cut(self, name: str) -> None:
        """Nothing to or from this airport any more; open connections break."""
        self.inward[name].cut()
        self.outward[name].cut()

    def heal(self, name: str) -> None:
        """Connections to and from this airport can be made again."""
        self.inward[name].heal()
        self.outward[name].heal()

    def carried_bytes(self, name: str) -> int:
        """Bytes on the roads of this airport, both ways, HTTP/2 included."""
        return self.inward[name].carried_bytes + self.outward[name].carried_bytes

    def close(self) -> None:
        """Reset every connection and stop listening."""
        for proxy in (*self.inward.values(), *self.outward.values()):
            proxy.close()
