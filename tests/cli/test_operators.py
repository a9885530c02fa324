"""The cluster commands, on nodes that run as processes: they join, leave, are evicted, come back with a rescue file."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import crdtsync
from crdtsync.errors import BadFrame
from crdtsync.ops.cli.options import Remote
from crdtsync.ops.cli.status import show
from crdtsync.ops.cli.summary import duration, lines, size
from crdtsync.ops.operator import Operator
from crdtsync.transport.pb import admin_pb2 as admin
from tests.cli.running import PATIENCE, Done, Process, call, command, environment, started

QUICK = ("--heartbeat-interval", "100ms", "--pull-interval", "100ms", "--collect-interval", "100ms")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[Process]:
    with started(folder / "a", "--name", "alpha", *QUICK) as node:
        yield node
        assert node.end() == 0


@pytest.fixture(scope="module")
def second(folder: Path, first: Process) -> Iterator[Process]:
    with started(folder / "b", "--name", "beta", "--join", first.addresses["peers"], *QUICK) as node:
        yield node
        assert node.end() == 0


def on(node: Process, *arguments: str) -> Done:
    """Say something to a node, at its socket for operators."""
    return call(*arguments, "--node", node.addresses["operators"])


def told(node: Process, *arguments: str) -> Any:
    done = on(node, *arguments, "--output", "json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def states(node: Process) -> dict[str, str]:
    return {row["node"]: row["state"] for row in told(node, "members")}


def test_status_for_people_and_for_programs(first: Process, second: Process) -> None:
    assert on(second, "incr", "stock", "12").code == 0
    until(lambda: told(first, "status")["peers"].get("beta", {}).get("lag") == {"default": 0})
    shown = on(first, "status")
    assert (shown.code, shown.err) == (0, "")
    rows = {line.split()[0]: line for line in shown.out.splitlines() if line}
    assert "member, cluster" in shown.out.splitlines()[0]
    assert "this node" in rows["alpha"] or "this node" in shown.out
    where = first.addresses
    assert f"peers {where['peers']}, programs {where['programs']}, operators {where['operators']}\n" in shown.out
    assert first.addresses["peers"] in shown.out and second.addresses["peers"] in shown.out
    assert " up " in rows["beta"] and rows["default"].split()[1] == "1"
    status = told(first, "status")
    assert (status["node"], status["state"], set(status["members"])) == ("alpha", "member", {"alpha", "beta"})
    members = on(second, "members").out.splitlines()
    assert members[0].split() == ["NODE", "STATE", "ADDRESS", "EPOCH"]
    assert [line.split()[:2] for line in members[1:]] == [["alpha", "member"], ["beta", "member"]]


def test_status_again_and_again_until_interrupt(first: Process) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "crdtsync", "status", "--watch", "0.1", "-o", "ndjson", "--node",
         first.addresses["operators"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    ups = [json.loads(process.stdout.readline())["up_seconds"] for _ in range(3)]
    assert ups == sorted(ups)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "Traceback" not in err


def test_operators_must_name_one_node_and_its_right_address(first: Process, folder: Path) -> None:
    for name in ("status", "members", "leave", "stop"):
        assert call(name).code == 2
    done = call("status", "--node", first.addresses["programs"])
    assert (done.code, done.out) == (3, "") and "serves programs, not operators" in done.err
    done = call("members", "--node", str(folder / "a"), "--node", str(folder / "b"))
    assert done.code == 2 and "one node" in done.err


def test_a_node_joins_leaves_and_stops(first: Process, second: Process, folder: Path) -> None:
    with started(folder / "d", "--name", "delta", *QUICK) as node:
        missing = on(node, "join", "127.0.0.1:1", "--wait", "0.3")
        assert (missing.code, missing.out) == (3, "") and "127.0.0.1:1" in missing.err
        assert on(node, "leave").code == 2  # it is alone
        joined = on(node, "join", first.addresses["peers"])
        assert joined == Done(0, "", "The node is now: member.\n")
        until(lambda: states(second).get("delta") == "member")
        assert on(node, "incr", "from-delta").code == 0
        assert on(node, "leave").code == 0
        until(lambda: states(second)["delta"] == "left")
        assert on(second, "get", "from-delta", "--type", "pncounter").out == "1\n"
        refused = on(node, "incr", "late", "--timeout", "1")
        assert refused.code != 0 and refused.out == ""
        assert on(node, "stop") == Done(0, "", "The node is stopping.\n")
        assert node.wait() == 0
        assert "stopping on an operator's request" in node.stderr
        assert call("status", "--node", str(folder / "d")).code == 3


def test_a_member_that_is_evicted_comes_back_with_a_rescue_file(first: Process, second: Process, folder: Path) -> None:
    peers = first.addresses["peers"]
    with started(folder / "c", "--name", "gamma", "--join", peers, *QUICK) as node:
        assert on(node, "add", "tags", "seen").code == 0
        until(lambda: on(first, "get", "tags").code == 0)
        assert node.end(signal.SIGKILL) == -signal.SIGKILL
    with crdtsync.open(folder / "c") as alone:  # it goes on where nobody hears it
        alone.orset("tags").add(b"unheard")
        alone.pncounter("stock").increment(100)
    assert on(first, "evict", "gamma").code == 2  # nobody can be asked
    assert on(first, "evict", "nobody", "--yes").code == 2
    assert on(first, "evict", "gamma", "--yes") == Done(0, "", "gamma is evicted.\n")
    until(lambda: states(second)["gamma"] == "evicted")
    with started(folder / "c", "--join", peers, *QUICK) as node:
        until(lambda: bool(told(node, "rescue", "show")))
        (file,) = told(node, "rescue", "show")
        assert file["node"] == "gamma" and file["rows"] == 2 and "objects" not in file
        assert file["name"] in on(node, "rescue", "show").out
        assert "rescue file" in on(node, "status").out
        (whole,) = told(node, "rescue", "show", "--contents")
        values = {each["key"]: each["value"] for each in whole["objects"]}
        assert values == {"stock": 100, "tags": {"$set": [{"$bytes": "dW5oZWFyZA=="}]}}
        assert on(node, "rescue", "show", "--contents").code == 2
        assert on(node, "rescue", "replay", "nothing").code == 2
        until(lambda: told(node, "status")["state"] == "member")
        assert on(node, "rescue", "replay", file["name"]).out == "2 rows applied, 0 skipped\n"
        assert on(node, "rescue", "show") == Done(0, "", "There is no rescue file.\n")
        assert on(node, "rescue", "drop", file["name"], "--yes").code == 2
        assert node.end() == 0
    until(lambda: on(first, "get", "tags", "--type", "orset").out == 'seen\n{"$bytes": "dW5oZWFyZA=="}\n')


def test_a_minority_needs_force(folder: Path, tmp_path: Path) -> None:
    with started(tmp_path / "x", "--name", "x", *QUICK) as one:
        with started(tmp_path / "y", "--name", "y", "--join", one.addresses["peers"], *QUICK) as other:
            other.end(signal.SIGKILL)
        until(lambda: told(one, "status")["reachable"] == [])
        refused = on(one, "evict", "y", "--yes")
        assert refused.code == 1 and "force" in refused.err
        assert on(one, "evict", "y", "--yes", "--force").code == 0
        assert on(one, "rescue", "drop", "none", "--yes").code == 2


def test_evict_asks_on_a_terminal(first: Process, second: Process) -> None:
    """Under a terminal of its own: the question is on standard error, and "no" changes nothing."""
    parent, child = pty.openpty()
    arguments = ["evict", "beta", "--node", first.addresses["operators"]]
    process = subprocess.Popen(
        [sys.executable, "-m", "crdtsync", *arguments], stdin=child, stdout=subprocess.PIPE, stderr=child,
        env=environment(),
    )  # fmt: skip
    os.close(child)
    shown = b""
    while b"for good?" not in shown and select.select([parent], [], [], PATIENCE)[0]:
        shown += os.read(parent, 1000)
    assert b"Evict beta for good?" in shown
    os.write(parent, b"n\n")
    out, _ = process.communicate(timeout=PATIENCE)
    os.close(parent)
    assert (process.returncode, out) == (130, b"")
    assert states(first)["beta"] == "member"


# ---- the summary


def test_figures_as_people_say_them() -> None:
    assert [duration(each) for each in (0.04, 59, 150, 7300, 200_000)] == ["0.0 s", "59 s", "2 min", "2 h", "2 d"]
    assert [size(each) for each in (0, 1023, 1024, 5 * 2**30)] == ["0 B", "1,023 B", "1.0 KiB", "5.0 GiB"]


def test_a_status_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    remote = Remote((), 1.0, "table")
    with crdtsync.open(None, name="a") as node:
        whole = node.status()
    for status in ({}, {**whole, "storage": None}, {**whole, "members": {"b": {}}}, {**whole, "up_seconds": "x"}):
        with pytest.raises(BadFrame, match="is not what this version shows"):
            show(status, remote, False)
    assert capsys.readouterr().out == ""
    for text in ("", "[]", "[" * 100_000, "null"):
        line = SimpleNamespace(
            caller=SimpleNamespace(make=lambda *_: None),
            run=lambda _, text=text: SimpleNamespace(answers=[admin.StatusResponse(json=text).SerializeToString()]),
        )
        with pytest.raises(BadFrame, match="JSON"):
            Operator(SimpleNamespace(_line=line)).status()  # type: ignore[arg-type]


def test_the_summary_tells_what_is_wrong() -> None:
    with crdtsync.open(None, name="a") as node:
        status = node.status()
    assert not any(line.startswith("!") for line in lines(status))
    assert "Nothing has been written yet." in list(lines(status))
    peer = {"state": "down", "last_heard": 130.0, "skew": 77.0, "skew_alarm": True, "lag": {"default": 3}, "behind": {}}
    peer["lag_seconds"] = 130.0
    status["unreachable"] = {"127.0.0.1:1": {"reason": "Connection refused.", "times": 7}}
    status["tls"] = {"days_left": 3.0, "not_after": "2026-01-31T00:00:00Z", "last_error": "expired"}
    status["members"] = {"b\x1b": {"state": "member\x1b", "address": "\x1b:1"}}
    status["state"] = status["encryption"] = "\x1b"
    status["peers"], status["rescue"] = {"b\x1b": peer}, ["rescue-1"]
    status["storage"]["damaged_rows"], status["lateness"] = 2, 5.0
    status["storage"] |= {"checkpoint_error": "There is no room.", "journal_error": "EIO \x1b", "disk_free_bytes": 0}
    shown = list(lines(status))
    assert sum(line.startswith("!") for line in shown) == 9
    assert "! The last checkpoint failed, with 0 B free: There is no room." in shown
    assert not any("\x1b" in line for line in shown)
    assert any("down for 2 min  3 (2 min)" in line and "+77.000 s" in line for line in shown)


def test_status_as_a_process_has_no_colours_without_a_terminal(first: Process) -> None:
    done = command("status", "--node", first.addresses["operators"])
    assert done.code == 0 and "\x1b" not in done.out
