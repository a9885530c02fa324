"""A campaign counts what its seeds met, in one process or in several, and keeps the figures."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from crdtsync import kernels
from crdtsync.sim import __main__ as program
from crdtsync.sim import run
from crdtsync.sim.campaign import FAULTS, Report, campaign
from crdtsync.sim.plan import draw, without
from tests.sim.test_planted_bugs import skip_a_delta

pytestmark = pytest.mark.skipif(kernels.IMPLEMENTATION != "native", reason="what is counted is the same on both")


def test_the_figures_are_those_of_the_seeds(tmp_path, capsys) -> None:
    assert program.main(["--seeds", "3..6", "--report", str(tmp_path)]) == 0
    report = msgspec.json.decode((tmp_path / "campaign.json").read_bytes(), type=Report)
    verdicts = [run(seed) for seed in range(3, 7)]
    assert report.seeds == 4 and not report.failed and not report.without_faults
    assert report.operations.least == min(verdict.operations for verdict in verdicts) >= 300
    for name, count in report.met.items():
        assert count == sum(verdict.counters[name] for verdict in verdicts)
        assert report.seeds_with[name] == sum(verdict.counters[name] > 0 for verdict in verdicts)
    assert report.inside["rows_collected"] == sum(verdict.inside["rows_collected"] for verdict in verdicts) > 0
    assert (tmp_path / "campaign.txt").read_text() == capsys.readouterr().out


def test_two_processes_find_the_same_as_one() -> None:
    one, two = campaign(0, 5, draw), campaign(0, 5, draw, jobs=2)
    one.processor_seconds = two.processor_seconds = 0.0
    assert one == two


def test_a_failure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_a_delta(monkeypatch)
    report = campaign(0, 3, draw)
    assert report.failed and f"{len(report.failed)} failed" in report.text()


def test_a_seed_without_a_fault_does_not_count() -> None:
    def calm(seed: int):
        plan = draw(seed)
        for name in ("loss", "doubled", "reordered", "breaks", "late", "stale", *plan.rates):
            plan = without(plan, name)
        return plan

    report = campaign(0, 0, calm)
    assert report.without_faults == [0] and not FAULTS & set(report.met)


def test_a_range_that_is_none_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        program.main(["--seeds", "3"])
    assert "A..B" in capsys.readouterr().err


def test_the_module_runs_seeds_side_by_side() -> None:
    """As people start it: then its own module has no name by which other processes could find what is in it."""
    args = [sys.executable, "-m", "crdtsync.sim", "--seeds", "0..1", "--jobs", "2", "--without", "power"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "seeds 0 to 1: " in done.stdout, done.stderr
