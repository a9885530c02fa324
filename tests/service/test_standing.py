"""What every listener has besides its calls: addresses, socket files, TLS, health, reflection."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import crdtsync
from crdtsync.errors import Closed, ConfigError, InsecureAddress, ListenFailed
from crdtsync.security.identity import ANY_NODE
from crdtsync.security.making import Pair
from crdtsync.transport.pb import data_pb2 as pb
from tests.integration.waiting import until
from tests.security.support import authority, client_pair, node_pair, settings, write
from tests.service.caller import Caller, add

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


# ---- addresses


def test_two_servers_of_one_node_and_none_at_a_taken_port(node: crdtsync.Node, server: crdtsync.Server) -> None:
    with crdtsync.serve(node) as other:
        assert other.address != server.address
        assert len(node.status()["service"]) == 2
    with pytest.raises(ListenFailed):
        crdtsync.serve(node, serve=server.address)
    assert len(node.status()["service"]) == 1


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
@pytest.mark.parametrize("what", ["serve", "admin"])
def test_plaintext_beyond_loopback_must_be_named(node: crdtsync.Node, what: str, address: str) -> None:
    with pytest.raises(InsecureAddress):
        crdtsync.serve(node, **{what: address})
    assert node.status()["service"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"serve": "nowhere"}, {"serve": "127.0.0.1:99999"}, {"serve": "", "admin": ""}, {"serve": "unix:"},
        {"calls_max": 0}, {"page_bytes": 1 << 30}, {"message_bytes_max": 1000}, {"workers": "many"}, {"sevre": "x"},
    ],
)  # fmt: skip
def test_wrong_settings_are_told_by_name(node: crdtsync.Node, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        crdtsync.serve(node, **wrong)


def test_a_socket_file_is_this_users_alone_and_goes_with_the_server(node: crdtsync.Node, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with crdtsync.serve(node, serve=f"unix:{path}") as server, Caller(server.address) as caller:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert caller.call("Describe", pb.DescribeRequest()).node == "a"
        with pytest.raises(ListenFailed, match="somebody"):
            crdtsync.serve(node, serve=f"unix:{path}")
        assert caller.call("Describe", pb.DescribeRequest()).node == "a"
    assert list(tmp_path.iterdir()) == []


def test_a_socket_file_that_was_left_behind_is_replaced_and_nothing_else(node: crdtsync.Node, tmp_path: Path) -> None:
    stale, file = tmp_path / "stale", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    file.write_text("mine")
    with crdtsync.serve(node, serve=f"unix:{stale}") as server, Caller(server.address) as caller:
        assert caller.call("Describe", pb.DescribeRequest()).node == "a"
    with pytest.raises(ListenFailed, match="no socket"):
        crdtsync.serve(node, serve=f"unix:{file}")
    with pytest.raises(ListenFailed):
        crdtsync.serve(node, serve=f"unix:{tmp_path}/nowhere/s")
    with pytest.raises(ConfigError, match="107"):
        crdtsync.serve(node, serve=f"unix:{tmp_path}/{'x' * 100}")
    assert file.read_text() == "mine"


def test_a_closed_node_is_not_served() -> None:
    node = crdtsync.open(None)
    server = crdtsync.serve(node)
    node.close()
    with pytest.raises(Closed):
        crdtsync.serve(node)
    server.stop()


def test_without_the_packages_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['grpc_health'] = None; import crdtsync\n"
        "try: crdtsync.serve\n"
        "except crdtsync.errors.ConfigError as error: assert 'crdtsync[server]' in str(error)\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---- TLS


def secure(address: str, pair: Pair | None, ca: str = "test") -> grpc.Channel:
    own = (pair.key, pair.cert) if pair is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(authority(ca).cert, *own)
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", ANY_NODE)])


def test_over_tls_a_caller_has_a_certificate_of_the_authority(tmp_path: Path) -> None:
    paths = write(tmp_path / "tls", node_pair("a"))
    describe = "/crdtsync.v1.Data/Describe"
    with crdtsync.open(None, name="a", **settings(paths)) as node:
        server = crdtsync.serve(node, serve="0.0.0.0:0", admin=f"unix:{tmp_path}/s")
        with server:
            address = server.address.replace("0.0.0.0", "127.0.0.1")
            for good in (client_pair("shop"), node_pair("b")):
                with secure(address, good) as channel:
                    assert b"a" in channel.unary_unary(describe)(b"", timeout=20)
            for bad in (None, client_pair("shop", ca="other"), client_pair("shop", days=-1)):
                with secure(address, bad) as channel, pytest.raises(grpc.RpcError) as refused:
                    channel.unary_unary(describe)(b"", timeout=20)
                assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
                channel.unary_unary(describe)(b"", timeout=20)
            with Caller(server.admin_address) as local:  # what stays on the machine is guarded by the file's mode
                assert local.call("Describe", pb.DescribeRequest()).node == "a"
            assert node.status()["service"][0]["encryption"] == "tls"


# ---- health


def health(caller: Caller, service: str = "") -> int:
    check = caller.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    return int(check(health_pb2.HealthCheckRequest(service=service), timeout=20).status)


def test_health_says_whether_the_node_takes_writes(tmp_path: Path) -> None:
    quick = {"heartbeat_interval": 0.1, "close_timeout": 1.0}
    with crdtsync.open(None, listen="127.0.0.1:0", **quick) as a:
        b = crdtsync.open(None, listen="127.0.0.1:0", join=a.address, **quick)
        with b, crdtsync.serve(b) as server, Caller(server.address) as caller:
            assert health(caller) == health(caller, "crdtsync.v1.Data") == SERVING
            with pytest.raises(grpc.RpcError) as unknown:
                health(caller, "crdtsync.v1.Admin")
            assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
            b.leave(20)
            until(lambda: health(caller) == NOT_SERVING, 10)


# ---- reflection


def test_a_caller_that_knows_nothing_writes_and_reads(node: crdtsync.Node, server: crdtsync.Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"crdtsync.v1.Data", "grpc.health.v1.Health"} <= set(database.get_services())
        assert "crdtsync.v1.Admin" not in database.get_services()
        service = DescriptorPool(database).FindServiceByName("crdtsync.v1.Data")

        def call(name: str, **fields: Any) -> Any:
            method = service.methods_by_name[name]
            request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            made = channel.unary_unary(f"/{service.full_name}/{name}", request.SerializeToString, response.FromString)
            return made(request(**fields), timeout=20)

        where = {"key": "stock", "type": "pncounter"}
        call("Apply", operations=[{"place": where, "verb": "pncounter.add", "argument": {"integer": 12}}])
        answer = call("Read", queries=[{"place": where, "value": True}])
        assert answer.results[0].value.integer == node.pncounter("stock").value == 12


def test_both_names_of_reflection_answer_and_tell_of_admin_where_it_is(operator: Caller) -> None:
    from grpc_reflection.v1alpha import reflection_pb2

    for name in ("v1", "v1alpha"):
        ask = operator.channel.stream_stream(
            f"/grpc.reflection.{name}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        (answer,) = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=20)
        assert "crdtsync.v1.Admin" in {service.name for service in answer.list_services_response.service}


def test_every_service_that_is_listed_is_described(operator: Caller) -> None:
    database = ProtoReflectionDescriptorDatabase(operator.channel)
    pool, names = DescriptorPool(database), list(database.get_services())
    assert len(names) == 5 and all(pool.FindServiceByName(name).methods for name in names)
    answers = pool.FindServiceByName("grpc.reflection.v1.ServerReflection").methods[0].output_type
    assert answers.full_name == "grpc.reflection.v1.ServerReflectionResponse"


# ---- durability


def test_with_durability_each_an_answer_comes_from_the_disk(tmp_path: Path) -> None:
    with crdtsync.open(tmp_path / "data", durability="each") as node:
        server = crdtsync.serve(node)
        with server, Caller(server.address) as caller:
            waiting = [caller.start("Apply", pb.ApplyRequest(operations=[add("x")])) for _ in range(50)]
            for each in waiting:
                each.result()
            store = node.local.store
            assert store.synced_record == store.last_record
            assert node.pncounter("x").value == 50
