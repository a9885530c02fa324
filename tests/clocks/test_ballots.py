"""Votes read off a member list: who is bound, what may be voted for, and what is carried."""

from __future__ import annotations

import msgspec
import pytest

from crdtsync.clocks import ballots
from crdtsync.clocks.members import EVICTED, EXPIRED, JOINING, LEFT, MEMBER, MemberRecord, Members, join_members


def members(*names: str) -> Members:
    return {name: MemberRecord(name, 1, MEMBER, start=10) for name in names}


def with_record(known: Members, name: str, **fields: object) -> Members:
    return known | {name: msgspec.structs.replace(known[name], **fields)}


def proposed(known: Members, proposer: str, victim: str) -> Members:
    return known | {proposer: ballots.propose(known, known[proposer], victim)}


def voted(known: Members, voter: str, proposer: str) -> Members:
    return known | {voter: ballots.with_ballot(known[voter], known[proposer].ballot)}


def test_more_than_half_of_all_counted_carry_a_proposal() -> None:
    known = proposed(members("a", "b", "c", "d", "e"), "a", "e")
    ballot = ballots.proposal(known, "a")
    assert ballot is not None
    for voter, carried in (("b", False), ("c", True)):
        assert ballots.electable(known, voter) == ballot
        known = voted(known, voter, "a")
        assert ballots.carried(known, ballot) is carried
    assert ballots.voters(known, ballot) == ["a", "b", "c"]
    assert ballots.electable(known, "e") is None  # nobody votes itself out


def test_a_voter_votes_for_nothing_else_until_the_victim_is_out() -> None:
    known = voted(proposed(members("a", "b", "c"), "a", "b"), "c", "a")
    known = proposed(known, "b", "a")
    assert ballots.binding(known, "c") == known["a"].ballot
    assert ballots.electable(known, "c") is None
    assert ballots.hopeless(known, known["b"].ballot)  # type: ignore[arg-type]
    known = with_record(known, "b", state=EVICTED)
    assert [ballots.binding(known, name) for name in "ac"] == [None, None]


@pytest.mark.parametrize(
    "fields", [{"state": LEFT}, {"state": EVICTED}, {"epoch": 2, "state": JOINING, "ballot": None}]
)
def test_a_proposer_that_is_out_binds_nobody(fields: dict[str, object]) -> None:
    known = voted(proposed(members("a", "b", "c"), "a", "b"), "c", "a")
    known = with_record(known, "a", **fields)
    assert ballots.binding(known, "c") is None
    assert ballots.proposal(known, "a") is None


def test_a_vote_is_for_the_list_that_the_proposer_has() -> None:
    before = members("a", "b", "c")
    known = proposed(before, "a", "b")
    joined = known | {"d": MemberRecord("d", 1, JOINING)}
    assert ballots.electable(known, "c") is not None
    assert ballots.electable(joined, "c") is None
    rejoined = with_record(known, "b", epoch=2)
    assert ballots.config_of(rejoined) != ballots.config_of(known)
    assert ballots.config_of(with_record(known, "a", address="elsewhere:1")) == ballots.config_of(known)


def test_a_proposer_that_asks_again_for_the_same_may_be_voted_for_again() -> None:
    known = voted(proposed(members("a", "b", "c"), "a", "b"), "c", "a")
    again = proposed(known, "a", "b")
    assert ballots.electable(again, "c") == again["a"].ballot != known["a"].ballot
    other = proposed(known, "a", "c")  # as far as c knows the first may have been carried
    assert ballots.electable(other | {"d": MemberRecord("d", 1, MEMBER)}, "c") is None


def test_only_a_list_from_after_a_proposal_says_that_it_was_given_up() -> None:
    known = proposed(members("a", "b", "c"), "a", "b")
    ballot, own = known["a"].ballot, known["a"]
    assert ballot is not None
    assert not ballots.given_up(members("a")["a"], ballot)  # from before
    assert not ballots.given_up(own, ballot)
    assert ballots.given_up(ballots.with_ballot(own, None), ballot)
    assert ballots.given_up(msgspec.structs.replace(own, start=own.start + 1, revision=0), ballot)


def test_records_are_ordered_whole_and_expiry_is_below_membership() -> None:
    record = members("a")["a"]
    later = ballots.propose(members("a", "b"), record, "b")
    assert join_members({"a": later}, [record]) == {"a": later} == join_members({"a": record}, [later])
    for lower, higher in ((JOINING, EXPIRED), (EXPIRED, MEMBER), (MEMBER, LEFT), (LEFT, EVICTED)):
        old, new = (msgspec.structs.replace(later, state=state) for state in (lower, higher))
        assert join_members({"a": new}, [old]) == {"a": new} == join_members({"a": old}, [new])
