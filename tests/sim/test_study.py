"""The scale study at a small size: it ends, agrees, repeats itself, and says what it found."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crdtsync.sim.__main__ import main
from crdtsync.sim.plots import CURVES
from crdtsync.sim.study import FILE, Figures, Study, measure

COMMAND = ["--nodes", "3,10", "--loss", "0,20", "--seconds", "1", "--seed", "3", "--report"]


def plain(run: Figures) -> Figures:
    return msgspec.structs.replace(run, processor_seconds=0.0)


def test_ten_nodes_agree_and_hardly_a_row_is_sent_twice() -> None:
    run = measure(1, 10, 0.05, 2.0)
    assert run.agreed and run.rounds is not None and run.burst is not None and run.partition is not None
    assert run.rounds <= 10
    assert 1.0 <= run.redundancy <= 1.2
    assert run.messages > 0 and run.bytes > run.messages


def test_a_run_repeats_itself() -> None:
    assert plain(measure(2, 10, 0.2, 1.0)) == plain(measure(2, 10, 0.2, 1.0))


def test_the_command_writes_figures_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, str(tmp_path)]) == 0
    found = msgspec.json.decode((tmp_path / FILE).read_bytes(), type=Study)
    assert [(run.nodes, run.loss) for run in found.runs] == [(3, 0.0), (3, 0.2), (10, 0.0), (10, 0.2)]
    assert all(run.agreed for run in found.runs)
    printed = capsys.readouterr()
    assert printed.out == found.text()
    plots = {path.stem for path in tmp_path.glob("*.png")}
    assert plots == set(CURVES) or "crdtsync[study]" in printed.err  # matplotlib need not be there


@pytest.mark.parametrize("arguments", [["--nodes", "x"], ["--nodes", "1"], ["--nodes", "10", "--loss", "100"]])
def test_what_makes_no_study_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
