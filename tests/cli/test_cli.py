"""The command line: exit codes, one clear line for an error, data on standard output, and a quick `--help`."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from crdtsync import open as open_node
from crdtsync.errors import JoinError, StoreDamaged
from crdtsync.ops.cli import main as cli
from tests.cli.running import environment


def crdtsync(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crdtsync", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **variables},
    )


def test_version_goes_to_standard_output() -> None:
    for word in ("version", "--version"):
        done = crdtsync(word)
        assert done.returncode == 0
        assert done.stdout.startswith("crdtsync 0.")
        assert done.stderr == ""


def test_help_names_every_command() -> None:
    done = crdtsync("--help")
    assert done.returncode == 0
    for name, meaning in cli.COMMANDS.items():
        assert name in done.stdout and meaning.split()[0] in done.stdout


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_each_command_explains_itself_as_the_list_does(name: str) -> None:
    command = cli.crdtsync.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None and command.name == name
    assert (command.help or "").startswith(cli.COMMANDS[name].rstrip("."))


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """Counted, not timed: few modules of ours, and none of what costs a tenth of a second."""
    code = (
        "import sys; from crdtsync.ops.cli.main import main; main(['--help']);"
        "ours = [name for name in sys.modules if name.startswith('crdtsync')];"
        "heavy = [name for name in ('grpc', 'rich', 'numpy', 'msgspec', 'asyncio', 'lmdb') if name in sys.modules];"
        "print(len(ours), heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    count, heavy = done.stderr.strip().split(" ", 1)
    assert int(count) <= 8 and heavy == "[]"


def test_version_as_json() -> None:
    told = json.loads(crdtsync("version", "--output", "json").stdout)
    assert set(told) == {"crdtsync", "kernels", "python", "system"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_each_shell(shell: str) -> None:
    done = crdtsync("completion", shell)
    assert done.returncode == 0 and "_CRDTSYNC_COMPLETE" in done.stdout
    asked = {"_CRDTSYNC_COMPLETE": f"{shell}_complete", "COMP_WORDS": "crdtsync wait", "COMP_CWORD": "1"}
    if shell == "fish":
        asked["COMP_CWORD"] = "wait"
    assert "wait-for" in crdtsync(**asked).stdout


def test_a_command_that_there_is_not_brings_the_one_that_was_meant() -> None:
    done = crdtsync("keyz")
    assert done.returncode == 2 and "Did you mean keys?" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["demo", "--nonsense"], ["demo", "--rows", "0"], ["demo", "--rows", "many"], ["check"]]
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    done = crdtsync(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error: " in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JoinError("No sponsor."), 3),
        (StoreDamaged("Row 7 is damaged."), 5),
        (PermissionError(13, "Permission denied", "/data"), 4),
        (ConnectionRefusedError(111, "Connection refused"), 3),
        (OSError(5, "Input/output error"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_codes_without_a_traceback(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(cli.crdtsync, "main", fail)
    assert cli.main([]) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("crdtsync: ") and "Traceback" not in shown.err
    if isinstance(error, JoinError | StoreDamaged):
        assert error.message in shown.err and error.hint in shown.err


def test_a_command_decides_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.crdtsync, "main", lambda **_: 1)
    assert cli.main([]) == 1


def test_check_of_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    done = crdtsync("check", str(tmp_path / "absent"))
    assert done.returncode == 2
    assert "absent" in done.stderr


def on_terminal(*arguments: str, **variables: str) -> bytes:
    """What a command shows on a terminal."""
    ours, its = pty.openpty()
    env = {name: value for name, value in environment(TERM="xterm").items() if name != "NO_COLOR"} | variables
    with subprocess.Popen([sys.executable, "-m", "crdtsync", *arguments], stdout=its, stderr=its, env=env):
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other side has been closed
            while piece := os.read(ours, 65536):
                shown += piece
    os.close(ours)
    return shown


@pytest.mark.parametrize("arguments", [["config", "show"], ["check", "."]])
def test_colours_are_for_terminals_that_want_them(tmp_path: Path, arguments: list[str]) -> None:
    assert b"\x1b[1m" in on_terminal(*arguments)
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = on_terminal(*arguments, **variables)
        assert shown and b"\x1b" not in shown


def test_check_of_a_sound_store(tmp_path: Path) -> None:
    with open_node(tmp_path / "store") as node:
        node.gcounter("visits").increment(3)
        node.orset("tags").add("new")
    done = crdtsync("check", str(tmp_path / "store"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "is sound" in done.stdout and "2 rows" in done.stdout
    told = json.loads(crdtsync("check", str(tmp_path / "store"), "--output", "json").stdout)
    assert told["ok"] is True and told["problems"] == [] and told["figures"]["rows"] == 2


def test_check_of_a_damaged_store_says_what_is_wrong(tmp_path: Path) -> None:
    with open_node(tmp_path / "store") as node:
        node.orset("tags").update(f"tag {number}" for number in range(500))
    table = tmp_path / "store" / "table.mdb"
    content = table.read_bytes()
    assert b"tag 250" in content
    table.write_bytes(content.replace(b"tag 250", b"tag 25\x7f"))
    done = crdtsync("check", str(tmp_path / "store"))
    assert done.returncode == 5
    assert "WRONG" in done.stdout and "DAMAGED" in done.stdout
    assert "Traceback" not in done.stderr


def test_check_of_garbage_is_invalid_data(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    done = crdtsync("check", str(tmp_path))
    assert done.returncode == 5
    assert done.stderr.startswith("crdtsync: ") and "Traceback" not in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "important"


def test_check_of_a_store_in_use_is_refused(tmp_path: Path) -> None:
    with open_node(tmp_path / "store"):
        done = crdtsync("check", str(tmp_path / "store"))
    assert done.returncode == 1
    assert "One process per directory" in done.stderr


@pytest.mark.parametrize("node", ["nowhere", "no/where", "./nowhere/"])
def test_a_directory_that_is_not_there_is_said_to_be_none(node: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["get", "key", "--node", node]) == 2
    assert "no such directory" in capsys.readouterr().err
