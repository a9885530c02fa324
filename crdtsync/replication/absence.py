"""Evicting members that nobody hears: `cluster.evict_after`, voted for like an operator's word (`eviction`).

A member proposes to put out one that it has not heard for `evict_after` seconds, and says so in the ballot; a voter
agrees when it has not heard it for as long either.  Otherwise it passes on what it has heard last, and the proposer
takes the proposal back.  So no clock decides alone, and no minority at all.

RULE: silence counts only while this node listens: while its loop runs, and more than half of all counted are in reach.
After a start, a pause or a time of being cut off it begins anew: whoever it has not heard since may have been heard by
all others.  Time is the engine's, which only grows; no wall clock is asked.
"""

from __future__ import annotations

from typing import Any

from crdtsync.clocks.ballots import absences, binding
from crdtsync.clocks.members import MEMBER, Ballot, MemberRecord, counted
from crdtsync.replication import peers as states
from crdtsync.replication.announcer import Announcer
from crdtsync.replication.core import Core, log
from crdtsync.replication.eviction import VOTES_TIMEOUT, Eviction

GAP_MAX = 60.0  # s, and a fifth of evict_after, that this node may be cut off or not run before silence counts anew:
# links of TLS nodes are made anew every connection_age_max, and peers restart
TURN = 2 * VOTES_TIMEOUT  # s that each member gives those of lesser names to propose first
RETRY_MAX = 600.0  # s, and a tenth of evict_after, between proposals that are not carried

Heard = tuple[int, float, float]  # epoch of the record, when it was last heard itself, when through others


class Silence:
    """Since when a member has not been heard, in s of listening and by the engine's clock."""

    def __init__(self, heard: Heard, listened: float, now: float) -> None:
        self.heard, self.listened, self.now = heard, listened, now


