"""Flipped bits, lost sectors and cut files of a real store: found or refused, never read as something else, and mended.

A store with every type in it, stopped in good order or killed, is copied and spoilt in one place; what may follow:

- `crdtsync check` finds it, and the node either refuses to open (StoreDamaged), or opens, and whatever it cannot read
  is a typed error;
- or nothing that counts was hit: a free page, a file's unused end.  Then all of it is read as it was written.

In both cases it agrees with its peer in the end, by itself or once `accept_damage` has been asked for by name; unless
the pages are lost that say what the others mean, which is told.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync.errors import CrdtsyncError, RowDamaged, StoreDamaged
from crdtsync.storage.check import check
from tests.integration.story import KINDS, Model
from tests.integration.waiting import until

ROOT = Path(__file__).parent.parent.parent
WRITES = 2500
SECTOR = 512
SECONDS = 60.0


class Made:
    """A peer that is alive, directories of a node that is not, and what both hold."""

    def __init__(self, peer: crdtsync.Node, stores: dict[str, Path]) -> None:
        self.peer, self.stores = peer, stores
        self.model = Model()
        self.model.tell_to(WRITES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    base = tmp_path_factory.mktemp("spoilt")
    with crdtsync.open(base / "peer", name="peer", listen="127.0.0.1:0", collect_interval=0.1) as peer:
        command = [sys.executable, "-m", "tests.integration.spoilt_worker", str(base / "b"), peer.address, str(WRITES)]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            peer.wait_for(worker.stdout.readline().strip(), timeout=SECONDS)
            worker.send_signal(signal.SIGKILL)
        shutil.copytree(base / "b", base / "killed")
        with crdtsync.open(base / "b", listen="127.0.0.1:0", join=[peer.address]) as node:
            agree(node, peer)
        yield Made(peer, {"killed": base / "killed", "stopped": base / "b"})


def agree(node: crdtsync.Node, peer: crdtsync.Node) -> None:
    def equal() -> bool:
        try:
            return bool(node.clock() == peer.clock() and node.digest() == peer.digest())
        except RowDamaged:  # until the peer has sent the row
            return False

    until(equal, SECONDS)


def flip(content: bytearray, at: int, rng: random.Random) -> bytearray:
    content[at] ^= 1 << rng.randrange(8)
    return content


def zero(content: bytearray, at: int, rng: random.Random) -> bytearray:
    at -= at % SECTOR
    content[at : at + SECTOR] = bytes(len(content[at : at + SECTOR]))
    return content


def garble(content: bytearray, at: int, rng: random.Random) -> bytearray:
    at -= at % SECTOR
    content[at : at + SECTOR] = rng.randbytes(len(content[at : at + SECTOR]))
    return content


def cut(content: bytearray, at: int, rng: random.Random) -> bytearray:
    return content[:at]


HARM = {"flip": flip, "zero": zero, "garble": garble, "cut": cut}


def spoil(store: Path, rng: random.Random) -> str:
    """Harm one file of a store where something is written in it; what was done.

    Not the marker, which cannot be gone on without (tests/storage/test_directory.py), nor LMDB's lock file, which holds
    nothing.
    """
    files = sorted(path for path in store.rglob("*") if path.is_file() and path.stat().st_size)
    path = rng.choice([path for path in files if path.name not in ("CRDTSYNC", "lock.mdb")])
    content = bytearray(path.read_bytes())
    used = len(content.rstrip(b"\0")) or 1
    name = rng.choice(sorted(HARM))
    at = rng.randrange(used)
    path.write_bytes(HARM[name](content, at, rng))
    return f"{name} {path.relative_to(store)} at {at} of {used}"


def readable(node: crdtsync.Node, model: Model) -> int:
    """Compare all that can be read with what was written; how many objects cannot be read."""
    unread = 0
    for kind in KINDS:
        for number in range(23):
            key = f"{kind}:{number}"
            try:
                seen: Any = model.seen(node, kind, key)
            except CrdtsyncError:
                unread += 1
                continue
            assert seen == model.wanted(kind, key), key
    return unread


def outcome(made: Made, store: Path) -> str:
    found = not check(store).ok
    alone: dict[str, Any] = {"checkpoint_interval": 3600.0, "verify_on_open": "always"}
    try:
        with crdtsync.open(store, **alone) as node:
            unread = readable(node, made.model)
            assert found or not unread, "a check has not found what cannot be read"
            result = "opened, rows unread" if unread else "opened, found" if found else "harmless"
        accept = False
    except StoreDamaged:
        assert found, "a check has not found what an open refuses"
        result, accept = "refused", True
    try:
        with crdtsync.open(store, listen="127.0.0.1:0", join=[made.peer.address], accept_damage=accept) as node:
            agree(node, made.peer)
            until(lambda: not readable(node, made.model), SECONDS)  # some are found bad only now, and are mended then
    except StoreDamaged as error:
        assert accept and "beyond what can be salvaged" in error.message
        return "refused for good"
    return result


LONG = (pytest.mark.long, pytest.mark.timeout(0))


@pytest.mark.parametrize("state", ["killed", "stopped"])
@pytest.mark.parametrize(("seed", "count"), [(1, 20), pytest.param(100, 500, marks=LONG)])
def test_spoilt_files_are_found_and_mended(
    made: Made, state: str, seed: int, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    met: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(seed * 1_000_000 + number)
        store = tmp_path / "store"
        shutil.copytree(made.stores[state], store)
        harm = spoil(store, rng)
        try:
            met[outcome(made, store)] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}, number {number}: {harm}")
            raise
        shutil.rmtree(store)
    with capsys.disabled():
        print(f"\n{state}: {count} stores spoilt:", ", ".join(f"{n} {what}" for what, n in sorted(met.items())))
    assert met["refused"] + met["refused for good"], "nothing that counts was hit"
