"""Evictions by votes, read off a member list: who is bound, what may be voted for, what is carried.

A proposal is open as long as its proposer's record holds it; a vote is a copy of it in another member's record.  The
proposer alone puts the eviction into effect, once more than half of all counted, without the victim, have voted for it.

RULE: a member is bound by one proposal at a time, its own included, until it knows how that ended.
RULE: a vote is for one list of counted members, which proposer and voter must both have.
So of two proposals in one list at most one is carried, and the next one is voted for by members that know of it:
evictions follow one upon the other, and whoever proposed the last one is not evicted.  Were it enough to have more than
half in reach: with A, B and C, A evicts B, B evicts C and C evicts A before they have heard of each other, and nobody
is left to start over from.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from crdtsync.clocks.members import JOINING, MEMBER, Ballot, MemberRecord, Members, counted


def config_of(members: Members) -> int:
    """Digest of who is counted, each at its epoch."""
    names = "\0".join(f"{name}\0{members[name].epoch}" for name in counted(members))
    return int.from_bytes(blake2b(names.encode(), digest_size=8).digest(), "big")


def propose(members: Members, proposer: MemberRecord, victim: str, absent: int = 0) -> MemberRecord:
    """The record of `proposer` with a proposal to evict `victim`, which is counted, from the list as it stands.

    `absent`: s for which the victim has not been heard, when that is the reason; voters then judge by themselves.
    """
    number = proposer.revision + 1
    ballot = Ballot(
        proposer=proposer.node, epoch=proposer.epoch, start=proposer.start, number=number,
        victim=victim, victim_epoch=members[victim].epoch, config=config_of(members), absent=absent,
    )  # fmt: skip
    return with_ballot(proposer, ballot)


def with_ballot(record: MemberRecord, ballot: Ballot | None) -> MemberRecord:
    """A member's record with another ballot, or none."""
    return MemberRecord(
        record.node, record.epoch, record.state, record.address, record.start, record.revision + 1, ballot
    )


def proposal(members: Members, node: str) -> Ballot | None:
    """The proposal that `node` has open."""
    record = members.get(node)
    if record is None or record.state != MEMBER or record.ballot is None or record.ballot.proposer != node:
        return None
    ballot = record.ballot
    return ballot if _made(record) == _opened(ballot) and _undecided(members, ballot) else None


def binding(members: Members, node: str) -> Ballot | None:
    """The proposal that `node` is bound by; one whose proposer is out, or has come back since, binds nobody."""
    ballot = members[node].ballot if node in members else None
    if ballot is None or not _undecided(members, ballot):
        return None
    proposer = members.get(ballot.proposer)
    in_still = proposer is not None and (proposer.state, proposer.epoch) == (MEMBER, ballot.epoch)
    return ballot if in_still else None


def electable(members: Members, node: str, agrees: Callable[[Ballot], bool] = lambda ballot: True) -> Ballot | None:
    """The proposal that `node` may vote for now, by the list as it stands; of those that it `agrees` with."""
    bound, config = binding(members, node), None
    for name in sorted(name for name, record in members.items() if record.ballot is not None):
        ballot = proposal(members, name) if name != node else None
        if ballot is None or node == ballot.victim or members[node].ballot == ballot:
            continue
        if bound is not None and not _repeats(ballot, bound):
            continue
        config = config_of(members) if config is None else config
        if ballot.config == config and agrees(ballot):
            return ballot
    return None


def absences(members: Members, node: str) -> list[Ballot]:
    """Open proposals of others than `node` to evict somebody because nobody has heard it."""
    asking = sorted(name for name, record in members.items() if record.ballot is not None)
    found = [proposal(members, name) for name in asking if name != node]
    return [ballot for ballot in found if ballot is not None and ballot.absent]


def _repeats(ballot: Ballot, bound: Ballot) -> bool:
    """Whether a proposer asks again for the same, and so has given up asking as before."""
    same = (ballot.proposer, ballot.victim, ballot.victim_epoch) == (bound.proposer, bound.victim, bound.victim_epoch)
    return same and _opened(ballot) > _opened(bound)


def voters(members: Members, ballot: Ballot) -> list[str]:
    """Members that have voted for a proposal, the proposer among them."""
    return [name for name, r in sorted(members.items()) if r.state == MEMBER and r.ballot == ballot]


def carried(members: Members, ballot: Ballot) -> bool:
    """Whether more than half of all counted have voted, with the same list of counted members as this one."""
    return ballot.config == config_of(members) and 2 * len(voters(members, ballot)) > len(counted(members))


def hopeless(members: Members, ballot: Ballot) -> bool:
    """Whether too many members are bound by other proposals."""
    free = [
        name for name, record in members.items()
        if record.state == MEMBER and name != ballot.victim and binding(members, name) in (None, ballot)
    ]  # fmt: skip
    return 2 * len(free) <= len(counted(members))


def given_up(own: MemberRecord, ballot: Ballot) -> bool:
    """Whether `own`, the proposer's record in a whole list of its own, is from after the proposal.

    RULE: in a list of its own: that has the eviction, too, if it was carried.
    """
    return _made(own) > _opened(ballot)


def _undecided(members: Members, ballot: Ballot) -> bool:
    victim = members.get(ballot.victim)
    return victim is not None and victim.epoch == ballot.victim_epoch and victim.state in (JOINING, MEMBER)


def _opened(ballot: Ballot) -> tuple[int, int, int]:
    return (ballot.epoch, ballot.start, ballot.number)


def _made(record: MemberRecord) -> tuple[int, int, int]:
    return (record.epoch, record.start, record.revision)
