"""Opens what a power cut left, and compares it with what had been promised at that moment."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import crdtsync
from tests.integration.story import Model

from .images import Machine
from .recording import NOTE, NOTES, SETTINGS, STORE, TOLD, WRITE, Step


class Promise(NamedTuple):
    """What the process knew when the power went."""

    returned: int  # writes that had returned; one more may have been under way
    durable: int  # writes that were said to be on the disk


class Moment(NamedTuple):
    """A power cut: the step it comes after, and what was promised by then."""

    after: int
    promise: Promise


def moments(steps: list[Step], count: int, rng: random.Random) -> list[Moment]:
    """`count` power cuts at random steps of a record, in order."""
    chosen = sorted(rng.choices(range(1, len(steps) + 1), k=count))
    promise, found, at = Promise(0, 0), [], 0
    for number, step in enumerate(steps, 1):
        if step.path == NOTES and step.kind == WRITE:
            promise = Promise(*NOTE.unpack(step.data))
        while at < len(chosen) and chosen[at] == number:
            found.append(Moment(number, promise))
            at += 1
    return found


def cuts(steps: list[Step], moments: list[Moment], scratch: Path, seed: int) -> Iterator[tuple[Path, Promise]]:
    """(a directory as the cut may leave it, the promise), one after another."""
    machine, done = Machine(), 0
    for number, (after, promise) in enumerate(moments):
        for step in steps[done:after]:
            machine.follow(step)
        done = after
        target = scratch / f"cut-{number}"
        target.mkdir()
        machine.cut(random.Random(f"{seed}:{number}"), target)
        yield target / STORE, promise


class Judge:
    """Compares opened stores with the story; keeps the model of the durable part, as cuts come in order."""

    def __init__(self) -> None:
        self._model = Model()
        self.met: Counter[str] = Counter()

    def judge(self, store: Path, promise: Promise) -> list[str]:
        """What is wrong with the store; [] when every promise was kept.  Raises what opening it raises."""
        with crdtsync.open(store, **SETTINGS) as node:
            told = node.lwwregister(TOLD).value or 0
            if not promise.durable <= told <= promise.returned + 1:
                return [f"{told} writes are there, of {promise.returned} returned and {promise.durable} durable"]
            self.met["unsynced writes lost" if told < promise.returned else "all that returned was there"] += 1
            if told < self._model.told:  # the cut before this one had kept more
                self._model = Model()
            self._model.tell_to(told)
            return self._model.differences(node)
