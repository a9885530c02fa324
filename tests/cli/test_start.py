"""`crdtsync start`: a node as a process, from its first line to its end, and what stands in its way."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import crdtsync
from tests.cli.running import PATIENCE, Process, call, command, started
from tests.integration.waiting import until
from tests.service.caller import Caller, add


def test_it_says_where_it_is_and_stops_on_sigterm(tmp_path: Path) -> None:
    with started(tmp_path / "a", "--name", "alpha") as node:
        assert node.name == "alpha"
        assert set(node.addresses) == {"peers", "programs", "operators"}
        assert node.addresses["operators"] == f"unix:{tmp_path}/a/admin.sock"
        assert f"crdtsync status --node {tmp_path}/a" in node.stderr
        assert (tmp_path / "a" / "admin.sock").is_socket()
        assert node.end(signal.SIGTERM) == 0
    assert not (tmp_path / "a" / "admin.sock").exists()
    crdtsync.open(tmp_path / "a").close()  # the directory was let go


def test_interrupt_is_status_130(tmp_path: Path) -> None:
    with started(tmp_path / "a") as node:
        assert node.end(signal.SIGINT) == 130


def test_what_was_written_is_pushed_before_the_end(tmp_path: Path) -> None:
    """The only peer stands still while more is written than connections hold: the last of it has not been sent when the
    node is told to end, and arrives all the same once the peer goes on.
    """
    with started(tmp_path / "b", "--pull-interval", "10min") as peer:
        never = ("--push-delay", "10min", "--pull-interval", "10min", "--heartbeat-interval", "10min")
        patient = ("--close-timeout", "50s", "--stop-timeout", "55s", "--keepalive-timeout", "10min")
        with started(tmp_path / "a", "--join", peer.addresses["peers"], *never, *patient) as node:
            peer.send(signal.SIGSTOP)
            try:
                with crdtsync.connect(node.addresses["programs"]) as client:
                    for number in range(48):
                        client.lwwregister(f"k{number:02d}").set(bytes([number]) * 2**19)
                    client.pncounter("last").increment(7)
                node.send(signal.SIGTERM)
                node.wait_for("stopping on SIGTERM")
            finally:
                peer.send(signal.SIGCONT)
            assert node.wait() == 0
        assert peer.end(signal.SIGKILL) == -signal.SIGKILL  # what it has now it got before the end
    with crdtsync.open(tmp_path / "b") as again:
        assert again.pncounter("last").value == 7


def test_a_retry_after_a_kill_is_answered_as_before(tmp_path: Path) -> None:
    def ask(node: Process) -> list[tuple[str, bool]]:
        with Caller(node.addresses["programs"]) as caller:
            answers = [caller.apply(add("n", 7), request_id=f"order-{number}") for number in range(20)]
        return [(answer.token, answer.repeated) for answer in answers]

    with started(tmp_path / "a") as node:
        first = ask(node)
        assert not any(repeated for _, repeated in first)
        assert node.end(signal.SIGKILL) == -signal.SIGKILL
    with started(tmp_path / "a") as node:
        assert ask(node) == [(token, True) for token, _ in first]
        assert node.end() == 0
    with crdtsync.open(tmp_path / "a") as again:
        assert again.pncounter("n").value == 140


def sent_or_ended(node: Process) -> bool:
    """Whether it has ended; another SIGTERM if not."""
    if node.process.poll() is None:
        node.send(signal.SIGTERM)
    return node.process.poll() is not None


def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    """The first one has it wait for a peer that takes nothing any more."""
    with started(tmp_path / "a") as first:
        peer = first.addresses["peers"]
        with started(tmp_path / "b", "--join", peer, "--close-timeout", "10min", "--stop-timeout", "10min") as second:
            first.send(signal.SIGSTOP)
            try:
                with Caller(second.addresses["programs"]) as caller:
                    caller.apply(add("last", 7))
                second.send(signal.SIGTERM)
                second.wait_for("stopping on SIGTERM")
                until(lambda: sent_or_ended(second), PATIENCE)
                assert second.wait() == 128 + signal.SIGTERM
            finally:
                first.send(signal.SIGCONT)
            assert "the journal holds what was acknowledged" in second.stderr
    with crdtsync.open(tmp_path / "b") as again:
        assert again.pncounter("last").value == 7


def test_two_signals_at_the_same_time_are_one(tmp_path: Path) -> None:
    with started(tmp_path / "a") as node:
        node.send(signal.SIGTERM)
        node.send(signal.SIGHUP)
        assert node.wait() == 0
        assert "at once" not in node.stderr


def test_stopping_has_a_deadline(tmp_path: Path) -> None:
    with started(tmp_path / "a") as first:
        peer = first.addresses["peers"]
        with started(tmp_path / "b", "--join", peer, "--close-timeout", "10min", "--stop-timeout", "100ms") as second:
            first.send(signal.SIGSTOP)
            try:
                with Caller(second.addresses["programs"]) as caller:
                    caller.apply(add("last", 7))
                assert second.end(signal.SIGTERM) == 1
            finally:
                first.send(signal.SIGCONT)
            assert "ended at once" in second.stderr


def test_a_signal_while_it_waits_to_join_ends_it(tmp_path: Path) -> None:
    node = Process(str(tmp_path / "a"), "--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0", "--join", "127.0.0.1:1")
    node.wait_for("joining")
    assert node.end(signal.SIGINT) == 130
    assert "Traceback" not in node.stderr


def test_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        with started(tmp_path / "a", NOTIFY_SOCKET=str(tmp_path / "notify")) as node:
            assert manager.recv(100) == b"READY=1"
            assert node.end() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_logs_as_json_hold_the_ready_line(tmp_path: Path) -> None:
    node = Process(str(tmp_path / "a"), "--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0", "--log-format", "json")
    node.wait_for("is ready: ")
    assert node.end() == 0
    told = [json.loads(line) for line in node.stderr.splitlines()]
    assert {"ts", "level", "logger", "message"} <= set.intersection(*map(set, told))
    assert "store open" in told[0]["message"] and "stopping on SIGTERM" in told[-1]["message"]
    (name,) = {line["node"] for line in told}
    assert re.fullmatch(r"node-[0-9a-f]{8}", name)


def test_health_is_told_while_it_waits_to_join(tmp_path: Path) -> None:
    free = ("--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
    node = Process(str(tmp_path / "a"), *free, "--join", "127.0.0.1:1")
    address = node.wait_for(r"metrics on http://(\S+)/metrics")[1]
    node.wait_for("joining")

    def get(page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{address}/{page}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert get("livez") == (200, "ok\n")
    assert get("readyz") == (503, "The node's state is joining.\n")
    assert 'crdtsync_node_state{state="joining"} 1.0' in get("metrics")[1]
    assert node.end() == 0 and "Traceback" not in node.stderr


def test_metrics_and_health_are_served(tmp_path: Path) -> None:
    with started(tmp_path / "a", "--metrics", "127.0.0.1:0") as node:
        address = node.addresses["metrics"]
        for page, text in (("readyz", "ok"), ("livez", "ok"), ("metrics", "crdtsync_node_ready 1.0")):
            with urllib.request.urlopen(f"http://{address}/{page}", timeout=PATIENCE) as answer:
                assert text in answer.read().decode()
        assert node.end() == 0
    assert "metrics" in refused(2, str(tmp_path / "b"), "--metrics", "0.0.0.0:0", "--listen", "127.0.0.1:0")
    assert not (tmp_path / "b").exists()


# ---- what stands in its way


def refused(code: int, *arguments: str, **variables: str) -> str:
    """What `crdtsync start` says when it cannot; in one line, with a hint in the next."""
    done = command("start", *arguments, **variables)
    assert (done.code, done.out) == (code, "")
    told = [line for line in done.err.splitlines() if " INFO " not in line and " WARNING " not in line]
    assert told[0].startswith("crdtsync: ") and len(told) <= 2, done.err
    return " ".join(told)


def test_a_directory_in_use(tmp_path: Path) -> None:
    with crdtsync.open(tmp_path / "a"):
        assert "One process per directory" in refused(1, str(tmp_path / "a"))


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        assert taken in refused(3, str(tmp_path / "a"), "--listen", taken)
        assert taken in refused(3, str(tmp_path / "a"), "--listen", "127.0.0.1:0", "--serve", taken)
    with started(tmp_path / "a"):  # nothing of the failed ones is left
        pass


@pytest.mark.parametrize("port", ["--listen", "--serve"])
def test_what_a_start_without_its_port_leaves_joins_at_the_next_one(tmp_path: Path, port: str) -> None:
    """Whether it had been let in before the port was found taken, or not."""
    with started(tmp_path / "x") as first, socket.create_server(("127.0.0.1", 0)) as other:
        joining = ("--listen", "127.0.0.1:0", "--join", first.addresses["peers"])
        told = refused(3, str(tmp_path / "a"), *joining, port, f"127.0.0.1:{other.getsockname()[1]}")
        assert "Address already in use" in told
        with started(tmp_path / "a", *joining) as second:
            listed = command("members", "--node", str(tmp_path / "x"), "-o", "ndjson").out.splitlines()
            states = {member["node"]: member["state"] for member in map(json.loads, listed)}
            assert len(states) == 2 and set(states.values()) == {"member"}
            assert second.end() == 0


def test_a_member_that_is_not_there(tmp_path: Path) -> None:
    free = ("--listen", "127.0.0.1:0", "--serve", "")
    told = refused(3, str(tmp_path / "a"), *free, "--join", "127.0.0.1:1", "--join-timeout", "200ms")
    assert "127.0.0.1:1" in told and "running member" in told


def test_a_directory_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    assert str(tmp_path) in refused(5, str(tmp_path))
    assert str(tmp_path / "thesis.txt") in refused(5, str(tmp_path / "thesis.txt"))


def test_settings_that_are_wrong(tmp_path: Path) -> None:
    assert "flag --fan-out" in refused(2, str(tmp_path / "a"), "--fan-out", "0")
    for arguments, told in (
        ((str(tmp_path / "a"), "--listen", "10.0.0.1:7400"), "encrypted"),
        ((str(tmp_path / "a"), "--server-page-bytes", "1TiB"), "server.page_bytes: flag --server-page-bytes"),
        ((), "DIR"),
    ):
        done = call("start", *arguments)
        assert done.code == 2 and told in done.err
    assert not (tmp_path / "a").exists()


def test_a_socket_whose_path_is_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    told = refused(2, str(deep), "--listen", "127.0.0.1:0", "--serve", "127.0.0.1:0")
    assert "107 bytes" in told and "--admin" in told
    with started(deep, "--admin", f"unix:{tmp_path}/s") as node:
        assert node.addresses["operators"] == f"unix:{tmp_path}/s"


def test_everything_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    lines = (f'directory = "{tmp_path}/a"', 'name = "filed"', 'listen = "127.0.0.1:0"', 'serve = "127.0.0.1:0"')
    file.write_text("\n".join([*lines, "[server]", "workers = 2", ""]))
    node = Process("--config", str(file))
    assert node.name == "filed"
    assert node.end() == 0
