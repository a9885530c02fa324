"""The harness itself: statistics, schedules, judging, comparing, results as files, the report, the command."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crdtsync.errors import ConfigError, EnvironmentFault
from crdtsync.ops.bench import histograms, runner, spread, workload
from crdtsync.ops.bench.adapters.embedded import Embedded
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.comparing import compare
from crdtsync.ops.bench.judging import verdicts
from crdtsync.ops.bench.pacing import Paced, arrivals, behind_schedule
from crdtsync.ops.bench.report import BEGIN, END, block, latest, markdown, page, put_block, sweep
from crdtsync.ops.bench.results import load, save
from crdtsync.ops.cli.main import main
from tests.bench import made

FIVE = (100.0, 110.0, 120.0, 130.0, 200.0)


def test_summary_is_median_extremes_and_quartiles() -> None:
    found = spread.summary([5, 1, 4, 2, 3])
    assert (found.median, found.low, found.high, found.first_quartile, found.third_quartile) == (3, 1, 5, 2, 4)
    assert found.spread == pytest.approx(1 / 3)
    assert spread.summary([7]).median == 7


@pytest.mark.parametrize(
    ("before", "after", "higher", "verdict"),
    [
        ([100.0] * 5, [104.0] * 5, True, "same"),  # within the least band
        ([100.0] * 5, [110.0] * 5, True, "better"),
        ([100.0] * 5, [110.0] * 5, False, "worse"),
        ([100.0] * 5, [80.0] * 5, True, "worse"),
        ([80.0, 100.0, 120.0], [95.0, 115.0, 135.0], True, "same"),  # noisy runs: a wide band
        ([0.0] * 3, [0.0] * 3, False, "same"),
        ([0.0] * 3, [1.0] * 3, False, "worse"),
    ],
)
def test_differences_count_beyond_the_noise_of_both_runs(
    before: list[float], after: list[float], higher: bool, verdict: str
) -> None:
    assert spread.difference(before, after, higher).verdict == verdict


def test_arrivals_are_the_same_for_a_seed_and_near_the_rate() -> None:
    first = list(arrivals(1000, 5, seed=3))
    assert first == list(arrivals(1000, 5, seed=3)) != list(arrivals(1000, 5, seed=4))
    assert first == sorted(first) and first[-1] < 5
    assert 4500 < len(first) < 5500


class Clock:
    """A clock that moves when somebody sleeps, in place of the one of pacing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_waiting_behind_a_slow_operation_counts_as_response_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    slow = itertools.chain([1.0], itertools.repeat(0.0001))
    paced = Paced(rate=100, seconds=10, seed=1)
    paced.run(lambda: clock.sleep(next(slow)))
    figures = paced.figures()
    assert figures["service_p95"] == pytest.approx(0.1, rel=0.01)  # nine hundred quick ones
    assert figures["response_p95"] > 400  # ms: those that were due within the slow one's second
    assert paced.faults() == []  # it caught up


def test_a_load_that_falls_behind_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    paced = Paced(rate=100, seconds=5, seed=1)
    paced.run(lambda: clock.sleep(0.02))  # twice of what fits
    assert paced.faults() and "behind its schedule" in paced.faults()[0]
    assert behind_schedule(0.04, 0.1) == [] != behind_schedule(0.06, 0.1)


def test_histograms_survive_their_text() -> None:
    histogram = histograms.empty()
    for value in (0, 1000, 2000, 10**18):
        histograms.record(histogram, value)
    again = histograms.unpacked(histograms.packed(histogram))
    assert again.get_total_count() == 4
    assert again.get_value_at_percentile(50) == histogram.get_value_at_percentile(50) == 1000


