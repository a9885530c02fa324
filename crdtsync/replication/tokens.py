"""Whether a token waits in vain: it names events that their author lost before anyone else saw them."""

from __future__ import annotations

from crdtsync.clocks.members import counted
from crdtsync.clocks.vector import missing
from crdtsync.replication.core import Core
from crdtsync.replication.messages import Clock

TOKENS_REMEMBERED = 1024  # questions about tokens kept, oldest dropped


class Tokens:
    """Remembers when a missing event was first asked for, since every member must have answered after that.

    RULE: an answer is an announcement that its author sent after it had heard one of ours from after the question.  One
    that was on its way already may be from before the author took, or wrote, the event (simulator, seed 800691).
    RULE: a question is asked anew when the members change or one of them begins another life.  It may have handed the
    event, which it no longer has, to one that had answered before.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.asked_at: dict[tuple[str, int, int], int] = {}  # seq of our latest announcement then
        self.asked_of = (0, 0)  # digest of the member list, and lives met, that the questions were asked of

    def lost(self, bucket: str, clock: Clock) -> bool:
        """True once it is known that some event of `clock` is nowhere.

        Its actor writes no more (it is not the current one of any member), every member has answered since the
        question was first asked, and nobody's clock covers the event, or keeps silent about it until rows are repaired.
        """
        beyond = missing(self.core.store.clock(bucket), clock)
        return any(self._gone(bucket, actor, seq) for actor, seq in beyond.items())

    def _gone(self, bucket: str, actor: int, seq: int) -> bool:
        core = self.core
        asked_at = self._asked(bucket, actor, seq)
        if not core.whole() and core.store.cluster() != 0:
            return False
        if actor == core.store.actor():
            return True  # mine, and beyond what I have written: it was never an event
        for name in counted(core.store.members()):
            if name == core.store.node:
                continue
            peer = core.peers.get(name)
            if peer is None or peer.link is None or not peer.announced or peer.answered <= asked_at:
                return False
            if bucket in peer.silent:
                return False
            if peer.actor == actor or peer.clock.get(bucket, {}).get(actor, 0) >= seq:
                return False
        return True

    def _asked(self, bucket: str, actor: int, seq: int) -> int:
        core, question = self.core, (bucket, actor, seq)
        asked_of = (core.replica.roster().digest, core.lives_met)
        if asked_of != self.asked_of:
            self.asked_of = asked_of
            self.asked_at.clear()
        if question not in self.asked_at:
            while len(self.asked_at) >= TOKENS_REMEMBERED:
                del self.asked_at[next(iter(self.asked_at))]
            self.asked_at[question] = core.announce_seq
        return self.asked_at[question]
