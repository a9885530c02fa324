"""A caller over plain gRPC: messages of data.proto and admin.proto, and errors as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import grpc

from crdtsync.transport.pb import admin_pb2 as admin
from crdtsync.transport.pb import data_pb2 as pb

TIMEOUT = 20.0
SERVICES = {
    name: method
    for service in (pb.DESCRIPTOR.services_by_name["Data"], admin.DESCRIPTOR.services_by_name["Admin"])
    for name, method in service.methods_by_name.items()
}


class Refused(Exception):
    """A call ended with a status other than OK."""

    def __init__(self, error: Any) -> None:
        super().__init__(f"{error.code()}: {error.details()}")
        self.code, self.details = error.code(), error.details()
        trailers = dict(error.trailing_metadata() or ())
        self.error = pb.Error.FromString(trailers.get("crdtsync-error-bin", b""))

    @property
    def name(self) -> str:
        return self.error.name


class Caller:
    """One channel."""

    def __init__(self, address: str, **options: Any) -> None:
        self.channel = grpc.insecure_channel(
            address, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), *options.items()]
        )

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def start(self, name: str, request: Any, timeout: float | None = TIMEOUT) -> Any:
        """A call under way; `request` is a message, bytes, or an iterable of them for a stream of requests."""
        method = SERVICES[name]
        multi = (
            self.channel.stream_stream if method.client_streaming and method.server_streaming
            else self.channel.stream_unary if method.client_streaming
            else self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        )  # fmt: skip
        kind = getattr(pb if hasattr(pb, method.output_type.name) else admin, method.output_type.name)
        call = multi(f"/{method.containing_service.full_name}/{name}", _encode, kind.FromString)
        if method.server_streaming:
            return call(request, timeout=timeout)
        return call.future(request, timeout=timeout)

    def call(self, name: str, request: Any, timeout: float | None = TIMEOUT) -> Any:
        """The response, or the list of responses of a stream.  Raises Refused."""
        try:
            running = self.start(name, request, timeout)
            return list(running) if SERVICES[name].server_streaming else running.result()
        except grpc.RpcError as error:
            raise Refused(error) from None

    def apply(self, *operations: pb.Operation, **fields: Any) -> pb.ApplyResponse:
        response: pb.ApplyResponse = self.call("Apply", pb.ApplyRequest(operations=operations, **fields))
        return response

    def read(self, *queries: pb.Query, **fields: Any) -> list[pb.Result]:
        return list(self.call("Read", pb.ReadRequest(queries=queries, **fields)).results)

    def value(self, type: str, key: str, *path: str, **fields: Any) -> pb.Value:
        (result,) = self.read(pb.Query(place=place(type, key, *path), value=True), **fields)
        return result.value


def _encode(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def place(type: str, key: str, *path: str) -> pb.Place:
    return pb.Place(type=type, key=key, path=path)


def value(content: Any) -> pb.Value:
    """A value of the simple kinds."""
    kinds = {bool: "boolean", int: "integer", float: "real", str: "text", bytes: "binary"}
    return pb.Value(none=True) if content is None else pb.Value(**{kinds[type(content)]: content})


def operation(
    verb: str, key: str, *path: str, argument: Any = ..., arguments: Iterable[Any] | None = None
) -> pb.Operation:
    """An operation on an object of the verb's own type."""
    made = pb.Operation(place=place(verb.partition(".")[0], key, *path), verb=verb)
    if argument is not ...:
        made.argument.CopyFrom(argument if isinstance(argument, pb.Value) else value(argument))
    if arguments is not None:
        made.arguments.values.extend(each if isinstance(each, pb.Value) else value(each) for each in arguments)
        made.arguments.SetInParent()
    return made


def add(key: str, step: int = 1) -> pb.Operation:
    return operation("pncounter.add", key, argument=step)


def messages(responses: Iterator[Any], count: int) -> list[Any]:
    """The next `count` responses of a stream."""
    return [next(responses) for _ in range(count)]
