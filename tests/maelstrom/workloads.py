"""What clients ask, one beside each node, and how a run goes: requests while the network is cut now and then, then
healing, quiet, and a last read of every node."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from .bench import Bench
from .checkers import FAIL, INFO, OK, Op

INDEFINITE = (0, 13)  # error codes after which a request may have been carried out
QUIET_MAX = 30.0  # s that nodes may take to agree after the network has healed

Ask = Callable[[random.Random], dict[str, Any]]
_elements = itertools.count()


def grow_set(rng: random.Random) -> dict[str, Any]:
    return {"type": "add", "element": next(_elements)} if rng.random() < 0.5 else {"type": "read"}


def broadcast(rng: random.Random) -> dict[str, Any]:
    return {"type": "broadcast", "message": next(_elements)} if rng.random() < 0.5 else {"type": "read"}


def grow_counter(rng: random.Random) -> dict[str, Any]:
    return {"type": "add", "delta": rng.randint(0, 4)} if rng.random() < 0.5 else {"type": "read"}


def pn_counter(rng: random.Random) -> dict[str, Any]:
    return {"type": "add", "delta": rng.randint(-5, 4)} if rng.random() < 0.5 else {"type": "read"}


def unique_ids(rng: random.Random) -> dict[str, Any]:
    return {"type": "generate"}


class Client(threading.Thread):
    """One client: asks its node until it is told to stop."""

    def __init__(self, bench: Bench, node: str, ask: Ask, rate: float, seed: int) -> None:
        super().__init__()
        self.bench, self.node, self.ask, self.rate = bench, node, ask, rate
        self.rng = random.Random(f"{node}:{seed}")
        self.history: list[Op] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(self.rng.expovariate(self.rate)):
            self.history.append(request(self.bench, f"c-{self.node}", self.node, self.ask(self.rng)))


def request(bench: Bench, client: str, node: str, body: dict[str, Any], final: bool = False) -> Op:
    """One request as an operation of the history."""
    kind = {"broadcast": "add"}.get(body["type"], body["type"])
    value = body.get("element", body.get("delta", body.get("message")))
    try:
        answer = bench.ask(client, node, body)
    except TimeoutError:
        return Op(node, kind, value, FAIL if kind == "read" else INFO, final)
    if answer["type"] == "error":
        return Op(node, kind, value, INFO if answer["code"] in INDEFINITE else FAIL, final)
    if kind == "read":
        value = answer
    elif kind == "generate":
        value = answer["id"]
    return Op(node, kind, value, OK, final)


def run(bench: Bench, ask: Ask, field: str, seconds: float, rate: float, cuts: int, rng: random.Random) -> list[Op]:
    """A whole run; `field` is the one of a read's answer that counts.  Reads have that for their value."""
    clients = [Client(bench, node, ask, rate, rng.randrange(2**32)) for node in bench.nodes]
    for client in clients:
        client.start()
    for number in range(2 * cuts + 1):  # whole, cut, whole, cut ... whole
        one = rng.sample(sorted(bench.nodes), rng.randrange(1, len(bench.nodes))) if number % 2 else ()
        bench.network.sides = dict.fromkeys(one, 1)
        time.sleep(seconds / (2 * cuts + 1))  # how long the fault lasts is part of the plan
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join()
    history = [op for client in clients for op in client.history]
    if any(op.kind == "read" for op in history):
        _await_quiet(bench, field)
        history += [request(bench, "c-final", node, {"type": "read"}, final=True) for node in bench.nodes]
    return [op._replace(value=op.value[field]) if op.kind == "read" and op.outcome == OK else op for op in history]


def _await_quiet(bench: Bench, field: str) -> None:
    """Until all nodes say the same, or for QUIET_MAX seconds: what they say then is judged."""
    end = time.monotonic() + QUIET_MAX
    while time.monotonic() < end:
        values = [bench.ask("c-quiet", node, {"type": "read"})[field] for node in bench.nodes]
        if all(value == values[0] for value in values):
            return
        time.sleep(0.05)
