"""Membership records: versioned per node, joined by the greater (epoch, rank of state)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

JOINING, EXPIRED, MEMBER, LEFT, EVICTED = "joining", "expired", "member", "left", "evicted"
# RULE: expiry of a joiner ranks below membership.  A sponsor restored from a copy of the time when its joiner was
# joining lets it expire once more, and must not throw out a member that has written since.
RANK = {state: rank for rank, state in enumerate((JOINING, EXPIRED, MEMBER, LEFT, EVICTED))}


class MemberRecord(msgspec.Struct, frozen=True, order=False):
    """What the cluster knows of one node.

    Within one epoch a node goes joining -> expired | member -> left | evicted and never back, so the join of two
    records is the one with the greater (epoch, rank).  Joining again opens the next epoch.
    """

    node: str
    epoch: int
    state: str
    address: str = ""
    start: int = 0  # the start that last advertised `address`; only breaks ties between equal (epoch, state)

    def version(self) -> tuple[int, int, int, str]:
        """Total order: two records with equal versions are equal."""
        return (self.epoch, RANK[self.state], self.start, self.address)


Members = dict[str, MemberRecord]


def join_members(ours: Members, theirs: Iterable[MemberRecord]) -> Members:
    """Join of two member lists: per node the record with the greater version."""
    joined = dict(ours)
    for record in theirs:
        mine = joined.get(record.node)
        if mine is None or mine.version() < record.version():
            joined[record.node] = record
    return joined


def counted(members: Members) -> list[str]:
    """Nodes whose announcement collection must wait for, in name order: members and joiners."""
    return sorted(name for name, record in members.items() if record.state in (JOINING, MEMBER))
