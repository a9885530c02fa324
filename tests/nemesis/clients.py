"""Clients, one beside each node, and what they note down of every request: asked, answered, refused, or unknown.

The workloads: writes whose dots are asked for; unique events on a G-Set and an OR-Set (adds, and removals of what was
seen), steps on a PN-Counter, one register a client that only it writes, a map that all write, and sessions that write
here and read elsewhere by token.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import crdtsync
from crdtsync.clocks.tokens import open_token
from crdtsync.errors import CrdtsyncError

OK, FAIL, INFO = "ok", "fail", "info"  # done; certainly not done; unknown
TIMEOUT = 5.0  # s of one request


class Op(NamedTuple):
    """One request."""

    number: int  # in the order of their beginnings
    client: int
    kind: str
    value: Any
    outcome: str
    why: str = ""


class History:
    """All requests of a run, also as JSON lines."""

    def __init__(self, path: Path) -> None:
        self.ops: list[Op] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._file = path.open("w")

    def begin(self) -> int:
        return next(self._numbers)

    def note(self, op: Op) -> None:
        with self._lock:
            self.ops.append(op)
            self._file.write(json.dumps(op._asdict(), default=repr) + "\n")

    def close(self) -> None:
        self._file.close()


def outcome_of(error: CrdtsyncError) -> str:
    """Whether a request that ended so was certainly not carried out."""
    return FAIL if error.changed == CrdtsyncError.changed else INFO


def dot_of(token: str) -> tuple[int | str, int, int]:
    """The one event that the token of a batch names: of which cluster (or lone store), its actor and its number."""
    origin, clocks = open_token(token)
    [(actor, event)] = clocks["default"].items()
    return origin, actor, event


class Worker(threading.Thread):
    """One client: makes requests of its node until it is stopped."""

    def __init__(self, number: int, socket: str, others: dict[int, str], history: History, seed: int) -> None:
        super().__init__(name=f"client-{number}")
        self.number, self.socket, self.others, self.history = number, socket, others, history
        self.rng = random.Random(f"{seed}:{number}")
        self.stopping = threading.Event()
        self._made = itertools.count(1)
        self._added: list[int] = []  # elements of the OR-Set that this client has added and not removed
        self._clients: dict[str, crdtsync.client.Client] = {}
        self.bug: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopping.wait(self.rng.expovariate(25)):
                self.rng.choice(WORK)(self)
        except BaseException as error:
            self.bug = error
            raise
        finally:
            for client in self._clients.values():
                client.close()

    def client(self, socket: str) -> Any:
        """A connection that is kept, made again when it could not be."""
        if socket not in self._clients:
            self._clients[socket] = crdtsync.connect(socket, timeout=TIMEOUT)
        return self._clients[socket]

    def fresh(self) -> int:
        """A number that no other client uses."""
        return next(self._made) * 1000 + self.number

    def request(self, kind: str, value: Any, ask: Callable[[Any], Any], socket: str = "") -> tuple[str, Any]:
        """Make one request, and note down what came of it."""
        number = self.history.begin()
        try:
            answer, outcome, why = ask(self.client(socket or self.socket)), OK, ""
        except CrdtsyncError as error:
            answer, why = None, f"{type(error).__name__}: {error.message}"
            outcome = outcome_of(error)
        self.history.note(Op(number, self.number, kind, value, outcome, why))
        return outcome, answer

    def mark(self) -> None:
        """A write whose dot is asked for: it is the history's value, as nobody knows it beforehand."""
        number = self.history.begin()
        try:
            client = self.client(self.socket)
            with client.batch() as batch:
                client.gcounter("marks").increment()
            dot, outcome, why = dot_of(batch.token), OK, ""
        except CrdtsyncError as error:
            dot, outcome, why = None, outcome_of(error), f"{type(error).__name__}: {error.message}"
        self.history.note(Op(number, self.number, "mark", dot, outcome, why))

    def add(self) -> None:
        element = self.fresh()
        self.request("grow", element, lambda client: client.gset("grow").add(element))

    def add_or_discard(self) -> None:
        if self._added and self.rng.random() < 0.4:
            element = self._added.pop(self.rng.randrange(len(self._added)))
            self.request("discard", element, lambda client: client.orset("set").discard(element))
            return
        element = self.fresh()
        if self.request("add", element, lambda client: client.orset("set").add(element))[0] == OK:
            self._added.append(element)

    def count(self) -> None:
        step = self.rng.randint(-5, 9)
        self.request("step", step, lambda client: client.pncounter("count").increment(step))

    def write(self) -> None:
        value = self.fresh()
        self.request("own", value, lambda client: client.lwwregister(f"own:{self.number}").set(value))

    def write_map(self) -> None:
        value = self.fresh()

        def ask(client: Any) -> None:
            with client.batch():
                client.map("map").lwwregister("a").set(value)
                client.map("map").lwwregister("b").set(value)

        self.request("map", value, ask)

    def session(self) -> None:
        """Go from node to node, and take the token along: what was written or read before is there, everywhere."""
        token, known = "", set()
        for socket in self.rng.sample([self.socket, *self.others.values()], 3):
            if token and self.request("session", len(known), self._look(token, known), socket)[0] != OK:
                return  # the token could not be waited for
            element = self.fresh()
            if self.request("grow", element, lambda client, one=element: client.gset("grow").add(one), socket)[0] != OK:
                return
            known.add(element)
            outcome, token = self.request("token", element, lambda client: client.token(), socket)
            if outcome != OK:  # a request of its own: it may fail where the write was carried out
                return

    @staticmethod
    def _look(token: str, known: set[int]) -> Callable[[Any], None]:
        """Wait for the token, look for what is known, and know what is there."""

        def look(client: Any) -> None:
            client.wait_for(token, timeout=2.0)
            found = set(client.gset("grow"))
            assert known <= found, f"a token was waited for, and {sorted(known - found)[:5]} are not there"
            known.update(found)

        return look


WORK = [Worker.mark, Worker.add, Worker.add_or_discard, Worker.count, Worker.write, Worker.write_map, Worker.session]
