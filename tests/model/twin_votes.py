"""The votes of a twin: what the model reads off its list, the engine's rules read off the same list."""

from __future__ import annotations

from crdtsync.clocks import ballots as rules

from .members import is_counted
from .translate import to_ballot, to_records


class VotingTwin:
    """Comes before the model's node: each of its answers is compared."""

    def records(self):
        return to_records(self.members, self.ballots)

    def bound(self, name):
        ballot = super().bound(name)
        self.agree(f"ballot that binds {name}", rules.binding(self.records(), name), to_ballot(ballot))
        return ballot

    def proposal(self, name):
        ballot = super().proposal(name)
        self.agree(f"proposal of {name}", rules.proposal(self.records(), name), to_ballot(ballot))
        return ballot

    def electable(self):
        ballot = super().electable()
        if is_counted(self.members, self.name):
            self.agree("may vote for", rules.electable(self.records(), self.name, self.agrees), to_ballot(ballot))
        return ballot

    def carried(self, ballot):
        carried = super().carried(ballot)
        self.agree("carried", rules.carried(self.records(), to_ballot(ballot)), carried)
        return carried

    def heard_list(self, author):
        mine, records = self.ballot(self.name), self.records()
        super().heard_list(author)
        if mine is not None and mine.proposer == author != self.name and author in records:
            self.agree("given up", rules.given_up(records[author], to_ballot(mine)), self.ballot(self.name) is None)
