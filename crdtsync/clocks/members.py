"""Membership records: versioned per node, joined by the greater (epoch, rank of state)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from hashlib import blake2b
from typing import Any

import msgspec

JOINING, EXPIRED, MEMBER, LEFT, EVICTED = "joining", "expired", "member", "left", "evicted"
# RULE: expiry of a joiner ranks below membership.  A sponsor restored from a copy of the time when its joiner was
# joining lets it expire once more, and must not throw out a member that has written since.
RANK = {state: rank for rank, state in enumerate((JOINING, EXPIRED, MEMBER, LEFT, EVICTED))}


class Ballot(msgspec.Struct, frozen=True, order=False):
    """A proposal to evict, in the record of its proposer; in the record of another member, its vote for it."""

    proposer: str
    epoch: int  # of the proposer's record in which it is open, and
    start: int  # its start, and
    number: int  # its revision
    victim: str
    victim_epoch: int
    config: int  # digest of who was counted: a vote is for that very list
    absent: int = 0  # s that nobody must have heard the victim for (cluster.evict_after); 0: an operator's word


class MemberRecord(msgspec.Struct, frozen=True, order=False):
    """What the cluster knows of one node.

    Within one epoch a node goes joining -> expired | member -> left | evicted and never back, so the join of two
    records is the one with the greater (epoch, rank).  Joining again opens the next epoch.
    """

    node: str
    epoch: int
    state: str
    address: str = ""
    start: int = 0  # the start that last advertised `address`; with `revision` it orders what a node says of itself
    revision: int = 0  # how often the node has changed its ballot
    ballot: Ballot | None = None  # see `ballots`

    def version(self) -> tuple[Any, ...]:
        """Total order: two records with equal versions are equal."""
        ballot = () if self.ballot is None else msgspec.structs.astuple(self.ballot)
        return (self.epoch, RANK[self.state], self.start, self.revision, self.address, ballot)


Members = dict[str, MemberRecord]


def join_members(ours: Members, theirs: Iterable[MemberRecord]) -> Members:
    """Join of two member lists: per node the record with the greater version."""
    joined = dict(ours)
    for record in theirs:
        mine = joined.get(record.node)
        if mine is None or mine.version() < record.version():
            joined[record.node] = record
    return joined


class Roster:
    """A member list that does not change any more, and what is read off it again and again."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self.records = tuple(members.values())

    @cached_property
    def counted(self) -> list[str]:
        """See `counted`."""
        return counted(self.members)

    @cached_property
    def bound(self) -> bool:
        """Whether anybody has a ballot."""
        return any(record.ballot is not None for record in self.records)

    @cached_property
    def digest(self) -> int:
        """64 bits that two lists share when they hold the same records, and practically only then; never 0."""
        records = sorted((record.node, record.version()) for record in self.records)
        return int.from_bytes(blake2b(msgspec.msgpack.encode(records), digest_size=8).digest(), "big") or 1


def counted(members: Members) -> list[str]:
    """Nodes whose announcement collection must wait for, in name order: members and joiners."""
    return sorted(name for name, record in members.items() if record.state in (JOINING, MEMBER))