def test_results_survive_their_file(tmp_path: Path) -> None:
    run = made.run({"crdtsync": made.measured(FIVE), "peer": made.measured(FIVE)})
    save(run, tmp_path / "deep" / "a.json")
    assert load(tmp_path / "deep" / "a.json") == run
    for name, text in (("b.json", "{}"), ("c.json", "\xff"), ("d.json", '{"format": 2}')):
        (tmp_path / name).write_text(text, encoding="latin-1")
        with pytest.raises(ConfigError, match=name):
            load(tmp_path / name)
    data = json.loads((tmp_path / "deep" / "a.json").read_text())
    (tmp_path / "e.json").write_text(json.dumps({**data, "format": 99}))
    with pytest.raises(ConfigError, match="format 99"):
        load(tmp_path / "e.json")


def test_targets_are_judged_on_medians() -> None:
    run = made.run({"crdtsync": made.measured(FIVE), "peer": made.measured([250.0] * 5)})
    first, second = verdicts([run])
    assert (first.id, first.figure, first.met, first.wanted) == ("P1", 120.0, "yes", ">= 100 1/s")
    assert (second.id, second.peer_figure, second.met) == ("P2", 250.0, "no")
    assert second.ratio == pytest.approx(0.48)


@pytest.mark.parametrize(
    ("ours", "peer", "reason"),
    [
        (made.measured(FIVE), None, "peer was skipped, not installed"),
        (made.measured(FIVE, right=False), made.measured(FIVE), "wrong results"),
        (made.measured(FIVE), made.measured(FIVE, right=False), "wrong results"),
        (made.measured(FIVE, faults=["the load fell behind"]), made.measured(FIVE), "fell behind"),
        (made.measured(FIVE[:3]), made.measured(FIVE[:3]), "3 repetitions"),
    ],
)
def test_what_does_not_count_is_not_judged(ours: Any, peer: Any, reason: str) -> None:
    run = made.run({"crdtsync": ours} | ({"peer": peer} if peer else {}))
    (row,) = (each for each in verdicts([run]) if each.id == "P2")
    assert row.met.startswith("not judged: ") and reason in row.met


def test_targets_of_a_size_are_judged_at_that_size() -> None:
    target = msgspec.structs.replace(made.TARGETS[1], size="full")
    run = made.run({"crdtsync": made.measured(FIVE)}, (target,))
    assert [row.met for row in verdicts([run])] == ["not judged: it is about size full, this is quick"]
    run.size = "full"
    assert [row.met for row in verdicts([run])] == ["yes"]


def test_a_large_sample_stands_beside_the_default_runs_and_judges_what_is_about_its_size(tmp_path: Path) -> None:
    large = msgspec.structs.replace(made.TARGETS[1], id="P3", size="full", repetitions=1)
    targets = (*made.TARGETS[1:], large)
    usual, once = (
        made.run({"crdtsync": made.measured(FIVE)}, targets),
        made.run({"crdtsync": made.measured([7.0])}, targets),
    )
    usual.size, once.size = "default", "full"
    for number, run in enumerate((usual, once)):
        save(run, tmp_path / f"{number}.json")
    runs = latest(tmp_path)
    assert [(row.id, row.figure, row.size, row.met) for row in verdicts(runs)] == [
        ("P1", 120.0, "default", "yes"), ("P3", 7.0, "full", "no"),
    ]  # fmt: skip
    text = markdown(runs)
    assert "(`made`, size full, one sample)" in text and "### Made up, size full (`made`)" in text
    assert "made (1)" in text and "no claim" not in text
    assert {row.met for row in verdicts([once]) if row.id == "P1"} == {"not judged: 1 repetitions are no claim"}


def test_runs_of_different_things_are_not_compared() -> None:
    before, after = made.run({"crdtsync": made.measured(FIVE)}), made.run({"crdtsync": made.measured(FIVE)})
    assert {each.difference.verdict for each in compare(before, after)} == {"same"}
    after.params = {"seconds": 2.0}
    with pytest.raises(ConfigError, match=r"seconds is 1\.0 in one run and 2\.0"):
        list(compare(before, after))
    late = made.run({"crdtsync": made.measured(FIVE, faults=["late"])})
    with pytest.raises(ConfigError, match="second run does not count: crdtsync: late"):
        list(compare(before, late))


