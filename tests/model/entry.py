"""Getting in and out: joining through a sponsor, starting over with a rescue, long transfers, leaving.

Functions over two replicas that are linked; each is one exchange.  Whoever is in the middle of one keeps an Entry.
"""

from __future__ import annotations

from .members import EVICTED, EXPIRED, JOINING, LEFT, MEMBER, is_counted
from .parts import Part, Scan, Staged
from .rows import LATEST, covers, join
from .voting import contradiction


class Entry:
    """An attempt to get in: through whom, at which epoch, and what is staged of the sponsor's state."""

    def __init__(self, sponsor, epoch, scan=None):
        self.sponsor, self.epoch, self.scan = sponsor, epoch, scan
        self.transfer = None  # a transfer under way (from one consistent state); it does not outlive a crash


def contact(node, other):
    """What every link begins with: incarnations, and news for those who are out.

    RULE: a restored copy counts its starts anew.  Told that a later start of it has been heard, it counts on from
    there, else its messages would be dropped as an earlier incarnation's until it had started often enough.
    """
    for one, two in ((node, other), (other, node)):
        if two.heard.get(one.name, 0) > one.starts:
            one.raise_start(two.heard[one.name] + 1)
    if node.private is None and other.private is None and _is_out(node, other) and _is_out(other, node):
        contradiction(node, other)
    mine, theirs = node.members, other.members
    for one, two, list_of_one in ((node, other, mine), (other, node, theirs)):
        if one.private is None and not _is_out(two, one) and not _is_out(one, two):
            two.learn(list_of_one, one.ballots, one.name)
        elif one.private is None and _is_out(one, two) and not _is_out(two, one):
            two.learn(list_of_one)  # RULE: who is out is told so, and is listened to no more


def _is_out(judge, node):
    """Whether `judge` knows that `node`, at its epoch, is evicted or an old copy."""
    epoch, rank = judge.members.get(node.name, (0, 0))
    return node.epoch < epoch or (node.epoch == epoch and rank == EVICTED)


# ---- getting in: a joiner, or a replica that starts over ----


def begin(node, sponsor, by_scan):
    """A new attempt through `sponsor`."""
    if not sponsor.serves() or sponsor.state != "member" or node.state not in ("joining", "over", "left"):
        return
    sponsor.learn(node.members if node.private is None else {})
    if sponsor.state != "member":
        return
    # RULE: every attempt is an epoch of its own, above all that either has heard of; a late word about an earlier
    # attempt (it expired at another sponsor, say) then cannot throw the node out again
    epoch = max(node.epoch, node.members.get(node.name, (0, 0))[0], sponsor.members.get(node.name, (0, 0))[0]) + 1
    node.epoch = epoch
    if node.rules.joiner_counted:
        # RULE: the sponsor counts the joiner, durably, before it takes the snapshot that the joiner starts from
        sponsor.note(node.name, (epoch, JOINING))
        sponsor.drop_announcement(node.name)
        sponsor.sponsoring = {**sponsor.sponsoring, node.name: epoch}
        sponsor.sync()
    else:
        sponsor.sponsoring = {**sponsor.sponsoring, node.name: epoch}
    if node.private is None:
        node.learn(sponsor.members)
    node.entry, node.state = Entry(sponsor.name, epoch), "joining" if node.state == "joining" else "over"
    if by_scan:
        node.entry.scan = Scan(sponsor.disk["clock"])
    node.sync()
    node.world.attempt(node, sponsor)


def still_sponsors(node, sponsor):
    """RULE: neither of the two knows of an end of this attempt: a joiner can expire, and be evicted."""
    epoch = node.entry.epoch
    known, heard = sponsor.members.get(node.name), node.members.get(node.name, (0, 0))
    counts = known in ((epoch, JOINING), (epoch, MEMBER)) or not node.rules.joiner_counted
    able = sponsor.serves() and sponsor.state == "member" and sponsor.sponsoring.get(node.name) == epoch
    return able and counts and heard <= (epoch, MEMBER)


def proceed(node, sponsor, limit, reply_lost=False):
    """Take one more part from the sponsor.  Resumes with that sponsor, or gives the attempt up."""
    entry = node.entry
    if not still_sponsors(node, sponsor):
        node.entry = None  # RULE: the attempt has expired, or the sponsor is out itself: start afresh
        node.sync()
        return "afresh"
    if entry.scan and not entry.scan.whole:
        scan = take_scan(node, sponsor, entry.scan, limit, {})
        if scan is None:
            node.entry = None
            return "afresh"
        node.entry = Entry(entry.sponsor, entry.epoch, scan)
        return "more"
    if entry.transfer is None or entry.transfer.word.start != sponsor.starts:
        # RULE: what a rescue is measured against must be on the sponsor's disk; else a crash there loses what the
        # replica dropped because the sponsor had it
        sponsor.sync()
        entry.transfer = sponsor.open_transfer(entry.scan.t0 if entry.scan else {})
    part = sponsor.next_part(entry.transfer, limit)
    node.stage_entry(entry, part)
    if not part.last:
        return "more"
    if entry.scan and not (covers(part.target, entry.scan.holds()) and covers(entry.scan.t0, part.floor)):
        node.entry = None
        return "afresh"
    # RULE: the sponsor says, durably, that the joiner is a member; before that it may still expire.  Were it the
    # joiner's word, an expiry that crosses it would throw out a member that has written
    sponsor.note(node.name, (entry.epoch, MEMBER))
    sponsor.sync()
    if reply_lost:
        return "more"
    node.world.attempt(node, sponsor)
    install(node, part, entry)
    return "in"


