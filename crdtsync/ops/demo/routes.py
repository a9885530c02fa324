"""A node that reaches each peer through a proxy of its own, so that one airport can be cut off in both directions.

A member advertises one address to everybody, so a single proxy before each node could not tell who is calling: cutting
one airport's calls to the others would cut the others from each other.  Here the calls of each pair are apart.
"""

from __future__ import annotations

from collections.abc import Mapping

import crdtsync
from crdtsync.node import Node


def open_routed(directory: str, advertise: str, join: list[str], routes: Mapping[str, str]) -> Node:
    """Open a node on a free loopback port whose calls to an advertised address go to `routes[address]`."""
    return crdtsync.open(directory, listen="127.0.0.1:0", advertise=advertise, join=join)
