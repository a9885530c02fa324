"""A client over TLS: in, kept out with the reason in words, and through a change of certificates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync.errors import CertificateError, Denied
from crdtsync.security.material import Paths
from tests.client.conftest import until
from tests.proxy import Proxy
from tests.security.support import client_pair, node_pair, settings, write

Secured = tuple[crdtsync.Node, crdtsync.Server]


@pytest.fixture
def secured(tmp_path: Path) -> Any:
    paths = write(tmp_path / "n1", node_pair("n1"))
    with crdtsync.open(None, name="n1", tls_reload_interval=0.05, **settings(paths)) as node, crdtsync.serve(
        node, stop_grace=0.1
    ) as server:
        yield node, server


def denied(address: str, paths: Paths | None, **more: Any) -> str:
    """Why a client is kept out, blocking and on asyncio."""
    tls = {} if paths is None else settings(paths)
    with pytest.raises(Denied) as caught:
        crdtsync.connect(address, connect_timeout=2.0, **tls | more)

    async def connect() -> None:
        await crdtsync.aio.connect(address, connect_timeout=2.0, **tls | more)

    with pytest.raises(Denied) as again:
        asyncio.run(connect())
    assert (again.value.message, caught.value.exit_code) == (caught.value.message, 4)
    return caught.value.message


def test_in(secured: Secured, tmp_path: Path) -> None:
    _, server = secured
    paths = write(tmp_path / "c", client_pair("app"))
    for more in ({}, {"tls_node": "n1"}):
        with crdtsync.connect(server.address, **settings(paths), **more) as client:
            client.gcounter("k").increment()

    async def main() -> int:
        async with crdtsync.aio.connect(server.address, **settings(paths)) as client:
            await client.gcounter("k").increment()
            return await client.gcounter("k").value()

    assert asyncio.run(main()) == 3


def test_kept_out(secured: Secured, tmp_path: Path) -> None:
    _, server = secured
    assert "speaks TLS, and this side plaintext" in denied(server.address, None)
    stranger = write(tmp_path / "1", client_pair("app", "other"), "other")
    assert "not signed by an authority" in denied(server.address, stranger)
    stranger = write(tmp_path / "1", client_pair("app", "other"), "other", "test")
    assert "our certificate" in denied(server.address, stranger)
    paths = write(tmp_path / "2", client_pair("app"))
    assert "does not carry the name" in denied(server.address, paths, tls_node="n2")
    with pytest.raises(CertificateError):
        crdtsync.connect(server.address, tls_ca="/none", tls_cert="/none", tls_key="/none")


def test_a_node_without_tls(tmp_path: Path) -> None:
    paths = write(tmp_path, client_pair("app"))
    with crdtsync.open(None) as node, crdtsync.serve(node) as server:
        assert "speaks plaintext, and this side TLS" in denied(server.address, paths)


def test_certificates_are_replaced(secured: Secured, tmp_path: Path) -> None:
    """The client's files change, then the authority does: a client that stays connects anew with what is there then."""
    node, server = secured
    paths = write(tmp_path / "c", client_pair("app"), "test", "other")
    with Proxy(server.address) as proxy, crdtsync.connect(proxy.address, **settings(paths)) as client:
        client.gcounter("k").increment()
        write(tmp_path / "n1", node_pair("n1", "other"), "other")
        until(lambda: node.status()["counters"].get("tls_reloads"), "the node to have the new authority")
        write(tmp_path / "c", client_pair("app", "other"), "other")
        proxy.cut()
        proxy.heal()
        client.gcounter("k").increment()
        assert client.gcounter("k").value == 2
        assert client.status()["counters"]["connects"] > 1
