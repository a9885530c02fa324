"""gRPC channels to nodes: options, names of methods, credentials."""

from __future__ import annotations

from typing import Any

from crdtsync.config import ConnectConfig

SERVICE = "/crdtsync.v1.Data/"
RECONNECT_MIN, RECONNECT_MAX = 20, 200  # ms between gRPC's own attempts to connect: the pauses are ours


def method(name: str) -> str:
    """gRPC's name of a method."""
    return SERVICE + name


def options(config: ConnectConfig) -> list[tuple[str, Any]]:
    """No retries behind our back, no proxy of the environment, and no connection shared with another client."""
    return [
        ("grpc.max_receive_message_length", config.message_bytes_max),
        ("grpc.max_send_message_length", config.message_bytes_max),
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", 16384),
        ("grpc.keepalive_time_ms", int(config.keepalive_interval * 1000)),
        ("grpc.keepalive_timeout_ms", int(config.keepalive_timeout * 1000)),
        ("grpc.http2.ping_timeout_ms", int(config.keepalive_timeout * 1000)),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MIN),
        ("grpc.min_reconnect_backoff_ms", int(config.connect_timeout * 1000)),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_channelz", 0),
    ]
