"""The roads between the airports: one proxy before each node, and one for each pair's calls in each direction.

A member advertises one address to everybody, so with a single proxy before each node nobody could tell who is calling:
cutting one airport's calls to the others would also cut the others from each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crdtsync.ops.demo.proxy import Proxy


class Network:
    """Proxies on loopback.  They stay; the nodes behind them come and go, at other ports."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.fronts = {name: Proxy() for name in names}
        self.roads = {(caller, name): Proxy() for caller in names for name in names if caller != name}

    def address(self, name: str) -> str:
        """What a node advertises: the address of the proxy before it."""
        return self.fronts[name].address

    def routes(self, caller: str) -> dict[str, str]:
        """{advertised address: proxy that takes this caller there}."""
        return {self.address(name): self.roads[caller, name].address for name in self.names if name != caller}

    def lead_to(self, name: str, address: str) -> None:
        """The node listens at `address` from now on."""
        for proxy in self.towards(name):
            proxy.target = address

    def cut(self, name: str) -> None:
        """No byte to or from this airport any more; open connections break."""
        for proxy in self.around(name):
            proxy.cut()

    def heal(self, name: str) -> None:
        for proxy in self.around(name):
            proxy.heal()

    def towards(self, name: str) -> Iterator[Proxy]:
        yield self.fronts[name]
        for (_, called), proxy in self.roads.items():
            if called == name:
                yield proxy

    def around(self, name: str) -> Iterator[Proxy]:
        yield self.fronts[name]
        for pair, proxy in self.roads.items():
            if name in pair:
                yield proxy

    def close(self) -> None:
        for proxy in (*self.fronts.values(), *self.roads.values()):
            proxy.close()
