"""Two hosts cut off from each other for half a minute, each with thousands of changes: how soon they agree after it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

import crdtsync

from . import hosts as net
from .hosts import Hosts
from .processes import Machine
from .test_nemesis import clock_shim

SECONDS = float(os.environ.get("PARTITION_SECONDS", "30"))
KEYS = 10_000  # changed on each side
BATCH = 250
HEAL_MAX = 120.0  # s


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.skipif(bool(net.possible()), reason=net.possible() or "possible")
@pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler for the clock")
def test_sides_agree_after_a_partition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shim, place, hosts = clock_shim(tmp_path), tmp_path / "machines", Hosts(2)
    place.mkdir()
    made: list[Machine] = []
    try:
        made += [Machine(hosts, number, place, shim) for number in (1, 2)]
        made[0].start([])
        made[1].start([made[0].address])
        for machine in made:
            hosts.deafen(machine.number, [1, 2])
        began = time.monotonic()
        for machine in made:
            write(machine)
        time.sleep(max(0.0, began + SECONDS - time.monotonic()))  # how long they are cut off
        assert len({digest(machine) for machine in made}) == 2
        hosts.heal()
        healed = time.monotonic()
        while len({digest(machine) for machine in made}) > 1:
            assert time.monotonic() - healed < HEAL_MAX, [machine.log() for machine in made]
            time.sleep(0.05)
        with capsys.disabled():
            print(f"\n  {KEYS:,} keys a side, cut off for {SECONDS:g} s: equal {time.monotonic() - healed:.2f} s later")
        for machine in made:
            with crdtsync.connect(machine.socket) as client:
                keys = set(client.keys())
                assert keys == {f"{side}:{number}" for side in (1, 2) for number in range(KEYS)}
    finally:
        for machine in made:
            machine.close()
        hosts.close()


def write(machine: Machine) -> None:
    """Change KEYS keys on one side."""
    with crdtsync.connect(machine.socket, timeout=30) as client:
        for first in range(0, KEYS, BATCH):
            with client.batch():
                for number in range(first, first + BATCH):
                    client.lwwregister(f"{machine.number}:{number}").set([number, "x" * 20])


def digest(machine: Machine) -> str:
    with crdtsync.connect(machine.socket, timeout=30) as client:
        return client.digest()
