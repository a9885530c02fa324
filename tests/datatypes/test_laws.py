"""One harness for every type: on states reached by histories, what a replica shows is a function of the operations it
has seen and of what each of them had seen, computed here from plain sets and sums that know nothing of rows.

And the laws: merging is commutative, associative and idempotent, an operation only adds to what is known, and whatever
changes nothing makes no event.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from crdtsync.datatypes import (
    flag,
    gcounter,
    gset,
    keys,
    lwwregister,
    map,
    mvregister,
    orset,
    pncounter,
    values,
)
from crdtsync.datatypes.registry import DELETE, TYPES, VERBS
from crdtsync.datatypes.txn import Verb
from crdtsync.kernels import LATEST, row_kind, row_latest
from tests.datatypes.replica import Replica

SCHEDULES = 120
STEPS = 60


class Done(NamedTuple):
    """One operation in the history: what was done and what its author had seen."""

    number: int
    stamps: dict[bytes, tuple[int, int]]  # of each register it touched: (stamp, actor)
    place: keys.Place
    verb: str
    argument: Any
    seen: frozenset[int]  # numbers of the operations that its author had seen


class Author:
    """A replica together with the operations that it has seen."""

    def __init__(self, actor: int) -> None:
        self.replica, self.seen = Replica(actor), frozenset[int]()


# ---- the reference: the value of an object from the operations on it ---------------------------------------------


def covers(later: Done, earlier: Done) -> bool:
    """Whether `later` takes back what `earlier` did, had it seen it."""
    if earlier.number not in later.seen:
        return False
    prefix = earlier.place.prefix
    if later.verb in ("delete", "map.clear"):
        return prefix.startswith(later.place.prefix)
    if later.verb == "map.remove":
        return prefix.startswith(later.place.field(later.argument))
    if prefix != later.place.prefix:
        return False
    if later.verb in ("orset.discard", "orset.remove"):
        return later.argument in earlier.argument
    return later.verb in (
        "pncounter.reset",
        "orset.clear",
        "flag.disable",
        "lwwregister.clear",
        "mvregister.clear",
    ) or (later.verb in ("mvregister.set", "mvregister.resolve"))


def surviving(history: list[Done], place: keys.Place) -> list[tuple[Done, Any]]:
    """The writes to one object that nothing has taken back, with what is left of their argument."""
    left = []
    for done in history:
        if done.place.prefix != place.prefix or not VERBS[done.verb].writes:
            continue
        takers = [later for later in history if covers(later, done)]
        if isinstance(done.argument, list):
            # A removal takes one element of an update, everything else takes all of it.
            gone = {later.argument for later in takers if later.verb in ("orset.discard", "orset.remove")}
            if len(gone) < len(takers) and any(later.verb not in ("orset.discard", "orset.remove") for later in takers):
                continue
            left.append((done, [element for element in done.argument if element not in gone]))
        elif not takers:
            left.append((done, done.argument))
    return left


def expected(history: list[Done], place: keys.Place) -> Any:
    name = TYPES[place.code].name
    writes = surviving(history, place)
    if name in ("gcounter", "pncounter"):
        return sum(argument for _, argument in writes)
    if name in ("gset", "orset"):
        return {values.load(element) for _, elements in writes for element in elements}
    if name == "flag":
        return bool(writes)
    if name == "mvregister":
        return [values.load(payload) for payload in sorted({payload for _, payload in writes})]
    # Of all writes and deletions the one with the greatest stamp decides, whatever its author had seen.
    touching = [done for done in history if place.prefix in done.stamps]
    decided = max(touching, key=lambda done: done.stamps[place.prefix], default=None)
    return values.load(decided.argument) if decided and decided.verb == "lwwregister.set" else None


# ---- random histories ----------------------------------------------------------------------------------------------

M = keys.top("key", map.CODE)
INNER = M.inside("inner", map.CODE)
PLACES = [
    *(
        parent
        for code in TYPES
        if code != map.CODE
        for parent in (keys.top("key", code), M.inside(TYPES[code].name, code))
    ),
    INNER.inside("n", pncounter.CODE),
    INNER.inside("s", orset.CODE),
    M.inside("", lwwregister.CODE),
]
ELEMENTS = [values.encode(element) for element in ("", "a", 1, b"\0", ("t", None))]
TAKERS: list[tuple[Verb, keys.Place, Any]] = [
    (map.REMOVE, M, b"orset"),
    (map.REMOVE, M, b"pncounter"),
    (map.REMOVE, M, b"inner"),
    (map.CLEAR, M, None),
    (map.CLEAR, INNER, None),
    (DELETE, keys.Place("key", (), b"", b"key\0", ()), None),
    (DELETE, keys.Place("key", (), b"", b"key\0s", ()), None),
]


def operation(rng: random.Random) -> tuple[Verb, keys.Place, Any]:
    if rng.random() < 0.1:
        return rng.choice(TAKERS)
    place = rng.choice(PLACES)
    verb = rng.choice(TYPES[place.code].verbs)
    arguments: dict[str, Callable[[], Any]] = {
        "gcounter.increment": lambda: rng.choice([1, 2, 10**12]),
        "pncounter.add": lambda: rng.choice([1, -1, 5, -(10**12)]),
        "lwwregister.set": lambda: rng.choice([values.encode(None), *ELEMENTS]),
    }
    if verb.name in arguments:
        return verb, place, arguments[verb.name]()
    if verb.name.endswith("update"):
        return verb, place, rng.sample(ELEMENTS, 2)
    return verb, place, rng.choice(ELEMENTS) if place.code in (b"o", b"s", b"v") else None


def act(author: Author, history: list[Done], rng: random.Random) -> None:
    verb, place, argument = operation(rng)
    replica = author.replica
    replica.now += rng.choice([0, 0, 1, 500, -500])
    before = (dict(replica.rows), list(replica.events))
    try:
        replica.do(verb, place, argument)
    except KeyError:
        assert verb is orset.REMOVE
        assert replica.rows == before[0]
    if replica.events == before[1]:
        assert replica.rows == before[0], "a change without an event"
        return
    number = len(history)
    if verb.name.endswith((".add", ".discard", ".remove")) and place.code in (b"o", b"s"):
        argument = [argument] if verb.writes else argument
    history.append(Done(number, stamps(replica, before[0]), place, verb.name, argument, author.seen))
    author.seen |= {number}


def stamps(replica: Replica, before: dict[bytes, bytes]) -> dict[bytes, tuple[int, int]]:
    """Stamps are the only thing that the reference reads off rows: which one a register gets is its author's choice."""
    changed = [(rowkey, image) for rowkey, image in replica.rows.items() if before.get(rowkey) != image]
    return {rowkey: row_latest(image)[:2] for rowkey, image in changed if row_kind(image) == LATEST}


