"""Whether a node does its work, and whether it should be given any; asked often, so it waits for nothing and nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from crdtsync.replication.peers import MEMBER

if TYPE_CHECKING:
    from crdtsync.node.network import Network
    from crdtsync.node.opening import Opened
    from crdtsync.node.writing import Local


class Health(NamedTuple):
    """`alive`: it goes on by itself, so a restart would mend nothing.  `ready`: it takes reads and writes."""

    alive: bool
    ready: bool
    reasons: tuple[str, ...]  # why not, in sentences


def health(opened: Opened, local: Local, network: Network | None) -> Health:
    """As of now."""
    if local.refusal is not None:
        return Health(False, False, (local.refusal().message,))
    dead = [f"The thread {name} has ended." for name in opened.background.ended()]
    if network is not None and network.ended():
        dead.append("The replication thread has ended.")
    waits = []
    if local.write_refusal is not None:
        waits.append("The node is being closed.")
    if network is None:
        waits.append("The node is still opening.")
    elif network.state != MEMBER:
        waits.append(f"The node's state is {network.state}.")
    if opened.store.journal_failure():
        waits.append("The journal cannot be written.")
    return Health(not dead, not dead and not waits, (*dead, *waits))