class Absence:
    """Listens, proposes, and judges the proposals of others."""

    def __init__(self, core: Core, eviction: Eviction, announcer: Announcer) -> None:
        self.core, self.eviction, self.announcer = core, eviction, announcer
        self.after = core.settings.cluster.evict_after  # s; 0: nobody is evicted for being away
        self.gap = min(GAP_MAX, self.after / 5) if self.after else GAP_MAX
        self.every = min(core.settings.heartbeat_interval, self.gap / 4)  # s between looks
        self.look_at = self.looked = core.now
        self.listened = self.deaf = 0.0  # s of listening in all; s out of reach of more than half, without a break
        self.silences: dict[str, Silence] = {}
        self.retry_at: dict[str, float] = {}  # member -> not to be proposed before
        self.disputed: dict[Ballot, tuple[int, int]] = {}  # proposals declined -> the word passed on against them
        eviction.agrees = self.agrees

    # -- listening
    def _listen(self) -> None:
        """Silence goes on by the time since the last look, or begins anew."""
        core = self.core
        passed, self.looked = core.now - self.looked, core.now
        if passed > self.gap:
            self._anew(f"did not run for {passed:.1f} s", first=True)
        elif self._in_touch():
            self.listened += passed
            self.deaf = 0.0
        else:
            self.deaf += passed
            if self.deaf > self.gap:
                self._anew("does not reach more than half of the members", first=self.deaf - passed <= self.gap)
        members = core.store.members()
        others = [r for r in members.values() if r.state == MEMBER and r.node != core.store.node]
        self.silences = {record.node: self._silence(record) for record in others}
        self.retry_at = {node: at for node, at in self.retry_at.items() if node in self.silences}

    def _in_touch(self) -> bool:
        core = self.core
        return core.whole() and 2 * (len(core.reachable()) + 1) > len(counted(core.store.members()))

    def _anew(self, why: str, first: bool) -> None:
        if self.after and first:  # told once for each time of being cut off
            self.core.counters["absences_counted_anew"] += 1
            log.info("%s: counts the absence of others anew: it %s", self.core.store.node, why)
        self.silences.clear()

    def _silence(self, record: MemberRecord) -> Silence:
        peer, known = self.core.peers.get(record.node), self.silences.get(record.node)
        direct, passed_on = (peer.detector.last, peer.heard_of) if peer is not None else (0.0, 0.0)
        heard = (record.epoch, direct, passed_on)
        linked = peer is not None and peer.link is not None
        return (
            Silence(heard, self.listened, self.core.now) if known is None or known.heard != heard or linked else known
        )

    def silent(self, node: str) -> float:
        """Seconds of listening for which a member has not been heard."""
        silence = self.silences.get(node)
        peer = self.core.peers.get(node)
        if silence is None or (peer is not None and peer.link is not None):
            return 0.0
        fresh = peer is not None and silence.heard[1:] != (peer.detector.last, peer.heard_of)
        return 0.0 if fresh else self.listened - silence.listened

    # -- voting
    def agrees(self, ballot: Ballot) -> bool:
        """Whether to vote for a proposal, as far as absence is its reason."""
        if not ballot.absent:
            return True
        if self.core.now - self.looked > self.gap:
            return False  # just back from a pause, and not yet at its first look
        return bool(self.after) and self.silent(ballot.victim) >= max(self.after, ballot.absent)

    def _answer(self) -> None:
        """Vote for proposals that have come early; tell those apart from that whom they name has been heard."""
        core = self.core
        asked = absences(core.store.members(), core.store.node)
        if any(self.agrees(ballot) for ballot in asked):
            self.eviction.look()
        self.disputed = {ballot: word for ballot, word in self.disputed.items() if ballot in asked}
        for ballot in asked:
            if ballot.victim != core.store.node and not self.agrees(ballot):
                self._dispute(ballot)

    def _dispute(self, ballot: Ballot) -> None:
        """Pass on what its victim has said last: news to the proposer if it has not heard that much."""
        core, author = self.core, self.core.peers.get(ballot.victim)
        if ballot not in self.disputed:
            core.counters["absences_disputed"] += 1
            silent = self.silent(ballot.victim)
            log.warning(
                "%s: does not vote to evict %s, as %s proposed: it has missed it for %.1f s of %d s",
                core.store.node, ballot.victim, ballot.proposer, silent, ballot.absent,
            )  # fmt: skip
        word = author.word if author is not None else (0, 0)
        if author is not None and word > self.disputed.get(ballot, (0, 0)):
            for link in core.ready_links():
                if link.peer is not author:
                    self.announcer.pass_word(link, author)
        self.disputed[ballot] = word

    # -- proposing
    def _propose(self) -> None:
        core = self.core
        if not self.after or core.state != states.MEMBER or not self._in_touch() or self.eviction.busy():
            return
        if binding(core.store.members(), core.store.node) is not None:
            return
        rank = sum(name < core.store.node for name in core.reachable())
        for node in sorted(self.silences):
            due = self.silent(node) >= self.after + rank * TURN
            if due and core.now >= self.retry_at.get(node, 0.0):
                self.retry_at[node] = core.now + core.jitter(max(2 * TURN, min(self.after / 10, RETRY_MAX)))
                core.counters["absences_proposed"] += 1
                log.warning("%s: proposes to evict %s, unheard for %d s", core.store.node, node, self.after)
                self.eviction.propose_absent(node, self.after)
                return

    def _withdraw(self) -> None:
        """RULE: whoever is heard before the votes are counted stays."""
        victim = self.eviction.absent_sought()
        if victim and self.silent(victim) < self.after:
            self.core.counters["absences_withdrawn"] += 1
            self.eviction.withdraw(f"{victim} has been heard")

    # -- telling
    def status(self, node: str) -> dict[str, Any]:
        """{absent: s since it was last heard, or None; evicted_in: s until its eviction is proposed, or None}.

        Of another member that is not linked; while this node does not listen nobody is due.
        """
        silence = self.silences.get(node)
        peer = self.core.peers.get(node)
        if silence is None or (peer is not None and peer.link is not None):
            return {"absent": None, "evicted_in": None}
        due = max(self.after - self.silent(node), 0.0) if self.after and self._in_touch() else None
        last = max(silence.heard[1:]) or silence.now
        return {"absent": self.core.now - last, "evicted_in": due}

    # -- time
    def due(self) -> float:
        return self.look_at

    def tick(self) -> None:
        if self.core.now < self.look_at:
            return
        self.look_at = self.core.now + self.every
        self._listen()
        if self.core.state == states.MEMBER and self.core.whole():
            self._withdraw()
            self._answer()
            self._propose()
