"""After a power cut at any moment the store opens, holds what was said to be durable, and nothing half."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .images import Machine
from .judge import Judge, cuts, moments
from .recording import Step, build, record, steps

WRITES = 300  # of one record
IMAGES_LONG = int(os.environ.get("POWER_IMAGES", "10000"))
DURABILITIES = ("group", "each", "os")

pytestmark = pytest.mark.skipif(shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler here")


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of stores are written and thrown away."""
    memory = Path("/dev/shm")
    place = memory / f"crdtsync-power-{os.getpid()}" if os.access(memory, os.W_OK) else tmp_path / "scratch"
    place.mkdir()
    yield place
    shutil.rmtree(place)


def story(recorder: Path, tmp_path: Path, durability: str, name: str = "0") -> list[Step]:
    """The record of one run."""
    log = tmp_path / f"log-{name}"
    record(recorder, tmp_path / f"root-{name}", log, durability, str(WRITES), "10", timeout=120)
    return list(steps(log))


def account(told: list[Step], count: int, scratch: Path, seed: int) -> Judge:
    """Judge `count` cuts of one record."""
    judge = Judge()
    for store, promise in cuts(told, moments(told, count, random.Random(seed)), scratch, seed):
        try:
            wrong = judge.judge(store, promise)
        except Exception as error:
            wrong = [f"does not open: {error!r}"]
        assert not wrong, f"seed {seed}, {store.parent.name}: {wrong[:5]}"
        shutil.rmtree(store.parent)
    return judge


@pytest.mark.parametrize("durability", DURABILITIES)
def test_power_cuts_at_random_moments(recorder: Path, tmp_path: Path, scratch: Path, durability: str) -> None:
    told = story(recorder, tmp_path, durability)
    account(told, 40, scratch, 1)


def test_a_disk_that_lies_is_noticed(recorder: Path, tmp_path: Path, scratch: Path, monkeypatch) -> None:
    """With syncs that make nothing safe, promises must be seen to be broken: the judge can tell."""
    told = story(recorder, tmp_path, "each")
    monkeypatch.setattr(Machine, "_end", lambda *_: None)
    with pytest.raises(AssertionError, match=r"writes are there|does not open"):
        account(told, 40, scratch, 1)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_thousands_of_power_cuts(recorder: Path, tmp_path: Path, scratch: Path, capsys) -> None:
    rounds = 30
    met = Judge().met
    for number in range(rounds):
        told = story(recorder, tmp_path, DURABILITIES[number % 3], str(number))
        met += account(told, -(-IMAGES_LONG // rounds), scratch, number).met
    assert met.total() >= IMAGES_LONG
    with capsys.disabled():
        print(f"\n  {met.total():,} images of power cuts: {dict(met)}; 0 durable writes lost, 0 that do not open")
