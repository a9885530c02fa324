"""What the users do: every type, nested maps, batches, resets and deletes, on few keys so that conflicts are common.

Operations are the production verbs of crdtsync.datatypes.  What each must do to the value that its own replica shows is
said here once more, in plain Python, and compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

from crdtsync import kernels
from crdtsync.datatypes import flag, gcounter, gset, lwwregister, map, mvregister, orset, pncounter, values
from crdtsync.datatypes.keys import Place, top
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import SLICE, Txn, Verb, remove_below
from crdtsync.sim.oracles import Change
from crdtsync.sim.world import Violation

PRODUCT = top("product", map.CODE)
SIZES = PRODUCT.inside("sizes", map.CODE)
VIEWS, VISITS = top("views", gcounter.CODE), PRODUCT.inside("visits", gcounter.CODE)
STOCK, SOLD = top("stock", pncounter.CODE), SIZES.inside("sold", pncounter.CODE)
SEEN, COLOURS = top("seen", gset.CODE), SIZES.inside("colours", gset.CODE)
TAGS, LABELS = top("tags", orset.CODE), PRODUCT.inside("tags", orset.CODE)
OPEN, SHOWN = top("open", flag.CODE), SIZES.inside("", flag.CODE)
PRICE, OWNER = top("price", lwwregister.CODE), top("owner", lwwregister.CODE)
NAME = PRODUCT.inside("name", lwwregister.CODE)
NOTE, SIZE = top("note", mvregister.CODE), SIZES.inside("size", mvregister.CODE)
ELEMENTS = ("a", "b", "c", 1, 1.0, True)


class Operation(NamedTuple):
    """One call of a user."""

    verb: str
    place: Place
    argument: Any
    run: Callable[[Txn, Place, Any], None]
    plain: Verb | None = None  # of one that the short way may know

    def __str__(self) -> str:
        return f"{'/'.join((self.place.name, *self.place.fields))}.{self.verb}({self.argument!r})"


class Choice(NamedTuple):
    """A verb, where it may go, how often, and with which arguments."""

    weight: float
    verb: Verb
    places: tuple[Place, ...]
    argument: Callable[[random.Random], Any]


def _nothing(rng: random.Random) -> None:
    return None


def _element(rng: random.Random) -> bytes:
    return values.encode(rng.choice(ELEMENTS))


def _value(rng: random.Random) -> bytes:
    return values.encode(rng.choice((None, 1, "x", {"amount": "25.00"}, rng.randrange(1000))))


CHOICES = (
    Choice(8, gcounter.INCREMENT, (VIEWS, VISITS), lambda rng: rng.randint(1, 5)),
    Choice(10, pncounter.ADD, (STOCK, SOLD), lambda rng: rng.choice((1, 2, 12, -1, -3))),
    Choice(4, pncounter.RESET, (STOCK, SOLD), _nothing),
    Choice(5, gset.ADD, (SEEN, COLOURS), _element),
    Choice(14, orset.ADD, (TAGS, LABELS), _element),
    Choice(12, orset.DISCARD, (TAGS, LABELS), _element),
    Choice(1, orset.CLEAR, (TAGS, LABELS), _nothing),
    Choice(5, flag.ENABLE, (OPEN, SHOWN), _nothing),
    Choice(5, flag.DISABLE, (OPEN, SHOWN), _nothing),
    Choice(14, lwwregister.SET, (PRICE, OWNER, NAME), _value),
    Choice(5, lwwregister.CLEAR, (PRICE, OWNER, NAME), _nothing),
    Choice(7, mvregister.SET, (NOTE, SIZE), _value),
    Choice(3, mvregister.RESOLVE, (NOTE, SIZE), _value),
    Choice(3, mvregister.CLEAR, (NOTE, SIZE), _nothing),
    Choice(2, map.REMOVE, (PRODUCT,), lambda rng: rng.choice((b"visits", b"tags", b"name", b"sizes"))),
    Choice(1, map.REMOVE, (SIZES,), lambda rng: rng.choice((b"sold", b"", b"size", b"colours"))),
    Choice(1, map.CLEAR, (PRODUCT, SIZES), _nothing),
)
WEIGHTS = list(accumulate(choice.weight for choice in CHOICES))
DELETE_SHARE = 0.01
COLD_KEYS = 200  # keys of each kind that are seldom written to


@cache
def cold(place: Place, number: int) -> Place:
    """The same object under one of the many keys that are seldom written to."""
    found = top(f"{place.name}-{number}", map.CODE if place.fields else place.code)
    for depth, field in enumerate(place.fields, 1):
        found = found.inside(field, map.CODE if depth < len(place.fields) else place.code)
    return found


def _delete_key(txn: Txn, place: Place, nothing: None) -> None:
    remove_below(txn, place.name.encode() + b"\0")


def choose(rng: random.Random, cold_share: float = 0.0) -> Operation:
    """Some operation, on one of the few hot keys or, with that chance, on one of the many cold ones."""
    choice = rng.choices(CHOICES, cum_weights=WEIGHTS)[0]
    place = rng.choice(choice.places)
    if cold_share and rng.random() < cold_share:
        place = cold(place, rng.randrange(COLD_KEYS))
    if rng.random() < DELETE_SHARE:
        return Operation("delete", place, None, _delete_key)
    return Operation(choice.verb.name, place, choice.argument(rng), choice.verb.run, choice.verb)


class RecordingTxn:
    """A transaction that remembers every row that was put through it, with what it replaced."""

    def __init__(self, txn: Txn, changes: list[Change]) -> None:
        self._txn, self.changes = txn, changes
        self.get, self.scan, self.next_event, self.stamp = txn.get, txn.scan, txn.next_event, txn.stamp

    def put(self, rowkey: bytes, image: bytes) -> None:
        self.changes.append((rowkey, self._txn.get(rowkey), image))
        self._txn.put(rowkey, image)


def perform(txn: Txn, operations: list[Operation], changes: list[Change], judged: bool) -> None:
    """Do the operations in one transaction; adds to `changes`.  `judged`: compare the values shown before and after."""
    recording = RecordingTxn(txn, changes)
    for operation in operations:
        if not judged:
            operation.run(recording, operation.place, operation.argument)
            continue
        before = shown(recording, operation.place)
        operation.run(recording, operation.place, operation.argument)
        found, expected = shown(recording, operation.place), _expected(operation, before)
        if found != expected:
            raise Violation(f"operation: {operation} should make {expected!r} of {before!r}, the rows say {found!r}")


def shown(txn: Txn, place: Place) -> Any:
    """The value of an object; sets and MV-Registers as canonical bytes (1 == True!), maps as live rows by field."""
    rows: list[Row] = txn.scan(place.prefix, b"", SLICE)
    skip = len(place.prefix)
    if place.code in (gset.CODE, orset.CODE):
        return gset.members(rows, skip)
    if place.code == mvregister.CODE:
        return [payload for _, image in rows for payload in kernels.row_payloads(image)]
    if place.code == map.CODE:
        live = [row for row in rows if not kernels.row_dead(row[1])]
        return {field: below for field, below, _ in map.by_field(live, skip)}
    return TYPES[place.code].value(rows, skip)


def _expected(operation: Operation, before: Any) -> Any:
    """What one operation makes of the value that its replica showed before."""
    argument, verb = operation.argument, operation.verb.rpartition(".")[2]
    code = operation.place.code
    if code == map.CODE:
        return {field: rows for field, rows in before.items() if verb == "remove" and field != argument}
    if code in (gcounter.CODE, pncounter.CODE):
        return before + argument if verb in ("increment", "add") else 0
    if code in (gset.CODE, orset.CODE):
        others = [element for element in before if element != argument]
        return sorted([*others, argument]) if verb == "add" else others if verb == "discard" else []
    if code == flag.CODE:
        return verb == "enable"
    if code == mvregister.CODE:
        return [argument] if verb in ("set", "resolve") else []
    return values.load(argument) if verb == "set" else None
