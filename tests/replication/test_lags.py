"""How long a peer has lagged, and how old the frontier of collection is."""

from __future__ import annotations

from crdtsync.replication.lags import MARKS, Lags
from tests.replication.cluster import BUCKET
from tests.replication.test_gossip import mesh


class Peer:
    """Somebody who is followed: what he holds of one bucket."""

    def __init__(self, lags: Lags, seq: int = 0) -> None:
        self.lags, self.seq = lags, seq

    def seconds(self, now: float) -> float:
        return self.lags.seconds(("peer", "p"), now, lambda mark: mark.held_by({BUCKET: {1: self.seq}}))


def stand(lags: Lags, now: float, seq: int) -> None:
    lags.take(now, {BUCKET: {1: seq}})


def test_a_lag_is_as_old_as_what_is_lacked_without_a_break() -> None:
    lags = Lags()
    peer = Peer(lags)
    assert peer.seconds(0.0) == 0.0
    for second in range(10):
        stand(lags, float(second), 1 + second)
        assert peer.seconds(float(second)) == second, "event 1, since second 0"
    peer.seq = 5
    assert peer.seconds(9.5) == 4.5, "event 6, since second 5"
    peer.seq = 10
    assert peer.seconds(9.5) == 0.0
    stand(lags, 20.0, 10)
    assert peer.seconds(30.0) == 0.0, "nothing has moved"
    stand(lags, 31.0, 11)
    assert peer.seconds(33.0) == 2.0


def test_a_lag_is_remembered_beyond_the_marks_that_are_kept() -> None:
    lags = Lags()
    peer = Peer(lags, seq=3)
    for second in range(10 * MARKS):
        stand(lags, float(second), second)
        peer.seconds(float(second))
    now = 10.0 * MARKS
    assert peer.seconds(now) == now - 4
    assert len(lags._marks) == MARKS
    peer.seq = 4 * MARKS  # its next event is older than all marks kept
    assert peer.seconds(now) == MARKS


def test_who_is_not_followed_any_more_is_forgotten() -> None:
    lags = Lags()
    stand(lags, 1.0, 1)
    assert Peer(lags).seconds(5.0) == 4.0
    lags.keep(set())
    assert lags._oldest == {}


def test_a_clock_that_goes_back_begins_anew() -> None:
    lags = Lags()
    stand(lags, 1.0, 10)
    peer = Peer(lags)
    assert peer.seconds(5.0) == 4.0
    lags.take(6.0, {BUCKET: {2: 1}})
    peer.seq = 10
    assert peer.seconds(6.5) == 0.5 and len(lags._marks) == 1


def test_a_member_that_is_away_lags_and_holds_the_frontier_back() -> None:
    cluster, nodes = mesh(3)
    first = nodes[0]
    first.add("k", "before")
    cluster.run(5.0)
    status = first.engine.status()
    assert {name: peer["lag_seconds"] for name, peer in status["peers"].items()} == {"n1": 0.0, "n2": 0.0}
    assert status["collection"][BUCKET]["frontier_age"] < 2.5
    nodes[2].kill()
    cluster.run(3.0)
    first.add("k", "missed")
    since = cluster.now
    for _ in range(4):
        cluster.run(20.0)
        first.add("k", f"at {cluster.now}")
        status = first.engine.status()
        gone = cluster.now - since
        assert gone - 2.5 < status["peers"]["n2"]["lag_seconds"] <= gone
        assert status["peers"]["n1"]["lag_seconds"] <= 1.5
        assert gone - 2.5 < status["collection"][BUCKET]["frontier_age"] <= gone
    nodes[2].start()
    cluster.run(8.0)
    status = first.engine.status()
    assert status["peers"]["n2"]["lag_seconds"] == 0.0
    assert status["collection"][BUCKET]["frontier_age"] == 0.0