def test_report_says_what_was_measured_and_how() -> None:
    run = made.run({"crdtsync": made.measured(FIVE), "peer": made.measured(FIVE, right=False)})
    text, whole = markdown([run]), page([run])
    for part in ("load average", "trust ratios within one run", "WRONG", "seed 1", "Closed loop", "'made up'"):
        assert part.lower() in text.lower()
    assert "| System / one | 1.0 | none | none | 120 [100, 200] 1/s |" in text
    assert whole.count("<svg") == whole.count("</svg>") >= 2
    assert "sums &lt;right&gt;" in whole and "<right>" not in whole
    assert "http" not in whole.replace("http://www.w3.org/2000/svg", "")  # nothing is loaded from elsewhere


def test_last_run_of_each_workload_is_reported(tmp_path: Path) -> None:
    older, newer = (made.run({"crdtsync": made.measured(FIVE)}, seed=seed) for seed in (1, 2))
    newer.started = "2026-02-01T00:00:00+00:00"
    save(newer, tmp_path / "a.json")
    save(older, tmp_path / "b.json")
    assert [run.seed for run in latest(tmp_path)] == [2]
    with pytest.raises(ConfigError, match="no result"):
        latest(tmp_path / "deep" if (tmp_path / "deep").mkdir() is None else tmp_path)


def test_command_compares_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(made.run({"crdtsync": made.measured([100.0] * 5)}), tmp_path / "a" / "1.json")
    save(made.run({"crdtsync": made.measured([50.0] * 5)}), tmp_path / "b" / "1.json")
    before, after = str(tmp_path / "a"), str(tmp_path / "b" / "1.json")
    assert main(["bench", "compare", before, after, "--output", "ndjson"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["figure"], row["verdict"]) for row in rows] == [("rate", "worse"), ("wait_p99", "same")]
    assert main(["bench", "compare", before, before]) == 0
    assert main(["bench", "report", before]) == 0
    assert (tmp_path / "a" / "report.html").read_text().startswith("<!doctype html>")
    assert "P1" in capsys.readouterr().err


