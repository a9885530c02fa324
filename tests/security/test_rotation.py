"""Certificates and authorities are replaced under writes: nothing is lost, and whoever is out of date is out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

import crdtsync
from crdtsync.security.credentials import channel_credentials, name_options
from crdtsync.security.files import TlsFiles
from crdtsync.security.identity import ANY_NODE
from crdtsync.transport.grpc import EXCHANGE
from tests.security.support import agree, closing, node_pair, open_node, until, write

NAMES = ("n1", "n2", "n3")


def cluster(directory: Path, nodes: list[crdtsync.Node], **more: Any) -> None:
    for name in NAMES:
        join = {"join": nodes[0].address} if nodes else {}
        nodes.append(open_node(write(directory / name, node_pair(name)), **join, **more))
    linked(nodes)


def linked(nodes: list[crdtsync.Node]) -> None:
    until(lambda: all(len(node.status()["reachable"]) == len(nodes) - 1 for node in nodes), "all reach all")


def renewed(nodes: list[crdtsync.Node]) -> int:
    return sum(node.status()["counters"].get("links_renewed", 0) for node in nodes)


@contextmanager
def writing(nodes: list[crdtsync.Node]) -> Iterator[list[int]]:
    """Each node counts on a thread of its own until the block ends; then all have counted everything."""
    written = [0] * len(nodes)
    over = threading.Event()

    def write_on(number: int) -> None:
        while not over.wait(0.002):
            nodes[number].pncounter("n").increment(1)
            written[number] += 1

    threads = [threading.Thread(target=write_on, args=(number,)) for number in range(len(nodes))]
    for thread in threads:
        thread.start()
    try:
        yield written
    finally:
        over.set()
        for thread in threads:
            thread.join()
    until(lambda: all(node.pncounter("n").value == sum(written) for node in nodes), "every write is everywhere")
    agree(nodes)


def replace(directory: Path, nodes: list[crdtsync.Node], issuer: str, *trusted: str) -> None:
    """New certificates by `issuer` for all, who trust `trusted` from now on; returns once all use them."""
    for node in nodes:
        before = node.status()["counters"].get("tls_reloads", 0)
        write(directory / node.name, node_pair(node.name, issuer), *trusted)
        until(lambda: node.status()["counters"].get("tls_reloads", 0) > before, f"{node.name} uses its new files")  # noqa: B023


def test_leaves_and_authorities_are_replaced_under_writes(tmp_path: Path) -> None:
    with closing([]) as nodes:
        cluster(tmp_path, nodes)
        with writing(nodes) as written:
            replace(tmp_path, nodes, "test", "test")  # new leaves
            until(lambda: renewed(nodes) >= 3, "links are made anew")
            replace(tmp_path, nodes, "test", "test", "next")  # the next authority is trusted as well,
            replace(tmp_path, nodes, "next", "test", "next")  # signs,
            linked(nodes)
            replace(tmp_path, nodes, "next", "next")  # and is the only one
            linked(nodes)
            assert all(written)
        assert all("next" in node.status()["tls"]["issuer"] for node in nodes)


def test_whoever_keeps_the_old_authority_is_cut_off(tmp_path: Path) -> None:
    with closing([]) as nodes:
        cluster(tmp_path, nodes)
        replace(tmp_path, nodes[:2], "next", "next")
        until(lambda: nodes[0].status()["reachable"] == ["n2"], "n3 is cut off")
        linked(nodes[:2])
        until(lambda: nodes[2].status()["unreachable"], "n3 says why")
        nodes[0].pncounter("n").increment(1)
        until(lambda: nodes[1].pncounter("n").value == 1, "the others go on")
        assert nodes[2].pncounter("n").value == 0
        reasons = {said["reason"] for said in nodes[2].status()["unreachable"].values()}
        assert any("not signed by an authority in our tls_ca" in reason for reason in reasons)
        replace(tmp_path, nodes[2:], "next", "next")
        until(lambda: nodes[2].pncounter("n").value == 1, "n3 is back")


def test_links_are_made_anew_when_they_are_old(tmp_path: Path) -> None:
    with closing([]) as nodes:
        cluster(tmp_path, nodes, connection_age_max=0.3)
        with writing(nodes):
            until(lambda: renewed(nodes) >= 9, "links are made anew, again and again")
        assert sum(node.status()["counters"].get("tls_reloads", 0) for node in nodes) == 0


def test_nobody_stays_by_keeping_a_connection_open(tmp_path: Path) -> None:
    """A hostile node does not dial again: it opens the next stream on the connection that it has."""
    with closing([]) as nodes:
        nodes.append(open_node(write(tmp_path / "n1", node_pair("n1")), connection_age_max=0.5))
        files, over = TlsFiles(write(tmp_path / "n2", node_pair("n2"))), threading.Event()
        options = [*name_options(ANY_NODE), ("grpc.enable_retries", 0)]
        with grpc.secure_channel(nodes[0].address, channel_credentials(files), options) as channel:

            def stream() -> Any:
                call = channel.stream_stream(EXCHANGE)(iter(over.wait, True), timeout=60)
                call.initial_metadata()
                return call

            def refused() -> bool:
                nonlocal call
                call, before = stream(), call
                before.cancel()
                return not call.is_active() and call.code() == grpc.StatusCode.UNAVAILABLE

            try:
                call = stream()
                replace(tmp_path, nodes, "next", "next")
                until(refused, "the connection of a certificate that is not trusted any more ends")
            finally:
                over.set()


def test_an_ended_certificate_ends_its_links(tmp_path: Path) -> None:
    with closing([]) as nodes:
        nodes.append(open_node(write(tmp_path / "n1", node_pair("n1")), connection_age_max=0.2))
        brief = write(tmp_path / "n2", node_pair("n2", days=2.5 / 86_400))
        nodes.append(open_node(brief, join=nodes[0].address))
        linked(nodes)
        until(lambda: nodes[1].status()["tls"]["days_left"] <= 0, "it ends")
        until(lambda: not nodes[0].status()["reachable"], "its links end")
        until(lambda: nodes[0].status()["unreachable"], "it is dialled in vain")
        assert "has expired" in next(iter(nodes[0].status()["unreachable"].values()))["reason"]
        assert nodes[1].status()["counters"]["tls_expiry_warnings"] >= 1
        write(tmp_path / "n2", node_pair("n2"))
        linked(nodes)
