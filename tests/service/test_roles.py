"""Over TLS the Admin service is open to operators and nodes; data to whoever has a certificate of the authority."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

import crdtsync
from crdtsync.security.making import Pair
from crdtsync.transport.pb import admin_pb2 as admin
from crdtsync.transport.pb import data_pb2 as pb
from tests.security.support import client_pair, node_pair, operator_pair, settings, write
from tests.service.caller import Caller, Refused
from tests.service.test_standing import secure

METHODS = sorted(admin.DESCRIPTOR.services_by_name["Admin"].methods_by_name)
ANYBODY: list[Callable[[str], Pair]] = [client_pair, operator_pair, node_pair]


class Secured(NamedTuple):
    """A node with TLS, whose Admin service is on TCP."""

    node: crdtsync.Node
    server: crdtsync.Server
    asked_to_stop: threading.Event

    def caller(self, pair: Pair) -> Caller:
        """Of the listener for operators."""
        caller = Caller("unused:1")
        caller.channel.close()
        caller.channel = secure(self.server.admin_address, pair)
        return caller


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    asked = threading.Event()
    tls = settings(write(tmp_path / "tls", node_pair("a")))
    with (
        crdtsync.open(None, **tls) as node,
        crdtsync.serve(node, admin="127.0.0.1:0", on_stop=asked.set) as server,
    ):
        yield Secured(node, server, asked)


def request(method: str) -> Any:
    described = admin.DESCRIPTOR.services_by_name["Admin"].methods_by_name[method]
    made = getattr(admin, described.input_type.name)()
    return iter([made]) if described.client_streaming else made


@pytest.mark.parametrize("method", METHODS)
def test_no_call_of_admin_is_open_to_a_client(secured: Secured, method: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        secured.caller(client_pair("shop")) as caller,
        caplog.at_level(logging.INFO, "crdtsync.node"),
        pytest.raises(Refused, match=f"Admin.{method} is for operators and nodes") as refused,
    ):
        caller.call(method, request(method))
    assert (refused.value.name, refused.value.code) == ("RefusedRole", grpc.StatusCode.PERMISSION_DENIED)
    assert "that of client 'shop'" in caplog.text
    assert secured.node.status()["counters"]["refused_role"] == 1
    assert not secured.asked_to_stop.is_set() and secured.node.state == "member"


@pytest.mark.parametrize("pair", [operator_pair, node_pair])
def test_operators_and_nodes_are_let_in(secured: Secured, pair: Callable[[str], Pair]) -> None:
    with secured.caller(pair("b")) as caller:
        assert caller.call("Status", admin.StatusRequest()).json
        assert caller.call("Backup", admin.BackupRequest())
        caller.call("Stop", admin.StopRequest())
    assert secured.asked_to_stop.wait(20)
    assert "refused_role" not in secured.node.status()["counters"]


@pytest.mark.parametrize("pair", ANYBODY)
def test_data_is_for_all_on_either_listener(secured: Secured, pair: Callable[[str], Pair]) -> None:
    for address in (secured.server.address, secured.server.admin_address):
        with secure(address, pair("b")) as channel:
            answer = channel.unary_unary("/crdtsync.v1.Data/Describe")(b"", timeout=20)
            assert pb.DescribeResponse.FromString(answer).node == "a"


@pytest.mark.parametrize("pair", [None, operator_pair("b", ca="other"), operator_pair("b", days=-1)])
def test_nobody_is_an_operator_without_the_authority(secured: Secured, pair: Pair | None) -> None:
    with secure(secured.server.admin_address, pair) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/crdtsync.v1.Admin/Members")(b"", timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
