"""Counter-examples that random schedules rarely meet, step by step: what happens without the rule, and with it."""

from __future__ import annotations

import random

import pytest

from . import entry
from .members import EVICTED, EXPIRED, JOINING, MEMBER, join_records
from .parts import Staged
from .rules import Rules
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
    assert entry.evict(b, x.name, [a, s])
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


def test_three_members_cannot_evict_each_other_in_a_circle():
    _, a, b, c = cluster(3)
    assert entry.evict(a, b.name, [c])
    assert not entry.evict(b, c.name, [a])
    assert b.state == "over"
    assert [node.members[b.name] for node in (a, c)] == [(1, EVICTED)] * 2


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
