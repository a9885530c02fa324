"""gRPC channels to nodes: options, names of methods, credentials, and why one does not come about."""

from __future__ import annotations

from typing import Any

from crdtsync.client.nodes import UNIX, Node
from crdtsync.config import ConnectConfig, milliseconds
from crdtsync.security.credentials import channel_credentials, name_options
from crdtsync.security.diagnosis import Diagnosis, diagnose
from crdtsync.security.files import TlsFiles
from crdtsync.security.identity import ANY_NODE, server_name

SERVICE = "/crdtsync.v1.Data/"
READY = 2  # grpc.ChannelConnectivity.READY, which is not loaded here for asyncio
RECONNECT_MIN, RECONNECT_MAX = 20, 200  # ms between gRPC's own attempts to connect: the pauses are ours


def method(name: str) -> str:
    """gRPC's name of a method; one with its service in front stays as it is."""
    return name if name.startswith("/") else SERVICE + name


class Dialing:
    """How the channels of one client are made."""

    def __init__(self, config: ConnectConfig) -> None:
        """Raises CertificateError."""
        self._config = config
        self._files = TlsFiles.of(config)
        self._name = server_name(config.tls_node) if config.tls_node else ANY_NODE

    def renewed(self) -> bool:
        """Whether the TLS files have been replaced, so that channels have to be made anew."""
        return self._files is not None and self._files.look()

    def channel(self, grpc: Any, node: Node) -> Any:
        """A channel of `grpc`, which is that module or grpc.aio.  A socket of this machine needs no TLS."""
        if self._files is None or node.address.startswith(UNIX):
            return grpc.insecure_channel(node.target, options(self._config))
        chosen = [*options(self._config), *name_options(self._name)]
        return grpc.secure_channel(node.target, channel_credentials(self._files), chosen)

    def look(self, node: Node) -> Diagnosis | None:
        """Why the node cannot be reached, as far as a look tells; takes two seconds at most."""
        if node.address.startswith(UNIX):
            return None
        return diagnose(node.address, self._files.material if self._files is not None else None, self._name)


def connected(channel: Any) -> bool:
    """Whether a synchronous channel has a connection.  One that is lost is made anew only for the next call."""
    try:
        return bool(channel._channel.check_connectivity_state(False) == READY)  # all else that tells costs a thread
    except ValueError:  # closed
        return False


def options(config: ConnectConfig) -> list[tuple[str, Any]]:
    """No retries behind our back, no proxy of the environment, and no connection shared with another client."""
    return [
        ("grpc.max_receive_message_length", config.message_bytes_max),
        ("grpc.max_send_message_length", config.message_bytes_max),
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", 16384),
        ("grpc.keepalive_time_ms", milliseconds(config.keepalive_interval)),
        ("grpc.keepalive_timeout_ms", milliseconds(config.keepalive_timeout)),
        ("grpc.http2.ping_timeout_ms", milliseconds(config.keepalive_timeout)),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MIN),
        ("grpc.min_reconnect_backoff_ms", milliseconds(config.connect_timeout)),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_channelz", 0),
    ]
