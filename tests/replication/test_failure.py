"""Suspicion grows with silence, and our own lateness is no silence of others."""

from __future__ import annotations

from crdtsync.replication.failure import Detector, Lateness


def beating(beats: int, interval: float = 1.0) -> tuple[Detector, float]:
    detector, now = Detector(interval, 0.0), 0.0
    for _ in range(beats):
        now += interval
        detector.heartbeat(now)
    return detector, now


def test_phi_only_grows_while_nothing_comes() -> None:
    detector, now = beating(20)
    phis = [detector.phi(now + step / 10) for step in range(200)]
    assert phis == sorted(phis)
    assert phis[5] < 1 < 8 < phis[-1]


def test_a_beat_in_time_is_no_reason_for_suspicion() -> None:
    detector, now = beating(20)
    assert detector.phi(now + 1.0) < 1


def test_anything_that_comes_counts_as_a_sign_of_life() -> None:
    detector, now = beating(20)
    detector.heard(now + 9.0)
    assert detector.phi(now + 9.5) < 1 < 8 < detector.phi(now + 30.0)


def test_an_irregular_peer_is_given_more_time() -> None:
    regular, now = beating(50)
    irregular, later = Detector(1.0, 0.0), 0.0
    for beat in range(50):
        later += 0.2 if beat % 2 else 4.0
        irregular.heartbeat(later)
    assert irregular.phi(later + 6.0) < regular.phi(now + 6.0)


def test_extreme_silence_does_not_overflow() -> None:
    detector, now = beating(3)
    assert detector.phi(now + 1e9) > 100
    assert detector.phi(now - 1e9) >= 0.0


def test_our_own_lateness_is_taken_off_the_silence_and_fades() -> None:
    detector, now = beating(20)
    lateness = Lateness()
    lateness.ran(now, now + 10.0)  # the loop stood still for ten seconds
    woken = now + 10.0
    assert detector.phi(woken) > 8 > detector.phi(woken, lateness.current(woken))
    assert lateness.current(woken + 10.0) == 5.0
    assert lateness.worst == 10.0


def test_ordinary_scheduling_is_not_lateness() -> None:
    lateness = Lateness()
    lateness.ran(1.0, 1.01)
    lateness.ran(None, 99.0)
    assert lateness.current(2.0) == 0.0


def test_a_lesser_stall_does_not_hide_a_greater_one() -> None:
    lateness = Lateness()
    lateness.ran(0.0, 8.0)
    lateness.ran(8.0, 8.5)
    assert lateness.current(8.5) > 7.0
