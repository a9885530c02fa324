"""Putting members out: by votes (clocks/ballots.py), or by an operator's force.

The proposer's record carries the proposal to everybody; whoever may vote for it does so in its own record, durably
before it tells; the proposer counts what it hears.  So votes travel as all member records do, and need no answer.
A proposal that is not carried in time is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from crdtsync.clocks.ballots import (
    binding,
    carried,
    config_of,
    electable,
    given_up,
    hopeless,
    proposal,
    propose,
    voters,
    with_ballot,
)
from crdtsync.clocks.members import EVICTED, JOINING, MEMBER, Ballot, MemberRecord, Members, counted
from crdtsync.errors import MembershipMisuse, QuorumMissing
from crdtsync.replication import peers as states
from crdtsync.replication.core import NEVER, Core, log
from crdtsync.replication.membership import Membership
from crdtsync.replication.validate import NAME_BYTES_MAX

VOTES_TIMEOUT = 5.0  # s until a proposal that is not carried is taken back: a vote takes a round trip and a sync


class Eviction:
    """Proposes, votes, counts."""

    def __init__(self, core: Core, membership: Membership) -> None:
        self.core, self.membership = core, membership
        self.victim, self.epoch, self.until = "", 0, NEVER  # of the proposal under way
        self.absent = 0  # s for which its victim has not been heard, when that is why; 0: an operator's word
        self.agrees: Callable[[Ballot], bool] = lambda ballot: True  # whether to vote for it; see `absence`
        membership.on_change = self.look
        membership.on_list = self.heard

    # -- an operator's word
    def evict(self, node: str, force: bool) -> None:
        """Ask the members to stop waiting for one that will not come back; `force` does not ask.

        How it ends is told by the notice "eviction".
        """
        core = self.core
        record = core.record(node)
        if node == core.store.node or record is None or record.state not in (JOINING, MEMBER):
            raise MembershipMisuse(f"{node[:NAME_BYTES_MAX]!r} is not another member of this cluster.")
        if core.state != states.MEMBER:
            raise MembershipMisuse(f"{core.store.node} is {core.state} and cannot evict.")
        if self._outdated():
            raise MembershipMisuse(f"{core.store.node} has been started later elsewhere: this start cannot evict.")
        if force:
            self._put_out(record)
            return
        self._may_ask()
        reached = {name for name in core.reachable() if name != node} | {core.store.node}
        total = len(counted(core.store.members()))
        if 2 * len(reached) <= total:
            raise QuorumMissing(f"{len(reached)} of {total} members are in reach; an eviction needs more than half.")
        self._begin(record, 0)

    def _begin(self, record: MemberRecord, absent: int) -> None:
        self.victim, self.epoch, self.absent = record.node, record.epoch, absent
        self.until = self.core.now + VOTES_TIMEOUT
        self.core.counters["evictions_proposed"] += 1
        self._propose()

    # -- absence
    def propose_absent(self, node: str, absent: int) -> None:
        """Ask the members to put out one that has not been heard for `absent` seconds; they judge by themselves."""
        record = self.core.record(node)
        if record is not None and not self.busy() and not self._outdated():
            self._begin(record, absent)

    def busy(self) -> bool:
        """Whether a proposal of this node is under way."""
        return self.until != NEVER

    def absent_sought(self) -> str:
        """Whom this node proposes to evict because it is away; "" for nobody."""
        return self.victim if self.busy() and self.absent else ""

    def withdraw(self, text: str) -> None:
        """Take the proposal under way back."""
        self._take_back(text)

    def _may_ask(self) -> None:
        bound = binding(self.core.store.members(), self.core.store.node)
        if bound is not None:
            text = f"{self.core.store.node} has voted to evict {bound.victim}, as {bound.proposer} proposed"
            raise QuorumMissing(f"{text}; how that ended is not known yet.")

    def _outdated(self) -> bool:
        """Whether a later start of this node is on record: what this one writes into it would be dropped."""
        mine = self.core.me()
        return mine is not None and mine.start > self.core.store.start

    def _propose(self) -> None:
        members = self.core.store.members()
        self.membership.put(propose(members, self._mine(members), self.victim, self.absent))

    def _mine(self, members: Members) -> MemberRecord:
        """My record as this start would write it."""
        core = self.core
        return msgspec.structs.replace(members[core.store.node], start=core.store.start, address=core.address)

    def victim_sought(self) -> str:
        """Whom this node proposes to evict at present; "" for nobody."""
        return self.victim if self.until != NEVER else ""

    # -- looking at the list
    def look(self) -> None:
        """The list has changed: vote, or count."""
        core = self.core
        members = core.store.members()
        mine = members.get(core.store.node)
        if not core.whole() or mine is None or mine.state != MEMBER:
            self._settle("this node was put out itself")
        elif self._outdated():
            self._settle(f"a later start of {mine.node} is known")
        elif self.until != NEVER:
            self._count(members, proposal(members, mine.node))
        elif core.state == states.MEMBER:
            self._vote(members)

    def _vote(self, members: Members) -> None:
        core = self.core
        if not core.replica.roster().bound:
            return
        ballot = electable(members, core.store.node, self.agrees)
        # RULE: only who could let others in votes: of who is left, more than half can be started over from.
        if ballot is None or not all(core.replica.serves(bucket) for bucket in core.store.buckets()):
            return
        log.info("%s: votes to evict %s, as %s proposed", core.store.node, ballot.victim, ballot.proposer)
        core.counters["ballots_cast"] += 1
        self.membership.put(with_ballot(self._mine(members), ballot))

    def _count(self, members: Members, ballot: Ballot | None) -> None:
        victim = members[self.victim]
        if victim.epoch != self.epoch:  # who was meant is out already
            self._take_back(f"{self.victim} has come back since")
        elif victim.state not in (JOINING, MEMBER):
            self._take_back("" if victim.state == EVICTED else f"{self.victim} is {victim.state}")
        elif ballot is None or ballot.config != config_of(members):
            self._propose()  # another list than the votes were for
        elif carried(members, ballot):
            self._put_out(victim)
        elif hopeless(members, ballot) and self._outranked(members):
            self._take_back(self._tally(members))

    def _outranked(self, members: Members) -> bool:
        """Whether somebody of a lesser name proposes, too: of proposals in each other's way its has the first try."""
        return any(proposal(members, name) is not None for name in members if name < self.core.store.node)

    def _tally(self, members: Members) -> str:
        ballot = proposal(members, self.core.store.node)
        count = len(voters(members, ballot)) if ballot is not None else 0
        bound = [(name, binding(members, name)) for name in sorted(members)]
        others = [f"{name} for {other.victim}" for name, other in bound if other is not None and other != ballot]
        text = f"{count} of {len(counted(members))} members voted to evict {self.victim}; it needs more than half"
        return f"{text}{' (bound by another vote: ' + ', '.join(others) + ')' if others else ''}."

    def heard(self, author: str, records: Iterable[MemberRecord]) -> None:
        """A whole list of `author`: who voted for a proposal that it has given up is free again."""
        members = self.core.store.members()
        mine = members.get(self.core.store.node)
        if mine is None or mine.ballot is None or mine.ballot.proposer != author or author == mine.node:
            return
        own = next((record for record in records if record.node == author), None)
        if own is not None and given_up(own, mine.ballot):
            self.membership.put(with_ballot(self._mine(members), None))

    # -- ends
    def _put_out(self, record: MemberRecord) -> None:
        core = self.core
        core.counters["evictions"] += 1
        if record.node == self.absent_sought():
            core.counters["absences_evicted"] += 1
            log.warning("%s: %s is evicted: unheard for %d s", core.store.node, record.node, self.absent)
        core.replica.forget(record.node)
        own, mine = core.me(), []
        if own is not None and record.node == self.victim_sought():  # else it is asked for anew: another list
            mine, self.until = [with_ballot(own, None)], NEVER
        self.membership.put(msgspec.structs.replace(record, state=EVICTED), *mine)
        self._tell(record.node, "")

    def _take_back(self, text: str) -> None:
        self.until = NEVER
        members = self.core.store.members()
        self.membership.put(with_ballot(self._mine(members), None))
        self._tell(self.victim, text)

    def _settle(self, text: str) -> None:
        if self.until != NEVER:
            self.until = NEVER
            self._tell(self.victim, text)

    def _tell(self, victim: str, text: str) -> None:
        core = self.core
        if text:
            core.counters["evictions_refused"] += 1
            log.warning("%s: %s is not evicted: %s", core.store.node, victim, text)
        core.notify("eviction", node=victim, refused=text)

    # -- time
    def due(self) -> float:
        return self.until

    def tick(self) -> None:
        if self.until <= self.core.now:
            if self.core.whole():
                self._take_back(self._tally(self.core.store.members()))
            else:
                self._settle("this node was put out itself")
