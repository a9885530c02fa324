"""gRPC's credentials, made from TLS files; the only file here that loads gRPC."""

from __future__ import annotations

import threading
from typing import Any

import grpc

from crdtsync.security.files import TlsFiles
from crdtsync.security.identity import Identity, identity_of
from crdtsync.security.material import Material


class ServerCredentials:
    """Credentials of a server: every handshake takes what is loaded then, and asks for a client certificate.

    `begun` counts connections that a handshake was begun with.  gRPC tells nothing of those that failed: they are the
    ones that no call has come from.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files, self._lock = files, threading.Lock()
        self._shown = files.material
        self.begun = 0
        self.grpc: Any = grpc.dynamic_ssl_server_credentials(_configuration(self._shown), self._fetch, True)

    def _fetch(self) -> Any:
        """Called by gRPC for every new connection, on a thread of its own; None: as before."""
        with self._lock:
            self.begun += 1
            now = self._files.material
            if now is self._shown:
                return None
            self._shown = now
            return _configuration(now)


def _configuration(material: Material) -> Any:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], material.ca)


def channel_credentials(files: TlsFiles) -> Any:
    """Credentials for one channel, of what is loaded now.  A channel keeps them: after a change make another."""
    material = files.material
    return grpc.ssl_channel_credentials(material.ca, material.key, material.cert)


def name_options(name: str) -> list[tuple[str, str]]:
    """Channel options that have the server's certificate checked for `name` and not for the host that is dialled."""
    return [("grpc.ssl_target_name_override", name)]


def caller(context: Any) -> Identity:
    """Whom the caller of an RPC on a TLS port is.  Raises BadIdentity when its certificate does not say.

    `context` is a grpc or grpc.aio servicer context.
    """
    return identity_of(uri.decode("utf-8", "replace") for uri in context.auth_context().get("peer_uri", ()))
