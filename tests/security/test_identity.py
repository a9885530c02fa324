"""Names in certificates: every node name has its own, and nothing else is taken for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.errors import BadIdentity, CertificateError
from crdtsync.security.identity import (
    ANY_NODE,
    CLIENT,
    NODE,
    ROLES,
    Identity,
    identity_of,
    parse_uri,
    server_name,
)
from crdtsync.security.making import issue
from tests.security.support import authority

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=64).filter(
    lambda name: len(name.encode()) <= 64
)


@given(st.sampled_from(ROLES), NAMES)
def test_uri_round_trip(role: str, name: str) -> None:
    identity = Identity(role, name)
    assert identity.uri.isascii()
    assert parse_uri(identity.uri) == identity


@given(NAMES, NAMES)
def test_server_names_are_dns_names_of_one_node_each(one: str, other: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]{1,63}\.node\.crdtsync", server_name(one))
    assert (server_name(one) == server_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["N1", "n1", "x--n1", "-n1", "n1-", "a.b", "ü", "n" * 64, "node", "node-0a1b"])
def test_no_server_name_is_that_of_another_in_dns(name: str) -> None:
    """DNS knows no upper case, and a wildcard or a suffix must not reach into another node's name."""
    shown = server_name(name)
    assert shown == shown.lower()
    assert shown != ANY_NODE
    assert (shown == f"{name}.{ANY_NODE}") == (name in ("n1", "node", "node-0a1b"))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "crdtsync://node/",
        "crdtsync://node",
        "crdtsync://admin/n1",
        "crdtsync://node/n%31",  # not as we write it: two ways to write a name are one too many
        "crdtsync://node/%2f",
        "crdtsync://node/%ff",
        "crdtsync://node/a%00b",
        "crdtsync://node/a/b",
        "crdtsync://node/" + "n" * 65,
        "spiffe://node/n1",
        "CRDTSYNC://node/n1",
        " crdtsync://node/n1",
    ],
)
def test_what_is_no_identity(uri: str) -> None:
    assert parse_uri(uri) is None
    with pytest.raises(BadIdentity):
        identity_of([uri])


def test_one_identity_a_certificate() -> None:
    assert identity_of(["https://example.org", "crdtsync://client/bob"]) == Identity(CLIENT, "bob")
    with pytest.raises(BadIdentity, match="it has none"):
        identity_of(["https://example.org"])
    with pytest.raises(BadIdentity, match=r"crdtsync://node/n1.*crdtsync://client/n1"):
        identity_of([Identity(NODE, "n1").uri, Identity(CLIENT, "n1").uri])
    with pytest.raises(BadIdentity):
        identity_of(["crdtsync://node/n1", "crdtsync://root/n1"])


@pytest.mark.parametrize(
    "host",
    [
        "n1.node.crdtsync", "N1.Node.CRDTSYNC", "n1.node.crdtsync.", "*.node.crdtsync", "node.crdtsync",
        "\uff4e1.node.crdtsync", "n1.node\u3002crdtsync", "", " a", "a b", "a:1", "http://a", "a@b", "\uff5e\uff0f",
    ],
)  # fmt: skip
def test_no_host_is_the_name_of_a_node(host: str) -> None:
    """However it is written: DNS knows no case, and IDNA maps many characters to one."""
    with pytest.raises(CertificateError):
        issue(authority("test"), Identity(NODE, "n2"), [host], 1)