def check(author: Author, history: list[Done]) -> None:
    seen = [done for done in history if done.number in author.seen]
    for place in PLACES:
        assert author.replica.value(place) == expected(seen, place), (place.prefix, seen)


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_replica_shows_what_its_operations_mean(seed: int) -> None:
    rng = random.Random(seed)
    authors = [Author(actor) for actor in range(1, 4)]
    history: list[Done] = []
    for _ in range(STEPS):
        author = rng.choice(authors)
        if rng.random() < 0.25:
            other = rng.choice(authors)
            author.replica.merge(other.replica)
            author.seen |= other.seen
        else:
            act(author, history, rng)
        check(author, history)
    for author in authors:
        for other in authors:
            author.replica.merge(other.replica)
            author.seen |= other.seen
    shown = []
    for author in authors:
        author.replica.merge(authors[-1].replica)
        check(author, history)
        shown.append(author.replica.value(M))
    assert shown[0] == shown[1] == shown[2]


@pytest.mark.parametrize("seed", range(40))
def test_merging_is_a_join(seed: int) -> None:
    rng = random.Random(seed)
    authors = [Author(actor) for actor in range(1, 4)]
    history: list[Done] = []
    for _ in range(40):
        author = rng.choice(authors)
        act(author, history, rng)
        if rng.random() < 0.2:
            other = rng.choice(authors)
            author.replica.merge(other.replica)
            author.seen |= other.seen
    a, b, c = (author.replica for author in authors)

    def merged(*replicas: Replica) -> dict[bytes, bytes]:
        result = copy.deepcopy(replicas[0])
        for replica in replicas[1:]:
            result.merge(replica)
        return result.rows

    bc = copy.deepcopy(b)
    bc.merge(c)
    assert merged(a, b) == merged(b, a)
    assert merged(a, b, c) == merged(c, a, b) == merged(a, bc)
    assert merged(a, a) == a.rows
    assert merged(a, b, b, a, b) == merged(a, b)