def test_parameters_from_the_command_line_keep_their_kind() -> None:
    params: workload.Params = {"keys": 5, "seconds": 1.0, "kind": "set"}
    assert workload.with_changes(params, {"keys": "7", "kind": "map"}) == {"keys": 7, "seconds": 1.0, "kind": "map"}
    with pytest.raises(ConfigError, match="no parameter 'key'; it has keys, kind, seconds"):
        workload.with_changes(params, {"key": "7"})
    with pytest.raises(ConfigError, match="keys is 'many'; it must be of type int"):
        workload.with_changes(params, {"keys": "many"})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("loop", "loops"), "loops"),
        (('"closed"', '"endless"'), "endless"),
        (("title", "= ["), "bad.toml"),
    ],
)
def test_bad_workloads_are_refused_by_name(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    text = (workload.PACKAGED / "hot-counters.toml").read_text()
    (tmp_path / "bad.toml").write_text(text.replace(*change, 1))
    with pytest.raises(ConfigError, match=complaint) as raised:
        workload.find(str(tmp_path / "bad.toml"))
    assert "bad.toml" in str(raised.value)


def test_unknown_names_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "run", "nothing"]) == 2
    assert "There is no workload 'nothing'" in capsys.readouterr().err
    assert main(["bench", "run", "hot-counters", "--system", "oracle", "--out", str(tmp_path)]) == 2
    assert "does not know the system 'oracle'" in capsys.readouterr().err
    assert main(["bench", "run", "hot-counters", "--param", "seconds"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_peers_that_are_not_there_are_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = workload.find("hot-counters")
    said: list[str] = []
    plan = runner.Plan(params=found.at("quick"), systems=("loro", "redis"), repetitions=1, warm_up=0)
    run = runner.run(found, plan, said.append)
    assert run.skipped == {"loro": "the package loro is not installed", "redis": "the package redis is not installed"}
    assert "hot-counters: loro is skipped: the package loro is not installed" in said


def test_unsynced_is_not_judged_against_synced() -> None:
    peer = made.measured(FIVE)
    peer.keeps = "disk"
    run = made.run({"crdtsync": made.measured(FIVE), "peer": peer})
    assert [row.met for row in verdicts([run]) if row.id == "P2"] == ["not judged: peer keeps more when a call returns"]
    run.systems["crdtsync"].keeps = "disk"
    assert [row.met for row in verdicts([run]) if row.id == "P2"] == ["yes"]


def test_sweeps_are_plotted_over_their_points() -> None:
    ours = made.measured(FIVE)
    for each in ours.samples:
        each.figures = {f"rate@{point}": each.figures["rate"] * point for point in (1, 1000, 10)}
    run = made.run({"crdtsync": ours}, ())
    (line,) = sweep(run, "rate").values()
    assert [(point, each.median) for point, each in line] == [(1, 120), (10, 1200), (1000, 120_000)]
    assert "<polyline" in page([run]) and "rate at 1000" in markdown([run])


def test_interrupted_and_late_runs_keep_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = workload.find("hot-counters")
    taken: list[str] = []

    def process(task: Any, timeout: float) -> Any:
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(task.system)
        return made.sample(1.0)

    monkeypatch.setattr(runner, "process", process)
    monkeypatch.setattr(runner, "adapter", lambda name: Embedded)
    plan = runner.Plan(params=found.at("quick"), systems=("crdtsync", "loro"), repetitions=5, warm_up=1)
    run = runner.run(found, plan, lambda text: None)
    assert run.ended == runner.INTERRUPTED and len(run.systems["crdtsync"].samples) == 1
    assert run.skipped == {"loro": runner.INTERRUPTED}
    taken.clear()
    late = runner.run(found, msgspec.structs.replace(plan, until=time.monotonic()), lambda text: None)
    assert (taken, late.ended, late.systems) == ([], runner.TIME_IS_UP, {})


def test_what_a_sample_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it takes too long: the processes of its session are gone before the next sample begins."""
    monkeypatch.setenv("BENCH_SAMPLE_OF", str(tmp_path))
    task = Task("visibility", "crdtsync-pair", {"rate": 10.0, "seconds": 60.0, "warm_up": 0.0, "probe_every": 5},
                str(tmp_path / "late"), seed=1)  # fmt: skip
    with pytest.raises(EnvironmentFault, match="took more than 3 s"):
        runner.process(task, 3)
    mark = f"BENCH_SAMPLE_OF={tmp_path}".encode()
    left = {path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if mark in readable(path)}
    assert left <= {str(os.getpid())}


def readable(path: Path) -> bytes:
    """A file of /proc, empty when its process has gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_readme_has_the_table_in_the_form_that_the_tool_writes() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    table = text.partition(BEGIN)[2].partition(END)[0]
    table = re.sub(r"`, size full, \w+ samples?\)", "`)", table)  # said where such a run is what judges a target
    written = block([]).partition(BEGIN)[2].partition(END)[0]
    rows, wanted = (
        [line.split(" | ") for line in each.splitlines() if line.startswith("|")] for each in (table, written)
    )
    assert rows and [row[:3] for row in rows] == [row[:3] for row in wanted]  # the same targets, head and all
    assert {len(row) for row in rows if "---" not in row[0]} == {len(rows[0])}
    assert all(row[-1].startswith(("yes", "no")) for row in rows[2:])


def test_table_is_put_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_block(document, [])
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text and "P11" in text
    put_block(document, [])
    assert document.read_text() == text
    document.write_text("nothing")
    with pytest.raises(ConfigError, match="no place for the table"):
        put_block(document, [])
