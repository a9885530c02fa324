"""What every listener offers besides: health (grpc.health.v1) and reflection (grpc.reflection.v1 and v1alpha)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import grpc

from crdtsync.errors import ConfigError

if TYPE_CHECKING:
    from grpc_health.v1.health import aio as health_aio

try:
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection, reflection_pb2
except ImportError as missing:
    raise ConfigError(
        "A server needs the packages grpcio-health-checking and grpcio-reflection.",
        hint="Install them with: pip install 'crdtsync[server]'.",
    ) from missing

REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Health:
    """The health of one server: all of it serves, or nothing does."""

    def __init__(self, services: Iterable[str]) -> None:
        self._names = ["", *services]
        self._servicer: health_aio.HealthServicer = health.aio.HealthServicer()

    def offer(self, server: Any) -> None:
        """Add it to a gRPC server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, serving: bool) -> None:
        """Tell it to who asks, and to who watches."""
        states = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._servicer.set(name, states.SERVING if serving else states.NOT_SERVING)


def offer_reflection(server: Any, services: Iterable[str]) -> None:
    """Let callers ask a gRPC server for its services and their messages.  v1 has the messages of v1alpha."""
    servicer = reflection.aio.ReflectionServicer([*services, health.SERVICE_NAME, *REFLECTIONS])
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in REFLECTIONS:
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )
