"""The networked half of a node: transport, engine and its thread, joining, leaving, evicting.

A node without `listen` has an engine as well, without peers: it is what collects deleted rows.  The transport, and gRPC
with it, is loaded only for `listen`.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from crdtsync.clocks.tokens import Clocks
from crdtsync.config import Config, check_address
from crdtsync.errors import ConfigError, CrdtsyncError, JoinError, MembershipMisuse, QuorumMissing, WaitTimeout
from crdtsync.node.looping import EngineLoop, wall_ms
from crdtsync.node.sessions import Sessions
from crdtsync.node.writing import Local
from crdtsync.replication import peers as states
from crdtsync.replication.driver import Driver
from crdtsync.replication.engine import Engine
from crdtsync.replication.eviction import VOTES_TIMEOUT
from crdtsync.replication.messages import Message

if TYPE_CHECKING:
    from crdtsync.security.files import TlsFiles
    from crdtsync.transport.base import Transport, TransportEvents

log = logging.getLogger("crdtsync.node")
JOIN_LOOK = 0.02  # s between looks at whether a join has come about
REASONS_SHOWN = 4  # in the text of a JoinError
REFUSALS_KEPT = 64  # refusals of different addresses that are remembered
REFUSAL_INTERVAL = 10.0  # s between two lines in the log about refusals of one kind between us and one host
ANSWER_TIMEOUT = 10.0  # s that a question to the engine may take: it may be taking in a large transfer


class Network:
    """Engine and transport of one node."""

    def __init__(
        self, local: Local, sessions: Sessions, transport: Callable[[Config], Transport] | None, tls: TlsFiles | None
    ) -> None:
        self._local, self._store, self._sessions, self._config = local, local.store, sessions, local.config
        self.tls = tls
        self._state_changed = threading.Condition()
        self.state = states.MEMBER
        self._evictions: dict[str, str] = {}  # how those that were asked for ended: "", or why not
        self.refusals: list[dict[str, Any]] = []  # the latest Refuse of each address, for JoinError
        self._transport = self._make_transport(transport)
        self._loop = EngineLoop(self._transport, self._store.counters)
        self._engine: Engine | None = None
        self._snapshot: dict[str, Any] = {}  # the engine's part of the last status
        self._snapshot_at = 0.0  # when that was
        self._said: dict[tuple[str, str], float] = {}  # when a refusal of a kind was last logged, by its host
        self.on_state: list[Callable[[str], None]] = []  # told when the state has changed

    def _make_transport(self, make: Callable[[Config], Transport] | None) -> Transport:
        if not self._config.listen:
            return NoTransport()
        if make is not None:
            return make(self._config)
        from crdtsync.transport.grpc import GrpcTransport

        return GrpcTransport(self._config, self.tls)

    # -- beginning

    def start(self) -> None:
        """Listen, begin to gossip, and wait until this node may write.  Raises ListenFailed, JoinError."""
        if self.tls is not None:
            self.tls.start()
        self._transport.start(self._loop)
        address = self._config.advertise or self._transport.address
        rng = random.Random(secrets.randbits(128))
        self._engine = Engine(self._store, self._config, rng, time.monotonic(), wall_ms(), address)
        self._set_state(self._engine.state)
        self._local.engine = self._engine
        self._store.writer.engine = self._engine.core
        self._loop.start(self._engine, Driver(self._transport, self._store.flush, self._notify))
        self._sessions.lost = self._lost
        if self._config.listen:
            self._local.tell(self._loop.written)
        if self.state == states.JOINING:
            self._wait_to_join()

    def _wait_to_join(self) -> None:
        timeout = self._config.join_timeout
        with self._state_changed:
            if not self._state_changed.wait_for(lambda: self.state != states.JOINING, timeout):
                reasons = [f"{said['address']} says: {said['text']}" for said in self.refusals]
                reasons += [said["reason"] for said in self._transport.stats().get("unreachable", {}).values()]
                refused = "; ".join(reason.rstrip(".") for reason in reasons[:REASONS_SHOWN])
                error = JoinError(
                    f"No member at {', '.join(self._config.join)} let this node in within {timeout:g} s"
                    f"{' (' + refused + ')' if refused else ''}."
                )
                raise self._local.refused(error)

    # -- what the engine tells, on its own thread

    def _notify(self, event: str, details: dict[str, Any]) -> None:
        fields = {"event": event, "details": details}
        level = _LEVELS.get(event, logging.INFO)
        if event == "refused" and not self._is_news(details):
            level = logging.DEBUG
        log.log(level, "%s: %s %s", self._store.node, event, details, extra=fields)
        if event == "state":
            self._set_state(details["state"])
        elif event == "eviction":
            with self._state_changed:
                self._evictions[details["node"]] = details["refused"]
                self._state_changed.notify_all()
        elif event == "refused":
            others = [said for said in self.refusals if said["address"] != details["address"]]
            self.refusals = [*others, details][-REFUSALS_KEPT:]

    def _is_news(self, refusal: dict[str, Any]) -> bool:
        """Whether a refusal has its line in the log: whoever is refused tries again and again, from port after port."""
        kind, now = (refusal["address"].rpartition(":")[0], refusal["code"]), time.monotonic()
        if now - self._said.get(kind, -REFUSAL_INTERVAL) < REFUSAL_INTERVAL:
            return False
        self._said = {kind: at for kind, at in self._said.items() if now - at < REFUSAL_INTERVAL}
        if len(self._said) < REFUSALS_KEPT:  # beyond, too much is going on for each to be noted down
            self._said[kind] = now
        return True

    def _set_state(self, state: str) -> None:
        with self._state_changed:
            self.state = state
            self._state_changed.notify_all()
        for listener in list(self.on_state):
            listener(state)

    def _lost(self, wanted: Clocks) -> bool:
        """Whether it is known that nobody holds these events, nor will."""
        try:
            return bool(self._call(lambda engine, now, wall: engine.lost(wanted)))
        except TimeoutError:  # it is busy taking in a transfer: perhaps this very one
            return False

    # -- from other threads

    @property
    def address(self) -> str:
        """host:port that peers reach this node at; empty without `listen`."""
        return self._transport.address

    def _call(self, run: Callable[[Engine, float, int], Any], timeout: float = ANSWER_TIMEOUT) -> Any:
        engine = self._engine
        assert engine is not None, "started"
        return self._loop.call(lambda now, wall: run(engine, now, wall), timeout)

    def ended(self) -> bool:
        """Whether the engine's thread has ended without being told to."""
        return self._loop.ended()

    def status(self, timeout: float = ANSWER_TIMEOUT) -> dict[str, Any]:
        """What the engine tells of itself and its peers, and the transport of its links.

        An engine that is busy for more than `timeout` seconds has its last word told again, and how old that is.
        Raises WaitTimeout when there was none yet.
        """
        try:
            self._snapshot = self._call(lambda engine, now, wall: engine.status(), timeout)
            self._snapshot_at = time.monotonic()
        except TimeoutError:
            if not self._snapshot:
                raise WaitTimeout(f"The replication thread has been busy for {timeout:g} s.") from None
            log.warning("%s: the engine is busy; its part of the status is an earlier one", self._store.node)
        age = time.monotonic() - self._snapshot_at
        return {
            "engine": dict(self._snapshot), "engine_age": age, "queues": self._loop.queues(),
            "transport": self._transport.stats(),
        }  # fmt: skip

    def leave(self, timeout: float | None) -> None:
        """Leave the cluster in good order."""
        if self.state not in (states.LEAVING, states.LEFT):  # else it is under way, and only waited for
            self._ask(lambda engine, now, wall: engine.leave(now))
        with self._state_changed:
            # The engine answers before its change of state is told here: that this is a member still means nothing.
            underway = (states.MEMBER, states.LEAVING)
            if not self._state_changed.wait_for(lambda: self.state not in underway, timeout):
                raise self._local.refused(
                    WaitTimeout("No member has taken over all that was written here yet.", hint="Call leave() again.")
                )
            if self.state != states.LEFT:  # evicted meanwhile, or started elsewhere
                raise self._local.refused(MembershipMisuse(f"The node is {self.state}, and has not left."))

    def found(self) -> None:
        """Belong to a cluster from now on, if only as its one member."""
        self._ask(lambda engine, now, wall: engine.found(now))

    def join(self, addresses: Sequence[str], timeout: float | None) -> str:
        """Dial these, too, and join through them if this node is in no cluster; the state that it is in then."""
        self._check_seeds(addresses)
        fresh: list[str] = self._ask(lambda engine, now, wall: engine.join(addresses, now))
        seconds = self._config.join_timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        while not self._joined(addresses):
            if time.monotonic() >= deadline:
                raise self._local.refused(self._nobody(addresses, fresh, seconds))
            time.sleep(JOIN_LOOK)
        return self.state

    def _check_seeds(self, addresses: Sequence[str]) -> None:
        try:
            if not self._config.listen:
                raise MembershipMisuse("The node has no network: it was opened without listen=.")
            if not addresses:
                raise ConfigError("No address to join through was given.")
            for address in addresses:
                check_address("join", address, self._config.anywhere)
        except CrdtsyncError as error:
            raise self._local.refused(error) from None

    def _joined(self, addresses: Sequence[str]) -> bool:
        if self.state == states.JOINING:
            return False
        return bool(self._call(lambda engine, now, wall: engine.met(addresses)))

    def _nobody(self, addresses: Sequence[str], fresh: list[str], seconds: float) -> JoinError:
        """The error of a join that has come to nothing; unless a sponsor is at work, all is as before then."""
        given_up = self._call(lambda engine, now, wall: engine.give_up_joining(fresh, now))
        reasons = [f"{said['address']} says: {said['text']}" for said in self.refusals if said["address"] in addresses]
        return JoinError(
            f"No member at {', '.join(addresses)} let this node in within {seconds:g} s"
            f"{' (' + '; '.join(reasons[:REASONS_SHOWN]) + ')' if reasons else ''}.",
            changed=JoinError.changed if given_up else "The node has a sponsor and goes on joining.",
        )

    def evict(self, name: str, force: bool) -> None:
        """Declare a member gone for good: returns once more than half of the members have voted for that."""
        self._evictions.pop(name, None)
        self._ask(lambda engine, now, wall: engine.evict(name, force, now))
        with self._state_changed:
            told = self._state_changed.wait_for(lambda: name in self._evictions, VOTES_TIMEOUT + ANSWER_TIMEOUT)
            refused = self._evictions.pop(name) if told else "The replication thread is busy; how it ends is not known."
        if refused:
            raise self._local.refused(QuorumMissing(refused))

    def _ask(self, run: Callable[[Engine, float, int], Any]) -> Any:
        try:
            return self._call(run)
        except CrdtsyncError as error:
            raise self._local.refused(error) from None

    # -- the end

    def stop(self) -> None:
        """Push what peers lack, for `close_timeout` seconds at most, say good-bye, and stop."""
        engine = self._engine
        if engine is not None:
            deadline = time.monotonic() + self._config.close_timeout
            try:
                self._call(lambda engine, now, wall: engine.close(now))
                while time.monotonic() < deadline and not self._call(lambda engine, now, wall: engine.drained()):
                    time.sleep(0.005)
                self._call(lambda engine, now, wall: engine.bye(now))
            except Exception:
                log.exception("%s: replication did not end in good order; peers pull what they lack", self._store.node)
            self._loop.stop()
        self._transport.stop()


class NoTransport:
    """The network of a node that takes part in none."""

    address = ""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()

    def start(self, events: TransportEvents) -> None:
        """Nothing to start."""

    def connect(self, address: str) -> None:
        """Nobody to reach: without `listen` there are no addresses."""

    def send(self, link: int, message: Message) -> bool:
        """No link is ever up."""
        return False

    def pause(self, link: int) -> None:
        """No link is ever up."""

    def resume(self, link: int) -> None:
        """No link is ever up."""

    def disconnect(self, link: int, reason: str = "") -> None:
        """No link is ever up."""

    def stats(self) -> dict[str, Any]:
        """Nothing was carried."""
        return {"address": "", "counters": {}, "links": {}}

    def stop(self) -> None:
        """Nothing to stop."""


_LEVELS = {
    "refused": logging.WARNING, "skew": logging.WARNING, "below_floor": logging.ERROR, "rescued": logging.ERROR,
    "withstood": logging.ERROR,
}  # fmt: skip