def test_what_changes_nothing_makes_no_event() -> None:
    replica = Replica(1)
    nothing = [
        (orset.DISCARD, orset, ELEMENTS[1]),
        (orset.CLEAR, orset, None),
        (pncounter.RESET, pncounter, None),
        (flag.DISABLE, flag, None),
        (lwwregister.CLEAR, lwwregister, None),
        (mvregister.CLEAR, mvregister, None),
        (map.CLEAR, map, None),
        (map.REMOVE, map, b"x"),
        (DELETE, map, None),
    ]
    for round_ in range(2):
        for verb, module, argument in nothing:
            replica.do(verb, keys.top("k", module.CODE), argument)
        assert len(replica.events) == round_ * 2
        place = keys.top("k", pncounter.CODE)
        replica.do(pncounter.ADD, place, 3)
        replica.do(pncounter.RESET, place)
        if round_ == 0:
            assert len(replica.events) == 2


def test_resolving_to_the_value_that_stands_alone_makes_no_event() -> None:
    place, one, two = keys.top("k", mvregister.CODE), Replica(1), Replica(2)
    for replica, value in ((one, 1), (two, 2)):
        replica.do(mvregister.SET, place, values.encode(value))
    one.merge(two)
    assert one.value(place) == [1, 2]
    one.do(mvregister.RESOLVE, place, values.encode(2))
    assert one.value(place) == [2]
    events = len(one.events)
    one.do(mvregister.RESOLVE, place, values.encode(2))
    assert len(one.events) == events


def test_equal_values_written_concurrently_are_one() -> None:
    place, one, two = keys.top("k", mvregister.CODE), Replica(1), Replica(2)
    for replica in (one, two):
        replica.do(mvregister.SET, place, values.encode("same"))
    one.merge(two)
    assert one.value(place) == ["same"]


def test_two_types_that_meet_on_a_field_are_shown_by_type() -> None:
    one, two = Replica(1), Replica(2)
    one.do(pncounter.ADD, M.inside("x", pncounter.CODE), 2)
    two.do(lwwregister.SET, M.inside("x", lwwregister.CODE), values.encode("two"))
    two.do(flag.ENABLE, M.inside("y", flag.CODE))
    one.merge(two)
    assert one.value(M) == {"x": {"lwwregister": "two", "pncounter": 2}, "y": True}


def test_a_gset_in_a_deleted_object_goes_and_can_come_back() -> None:
    replica, place = Replica(1), keys.top("k", gset.CODE)
    replica.do(gset.ADD, place, ELEMENTS[1])
    replica.do(DELETE, place)
    assert replica.value(place) == set()
    replica.do(gset.ADD, place, ELEMENTS[1])
    assert replica.value(place) == {"a"}


def test_a_gcounter_in_a_removed_field_starts_again() -> None:
    one, two = Replica(1), Replica(2)
    place = M.inside("hits", gcounter.CODE)
    one.do(gcounter.INCREMENT, place, 5)
    two.merge(one)
    two.do(gcounter.INCREMENT, place, 7)
    one.do(map.REMOVE, M, b"hits")
    assert one.value(M) == {}
    one.merge(two)
    assert one.value(M) == {"hits": 7}, "what the remover had not seen stays"
