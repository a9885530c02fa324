"""The Admin service: apart from the Data service, and each of its calls against the node that it is about."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

import crdtsync
from crdtsync.errors import JoinError, MembershipMisuse, StartingOver
from crdtsync.transport.pb import admin_pb2 as pb
from tests.integration.waiting import until
from tests.service.caller import Caller, Refused

QUICK = {"heartbeat_interval": 0.1, "pull_interval": 0.1, "reconnect_max": 0.2, "close_timeout": 1.0}


@contextmanager
def opened(name: str, **more: Any) -> Iterator[crdtsync.Node]:
    with crdtsync.open(None, name=name, listen="127.0.0.1:0", **QUICK | more) as node:
        yield node


@contextmanager
def administered(node: crdtsync.Node, tmp_path: Path, **settings: Any) -> Iterator[Caller]:
    server = crdtsync.serve(node, serve="", admin=f"unix:{tmp_path}/{node.name}", **settings)
    with server, Caller(server.admin_address) as caller:
        yield caller


def test_operators_are_not_heard_on_the_data_listener(caller: Caller) -> None:
    with pytest.raises(Refused) as refused:
        caller.call("Evict", pb.EvictRequest(node="b", force=True))
    assert refused.value.code == grpc.StatusCode.UNIMPLEMENTED


def test_status_and_members_are_those_of_the_node(node: crdtsync.Node, operator: Caller) -> None:
    told = json.loads(operator.call("Status", pb.StatusRequest()).json)
    assert told.keys() == node.status().keys()
    assert (told["node"], told["service"][0]["methods"]["Admin.Status"]["calls"]) == ("a", 1)
    assert not operator.call("Members", pb.MembersRequest()).members  # it has never met anybody


def test_a_lone_node_joins_with_what_it_holds_and_comes_back_after_leaving(tmp_path: Path) -> None:
    with opened("a") as a, opened("b") as b, administered(b, tmp_path) as operator:
        a.pncounter("x").increment(1)
        b.pncounter("x").increment(2)
        assert operator.call("Join", pb.JoinClusterRequest(addresses=[a.address])).state == "member"
        until(lambda: a.pncounter("x").value == b.pncounter("x").value == 3, 20)
        members = operator.call("Members", pb.MembersRequest()).members
        assert [(member.node, member.state) for member in members] == [("a", "member"), ("b", "member")]
        operator.call("Leave", pb.LeaveRequest())
        assert b.state == "left"
        with pytest.raises(MembershipMisuse):
            b.pncounter("x").increment()
        a.pncounter("x").increment(4)
        assert operator.call("Join", pb.JoinClusterRequest(addresses=[a.address])).state == "member"
        b.pncounter("x").increment(8)
        until(lambda: a.pncounter("x").value == b.pncounter("x").value == 15, 20)


def test_a_join_that_nobody_answers_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with opened("a") as a, administered(a, tmp_path) as operator:
        a.flag("f").enable()
        with pytest.raises(Refused) as refused:
            operator.call("Join", pb.JoinClusterRequest(addresses=["127.0.0.1:1"], timeout_ms=200))
        assert (refused.value.name, refused.value.code) == ("JoinError", grpc.StatusCode.UNAVAILABLE)
        until(lambda: a.state == "member", 10)
        a.flag("g").enable()


def test_a_node_that_joins_takes_no_writes(tmp_path: Path) -> None:
    with opened("a") as a:
        done: list[Any] = []

        def join() -> None:
            with pytest.raises(JoinError):
                a.join("127.0.0.1:1", timeout=0.5)
            done.append(1)

        joining = threading.Thread(target=join)
        joining.start()
        until(lambda: a.state == "joining", 10)
        with pytest.raises(StartingOver):
            a.flag("f").enable()
        joining.join()
        assert done


def test_a_member_of_one_cluster_is_refused_by_another(tmp_path: Path) -> None:
    with opened("a") as a, opened("b", join=a.address), opened("c") as c, opened("d", join=c.address):
        with administered(a, tmp_path) as operator, pytest.raises(Refused, match="cluster") as refused:
            operator.call("Join", pb.JoinClusterRequest(addresses=[c.address], timeout_ms=500))
        assert refused.value.name == "JoinError"
        assert a.state == "member" and set(a.members()) == {"a", "b"}


def test_joining_makes_no_sense_without_a_network(operator: Caller) -> None:
    with pytest.raises(Refused) as refused:
        operator.call("Join", pb.JoinClusterRequest(addresses=["127.0.0.1:1"]))
    assert (refused.value.name, refused.value.code) == ("MembershipMisuse", grpc.StatusCode.FAILED_PRECONDITION)


def test_evicting_needs_a_member_and_a_majority(tmp_path: Path) -> None:
    with opened("a") as a, administered(a, tmp_path) as operator:
        with opened("b", join=a.address):
            pass
        for node, name in (("nobody", "MembershipMisuse"), ("", "BadRequest"), ("b", "QuorumMissing")):
            with pytest.raises(Refused) as refused:
                operator.call("Evict", pb.EvictRequest(node=node))
            assert refused.value.name == name
        operator.call("Evict", pb.EvictRequest(node="b", force=True))
        assert a.members()["b"]["state"] == "evicted"


@pytest.mark.parametrize("name", ["", "nothing", "../../etc/passwd", "rescue-\n"])
def test_rescue_files_that_there_are_not(operator: Caller, name: str) -> None:
    assert operator.call("ListRescue", pb.ListRescueRequest(contents=True)).json == "[]"
    replay, drop = pb.ReplayRescueRequest(name=name), pb.DropRescueRequest(name=name)
    for call, request in (("ReplayRescue", replay), ("DropRescue", drop)):
        with pytest.raises(Refused) as refused:
            operator.call(call, request)
        assert refused.value.name == "MembershipMisuse"


def test_a_backup_is_streamed_and_merged_again(tmp_path: Path) -> None:
    with opened("a") as a, opened("b", join=a.address), administered(a, tmp_path) as operator:
        a.orset("s").update(range(500))
        pieces = operator.call("Backup", pb.BackupRequest())
        whole = b"".join(piece.data for piece in pieces)
        half = len(whole) // 2
        chunks = [pb.RestoreChunk(data=whole[:half]), pb.RestoreChunk(data=whole[half:], last=True)]
        assert isinstance(json.loads(operator.call("Restore", iter(chunks)).json), dict)
        assert len(a.orset("s")) == 500


@pytest.mark.parametrize(
    ("chunks", "name"),
    [
        ([], "BadRequest"),
        ([pb.RestoreChunk(data=b"half")], "BadRequest"),
        ([pb.RestoreChunk(data=b"no backup", last=True)], "BackupDamaged"),
        ([pb.RestoreChunk(data=b"x" * 2000, last=True)], "ValueTooLarge"),
        ([b"\xff\xff\xff"], "BadRequest"),
    ],
)
def test_a_restore_of_what_is_no_backup_changes_nothing(
    node: crdtsync.Node, tmp_path: Path, chunks: list[Any], name: str
) -> None:
    with administered(node, tmp_path, restore_bytes_max=1000) as operator:
        before = node.digest()
        with pytest.raises(Refused) as refused:
            operator.call("Restore", iter(chunks))
        assert (refused.value.name, node.digest()) == (name, before)


def test_a_backup_that_nobody_takes_is_let_go_of(tmp_path: Path) -> None:
    with opened("a") as a, opened("b", join=a.address), administered(a, tmp_path, page_bytes=1024) as operator:
        a.orset("s").update(range(5000))
        backup = operator.start("Backup", pb.BackupRequest())
        next(backup)
        backup.cancel()
        until(lambda: a.status()["service"][0]["running"] == 0, 10)
        assert operator.call("Backup", pb.BackupRequest())


def test_stopping_is_up_to_the_program_around_the_node(node: crdtsync.Node, operator: Caller, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        operator.call("Stop", pb.StopRequest())
    assert (refused.value.name, refused.value.code) == ("NotOffered", grpc.StatusCode.UNIMPLEMENTED)
    asked = threading.Event()
    with crdtsync.serve(node, serve="", admin=f"unix:{tmp_path}/other", on_stop=asked.set) as server:
        with Caller(server.admin_address) as other:
            other.call("Stop", pb.StopRequest())
        assert asked.wait(10)
