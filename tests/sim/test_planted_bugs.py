"""The judges are judged: each bug that such systems have had is planted, and the oracles must find it soon."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from crdtsync import kernels
from crdtsync.clocks.members import MEMBER, Roster
from crdtsync.replication.replica import APPLIED, STAGED, STALE_BASE, Incoming, Replica, split_rows
from crdtsync.replication.tokens import Tokens
from crdtsync.replication.transfers import Transfers
from crdtsync.sim import run
from crdtsync.sim.plan import Plan, draw
from crdtsync.sim.trial import Verdict
from crdtsync.storage import recovery
from crdtsync.storage.journal import Cut
from crdtsync.storage.layers import Layer
from crdtsync.storage.replacing import Replacing
from crdtsync.storage.replay import Ending
from crdtsync.storage.store import Store
from crdtsync.storage.txn import Txn

pytestmark = pytest.mark.skipif(kernels.IMPLEMENTATION != "native", reason="what finds bugs is the same on both")
Patch = pytest.MonkeyPatch


def skip_a_delta(patch: Patch) -> None:
    """A transfer of several rows leaves its last one out, and claims all the same."""
    answer = Store.answer

    def forgetful(self: Store, *args: Any) -> Any:
        given = answer(self, *args)
        columns = [] if given is None else given.parts
        if columns and columns[-1].count > 2:
            columns[-1] = split_rows(columns[-1], columns[-1].count - 1)[0]
        return given

    patch.setattr(Store, "answer", forgetful)


def claim_too_much(patch: Patch) -> None:
    """A sender claims one event more of everybody than it holds."""
    claim = Replica._claim

    def boastful(self: Replica, answer: Any) -> dict[str, Any]:
        claimed = claim(self, answer)
        return claimed | {"target": {actor: seq + 1 for actor, seq in claimed["target"].items()}}

    patch.setattr(Replica, "_claim", boastful)


def apply_parts_as_they_come(patch: Patch) -> None:
    """Rows of a part are shown before the transfer is whole."""
    receive = Replica.receive

    def hasty(self: Replica, part: Any, staged: Incoming) -> str:
        verdict = receive(self, part, staged)
        if verdict == STAGED and part.rows.count:
            bucket = self.store.named.get(part.bucket)
            if bucket is not None and all(actor in self.store.actors.index for actor in part.rows.actors):
                self.store.join(bucket, self.store.local_rows(staged.rows[-1:]), {}, {}, 0)
        return verdict

    patch.setattr(Replica, "receive", hasty)


def ignore_the_base(patch: Patch) -> None:
    """A transfer that starts beyond what is held is taken all the same."""
    judge = Replica.judge

    def careless(self: Replica, part: Any, staged: Incoming) -> str:
        verdict = judge(self, part, staged)
        return APPLIED if verdict == STALE_BASE else verdict

    patch.setattr(Replica, "judge", careless)


def reuse_an_actor_after_a_restart(patch: Patch) -> None:
    """A start goes on under the actor of the start before."""
    last: dict[str, int] = {}
    settle = Store._settle_writer

    def thrifty(self: Store, index: int) -> None:
        settle(self, index)
        last[self.node] = self.actors.ids[index]

    def writer(self: Store) -> int:
        before = self.actors.index.get(last.get(self.node, -1))
        return original(self) if before is None or self._own is not None else before

    original = Store._writer
    patch.setattr(Store, "_settle_writer", thrifty)
    patch.setattr(Store, "_writer", writer)


def acknowledge_before_sync(patch: Patch) -> None:
    """The journal says that it is on the disk, and is not."""
    patch.setattr(Cut, "sync", lambda self: None)


def forget_the_last_record(patch: Patch) -> None:
    """Recovery stops one record too early."""
    original = recovery.replay

    def short(disk: Any, store: int, start: Any, apply: Callable[[bytes], None]) -> Ending:
        held: list[bytes] = []
        ending = original(disk, store, start, held.append)
        for data in held[:-1]:
            apply(data)
        return ending

    patch.setattr(recovery, "replay", short)


def collect_without_stability(patch: Patch) -> None:
    """A dead row goes as soon as it is on this disk."""
    patch.setattr(Replica, "stable", lambda self, bucket: self.store.synced_clock(bucket))


def collect_without_joiners(patch: Patch) -> None:
    """Collection does not wait for who is getting in."""

    def members_only(roster: Roster) -> list[str]:
        return sorted(record.node for record in roster.records if record.state == MEMBER)

    patch.setattr(Roster, "counted", property(members_only))


def stamp_by_the_wall_clock(patch: Patch) -> None:
    """A register is stamped by local time alone, not after what it replaces."""
    patch.setattr(Txn, "stamp", lambda self, after: self._hybrid.now())


def lose_count_of_the_digest(patch: Patch) -> None:
    """The digest that is kept up to date is not."""
    fold = Layer.fold
    patch.setattr(Layer, "fold", lambda self: fold(self) + (len(self.rows) == 7))


def wait_for_ever(patch: Patch) -> None:
    """A transfer of which a message was lost is never given up."""
    patch.setattr(Transfers, "tick", lambda self: None)
    patch.setattr(Transfers, "due", lambda self: float("inf"))


def call_lost_unheard(patch: Patch) -> None:
    """What members said before somebody asked for a token counts as their answer."""
    patch.setattr(Tokens, "_asked", lambda self, *question: float("-inf"))


def rescue_all_but_one(patch: Patch) -> None:
    """A rescue file lacks its last row."""
    rescue = Replacing._rescue
    patch.setattr(Replacing, "_rescue", lambda self, old, rows, covered: rescue(self, old, rows[:-1], covered))


def joins_in_a_crowd(seed: int) -> Plan:
    """A plan in which nodes come all the time, and take long to get in."""
    plan = draw(seed)
    plan.nodes, plan.small_parts, plan.weather.delay = 3, True, (0.01, 0.15)
    plan.rates["join"] = 6 / plan.duration
    return plan


def long_absences(seed: int) -> Plan:
    """A plan in which nodes are away for so long that they are evicted, and start over when they are back."""
    plan = draw(seed)
    plan.rates["absence"] = 2 / plan.duration
    return plan


# for bugs that an ordinary run seldom gives an occasion
PLANS = {collect_without_joiners: joins_in_a_crowd, rescue_all_but_one: long_absences}
BUGS: tuple[tuple[Callable[[Patch], None], int, str], ...] = (
    (skip_a_delta, 3, "meaning"),
    (claim_too_much, 3, "clock|meaning"),
    (apply_parts_as_they_come, 20, "clock|meaning"),
    (ignore_the_base, 20, "meaning|batch"),
    (reuse_an_actor_after_a_restart, 10, "dots"),
    (acknowledge_before_sync, 10, "lost|damage"),
    (forget_the_last_record, 10, "lost|meaning"),
    (collect_without_stability, 10, "meaning|floor|liveness|rescue"),
    (collect_without_joiners, 30, "meaning|floor"),
    (stamp_by_the_wall_clock, 20, "operation|meaning"),
    (lose_count_of_the_digest, 10, "digest"),
    (wait_for_ever, 60, "liveness"),
    (call_lost_unheard, 20, "tokens"),
    (rescue_all_but_one, 10, "rescue"),
)


@pytest.mark.parametrize(("plant", "within", "finding"), BUGS, ids=[bug[0].__name__ for bug in BUGS])
def test_a_planted_bug_is_found(monkeypatch: Patch, plant: Callable[[Patch], None], within: int, finding: str) -> None:
    plant(monkeypatch)
    for seed in range(within):
        verdict: Verdict = run(seed, plan=PLANS.get(plant, draw)(seed))
        if not verdict.ok:
            assert re.match(finding, verdict.problem), verdict.summary()
            return
    pytest.fail(f"{within} seeds did not find: {plant.__doc__}")
