"""Counter-examples that random schedules rarely meet, step by step: what happens without the rule, and with it."""

from __future__ import annotations

import random

import pytest

from . import entry
from .members import EVICTED, EXPIRED, JOINING, MEMBER, join_records
from .parts import Staged
from .rules import Rules
from .voting import last_resort
from .world import Violation, World

ROW = ("a",)


def cluster(count, **broken):
    world = World(random.Random(0), count, Rules(**broken))
    for name in world.nodes:
        world.skew[name] = 0
    return world, *world.nodes.values()


def pull(reader, server):
    part = server.push(reader.clock)
    outcome = reader.receive(part, Staged())
    if outcome == "applied":
        reader.hear(part.word)
    elif outcome == "below":
        reader.must_start_over("below")
    reader.world.judge()
    return outcome


def put_out(node, victim, *voters):
    """One eviction by votes, without anybody in between."""
    node.propose(victim.name)
    for voter in voters:
        voter.learn(node.members, node.ballots, node.name)
        voter.vote()
        node.learn(voter.members, voter.ballots, voter.name)
    node.count(patience=True)
    return node.members[victim.name][1] == EVICTED


def enter(node, sponsor):
    entry.begin(node, sponsor, by_scan=False)
    while node.state != "member":
        entry.proceed(node, sponsor, 10)
    node.world.judge()


def counted_again_with_less(**broken):
    """X announced a removal, was evicted, and comes back through a member that has not seen it."""
    world, a, b, s, x = cluster(4, **broken)
    a.batch([("add", ROW)])
    for node in (b, s, x):
        pull(node, a)
    x.batch([("remove", ROW)])
    x.sync()
    for node in (a, b):
        pull(node, x)
        node.sync()
    assert put_out(b, x, a, s)
    a.learn(b.members, b.ballots, b.name)
    s.learn(b.members, b.ballots, b.name)
    x.learn(a.members)
    enter(x, s)
    pull(s, a)
    s.sync()
    for node in (b, s, x):
        a.hear(node.word())
    a.collect()
    pull(x, a)
    return world


def test_an_announcement_counts_within_its_epoch():
    assert counted_again_with_less().collected == 0
    with pytest.raises(Violation, match="must start over"):
        counted_again_with_less(announced_by_epoch=False)


def private_register_below_a_deletion(**broken):
    """J wrote a register alone; at that time members wrote and deleted one of that name, and A has collected it."""
    world, a, b = cluster(2, **broken)
    j = world.create(private=True)
    j.batch([("write", ROW, 9)])
    world.now = 100
    a.batch([("write", ROW, 1)])
    a.batch([("write", ROW, None)])
    a.sync()
    pull(b, a)
    b.sync()
    a.hear(b.word())
    world.now = 101
    a.collect()
    assert world.collected == 1
    j.state = "joining"
    enter(j, a)
    pull(b, j)
    return [node.value((ROW, "l", "")) for node in (j, b)]


def test_private_registers_are_stamped_above_what_was_collected():
    ours, theirs = private_register_below_a_deletion()
    assert ours == theirs
    assert ours[3] == 9
    with pytest.raises(Violation, match="its clock means None"):
        private_register_below_a_deletion(restamp=False)


def circle(nodes):
    """Everybody proposes to evict the next one; then all votes, and then all counts, cross each other."""
    after = dict(zip(nodes, [*nodes[1:], nodes[0]], strict=True))
    for node in nodes:
        node.propose(after[node].name)
    for node in nodes:
        for other in nodes:
            node.learn(other.members, other.ballots, other.name)
    for node in nodes:
        node.vote()
    for node in nodes:
        for other in nodes:
            node.learn(other.members, other.ballots, other.name)
    for node in nodes:
        node.count(patience=False)


def test_three_members_cannot_evict_each_other_in_a_circle():
    _, *nodes = cluster(3)
    circle(nodes)
    assert [node.state for node in nodes] == ["member"] * 3
    assert put_out(nodes[0], nodes[1], nodes[2])
    assert not put_out(nodes[1], nodes[2], nodes[0])


