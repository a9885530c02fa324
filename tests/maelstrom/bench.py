"""Nodes as processes that speak JSON lines, and the network between them: latency, partitions, loss.

As in Maelstrom, clients are next to their node, and what they say is neither late nor lost.  A partition drops messages
when they would arrive.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "crdtsync", "maelstrom"]


class Network:
    """Carries messages between nodes after a while, or not at all."""

    def __init__(self, rng: random.Random, latency: float, loss: float = 0.0) -> None:
        self._rng, self.latency, self.loss = rng, latency, loss  # s, mean of an exponential distribution; a share
        self._due: list[tuple[float, int, Node, dict[str, Any]]] = []
        self._numbers = itertools.count()
        self._moved = threading.Condition()
        self._stopped = False
        self.sides: dict[str, int] = {}  # node -> side of the partition; nodes on different sides hear nothing
        self.counts: Counter[str] = Counter()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def post(self, node: Node, message: dict[str, Any]) -> None:
        """Carry a message to a node."""
        with self._moved:
            self.counts["between nodes"] += 1
            if self._rng.random() < self.loss:
                self.counts["lost"] += 1
                return
            at = time.monotonic() + self._rng.expovariate(1 / self.latency) if self.latency else time.monotonic()
            heapq.heappush(self._due, (at, next(self._numbers), node, message))
            self._moved.notify()

    def _run(self) -> None:
        while True:
            with self._moved:
                self._moved.wait_for(lambda: self._stopped or self._due)
                if self._stopped:
                    return
                left = self._due[0][0] - time.monotonic()
                if left > 0:
                    self._moved.wait(left)
                    continue
                node, message = heapq.heappop(self._due)[2:]
                if self.sides.get(message["src"]) != self.sides.get(node.name):
                    self.counts["cut off"] += 1
                    continue
            node.tell(message)

    def stop(self) -> None:
        with self._moved:
            self._stopped = True
            self._moved.notify()
        self.thread.join()


class Node:
    """One process."""

    def __init__(self, name: str, bench: Bench) -> None:
        self.name, self._bench = name, bench
        self._lock = threading.Lock()
        with (bench.logs / name).open("wb") as log:
            self.process = subprocess.Popen(
                COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def tell(self, message: dict[str, Any]) -> None:
        """Put a message on its input."""
        assert self.process.stdin is not None
        with self._lock:
            try:
                self.process.stdin.write(json.dumps(message).encode() + b"\n")
                self.process.stdin.flush()
            except (BrokenPipeError, ValueError):  # it has ended
                self._bench.network.counts["to the dead"] += 1

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._bench.said(json.loads(line))

    def stop(self) -> int:
        """End its input, and wait until it ends."""
        assert self.process.stdin is not None
        with self._lock:
            self.process.stdin.close()
        code = self.process.wait(30)
        self.reader.join()
        return code


class Bench:
    """A cluster and its clients."""

    def __init__(self, count: int, logs: Path, rng: random.Random, latency: float = 0.0, loss: float = 0.0) -> None:
        self.logs = logs
        self.network = Network(rng, latency, loss)
        self._answers: dict[tuple[str, int], dict[str, Any]] = {}
        self._answered = threading.Condition()
        self._numbers = itertools.count(1)
        names = [f"n{number}" for number in range(1, count + 1)]
        self.nodes = {name: Node(name, self) for name in names}
        for name in names:  # all at once, as the joiners need the others
            self.ask_later(f"c0-{name}", name, {"type": "init", "node_id": name, "node_ids": names})
        for number, name in enumerate(names, 1):
            assert self.wait(f"c0-{name}", number, 30)["type"] == "init_ok"

    def said(self, message: dict[str, Any]) -> None:
        """A node has sent a message: to another node, or to a client that waits for it."""
        if (node := self.nodes.get(message["dest"])) is not None:
            self.network.post(node, message)
            return
        with self._answered:
            self._answers[message["dest"], message["body"]["in_reply_to"]] = message["body"]
            self._answered.notify_all()

    def ask_later(self, client: str, node: str, body: dict[str, Any]) -> int:
        """Send a request; `wait` has its answer."""
        number = next(self._numbers)
        self.nodes[node].tell({"src": client, "dest": node, "body": {**body, "msg_id": number}})
        return number

    def wait(self, client: str, number: int, timeout: float) -> dict[str, Any]:
        """The answer to a request; TimeoutError when there is none in time."""
        with self._answered:
            if not self._answered.wait_for(lambda: (client, number) in self._answers, timeout):
                raise TimeoutError(f"{client} has no answer to {number} within {timeout} s")
            return self._answers.pop((client, number))

    def ask(self, client: str, node: str, body: dict[str, Any], timeout: float = 5.0) -> dict[str, Any]:
        """A request and its answer."""
        return self.wait(client, self.ask_later(client, node, body), timeout)

    def stop(self) -> None:
        """End all processes; each must end well."""
        codes = {name: node.stop() for name, node in self.nodes.items()}
        self.network.stop()
        assert set(codes.values()) == {0}, codes
