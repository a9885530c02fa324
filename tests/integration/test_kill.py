"""`kill -9` at random moments under load: every write that returned is there, exactly, and peers agree."""

from __future__ import annotations

import mmap
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import crdtsync
from tests.integration.kill_worker import CHECKING, OPENING, SHARED, STARTING, WRITING, WRONG
from tests.integration.story import Model
from tests.integration.waiting import until

ROOT = Path(__file__).parent.parent.parent
NAMES = {STARTING: "starting", OPENING: "recovery", CHECKING: "checking", WRITING: "writing", WRONG: "wrong"}


class Victim:
    """A worker process and the file that it shares with us."""

    def __init__(self, directory: Path, join: str) -> None:
        self.arguments = [str(directory / "store"), str(directory / "shared"), join]
        (directory / "shared").write_bytes(bytes(SHARED.size))
        with (directory / "shared").open("r+b") as file:
            self.shared = mmap.mmap(file.fileno(), SHARED.size)
        self.output = directory / "output"

    def start(self) -> None:
        returned, done, spent, _ = SHARED.unpack_from(self.shared)
        SHARED.pack_into(self.shared, 0, returned, done, spent, STARTING)
        command = [sys.executable, "-m", "tests.integration.kill_worker", *self.arguments]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    def phase(self) -> int:
        return int(SHARED.unpack_from(self.shared)[3])

    def reach(self, phase: int) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.output.read_text()
            return phase <= self.phase() < WRONG

        until(there, 60)

    def kill(self) -> int:
        """Kill it; what it was doing."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        phase = self.phase()
        assert phase != WRONG, self.output.read_text()
        return phase


@pytest.fixture
def survivor(tmp_path: Path) -> Iterator[crdtsync.Node]:
    with crdtsync.open(tmp_path / "survivor", listen="127.0.0.1:0") as node:
        yield node


@contextmanager
def writing(node: crdtsync.Node) -> Iterator[None]:
    """Writes on a peer meanwhile, so that kills come in the middle of merges."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.002):
            number += 1
            with node.batch():
                node.gcounter("peer:count").increment()
                node.orset(f"peer:set:{number % 7}").add(number % 100)
                node.orset(f"peer:set:{number % 7}").discard((number + 50) % 100)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


LONG = (pytest.mark.long, pytest.mark.timeout(0))


@pytest.mark.parametrize(
    ("seed", "kills"), [(20131, 51), pytest.param(1, 500, marks=LONG), pytest.param(2, 500, marks=LONG)]
)
def test_no_returned_write_is_lost(
    seed: int, kills: int, tmp_path: Path, survivor: crdtsync.Node, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(seed)
    victim = Victim(tmp_path, survivor.address)
    killed: Counter[str] = Counter()
    with writing(survivor):
        for number in range(kills - 1):
            victim.start()
            if number and rng.random() < 0.3:  # while it recovers, or looks
                victim.reach(OPENING)
                time.sleep(rng.random() * 0.08)  # the moment of the kill is what is random here
            else:
                victim.reach(WRITING)
                time.sleep(rng.random() * 0.4)
            killed[NAMES[victim.kill()]] += 1

        victim.start()  # checks what it finds, once more, and goes on; then it is stopped for good
        victim.reach(WRITING)
        killed[NAMES[victim.kill()]] += 1
    returned, done, spent, _ = SHARED.unpack_from(victim.shared)
    with capsys.disabled():
        print(f"\n  {sum(killed.values())} kills {dict(killed)}: {returned:,} returned writes, {done:,} row changes, "
              f"{done / max(spent, 0.001):,.0f} a second, 0 lost")  # fmt: skip

    model = pickle.loads((tmp_path / "shared.model").read_bytes())
    with crdtsync.open(tmp_path / "store", listen="127.0.0.1:0", join=[survivor.address]) as node:
        assert check(model, node, returned) == []
        until(lambda: node.clock() == survivor.clock() and node.digest() == survivor.digest(), 60)
        assert check(model, survivor, returned) == []


def check(model: Model, node: crdtsync.Node, returned: int) -> list[str]:
    """Differences after `returned` writes, or after the one that was under way."""
    model.tell_to(returned)
    wrong = model.differences(node)
    if wrong:
        model.tell_to(returned + 1)
        wrong = model.differences(node)
    return wrong
