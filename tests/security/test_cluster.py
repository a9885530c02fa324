"""Nodes over TLS: they find each other, make their links anew with new certificates, and refuse everybody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from crdtsync.errors import JoinError
from tests.proxy import Proxy
from tests.security.support import agree, closing, node_pair, open_node, until, write


def test_three_nodes(tmp_path: Path) -> None:
    with closing([]) as nodes:
        for name in ("n1", "n2", "n 3/ü"):
            join = {"join": nodes[0].address} if nodes else {}
            nodes.append(open_node(write(tmp_path / f"{len(nodes)}", node_pair(name)), **join))
        assert [node.name for node in nodes] == ["n1", "n2", "n 3/ü"]
        for node in nodes:
            node.pncounter("x").increment(1)
        until(lambda: all(node.pncounter("x").value == 3 for node in nodes), "all have counted")
        agree(nodes)
        status = nodes[0].status()
        assert status["encryption"] == "tls"
        assert status["tls"]["identity"] == "crdtsync://node/n1"
        assert status["unreachable"] == {}


def test_links_are_made_anew_with_new_certificates(tmp_path: Path) -> None:
    with closing([]) as nodes:
        nodes.append(open_node(write(tmp_path / "1", node_pair("n1"))))
        nodes.append(open_node(write(tmp_path / "2", node_pair("n2")), join=nodes[0].address))
        before = nodes[0].status()["tls"]["serial"]
        write(tmp_path / "1", node_pair("n1"))
        until(lambda: nodes[0].status()["counters"].get("links_renewed"), "a link is made anew")
        until(lambda: all(node.status()["reachable"] for node in nodes), "linked again")
        assert nodes[0].status()["tls"]["serial"] != before
        nodes[1].pncounter("x").increment(1)
        until(lambda: nodes[0].pncounter("x").value == 1, "the write arrives")


def test_links_and_diagnoses_go_through_a_proxy(tmp_path: Path) -> None:
    with Proxy(connect=True) as proxy, closing([]) as nodes:
        way = {"connect_proxy": proxy.address}
        nodes.append(open_node(write(tmp_path / "1", node_pair("n1")), **way))
        nodes.append(open_node(write(tmp_path / "2", node_pair("n2")), join=nodes[0].address, **way))
        nodes[1].pncounter("x").increment(1)
        until(lambda: nodes[0].pncounter("x").value == 1, "the write arrives")
        with pytest.raises(JoinError, match="certificate of node 'n1', which is not signed by an authority"):
            stranger = write(tmp_path / "3", node_pair("n3", "other"), "other")
            open_node(stranger, join=nodes[0].address, join_timeout=1.0, **way)
