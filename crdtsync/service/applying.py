"""Apply and ApplyStream: batches carried out, all or nothing each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtsync.datatypes import txn, values
from crdtsync.errors import NotOffered
from crdtsync.node.batches import Operation
from crdtsync.service.errors import Absent

if TYPE_CHECKING:
    from crdtsync.node.shell import Node


def is_heavy(operations: list[Operation]) -> bool:
    """Whether a few bytes of request may change any number of rows."""
    return any(verb.bulk and verb.takes != txn.ELEMENTS for verb, _, _ in operations)


def carry_out(node: Node, bucket: str, operations: list[Operation], request_id: str) -> tuple[str, bool]:
    """Carry a batch out; the token of its last event (empty: it made none), and whether it had been made before.

    Raises Absent for an `orset.remove` of what is not there, and what a batch of the Python API raises.
    """
    if request_id:
        raise NotOffered("Request ids are not offered yet.", hint="Leave request_id empty.")
    try:
        actor, seq = node.local.carry_out(bucket, operations)
    except KeyError as missing:
        raise Absent(values.encode(missing.args[0])) from None
    if not seq:
        return "", False
    return node.sessions.token_of({bucket: {node.local.store.actors.ids[actor]: seq}}), False
