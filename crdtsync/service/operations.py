"""Operation messages turned into what a batch carries out, with the checks that handles make at the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdtsync.config import ClusterSettings
from crdtsync.datatypes import txn
from crdtsync.datatypes.keys import Place, check_field
from crdtsync.datatypes.registry import DELETE, VERBS
from crdtsync.datatypes.steps import STEP_MAX, check_step
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import BadRequest, BatchTooLarge, CrdtsyncError
from crdtsync.node.batches import Operation
from crdtsync.service.places import Places
from crdtsync.service.values import Limits, at, read_value
from crdtsync.transport.pb import data_pb2 as pb

NONE = object()  # the operation changes nothing: a step of 0, an update with no elements
OPERATION_BYTES = 64  # what an operation counts towards batch_bytes_max at least, as in a batch of the Python API
Reader = Callable[[pb.Operation], Any]


class Operations:
    """The reader of one node's batches."""

    def __init__(self, cluster: ClusterSettings, places: Places) -> None:
        self._places, self._most = places, cluster.batch_bytes_max // OPERATION_BYTES
        self._key_max = cluster.key_bytes_max
        self._limits = Limits(cluster.depth_max, cluster.value_bytes_max)
        readers: dict[str, Reader] = {
            txn.NOTHING: _nothing,
            txn.GROWTH: lambda message: _step(message, 0),
            txn.STEP: lambda message: _step(message, -STEP_MAX),
            txn.ELEMENT: lambda message: self._limits.element(_one(message), "argument"),
            txn.ELEMENTS: self._elements,
            txn.VALUE: lambda message: self._limits.payload(_one(message), "argument"),
            txn.FIELD: self._field,
        }
        # verb name -> (the verb, the type that its place must have, the reader of its argument)
        self._verbs: dict[str, tuple[Verb, str, Reader]] = {
            name: (verb, name.partition(".")[0], readers[verb.takes]) for name, verb in VERBS.items()
        }

    def read(self, messages: Any) -> list[Operation]:
        """The operations of a request.

        Raises BadRequest, InvalidKey, InvalidValue, ValueTooLarge, NegativeStep, CounterOverflow, BatchTooLarge, with
        the place in the request.
        """
        if len(messages) > self._most:
            raise BatchTooLarge(f"A batch of {len(messages):,} operations; {self._most:,} are possible.")
        found: list[Operation] = []
        verbs, place_of = self._verbs, self._places.of
        number = 0
        try:
            for number, message in enumerate(messages):  # noqa: B007 - the error needs it
                known = verbs.get(message.verb)
                if known is None:
                    raise _unknown(message)
                verb, kind, read = known
                where = message.place
                place = place_of(where) if where.type == kind else self._delete_place(message, verb)
                argument = read(message)
                if argument is not NONE:
                    found.append((verb, place, argument))
        except CrdtsyncError as error:
            inner = "." if error.message.startswith(("argument", "place.")) else ": "
            raise at(f"operations[{number}]", error, inner) from None
        return found

    def _delete_place(self, message: pb.Operation, verb: Verb) -> Place:
        """Where a deletion takes place: an object, or all that a key or field holds."""
        if verb is not DELETE:
            raise BadRequest(f"{verb.name} on a place of type {message.place.type[:64]!r}.")
        return self._places.of(message.place) if message.place.type else self._places.every(message.place)

    def element(self, message: pb.Value, where: str) -> bytes:
        """Canonical bytes of an element that is asked for.  Raises InvalidValue, ValueTooLarge."""
        return self._limits.element(message, where)

    def _elements(self, message: pb.Operation) -> Any:
        if message.HasField("argument"):
            raise BadRequest("argument is set, but the verb takes arguments.")
        element = self._limits.element
        elements = [element(each, f"arguments[{number}]") for number, each in enumerate(message.arguments)]
        return list(dict.fromkeys(elements)) or NONE

    def _field(self, message: pb.Operation) -> bytes:
        value = read_value(_one(message), "argument")
        try:
            return check_field(value, self._key_max)
        except CrdtsyncError as error:
            raise at("argument", error) from None


def _unknown(message: pb.Operation) -> BadRequest:
    return BadRequest(f"There is no verb {message.verb[:64]!r}.", hint=f"Verbs are {', '.join(VERBS)}.")


def _one(message: pb.Operation) -> pb.Value:
    """The argument, which must be there, alone.  A message that was not set reads as one without a kind."""
    if message.arguments:
        raise BadRequest("arguments are set, but the verb takes one argument.")
    return message.argument


def _step(message: pb.Operation, least: int) -> Any:
    argument = _one(message)
    step = argument.integer
    if step > 0:  # an integer was set, and it is a good step
        return step
    try:
        return check_step(read_value(argument, "argument"), least) or NONE
    except CrdtsyncError as error:
        raise error if error.message.startswith("argument") else at("argument", error) from None


def _nothing(message: pb.Operation) -> None:
    if message.HasField("argument") or message.arguments:
        raise BadRequest("An argument is set, but the verb takes none.")
