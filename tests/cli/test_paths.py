"""Places that an operator names, or that somebody else has prepared: read-only, links, names like paths, bad ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crdtsync import open as open_node
from crdtsync.backup.restoring import STAGE
from crdtsync.errors import DiskFull, InvalidKey
from tests.cli.conftest import Run
from tests.cli.running import Process, call, command

FREE = ("--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0")
FORGED = "x\n2026-01-01 00:00:00,000 INFO crdtsync.node: all is well\r\x1b[2J"


def fill(path: Path, backup: Path | None = None) -> None:
    """A store with one counter, and a backup of it."""
    with open_node(path, name="shop") as node:
        node.pncounter("stock").increment(12)
        if backup is not None:
            node.backup(backup)


def tree(place: Path) -> dict[str, bytes | None]:
    """Every file below a place with its bytes; no link is followed."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = Path(folder, name)
            found[str(path)] = os.readlink(path).encode() if path.is_symlink() else None
            if path.is_file() and not path.is_symlink():
                found[str(path)] = path.read_bytes()
    return found


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot be written, with a store and an empty directory."""
    place = tmp_path / "sealed"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.strip()}")
    try:
        fill(place / "store", tmp_path / "good.backup")
        (place / "empty").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_what_cannot_be_written_is_named(sealed: Path, tmp_path: Path) -> None:
    backup = str(tmp_path / "good.backup")
    fill(tmp_path / "here")
    before = tree(sealed)
    for arguments, told in (
        (("start", f"{sealed}/new", *FREE), f"{sealed}/new"),
        (("start", f"{sealed}/empty", *FREE), f"{sealed}/empty"),
        (("start", f"{sealed}/store", *FREE), f"{sealed}/store"),
        (("check", f"{sealed}/store"), f"{sealed}/store"),
        (("backup", "create", f"{sealed}/store", f"{tmp_path}/more"), f"{sealed}/store"),
        (("backup", "create", f"{tmp_path}/here", f"{sealed}/more"), f"{sealed}/more"),
        (("backup", "restore", backup, f"{sealed}/new", "--new-cluster"), f"{sealed}/new"),
        (("backup", "restore", backup, f"{sealed}/empty", "--new-cluster"), f"{sealed}/empty"),
        (("backup", "restore", backup, f"{sealed}/store", "--new-cluster", "--force"), f"{sealed}/store"),
    ):
        done = call(*arguments)
        assert done.code == 1 and "Read-only" in done.err and told in done.err, (arguments, done)
    assert tree(sealed) == before
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("name", ["../../up", "/etc/crdtsync", "a/../../b", ".."])
def test_names_that_look_like_paths_are_only_names(tmp_path: Path, name: str) -> None:
    """Neither a key nor an element decides where anything is written; what is no name is refused as one."""
    (tmp_path / "in").mkdir()
    with open_node(tmp_path / "in" / "a") as node:
        node.orset(name).add(name)
        try:
            node.bucket(name).orset(name).add(name)
            buckets = ["default", name]
        except InvalidKey:
            buckets = ["default"]
        node.backup(tmp_path / "in" / "backup")
    assert call("backup", "restore", f"{tmp_path}/in/backup", f"{tmp_path}/in/b", "--new-cluster").code == 0
    with open_node(tmp_path / "in" / "b") as node:
        for bucket in buckets:
            assert node.bucket(bucket).orset(name).value == {name}
    assert os.listdir(tmp_path) == ["in"] and sorted(os.listdir(tmp_path / "in")) == ["a", "b", "backup"]
    assert not os.path.lexists("/etc/crdtsync")


@pytest.mark.parametrize("name", ["journal", STAGE])
@pytest.mark.parametrize("force", [True, False])
def test_a_restore_follows_no_link_that_was_planted(tmp_path: Path, name: str, force: bool) -> None:
    fill(tmp_path / "store", tmp_path / "backup")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("chapter one")
    if name == "journal":
        (tmp_path / "store" / name).rename(tmp_path / "moved")
    (tmp_path / "store" / name).symlink_to(tmp_path / "precious")
    arguments = ["--force"] if force else []
    done = call("backup", "restore", f"{tmp_path}/backup", f"{tmp_path}/store", "--new-cluster", *arguments)
    assert done.code == ((0 if name == "journal" else 5) if force else 2), done
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "chapter one"
    assert os.listdir(tmp_path / "precious") == ["thesis.txt"]
    if done.code == 0:
        assert not (tmp_path / "store" / name).is_symlink()
        with open_node(tmp_path / "store") as node:
            assert node.pncounter("stock").value == 12


def test_nothing_is_written_through_a_link_to_nowhere(run: Run, tmp_path: Path) -> None:
    run("add", "tags", "red")
    (tmp_path / "out.ndjson").symlink_to(tmp_path / "elsewhere")
    done = run("export", "--to", str(tmp_path / "out.ndjson"))
    assert done.code != 0 and "is there" in done.err
    assert os.listdir(tmp_path) == ["out.ndjson"]


@pytest.mark.parametrize("flag", ["--listen", "--serve", "--admin", "--metrics"])
@pytest.mark.parametrize("address", ["127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1", "0.0.0.0:7400", "[::]:7400"])
def test_addresses_that_may_not_be(tmp_path: Path, flag: str, address: str) -> None:
    """Without TLS nothing is served beyond loopback unless its operator says so by name."""
    done = call("start", str(tmp_path / "a"), *FREE, flag, address)
    assert done.code == 2 and flag[2:] in done.err and address in done.err, done
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("form", ["text", "json"])
def test_names_write_no_lines_into_the_log(tmp_path: Path, form: str) -> None:
    node = Process(str(tmp_path / "a"), *FREE, "--log-format", form, "--log-level", "debug")
    try:
        told = node.wait_for(r"is ready: .*programs (\S+), operators ")
        at, operators = ("--node", told[1]), ("--node", str(tmp_path / "a"))
        call("add", f"tags{FORGED}", FORGED, *at)
        call("add", "tags", "red", "--bucket", FORGED, *at)
        call("get", FORGED * 100, *at)
        call("evict", FORGED, "--yes", *operators)
        call("rescue", "drop", f"../{FORGED}", "--yes", *operators)
        call("join", f"127.0.0.1:1{FORGED}", *operators)
        assert node.end() == 0
    finally:
        node.end(signal.SIGKILL)
    assert node.stderr.count("all is well") >= 3, "names do reach the log"
    assert "\x1b" not in node.stderr and "\r" not in node.stderr
    lines = [line for line in node.stderr.splitlines() if line]
    for line in lines:
        assert not line.startswith("2026-01-01 00:00:00,000"), line
        if form == "json" and line.startswith("{"):
            json.loads(line)
    shape = r"\{" if form == "json" else r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ \S+: |crdtsync: \S+ is ready: "
    assert [line for line in lines if not re.match(shape, line)] == []


# ---- a full disk


@pytest.mark.parametrize("size", ["4k", "16k", "64k", "1m"])
def test_a_start_that_the_disk_had_no_room_for_works_when_there_is_some(tmp_path: Path, size: str) -> None:
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.strip()}")
    try:
        for _ in range(2):
            with pytest.raises(DiskFull, match="There is no room"):
                open_node(place / "store")
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        fill(place / "store")
        assert not list(place.rglob("*.new*"))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


# ---- pipes


@pytest.mark.parametrize(
    "arguments",
    [
        ["backup", "verify", "PIPE"],
        ["backup", "restore", "PIPE", "new"],
        ["config", "validate", "PIPE"],
        ["config", "show", "--config", "PIPE"],
        ["tls", "inspect", "PIPE"],
        ["import", "-", "--resume", "PIPE"],
        ["export", "--to", "new", "--resume", "PIPE"],
    ],
)
@pytest.mark.parametrize("kind", ["named pipe", "device", "directory"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, arguments: list[str], kind: str) -> None:
    pipe = tmp_path / "pipe"
    if kind == "named pipe":
        os.mkfifo(pipe)
    elif kind == "directory":
        pipe.mkdir()
    else:
        pipe = Path("/dev/zero")
    places = {"PIPE": str(pipe), "new": str(tmp_path / "new")}
    done = call(*(places.get(each, each) for each in arguments))
    assert done.code == 2 and kind in done.err, done.err
    assert not (tmp_path / "new").exists()


def test_an_import_reads_a_pipe(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    line = '{"key":"k","type":"pncounter","value":12}\n'
    with subprocess.Popen(["sh", "-c", f"echo '{line.strip()}' > {tmp_path}/pipe"]):
        assert run("import", str(tmp_path / "pipe")).code == 0
    assert run("get", "k", "--type", "pncounter").out == "12\n"
    variables = {name: os.environ[name] for name in ("CRDTSYNC_NODE", "CRDTSYNC_BUCKET")}
    assert command("import", "-", stdin=line, **variables).code == 0
    assert run("get", "k", "--type", "pncounter").out == "24\n"
