"""Apply and ApplyStream: batches carried out, all or nothing each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crdtsync.datatypes import txn, values
from crdtsync.node.batches import Operation, check_request_id
from crdtsync.service.errors import Absent

if TYPE_CHECKING:
    from crdtsync.node.shell import Node


def is_heavy(operations: list[Operation]) -> bool:
    """Whether a few bytes of request may change any number of rows."""
    return any(verb.bulk and verb.takes != txn.ELEMENTS for verb, _, _ in operations)


def carry_out(node: Node, bucket: str, operations: list[Operation], request_id: str) -> tuple[str, bool]:
    """Carry a batch out; the token of its last event (empty: it made none), and whether it had been made before.

    A request id (empty: none) is answered once.  Raises Absent for an `orset.remove` of what is not there, and what a
    batch of the Python API raises.
    """
    if request_id:
        check_request_id(request_id)
    try:
        answer = node.local.carry_out(bucket, operations, request_id or None)
    except KeyError as missing:
        raise Absent(values.encode(missing.args[0])) from None
    return node.local.token_after(bucket, answer) if answer.seq else "", answer.repeated
