"""Who has been heard lately, and what may be concluded from silence.

Times are the world's: they only grow.  Nothing of this is on disk.
"""

from __future__ import annotations

from .members import MEMBER, counted

AFTER = 120  # how long nobody must have heard a member before it is voted out
GAP = AFTER // 5  # how long a node may be cut off, or stand still, before silence counts anew


class Listening:
    """The part of a node that hears others, or does not."""

    def listen_anew(self):
        self.heard_at = {}  # member -> when it was last heard, directly or through others
        self.latest_word = {}  # member -> start and number of the latest word of it, from whomever
        self.said = 0  # words of this start
        self.listening_since = self.looked = self.in_touch = self.world.now

    def hears(self, name):
        self.heard_at[name] = self.world.now

    def next_word(self):
        self.said += 1
        return self.said

    def note_word(self, word):
        """RULE: word of a member through others is word of it, if it is later than what was heard."""
        if (word.start, word.number) > self.latest_word.get(word.author, (0, 0)):
            self.latest_word[word.author] = (word.start, word.number)
            self.hears(word.author)

    def look(self, linked):
        """Its loop runs; `linked`: names of those in reach."""
        now, reached = self.world.now, [name for name in linked if self.members.get(name, (0, 0))[1] == MEMBER]
        paused, self.looked = now - self.looked > GAP, now
        if 2 * (len(reached) + 1) > len(counted(self.members)):
            self.in_touch = now
        if paused or now - self.in_touch > GAP:
            # RULE: silence counts while one listens; after a pause, or being cut off, it begins anew
            self.listening_since = now
        for name in linked:
            self.hears(name)

    def misses(self, name):
        """RULE: whoever has not listened for as long does not know; a paused one looks before it votes."""
        if not self.rules.listens_before_it_judges:
            return self.world.now - self.heard_at.get(name, 0) >= AFTER
        since = max(self.listening_since, self.heard_at.get(name, 0))
        return self.world.now - since >= AFTER and self.world.now - self.looked <= GAP

    def propose_absent(self):
        """Ask to put out whom I have missed for long enough."""
        others = [name for name, (_, rank) in sorted(self.members.items()) if rank == MEMBER and name != self.name]
        missed = [name for name in others if self.misses(name)]  # joiners expire at their sponsors
        if missed and self.proposal(self.name) is None:
            self.propose(missed[0], absent=AFTER)

    def heard_in_time(self):
        """RULE: whoever is heard before the votes are counted stays."""
        ballot = self.proposal(self.name)
        if ballot is not None and ballot.absent and not self.misses(ballot.victim):
            self.put_ballot(None)
