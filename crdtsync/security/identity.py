"""Who a certificate speaks for: a node, a client or an operator, by name, in its URI SAN.

    crdtsync://node/NAME      a node: speaks node-to-node, serves the others, is served as an operator is
    crdtsync://client/NAME    a client: is served data, and nothing more
    crdtsync://operator/NAME  an operator: a client that is served the Admin service, too

A name is percent-encoded UTF-8.  gRPC shows the serving side this URI.  The dialling side it shows nothing, but checks
a DNS name of our choice, so a node's certificate carries two more: `node.crdtsync`, which says that it is some node,
and a name under it that belongs to this node alone (see `server_name`).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

import msgspec

from crdtsync.errors import BadIdentity

NODE, CLIENT, OPERATOR = "node", "client", "operator"
ROLES = (NODE, CLIENT, OPERATOR)
ADMINISTRATORS = (OPERATOR, NODE)  # whom the Admin service is open to
SCHEME = "crdtsync://"
ANY_NODE = "node.crdtsync"  # in the certificate of every node
NAME_BYTES = 64  # UTF-8 bytes of a name, as of a node's
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")  # of 63 characters at most
_HASHED = "x--"  # begins the label of a name that is no label itself


class Identity(msgspec.Struct, frozen=True):
    """A role and a name within it."""

    role: str
    name: str

    @property
    def uri(self) -> str:
        """The URI SAN that says so."""
        return f"{SCHEME}{self.role}/{quote(self.name, safe='')}"

    def __str__(self) -> str:
        return f"{self.role} {self.name!r}"


def parse_uri(uri: str) -> Identity | None:
    """The identity that a URI names, or None when it is none of ours or not written as we write it."""
    role, slash, encoded = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not slash or role not in ROLES:
        return None
    try:
        name = unquote(encoded, errors="strict")
        identity = Identity(role, name)
        as_written = identity.uri
    except UnicodeError:
        return None
    return identity if as_written == uri and 1 <= len(name.encode()) <= NAME_BYTES and "\0" not in name else None


def identity_of(uris: Iterable[str]) -> Identity:
    """The one identity among a certificate's URIs.  Raises BadIdentity when there is none, or more than one."""
    ours = [uri for uri in uris if uri.startswith(SCHEME)]
    found = [identity for identity in map(parse_uri, ours) if identity is not None]
    if len(ours) != 1 or len(found) != 1:
        shown = f"these: {', '.join(map(repr, ours[:4]))}" if ours else "none"
        wanted = f"one URI {', '.join(f'{SCHEME}{role}/NAME' for role in ROLES[:-1])} or {SCHEME}{ROLES[-1]}/NAME"
        raise BadIdentity(f"A certificate must have {wanted}; it has {shown}.")
    return found[0]


def server_name(node: str) -> str:
    """The DNS name that only the certificate of this node carries.

    A name that is a lower-case DNS label stands for itself, any other for the SHA-256 of it: DNS names know no
    upper case, and labels end after 63 characters.
    """
    if _LABEL.fullmatch(node) and len(node) <= 63 and not node.startswith(_HASHED):
        return f"{node}.{ANY_NODE}"
    digest = base64.b32encode(hashlib.sha256(node.encode()).digest()).decode().rstrip("=").lower()
    return f"{_HASHED}{digest}.{ANY_NODE}"
