"""Operation messages turned into what a batch carries out, with the checks that handles make at the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from crdtsync.config import ClusterSettings
from crdtsync.datatypes import txn, values
from crdtsync.datatypes.keys import Place, check_field
from crdtsync.datatypes.registry import DELETE, TYPES, VERBS
from crdtsync.datatypes.steps import STEP_MAX, check_step
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import BadRequest, BatchTooLarge, CrdtsyncError
from crdtsync.handles.batches import Operation
from crdtsync.kernels import TAKES_GROWTH, TAKES_NOTHING, TAKES_STEP, TAKES_VALUE, operations_read
from crdtsync.service.places import KEPT_BYTES_MAX, KEPT_MAX, Places
from crdtsync.service.values import Limits, at, read_value
from crdtsync.transport.pb import data_pb2 as pb

NONE = object()  # the operation changes nothing: a step of 0, an update with no elements
OPERATION_BYTES = 64  # what an operation counts towards batch_bytes_max at least, as in a batch of the Python API
Reader = Callable[[pb.Operation], Any]
# What the kernels read themselves of what a verb takes.
TAKES = {
    txn.NOTHING: TAKES_NOTHING, txn.GROWTH: TAKES_GROWTH, txn.STEP: TAKES_STEP, txn.ELEMENT: TAKES_VALUE,
    txn.VALUE: TAKES_VALUE,
}  # fmt: skip


class Operations:
    """The reader of one node's batches."""

    def __init__(self, cluster: ClusterSettings, places: Places) -> None:
        self._places, self._most = places, cluster.batch_bytes_max // OPERATION_BYTES
        self._key_max = cluster.key_bytes_max
        self._heads: dict[bytes, tuple[Verb, Place, int]] = {}  # by the bytes of place and verb
        self._limits = Limits(cluster.depth_max, cluster.value_bytes_max)
        self._text_max = cluster.value_bytes_max // 4 - 2  # characters: four bytes each at most, and a head
        readers: dict[str, Reader] = {
            txn.NOTHING: _nothing,
            txn.GROWTH: _growth,
            txn.STEP: _step,
            txn.ELEMENT: self._element,
            txn.ELEMENTS: self._elements,
            txn.VALUE: self._value,
            txn.FIELD: self._field,
        }
        # verb name -> (the verb, type byte that its place must have, reader of its argument)
        self._verbs: dict[str, tuple[Verb, bytes, Reader]] = {
            verb.name: (verb, info.code, readers[verb.takes]) for info in TYPES.values() for verb in info.verbs
        }

    def read(self, data: bytes) -> tuple[bytes, list[Operation]] | None:
        """(the other fields, the operations) of an ApplyRequest that is written plainly, and has nothing to be refused.

        None: `of` knows, or says what is wrong.
        """
        try:
            return operations_read(data, self._heads, self._other, self._most, self._limits.bytes_max)
        except (CrdtsyncError, DecodeError):
            return None

    def _other(self, data: bytes, head: bytes | None) -> Operation | None:
        """One operation whose head is not known, or whose argument is not a simple one."""
        found = self._operation(pb.Operation.FromString(data))
        if found[2] is NONE:
            return None
        verb = found[0]
        if head is not None and verb.takes in TAKES and verb is not DELETE and len(head) <= KEPT_BYTES_MAX:
            if len(self._heads) >= KEPT_MAX:
                self._heads.clear()
            self._heads[head] = verb, found[1], TAKES[verb.takes]
        return found

    def of(self, messages: Any) -> list[Operation]:
        """The operations of a request.

        Raises BadRequest, InvalidKey, InvalidValue, ValueTooLarge, NegativeStep, CounterOverflow, BatchTooLarge, with
        the place in the request.
        """
        if len(messages) > self._most:
            raise BatchTooLarge.fitting(
                f"A batch of {len(messages):,} operations; {self._most:,} are possible.", self._most
            )
        found: list[Operation] = []
        for number, message in enumerate(messages):
            try:
                operation = self._operation(message)
            except CrdtsyncError as error:
                inner = "." if error.message.startswith(("argument", "place.")) else ": "
                raise at(f"operations[{number}]", error, inner) from None
            if operation[2] is not NONE:
                found.append(operation)
        return found

    def _operation(self, message: pb.Operation) -> Operation:
        known = self._verbs.get(message.verb)
        if known is None:
            return self._deletion(message)
        verb, code, argument_of = known
        place = self._places.of(message.place)
        if place.code != code:
            raise BadRequest(f"{verb.name} on a place of type {message.place.type}.")
        return verb, place, argument_of(message)

    def _deletion(self, message: pb.Operation) -> Operation:
        """The one verb that every place takes: an object goes, or all that a key or field holds."""
        if message.verb != DELETE.name:
            raise BadRequest(f"There is no verb {message.verb[:64]!r}.", hint=f"Verbs are {', '.join(VERBS)}.")
        place = self._places.of(message.place) if message.place.type else self._places.every(message.place)
        _nothing(message)
        return DELETE, place, None

    def element(self, message: pb.Value, where: str) -> bytes:
        """Canonical bytes of an element that is asked for.  Raises InvalidValue, ValueTooLarge."""
        return self._limits.element(message, where)

    def _element(self, message: pb.Operation) -> bytes:
        text = message.argument.text
        if 0 < len(text) <= self._text_max:  # set, and sure to be within bounds
            return values.pack_text(text)
        return self._limits.element(message.argument, "argument")

    def _value(self, message: pb.Operation) -> bytes:
        text = message.argument.text
        if 0 < len(text) <= self._text_max:
            return values.pack_text(text)
        return self._limits.payload(message.argument, "argument")

    def _elements(self, message: pb.Operation) -> Any:
        if not message.HasField("arguments"):
            raise BadRequest("arguments are not set.", hint="An update takes its elements in arguments.")
        element = self._limits.element
        elements = [element(each, f"arguments[{number}]") for number, each in enumerate(message.arguments.values)]
        return list(dict.fromkeys(elements)) or NONE

    def _field(self, message: pb.Operation) -> bytes:
        value = read_value(message.argument, "argument")
        try:
            return check_field(value, self._key_max)
        except CrdtsyncError as error:
            raise at("argument", error) from None


# What is not set reads as a message without a kind, which no reader takes for a value.


def _growth(message: pb.Operation) -> Any:
    step = message.argument.integer
    return step if step > 0 else _checked_step(message, 0)


def _step(message: pb.Operation) -> Any:
    step = message.argument.integer
    return step if step > 0 else _checked_step(message, -STEP_MAX)


def _checked_step(message: pb.Operation, least: int) -> Any:
    value = read_value(message.argument, "argument")
    try:
        return check_step(value, least) or NONE
    except CrdtsyncError as error:
        raise at("argument", error) from None


def _nothing(message: pb.Operation) -> None:
    if message.WhichOneof("takes") is not None:
        raise BadRequest("argument is set, but the verb takes none.")
