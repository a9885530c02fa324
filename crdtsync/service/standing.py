"""What every listener offers besides: health (grpc.health.v1) and reflection (grpc.reflection.v1 and v1alpha)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import grpc

from crdtsync.errors import ConfigError

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_health.v1.health import aio as health_aio

try:
    from google.protobuf import descriptor_pool, json_format
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection, reflection_pb2
except ImportError as missing:
    raise ConfigError(
        "A server needs the packages grpcio-health-checking and grpcio-reflection.",
        hint="Install them with: pip install 'crdtsync[server]'.",
    ) from missing

V1, V1ALPHA = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"
REFLECTIONS = (V1, V1ALPHA)


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
    offered = [*services, health.SERVICE_NAME, *REFLECTIONS]
    servicer = reflection.aio.ReflectionServicer(offered, _described(offered))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in REFLECTIONS:
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )


def _described(services: Iterable[str]) -> DescriptorPool:
    """What these services look like, and nothing of the program around them."""
    pool = descriptor_pool.DescriptorPool()
    for name in services:
        _describe(pool, descriptor_pool.Default().FindServiceByName(V1ALPHA if name == V1 else name).file, name == V1)
    return pool


def _describe(pool: DescriptorPool, file: FileDescriptor, as_v1: bool) -> None:
    """Add a file and what it imports; `as_v1` under the name of v1, which grpcio-reflection does not bring."""
    for other in file.dependencies:
        _describe(pool, other, as_v1)
    described = FileDescriptorProto()
    file.CopyToProto(described)
    if as_v1:
        text = json_format.MessageToJson(described).replace("v1alpha", "v1")
        described = json_format.Parse(text, FileDescriptorProto())
    pool.AddSerializedFile(described.SerializeToString())
