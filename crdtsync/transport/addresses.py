"""Addresses to listen at and to dial, and gRPC's options for both: all bounded, nothing from the environment."""

from __future__ import annotations

import socket
from typing import Any

from crdtsync.config import HOST_CHARACTERS, Config, check_address, milliseconds, split_address
from crdtsync.errors import ConfigError, ListenFailed
from crdtsync.transport.descriptors import connections

CONNECTION_AGE = 1.2  # times connection_age_max after which a connection is cut whose caller does not make it anew

# A frame up to so many times message_bytes_max is read, to be refused by name; of a larger one gRPC tells its sender
# alone why the link ends, and a server not even that there was one.
REFUSED_BY_NAME = 2


def bindable(what: str, address: str, insecure: bool) -> str:
    """The one "ip:port" to listen at.  A name is resolved here: gRPC would be content with a part of its addresses.

    `what` names the setting.  Raises ListenFailed, ConfigError, InsecureAddress.
    """
    check_address(what, address, insecure)
    host, port = split_address(what, address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        with socket.socket(family, kind) as probe:  # gRPC's own refusal does not say why
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        raise ListenFailed(f"Nothing can listen at {address}: {error.strerror or error}.") from error
    return f"[{place[0]}]:{port}" if family == socket.AF_INET6 else f"{place[0]}:{port}"


def dialable(address: str, config: Config) -> tuple[str, list[tuple[str, Any]]]:
    """The gRPC target and options of an address, which peers pass on: nothing that gRPC takes for a scheme gets by."""
    host, port = split_address("The address", address)
    if not port or not HOST_CHARACTERS.issuperset(host):
        raise ConfigError(f"The address {address!r} cannot be dialled.")
    check_address("The address", address, config.anywhere)
    options = client_options(config)
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not config.connect_proxy:
        return f"dns:///{target}", options
    # Said this way, and not as grpc.http_proxy, the proxy holds whatever no_proxy says in the environment.
    return f"dns:///{config.connect_proxy}", [*options, ("grpc.http_connect_server", target)]


def _common_options(config: Config) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", REFUSED_BY_NAME * config.message_bytes_max),
        ("grpc.max_send_message_length", config.message_bytes_max),
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", 16384),
        ("grpc.keepalive_time_ms", milliseconds(config.keepalive_interval)),
        ("grpc.keepalive_timeout_ms", milliseconds(config.keepalive_timeout)),
        ("grpc.http2.ping_timeout_ms", milliseconds(config.keepalive_timeout)),  # what counts: a minute otherwise
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_channelz", 0),
    ]


def server_options(config: Config, encrypted: bool) -> list[tuple[str, Any]]:
    """No shared ports, few streams a connection, and no patience with connections that do nothing.

    An `encrypted` connection ends some time after its link should have been made anew: whoever opened one stream after
    the other on it would stay for ever on a certificate that has ended, or whose authority is not trusted any more.
    """
    return [
        *_common_options(config),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", 8),
        ("grpc.max_allowed_incoming_connections", connections("listen", config.connections_max)),
        ("grpc.server_handshake_timeout_ms", milliseconds(config.connect_timeout)),
        ("grpc.max_connection_idle_ms", milliseconds(config.connect_timeout)),
        *(_age_options(config) if encrypted else ()),
        # Pings of our own dialers come at keepalive_interval; who pings much faster is sent away.
        ("grpc.http2.min_ping_interval_without_data_ms", milliseconds(config.keepalive_interval / 2)),
    ]


def _age_options(config: Config) -> list[tuple[str, Any]]:
    """gRPC varies the age by a tenth: by then both sides would have ended the link themselves."""
    return [
        ("grpc.max_connection_age_ms", milliseconds(CONNECTION_AGE * config.connection_age_max)),
        ("grpc.max_connection_age_grace_ms", milliseconds(config.link_drain_timeout)),
    ]


def client_options(config: Config) -> list[tuple[str, Any]]:
    """A connection of its own for every dial, with no retry, no service config and no proxy of the environment."""
    return [
        *_common_options(config),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_http_proxy", 0),
    ]