def two_ask_for_one_vote(**broken):
    """A proposes to evict B, B to evict A, and C is asked by both before it knows how the first proposal ended."""
    _, a, b, c = cluster(3, **broken)
    for node, victim in ((a, b), (b, a)):
        node.propose(victim.name)
        c.learn(node.members, node.ballots, node.name)
        c.vote()
        node.learn(c.members, c.ballots, c.name)
    for node in (a, b):
        node.count(patience=False)
    return [node.members[name] for node, name in ((a, b.name), (b, a.name))]


def test_a_member_votes_for_one_proposal_at_a_time():
    assert two_ask_for_one_vote() == [(1, EVICTED), (1, MEMBER)]
    with pytest.raises(Violation, match="from one list"):
        two_ask_for_one_vote(bound_by_votes=False)


def test_a_vote_for_another_list_of_members_does_not_count():
    """C and D have put out E; B, which has not heard of it, votes for E's eviction of C, as does D by its old list."""
    _, a, b, c, d, e = cluster(5)
    e.propose(c.name)
    b.learn(e.members, e.ballots, e.name)
    b.vote()
    assert b.ballot(b.name) == e.ballot(e.name)
    assert put_out(c, e, a, d)
    for node in (a, d):
        node.learn(c.members, c.ballots, c.name)
        node.learn(b.members, {**b.ballots, **e.ballots})
        assert node.electable() is None
    e.learn(b.members, b.ballots, b.name)
    e.count(patience=False)
    assert e.members[c.name] == (1, MEMBER)


def test_a_voter_is_bound_until_a_whole_list_tells_how_it_ended():
    _, a, b, c = cluster(3)
    a.propose(b.name)
    c.learn(a.members, a.ballots, a.name)
    c.vote()
    b.propose(a.name)
    c.crash()
    c.learn(b.members, b.ballots, b.name)
    assert c.electable() is None  # it may be that A has counted
    early = a.word()
    a.count(patience=False)
    c.hear(early)
    c.learn({}, a.ballots)
    assert c.bound(c.name) is not None
    c.hear(a.word())
    assert c.bound(c.name) is None
    assert c.electable() == b.ballot(b.name)


def test_two_put_out_by_each_others_force_are_one_cluster_again():
    _, a, b = cluster(2)
    a.force_out(b.name)
    b.force_out(a.name)
    entry.contact(b, a)
    assert (a.state, a.epoch, b.state) == ("member", 2, "over")
    enter(b, a)
    assert a.members == b.members


def test_one_stays_where_all_are_put_out_by_force():
    _, a, b, c = cluster(3)
    for node, victim in ((a, b), (b, c), (c, a)):
        node.force_out(victim.name)
    for node in (a, b, c):
        for other in (a, b, c):
            node.learn(other.members, other.ballots)
    assert [node.state for node in (a, b, c)] == ["over"] * 3
    last_resort(b, [a, c])
    assert b.state == "over"
    last_resort(a, [b, c])
    assert (a.state, a.epoch) == ("member", 2)
    enter(b, a)
    enter(c, a)


def test_an_expiry_by_a_restored_sponsor_throws_no_member_out():
    world, a, _ = cluster(2)
    j = world.create(state="joining")
    entry.begin(j, a, by_scan=False)
    a.keep_copy()
    while j.state != "member":
        entry.proceed(j, a, 10)
    a.become_copy()
    assert a.members[j.name] == (1, JOINING)
    entry.expire(a)
    assert a.members[j.name] == (1, EXPIRED)
    j.learn(a.members)
    assert j.state == "member"
    assert join_records(a.members, j.members)[j.name] == (1, MEMBER)


def test_a_row_set_aside_takes_no_transfer():
    _, a, b = cluster(2)
    a.batch([("add", ROW)])
    pull(b, a)
    a.damage((ROW, "s", "x"))
    b.batch([("add", ROW)])
    assert a.receive(b.push(a.clock), Staged()) == "busy"
    assert a.repair(b) == "applied"
    assert a.view() == b.view()
