"""`crdtsync backup`: the three commands end to end, with their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crdtsync import open as open_node
from crdtsync.backup import read_summary
from crdtsync.config import MIB, ClusterSettings
from crdtsync.ops.cli.main import main
from tests.cli.conftest import Run
from tests.cli.running import Process


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with open_node(tmp_path / "store", name="shop") as node:
        node.pncounter("stock").increment(12)
        node.orset("tags").update(["a", "b"])
    return tmp_path / "store"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = main(["backup", *map(str, arguments)])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return status, shown.out, shown.err


def test_a_chain_from_one_directory_to_another(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "create", store, tmp_path / "b1", "--output", "json")
    assert (status, err) == (0, "")
    first = json.loads(out)
    assert first["rows"] == 3 and not first["incremental"]
    with open_node(store) as node:
        node.pncounter("stock").decrement()
    for parent, file in ((tmp_path / "b1", "b2"), (first["token"], "b3")):
        status, out, _ = run(capsys, "create", store, tmp_path / file, "--since", parent)
        assert status == 0 and "incremental backup" in out and "1 rows" in out
    status, out, _ = run(capsys, "verify", tmp_path / "b1", tmp_path / "b2")
    assert status == 0 and "These 2 backups restore" in out
    status, out, _ = run(capsys, "restore", tmp_path / "b1", tmp_path / "b2", tmp_path / "r", "--new-cluster")
    assert status == 0 and "rows." in out
    with open_node(tmp_path / "r") as node:
        assert node.pncounter("stock").value == 11 and node.orset("tags").value == {"a", "b"}


def test_a_token_may_be_long(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = json.loads(run(capsys, "create", store, tmp_path / "b", "--output", "json")[1])["token"]
    while len(token) < 300:  # each start that writes has an actor of its own
        with open_node(store) as node:
            node.pncounter("stock").increment()
            token = node.token()
    status, out, err = run(capsys, "create", store, tmp_path / "more", "--since", token)
    assert status == 0 and "incremental" in out, err


def test_no_backup_replaces_its_parent(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "create", store, tmp_path / "b")
    status, _, err = run(capsys, "create", store, tmp_path / "b", "--since", tmp_path / "b", "--force")
    assert status == 2 and "to build on" in err
    assert not read_summary(tmp_path / "b").incremental


def test_what_cannot_be_restored_is_no_backup(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stopped node's own settings are not known: by the defaults its values may be too large."""
    settings = ClusterSettings(value_bytes_max=2 * MIB)
    with open_node(store, cluster=settings) as node:
        node.lwwregister("large").set("x" * 1_500_000)
        node.backup(tmp_path / "right")
    status, out, err = run(capsys, "create", store, tmp_path / "b")
    assert (status, out) == (2, "") and "could not be restored" in err and "settings" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["right", "store"]
    assert run(capsys, "restore", tmp_path / "right", tmp_path / "r")[0] == 0


def test_a_restored_node_is_told_how_to_get_in(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "create", store, tmp_path / "b")
    status, out, _ = run(capsys, "restore", tmp_path / "b", tmp_path / "r", "--name", "again")
    assert status == 0 and "node again" in out and "--join" in out


def test_nothing_is_overwritten(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "create", store, tmp_path / "b")
    before = (tmp_path / "b").read_bytes()
    status, out, err = run(capsys, "create", store, tmp_path / "b")
    assert (status, out) == (2, "") and "there already" in err and "--force" in err
    assert (tmp_path / "b").read_bytes() == before
    status, _, err = run(capsys, "restore", tmp_path / "b", store)
    assert status == 2 and "not empty" in err
    assert run(capsys, "create", store, tmp_path / "b", "--force")[0] == 0
    assert run(capsys, "restore", tmp_path / "b", store, "--force", "--new-cluster")[0] == 0


def test_damage_is_status_5_and_says_where(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "create", store, tmp_path / "b")
    data = (tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(data[:200] + bytes((data[200] ^ 1,)) + data[201:])
    status, out, _ = run(capsys, "verify", tmp_path / "b")
    assert status == 5 and "WRONG" in out and "record" in out
    status, _, err = run(capsys, "restore", tmp_path / "b", tmp_path / "r")
    assert status == 5 and "record" in err
    assert not (tmp_path / "r").exists() or list((tmp_path / "r").iterdir()) == []


def test_a_directory_without_a_store_does_not_become_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = run(capsys, "create", tmp_path / "empty", tmp_path / "b")
    assert status == 5 and "no crdtsync store" in err
    assert list((tmp_path / "empty").iterdir()) == [] and not (tmp_path / "b").exists()
    assert run(capsys, "create", tmp_path / "absent", tmp_path / "b")[0] == 2


def test_a_running_node_is_backed_up_and_merged_into(
    served: Process, directory: Path, tmp_path: Path, run: Run
) -> None:
    assert run("incr", "stock", "7").code == 0 and run("add", "tags", "a", "b").code == 0
    done = run("backup", "create", str(directory), str(tmp_path / "b1"), "--output", "json")
    assert done.code == 0, done.err
    first = json.loads(done.out)
    assert run("discard", "tags", "a").code == 0
    for parent, file in ((str(tmp_path / "b1"), "b2"), (first["token"], "b3")):
        done = run("backup", "create", "--node", str(directory), str(tmp_path / file), "--since", parent)
        assert done.code == 0 and "incremental" in done.out, done.err
    assert read_summary(tmp_path / "b2").parent == first["id"]
    assert run("backup", "verify", str(tmp_path / "b1"), str(tmp_path / "b2")).code == 0
    done = run("backup", "merge", "--node", str(directory), str(tmp_path / "b1"), str(tmp_path / "b2"))
    assert done.code == 0 and "0 rows changed" in done.out, done.err
    with open_node(tmp_path / "lost") as other:  # what another cluster has, and has forgotten nothing of
        other.bucket("elsewhere").orset("theirs").add(1)
        other.backup(tmp_path / "theirs")
    done = run("backup", "merge", "--node", str(directory), str(tmp_path / "theirs"), "-o", "json")
    assert done.code == 0 and json.loads(done.out)["rows"] == 1
    assert "1" in run("get", "theirs", "--bucket", "elsewhere").out


def test_what_a_running_node_refuses(served: Process, directory: Path, tmp_path: Path, run: Run) -> None:
    assert run("incr", "stock").code == 0
    done = run("backup", "create", str(directory), str(tmp_path / "b"), "--since", "nonsense")
    assert done.code == 5 and "token" in done.err and not list(tmp_path.iterdir())
    assert run("backup", "create", str(directory), str(tmp_path / "b")).code == 0
    done = run("backup", "create", str(directory), str(tmp_path / "b"))
    assert done.code == 2 and "there already" in done.err
    data = (tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(data[:-1])
    done = run("backup", "merge", "--node", str(directory), str(tmp_path / "b"))
    assert done.code == 5 and "cut off" in done.err
    assert "of what was sent, file 1: " in done.err and "crdtsync-restore" not in done.err  # no path of another machine
    done = run("backup", "create", "--node", served.addresses["programs"], str(tmp_path / "c"))
    assert done.code == 3 and "operators" in done.err
    assert run("backup", "create", "a", "b", "c").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
