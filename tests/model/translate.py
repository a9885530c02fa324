"""The same things in the model's words and in the engine's: actors, clocks, members, operations, rows."""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from crdtsync import kernels
from crdtsync.clocks.ballots import config_of
from crdtsync.clocks.members import EVICTED, EXPIRED, JOINING, LEFT, MEMBER, Ballot, MemberRecord
from crdtsync.datatypes import lwwregister, map, mvregister, orset, pncounter, values
from crdtsync.datatypes.keys import parse, top
from crdtsync.pure.image import decode

from . import members as records
from .rows import CELL, LATEST, SET, VALUES, Row

CODES = {SET: orset.CODE, VALUES: mvregister.CODE, LATEST: lwwregister.CODE, CELL: pncounter.CODE}
KINDS = {code: kind for kind, code in CODES.items()}
STATES = {
    records.JOINING: JOINING, records.EXPIRED: EXPIRED, records.MEMBER: MEMBER, records.LEFT: LEFT,
    records.EVICTED: EVICTED,
}  # fmt: skip


@lru_cache(maxsize=4096)
def actor_id(actor):
    """Eight bytes in the order of the names."""
    return int.from_bytes(actor.encode().ljust(8, b"\0"), "big")


@lru_cache(maxsize=4096)
def actor_name(number):
    return number.to_bytes(8, "big").rstrip(b"\0").decode()


def to_ids(clock):
    return {actor_id(actor): seq for actor, seq in clock.items()}


def place(path, kind):
    """Where the engine keeps an object of the model."""
    if len(path) == 1:
        return top(path[0], CODES[kind])
    held = top(path[0], map.CODE)
    for field in path[1:-1]:
        held = held.inside(field, map.CODE)
    return held.inside(path[-1], CODES[kind])


def to_members(members):
    return [MemberRecord(node=node, epoch=epoch, state=STATES[rank]) for node, (epoch, rank) in members.items()]


def to_ballot(ballot):
    if ballot is None:
        return None
    config = {node: MemberRecord(node=node, epoch=epoch, state=MEMBER) for node, epoch in ballot.config}
    return Ballot(ballot.proposer, *ballot.opened, ballot.victim, ballot.victim_epoch, config_of(config), ballot.absent)


def to_records(members, ballots):
    """A member list with the ballots in it, as the engine keeps it."""
    records = {record.node: record for record in to_members(members)}
    for node, ((epoch, start, revision), ballot) in ballots.items():
        if node in records and records[node].epoch == epoch:
            records[node] = replace(records[node], start=start, revision=revision, ballot=to_ballot(ballot))
    return records


def perform(txn, name, path, *arguments):
    """One operation of the model, by the verb that a handle would use."""
    if name == "add":
        orset.add(txn, place(path, SET), values.encode("x"))
    elif name == "remove":
        orset.discard(txn, place(path, SET), values.encode("x"))
    elif name == "write" and arguments[0] is not None:
        lwwregister.write(txn, place(path, LATEST), values.encode(arguments[0]))
    elif name == "write":
        lwwregister.clear(txn, place(path, LATEST), None)
    elif name == "increment":
        pncounter.add(txn, place(path, CELL), arguments[0])
    elif name == "reset":
        pncounter.reset(txn, place(path, CELL), None)
    elif name == "set_value":
        mvregister.write(txn, place(path, VALUES), values.encode(arguments[0]))
    elif name == "clear_values":
        mvregister.clear(txn, place(path, VALUES), None)
    elif len(path) == 1:
        map.clear(txn, top(path[0], map.CODE), None)
    else:
        map.remove(txn, top(path[0], map.CODE), path[1].encode())


def model_row(rowkey, image, ids, born):
    """(key, Row) of the model for a row of the engine."""
    parsed, context = parse(rowkey), kernels.row_context(image)
    path, kind, tail = (parsed.name, *parsed.fields), KINDS[parsed.code], parsed.tail
    name = lambda index: actor_name(ids[index]) if ids[index] else born  # noqa: E731
    ctx = {name(actor): seq for actor, seq in context}
    if kind == CELL:
        cell = kernels.row_cell(image)
        return (path, kind, name(cell[0])), Row(kind, ctx, tuple(cell[1:]))
    if kind == LATEST:
        stamp, actor, seq, payload, _ = kernels.row_latest(image)
        value = None if payload is None else values.load(payload)
        return (path, kind, ""), Row(kind, ctx, (stamp, name(actor), seq, value))
    if kind == SET:
        live = {(name(actor), seq): None for actor, seq in kernels.row_live_dots(image)}
        return (path, kind, values.load(tail)), Row(kind, ctx, live)
    live = {(name(actor), seq): values.load(payload) for actor, (seq, payload) in decode(image).live.items()}
    return (path, kind, ""), Row(kind, ctx, live)
