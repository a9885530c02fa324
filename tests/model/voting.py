"""Evictions: proposed, voted for, carried or taken back; and who stays in when all others are out.

A ballot travels in the voter's record, beside (epoch, rank): `ballots` has for every node what it says last.
"""

from __future__ import annotations

from typing import NamedTuple

from .members import EVICTED, MEMBER, counted, is_counted

NOTHING = ((0, 0, 0), None)


class Ballot(NamedTuple):
    proposer: str
    opened: tuple  # epoch, start and revision of the proposer's record in which it is open
    victim: str
    victim_epoch: int
    config: tuple  # who was counted, each at its epoch
    absent: int = 0  # how long nobody must have heard the victim; 0: an operator's word

    def same(self, other):
        mine = (self.proposer, self.victim, self.victim_epoch)
        return mine == (other.proposer, other.victim, other.victim_epoch)


def join_ballots(ours, theirs):
    """Of each node what it said last: (epoch, start, revision) orders that, and nobody else writes it."""
    joined = dict(ours)
    for node, entry in theirs.items():
        if entry[0] > joined.get(node, NOTHING)[0]:
            joined[node] = entry
    return joined


class Voting:
    """The part of a node that puts others out."""

    def put_ballot(self, ballot, revision=None):
        revision = self.ballots.get(self.name, NOTHING)[0][2] + 1 if revision is None else revision
        self.ballots = {**self.ballots, self.name: ((self.epoch, self.starts, revision), ballot)}
        self.sync()  # RULE: a vote is on the disk before anybody hears of it

    def ballot(self, name):
        """RULE: a ballot is of one epoch: who comes back has voted for nothing."""
        made, ballot = self.ballots.get(name, NOTHING)
        return ballot if made[0] == self.members.get(name, (0, 0))[0] else None

    def counted_now(self):
        return tuple((name, self.members[name][0]) for name in counted(self.members))

    def undecided(self, ballot):
        epoch, _ = self.members.get(ballot.victim, (0, 0))
        return epoch == ballot.victim_epoch and is_counted(self.members, ballot.victim)

    def bound(self, name):
        """RULE: a member is bound by one proposal at a time, its own included, until it knows how that ended.

        With A, B and C, A evicts B, B evicts C and C evicts A before they have heard of each other: more than half
        would be in reach of each, and nobody left to start over from.
        """
        ballot = self.ballot(name)
        if ballot is None or not self.undecided(ballot):
            return None
        return ballot if self.members.get(ballot.proposer) == (ballot.opened[0], MEMBER) else None

    def proposal(self, name):
        made, ballot = self.ballots.get(name, NOTHING)[0], self.ballot(name)
        is_open = ballot is not None and ballot.proposer == name and ballot.opened == made
        return ballot if is_open and self.members.get(name, (0, 0))[1] == MEMBER and self.undecided(ballot) else None

    def may_vote(self):
        """RULE: only who could let others in: of who is left, more than half can be started over from."""
        return self.state == "member" and self.serves() and is_counted(self.members, self.name)

    def propose(self, victim, absent=0):
        free = self.bound(self.name) is None or not self.rules.bound_by_votes
        if self.may_vote() and free and is_counted(self.members, victim) and victim != self.name:
            revision = self.ballots.get(self.name, NOTHING)[0][2] + 1
            opened = (self.epoch, self.starts, revision)
            ballot = Ballot(self.name, opened, victim, self.members[victim][0], self.counted_now(), absent)
            self.put_ballot(ballot, revision)
            self.world.voted(self, ballot)

    def electable(self):
        """What I may vote for now, by the list as it stands."""
        bound = self.bound(self.name) if self.rules.bound_by_votes else None
        for name in sorted(self.members):
            ballot = self.proposal(name) if name != self.name else None
            if ballot is None or self.name == ballot.victim or ballot == self.ballot(self.name):
                continue
            # a proposer that asks again for the same has given up asking as before
            if bound is not None and not (ballot.same(bound) and ballot.opened > bound.opened):
                continue
            # RULE: a vote is for one list of counted members, which proposer and voter both have: so of two proposals
            # in one list at most one is carried, and the next one is voted for by members that know of it
            if (ballot.config == self.counted_now() or not self.rules.same_list) and self.agrees(ballot):
                return ballot
        return None

    def agrees(self, ballot):
        """RULE: a member is out for being away when more than half have missed it, each by its own account."""
        return not ballot.absent or self.misses(ballot.victim)

    def vote(self):
        ballot = self.electable() if self.may_vote() else None
        if ballot is not None:
            self.put_ballot(ballot)
            self.world.voted(self, ballot)

    def carried(self, ballot):
        votes = [name for name, (_, rank) in self.members.items() if rank == MEMBER and self.ballot(name) == ballot]
        return ballot.config == self.counted_now() and 2 * len(votes) > len(counted(self.members))

    def count(self, patience):
        """The proposer alone puts the eviction into effect, or takes the proposal back."""
        self.heard_in_time()
        ballot = self.proposal(self.name)
        if ballot is None or self.state not in ("member", "leaving"):
            return
        if self.carried(ballot):
            self.put_out(ballot.victim)
            self.world.carried(ballot)
            self.put_ballot(None)
        elif ballot.config != self.counted_now() and patience:
            self.put_ballot(None)
            self.propose(ballot.victim, ballot.absent)
        elif not patience:
            self.put_ballot(None)

    def put_out(self, name):
        self.note(name, (self.members[name][0], EVICTED))
        self.drop_announcement(name)
        self.world.evicted(self, name)

    def heard_list(self, author):
        """RULE: who voted is free again when a whole list of the proposer is from after the proposal.

        Such a list has the eviction, too, if it was carried.
        """
        ballot = self.ballot(self.name)
        if ballot is None or ballot.proposer != author or author == self.name:
            return
        made = max(self.ballots.get(author, NOTHING)[0], (self.members.get(author, (0, 0))[0], 0, 0))
        if made > ballot.opened:
            self.put_ballot(None)

    # ---- an operator's force, and what saves a cluster from it ----

    def force_out(self, name):
        if self.state == "member" and self.private is None and is_counted(self.members, name):
            self.world.forced = True
            self.put_out(name)
            self.sync()

    def stand(self, epoch):
        """Stay a member all the same, at an epoch above all that was heard.

        Nothing is at risk: who is below a floor finds out from claims, whatever the records say, and starts over.
        """
        self.epoch = max(self.epoch, epoch, self.members.get(self.name, (0, 0))[0]) + 1
        self.note(self.name, (self.epoch, MEMBER))
        self.state, self.entry = "member", None
        self.put_ballot(None)
        self.world.stands(self)


def contradiction(node, other):
    """RULE: of two members that have put out each other the lesser name stays; the other then hears that it is out."""
    lesser = min(node, other, key=lambda one: one.name)
    if node.state == other.state == "member":
        lesser.stand(max(node.members[lesser.name][0], other.members[lesser.name][0]))


def last_resort(node, others):
    """RULE: where all are out, one of those that can reach each other stays: the least name that is able to.

    Whoever is getting in lets nobody in, whatever the records say: it may have lost the disk that made it a member.
    """
    over = [one for one in others if one.state == "over"]
    known = node.members
    for one in over:
        known = node.rules.join_records(known, one.members)
    entering = {one.name for one in [node, *others] if one.state in ("over", "joining")}
    left = {name for name, (_, rank) in known.items() if rank == MEMBER} - entering
    if node.state != "over" or left:
        return
    able = sorted(one.name for one in [node, *over] if not one.damaged)
    if able and able[0] == node.name:
        node.stand(known.get(node.name, (0, 0))[0])
