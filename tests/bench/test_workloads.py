"""Every workload, at its smallest: it runs on crdtsync, its checks hold, and they fail when something is lost."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from crdtsync.errors import EnvironmentFault
from crdtsync.ops.bench import runner, workload
from crdtsync.ops.bench.adapters import ADAPTERS, adapter
from crdtsync.ops.bench.adapters.embedded import Embedded
from crdtsync.ops.bench.bench import Task, params_of
from crdtsync.ops.bench.drivers import DRIVERS, driver
from crdtsync.ops.bench.judging import KEEPS
from crdtsync.ops.bench.results import Check, Sample, load
from crdtsync.ops.cli.main import main

ALL = [workload.find(name) for name in workload.names()]
IDS = [each.name for each in ALL]
# This process gives back what tests before have left, so its memory may shrink.
MAY_BE_ZERO = {"behind", "fairness", "rounds", "memory", "memory_mb", "memory_growth_mb"}


@pytest.mark.parametrize("found", ALL, ids=IDS)
def test_workload_fits_its_driver_and_its_targets(found: workload.Workload) -> None:
    module = driver(found.driver)
    for size in workload.SIZES:
        params_of(module, found.at(size))
    for system in found.systems:
        kind = adapter(system)
        assert kind.title and kind.semantics and kind.durability
    for target in found.targets:
        assert target.system in found.systems
        assert {target.figure, target.peer_figure or target.figure} <= module.UNITS.keys()
        assert not target.relative or kept(found, target.system, target.figure) >= kept(
            found, target.peer, target.peer_figure or target.figure
        ), "nothing that is not synced stands against what is"
        assert not target.peer or target.peer in found.systems
        assert target.bound in ("ratio", "figure") and target.size in ("", *workload.SIZES)
        assert target.least is not None or target.most is not None


def kept(found: workload.Workload, system: str, figure: str) -> int:
    """What the writes of a figure survive, as a place in KEEPS."""
    synced = driver(found.driver).UNITS[figure].synced
    return len(KEEPS) - 1 if synced else KEEPS.index(adapter(system).keeps)


def test_every_driver_and_adapter_is_used() -> None:
    assert {each.driver for each in ALL} == set(DRIVERS)
    assert {system for each in ALL for system in each.systems} == set(ADAPTERS)


@pytest.mark.parametrize("found", {each.driver: each for each in ALL}.values(), ids=lambda found: found.name)
def test_driver_measures_and_checks(found: workload.Workload, tmp_path: Path) -> None:
    """In this process: what a process of its own adds is tested once, below.  Peers, too, as far as they are there."""
    module = driver(found.driver)
    for system in (name for name in found.systems if not adapter(name).missing()):
        place = tmp_path / system
        place.mkdir()
        task = Task(found.driver, system, found.at("quick"), str(place), seed=1)
        sample = module.measure(task, params_of(module, task.params))
        assert sample.checks and sample.right, sample.checks
        assert {name.partition("@")[0] for name in sample.figures} <= module.UNITS.keys()
        zero = {name.partition("@")[0] for name, value in sample.figures.items() if value <= 0}
        assert zero <= MAY_BE_ZERO, sample.figures
        assert sample.expected is None or adapter(system).survives_kill


def test_killed_process_is_verified_and_the_command_writes_it_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["bench", "run", "hot-counters", "--size", "quick", "--system", "crdtsync", "--repetitions", "1", "--warm-up",
         "0", "--seed", "5", "--out", str(tmp_path), "--directory", str(tmp_path)]
    )  # fmt: skip
    assert code == 0
    (path,) = tmp_path.iterdir()  # and the store is gone
    assert capsys.readouterr().out.strip() == str(path)
    found = json.loads(path.read_text())
    (sample,) = found["systems"]["crdtsync"]["samples"]
    assert [check["what"] for check in sample["checks"]] == ["the counters add up", "nothing is lost with kill -9"]
    assert all(check["ok"] for check in sample["checks"])
    assert sample["figures"]["rate"] > 0 and sample["cpu_seconds"] > 0
    assert (found["seed"], found["size"], found["repetitions"]) == (5, "quick", 1)
    assert found["machine"]["cores"] and found["versions"]["python"] and found["command"]


def test_lost_increment_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Embedded.count_up
    monkeypatch.setattr(Embedded, "count_up", lambda self, rounds: real(self, rounds) + 1)
    found = workload.find("hot-counters")
    task = Task(found.driver, "crdtsync", found.at("quick"), str(tmp_path), seed=1)
    module = driver(found.driver)
    sample = module.measure(task, params_of(module, task.params))
    assert not sample.right


def test_loss_over_a_kill_is_seen(tmp_path: Path) -> None:
    found = workload.find("hot-counters")
    task = Task(found.driver, "crdtsync", found.at("quick"), str(tmp_path), seed=1, expected={"total": 7})
    assert not all(check.ok for check in runner.process(task, 60).checks)


def test_system_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(task: Task, timeout: float) -> Sample:
        if task.system == "crdtsync":
            raise EnvironmentFault("The disk is gone.")
        return Sample({"rate": 1.0}, [Check("it is right", task.seed % 2 == 0)])

    monkeypatch.setattr(runner, "process", fake)
    command = ["bench", "run", "durable-one", "--system", "crdtsync", "--system", "fdatasync", "--repetitions", "1",
               "--warm-up", "0", "--out", str(tmp_path), "--seed"]  # fmt: skip
    assert main([*command, "2"]) == 1
    assert "The disk is gone." in capsys.readouterr().err
    run = load(next(tmp_path.iterdir()))
    assert run.skipped == {"crdtsync": "it failed: The disk is gone."}
    assert run.systems["fdatasync"].values("rate") == [1.0]
    assert main([*command, "1"]) == 5  # a check fails: worse than no result
    assert "WRONG: it is right" in capsys.readouterr().err


def test_process_that_fails_tells_why(tmp_path: Path) -> None:
    task = Task("counting", "crdtsync", {"seconds": 0.1, "warm_up": 0.0}, str(tmp_path), seed=1)
    broken = msgspec.structs.replace(task, system="oracle")
    with pytest.raises(EnvironmentFault, match="oracle") as raised:
        runner.process(broken, 60)
    assert "There is no system" in str(raised.value.hint)
    with pytest.raises(EnvironmentFault, match=r"more than 0\.01 s"):
        runner.process(task, 0.01)
