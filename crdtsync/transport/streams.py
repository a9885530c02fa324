"""The two ends of a gRPC stream, as links use them, and what is said when one breaks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio

from crdtsync.transport.link import StreamLost

aio: Any = grpc.aio


class Incoming:
    """The serving end of a stream: it ends when its handler returns."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def read(self) -> bytes | None:
        try:
            frame = await self._context.read()
        except Exception as error:  # grpc raises its internal errors here, a different set in every release
            raise StreamLost(lost_text(error)) from error
        return None if frame is aio.EOF else frame

    async def write(self, frame: bytes) -> None:
        try:
            await self._context.write(frame)
        except Exception as error:
            raise StreamLost(lost_text(error)) from error

    async def finish(self) -> None:
        return

    def abandon(self, reason: str, orderly: bool) -> None:
        if not orderly:
            self._context.set_code(grpc.StatusCode.ABORTED)
            self._context.set_details(ascii_text(reason))


class Outgoing:
    """The dialling end of a stream."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> bytes | None:
        try:
            frame = await self._call.read()
        except Exception as error:
            raise StreamLost(lost_text(error)) from error
        return None if frame is aio.EOF else frame

    async def write(self, frame: bytes) -> None:
        try:
            await self._call.write(frame)
        except Exception as error:
            raise StreamLost(lost_text(error)) from error

    async def finish(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # the other side was first
            await self._call.done_writing()

    def abandon(self, reason: str, orderly: bool) -> None:
        self._call.cancel()


# ---- texts


def plain_address(peer: str) -> str:
    """host:port of gRPC's "ipv4:127.0.0.1:1234" and "ipv6:%5B::1%5D:1234"."""
    return peer.partition(":")[2].replace("%5B", "[").replace("%5D", "]")


def lost_text(error: Exception) -> str:
    """How a stream was lost, in a line."""
    if isinstance(error, aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"lost: {error or type(error).__name__}"


def ascii_text(text: str) -> str:
    """What an HTTP/2 trailer takes."""
    return text[:200].encode("ascii", "replace").decode()
