"""Membership records: one per node, (epoch, rank); the greater one wins wherever two meet."""

from __future__ import annotations

# Ranks: within one epoch a node goes up and never back.
# RULE: expiry of a joiner ranks below membership.  Were it "left": a sponsor is restored from a copy of the time when
# the joiner was joining, lets it expire, and so throws out a member that has written.
JOINING, EXPIRED, MEMBER, LEFT, EVICTED = range(5)
COUNTED = (JOINING, MEMBER)


def join_records(ours, theirs):
    """Join of two member lists {node: (epoch, rank)}.

    RULE: the greater (epoch, rank) wins, so news of an uninformed node brings nobody back, and whoever comes back does
    so at the next epoch.
    """
    joined = dict(ours)
    for node, record in theirs.items():
        if record > joined.get(node, (0, 0)):
            joined[node] = record
    return joined


def counted(members):
    """RULE: collection waits for members and joiners, in name order."""
    return sorted(node for node, (_, rank) in members.items() if rank in COUNTED)


def is_counted(members, node):
    return members.get(node, (0, LEFT))[1] in COUNTED
