"""What requests of Maelstrom's workloads mean in data types: each is one operation on one object.

The node is not told which workload it is in: `read` answers for the object that was written last, here or elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from crdtsync.node import Node
from crdtsync.ops.maelstrom.wire import MALFORMED, RequestError

Body = dict[str, Any]
Handler = Callable[[Node, Body], Body]
MESSAGES, ELEMENTS, ADDED, TAKEN, IDS = "messages", "elements", "added", "taken", "ids"
_text = msgspec.json.Encoder(order="deterministic").encode


def _element(value: Any) -> str:
    """Any JSON value as a set's element: its text."""
    return _text(value).decode()


def _elements(node: Node, name: str) -> list[Any]:
    return [msgspec.json.decode(text) for text in node.gset(name)]


def echo(node: Node, body: Body) -> Body:
    """The echo workload."""
    return {"echo": body["echo"]}


def topology(node: Node, body: Body) -> Body:
    """Who should gossip with whom; nodes here find each other, so it is only acknowledged."""
    return {}


def broadcast(node: Node, body: Body) -> Body:
    """A message for everybody: an element of a G-Set."""
    node.gset(MESSAGES).add(_element(body["message"]))
    return {}


def add(node: Node, body: Body) -> Body:
    """An element of a G-Set, or a step: up on a G-Counter, down on a PN-Counter."""
    if "element" in body:
        node.gset(ELEMENTS).add(_element(body["element"]))
        return {}
    delta = body["delta"]
    if type(delta) is not int:
        raise RequestError(MALFORMED, "A delta is an integer.")
    if delta >= 0:
        node.gcounter(ADDED).increment(delta)
    else:
        node.pncounter(TAKEN).increment(delta)
    return {}


def read(node: Node, body: Body) -> Body:
    """All values at once, under the names that the workloads ask for."""
    elements = _elements(node, ELEMENTS)
    return {
        "messages": _elements(node, MESSAGES),
        "value": elements if elements else node.gcounter(ADDED).value + node.pncounter(TAKEN).value,
    }


def generate(node: Node, body: Body) -> Body:
    """An id that nobody else gets: the dot of an event of our own."""
    node.gcounter(IDS).increment()
    actor = node.local.store.actor()
    return {"id": f"{actor:016x}-{node.clock()[actor]}"}


HANDLERS: dict[str, Handler] = {
    "echo": echo, "topology": topology, "broadcast": broadcast, "add": add, "read": read, "generate": generate,
}  # fmt: skip


def answer(node: Node, body: Body) -> Body | None:
    """The reply to a request; None when its type is unknown.  Raises RequestError, and what the data types raise."""
    kind = body["type"]
    handler = HANDLERS.get(kind) if type(kind) is str else None
    if handler is None:
        return None
    try:
        return {**handler(node, body), "type": body["type"] + "_ok"}
    except KeyError as error:
        raise RequestError(MALFORMED, f"A {body['type']} needs {error.args[0]!r}.") from None