def install(node, part, entry):
    """Take the sponsor's state, whole, in one step."""
    if node.private is None:
        node.write_rescue(part.word.clock)
        node.forget()
    mine = dict(node.rows)
    node.publish()
    node.take_in(entry, part)
    node.learn(part.word.members)
    node.note(node.name, (entry.epoch, MEMBER))
    node.entry, node.state = None, "member"
    node.put_ballot(None, 0)
    restamp(node, mine, part.stamp_floor)
    node.world.came_in(node)
    node.sync()


def restamp(node, mine, stamp_floor):
    """RULE: a register from a private store whose stamp is not above the stamp floor of the snapshot is written again.

    Else it can lie below a deletion that was collected here and not there: r deleted at 100, stable, collected by A;
    B still has the dead row.  The joiner's r from 50 would be visible at A and dead at B, for ever.
    """
    if not node.rules.restamp:
        return
    low = [key for key, row in mine.items() if key[1] == LATEST and not row.dead() and row.body[0] <= stamp_floor]
    kept = [key for key in low if node.rows[key].body == mine[key].body]
    writes = [("write", key[0], mine[key].body[3]) for key in node.in_order(kept)]
    if writes:
        node.rewrite(writes, stamp_floor)


def expire(sponsor):
    """RULE: a joiner that never became whole expires at its sponsor."""
    for name, epoch in sponsor.sponsoring.items():
        if sponsor.members.get(name) == (epoch, JOINING):
            sponsor.note(name, (epoch, EXPIRED))
            sponsor.sponsoring = {n: e for n, e in sponsor.sponsoring.items() if n != name}
            sponsor.sync()
            return


# ---- long transfers ----


def take_scan(node, server, scan, limit, clock):
    """One more part of a scan, from the server's durable state, or None when it cannot go on from here.

    RULE: it may go on with any server whose SYNCED clock covers T0: of every event up to T0, each part then holds all
    that it did to the part's rows.
    RULE: no part's sender may have collected beyond T0 and the receiver's clock, else the scan misses a removed row
    whose removal is not claimed, or keeps one whose removal is.
    """
    disk = server.disk
    if not covers(disk["clock"], scan.t0) or not covers(join(clock, scan.t0), disk["floor"]):
        return None
    node.heard[server.name] = max(server.starts, node.heard.get(server.name, 0))
    taken = node.stage(scan, server.read_on(scan, limit))
    taken.start = max(scan.start, server.starts)
    return taken


def scan(node, server, limit):
    """A member that is far behind: begin a long transfer, go on with it, or, when whole, end it by a plain one."""
    if node.state != "member" or node.damaged or node.private is not None or not server.serves():
        return
    head = Part(server, {}, {}, False)
    if not node.takes_from(head):
        return
    if node.scan is None:
        if not covers(node.clock, server.disk["floor"]):
            node.must_start_over("below")
            return
        node.scan = Scan(server.disk["clock"])
    if node.scan.whole:
        _end_scan(node, server)
    else:
        taken = take_scan(node, server, node.scan, limit, node.clock)
        node.drop_scan() if taken is None else node.keep_scan(taken)


def _end_scan(node, server):
    if not covers(server.clock, node.scan.t0):
        return  # another server may do
    part = server.push(node.scan.t0)
    outcome = node.receive(part, Staged())
    if outcome == "applied":
        node.hear(part.word)
    elif outcome == "below":
        node.must_start_over("below")
    else:
        node.drop_scan()


# ---- leaving ----


def leave(node, member, reply_lost):
    """RULE: the leaver stops writing; then a member whose SYNCED clock covers its own records durably that it has left.

    Synced: else that member's crash loses what only the leaver had.  The member's record: else two that leave at once
    may each count on the other.
    """
    if node.state not in ("member", "leaving") or node.damaged or node.private is not None:
        return
    if node.bound(node.name) is not None:
        return  # RULE: who is bound by a vote does not leave before it knows how that ended
    if node.state == "member":
        node.state = "leaving"
        node.drop_scan()
        node.sync()  # RULE: durably, before anybody can record it: who forgets that it left would write again
    member.learn(node.members, node.ballots)  # RULE: the leaver hands over whom it let in
    if not (member.serves() and member.state == "member" and is_counted(member.members, node.name)):
        return
    if not covers(member.disk["clock"], node.clock):
        return
    if member.members[node.name] != (node.epoch, MEMBER):
        return
    member.note(node.name, (node.epoch, LEFT))
    member.sync()
    if not reply_lost:
        node.learn(member.members, member.ballots)
        node.sync()
