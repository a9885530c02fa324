"""Who is in, what they have on their disks, and what may therefore be forgotten."""

from __future__ import annotations

from .members import COUNTED, EVICTED, LEFT, counted
from .parts import Word
from .rows import LATEST, covers, join
from .voting import join_ballots


class Stability:
    """The part of a node that hears of others and collects."""

    # ---- who is in, and what they announced ----

    def learn(self, members, ballots=None, author=""):
        """Take in a member list; maybe find out that I am no longer what I thought.

        `author`: whose whole list it is.
        """
        self.ballots = join_ballots(self.ballots, ballots or {})
        self.learn_records(members)
        if author and self.state in ("member", "leaving"):
            self.heard_list(author)

    def learn_records(self, members):
        if members == self.members:
            return
        before, self.members = self.members, self.rules.join_records(self.members, members)
        for node, (epoch, _) in self.members.items():
            if epoch != before.get(node, (0, 0))[0] and self.rules.announced_by_epoch:
                # RULE: an announcement counts within its author's epoch: who starts over may hold less afterwards
                self.announced.pop(node, None)
        epoch, rank = self.members.get(self.name, (0, 0))
        out = epoch > self.epoch or rank not in COUNTED
        if out and self.state in ("member", "leaving") and self.private is None:
            self.told(epoch, rank)

    def told(self, epoch, rank):
        if self.state == "leaving" and (epoch, rank) == (self.epoch, LEFT):
            self.state = "left"
        else:
            # RULE: evicted, or an old copy from before I came back at a later epoch
            self.must_start_over("evicted")

    def must_start_over(self, why):
        self.state = "over"
        self.drop_scan()
        self.world.starts_over(self, why)

    def note(self, node, record):
        """Put a record of one's own making into the list."""
        self.members = {**self.members, node: record}

    def word(self):
        return Word(self)

    def hear(self, word):
        """An announcement, from its author or passed on."""
        if self.private is not None or word.author == self.name or not self.takes_word(word):
            return
        # RULE: it brings its author's member list, so whoever counts it also waits for whoever joined there
        self.learn(word.members, word.ballots, word.author)
        self.words[word.author] = word
        self.note_word(word)
        if self.members.get(word.author, (0, 0))[0] != word.epoch and self.rules.announced_by_epoch:
            return
        # RULE: what is announced is what is on disk there, and it counts once I hold all of it: then nothing concurrent
        # with what it covers can still arrive
        if covers(self.clock, word.clock):
            _, known = self.announced.get(word.author, (0, {}))
            self.announced[word.author] = (word.epoch, join(known, word.clock))

    def takes_word(self, word):
        if word.start < self.heard.get(word.author, 0):
            return False
        self.heard[word.author] = word.start
        epoch, rank = self.members.get(word.author, (0, 0))
        return word.epoch > epoch or (word.epoch == epoch and rank != EVICTED)

    def drop_announcement(self, node):
        self.announced.pop(node, None)

    # ---- garbage collection by causal stability ----

    def stable(self):
        """What every counted member is known to have on its disk; alone, what is on mine."""
        others = [] if self.private is not None else [node for node in counted(self.members) if node != self.name]
        clocks = [self.disk["clock"], *(self.announced.get(node, (0, {}))[1] for node in others)]
        if not self.rules.stability:
            clocks = [self.clock]
        return {actor: min(clock.get(actor, 0) for clock in clocks) for actor in self.clock}

    def may_collect(self):
        return self.state in ("member", "leaving") and not self.damaged

    def collect(self):
        """Forget dead rows whose whole context is stable."""
        stable, now = self.stable(), self.time()
        for key, row in list(self.rows.items()):
            # RULE: a deleted register waits until its stamp is in my past
            if row.dead() and covers(stable, row.ctx) and not (row.kind == LATEST and row.body[0] > now):
                self.unlist(key)
                del self.rows[key]
                self.floor = join(self.floor, row.ctx)
                if row.kind == LATEST:
                    self.stamp_floor = max(self.stamp_floor, row.body[0])
                if self.private is not None:
                    self.private = [*self.private, (key, row.ctx)]
                self.world.collected += 1
                self.world.touch(self, key)
