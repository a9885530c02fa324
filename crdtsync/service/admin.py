"""The Admin service: what operators say to a node.

What they ask may take long and is worked off on threads of its own, so that it holds up neither programs nor gossip.
What changes something goes on when its caller leaves, as a running call that a stop waits for.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from crdtsync.datatypes import jsonform
from crdtsync.errors import BadRequest, CrdtsyncError, DiskFull, NotOffered, ValueTooLarge
from crdtsync.service.calls import Calls, confirm, read, read_on, write
from crdtsync.transport.pb import admin_pb2 as pb

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from crdtsync.backup.writing import Stream
    from crdtsync.config import ServeConfig
    from crdtsync.node.shell import Node
    from crdtsync.service.workers import Workers

FILES_MAX = 10_000  # of one restore: a full backup, and one for each day of many years


class Pieces:
    """A backup's pieces, which one thread may be making while another gives the backup up."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._lock, self._closed = stream, threading.Lock(), False

    def next(self) -> bytes | None:
        """The next one; None at the end."""
        with self._lock:
            return None if self._closed else next(self._stream, None)

    def close(self) -> None:
        """Let go of the state that is backed up."""
        with self._lock:
            self._closed = True
            self._stream.close()


class Admin:
    """The methods of the Admin service; each takes requests as bytes and gives, or writes, responses as bytes."""

    def __init__(
        self, node: Node, config: ServeConfig, calls: Calls, workers: Workers, on_stop: Callable[[], None] | None
    ) -> None:
        self._node, self._config, self._calls, self._workers = node, config, calls, workers
        self._on_stop = on_stop

    def handlers(self) -> dict[str, Any]:
        """{method name: handler}."""
        answers = {
            "Status": self.status, "Members": self.members, "Join": self.join, "Leave": self.leave,
            "Evict": self.evict, "ListRescue": self.list_rescue, "ReplayRescue": self.replay_rescue,
            "DropRescue": self.drop_rescue, "Stop": self.stop,
        }  # fmt: skip
        return {
            **{name: self._calls.unary(f"Admin.{name}", handler) for name, handler in answers.items()},
            "Backup": self._calls.answers("Admin.Backup", self.backup),
            "Restore": self._calls.requests("Admin.Restore", self.restore),
        }

    def _fitting(self, response: Any) -> bytes:
        encoded: bytes = response.SerializeToString()
        if len(encoded) > self._config.message_bytes_max:
            raise ValueTooLarge(
                f"The response takes {len(encoded):,} bytes; {self._config.message_bytes_max:,} are possible.",
                hint="Raise message_bytes_max of the server.",
            )
        return encoded

    def _patience(self, context: Any, wish_ms: int = 0) -> float:
        """s that a call may wait: what it asks for, its deadline, `wait_max`, whichever ends first."""
        left = context.time_remaining()
        bounds = (self._config.wait_max, left, wish_ms / 1000 if wish_ms else None)
        return min(bound for bound in bounds if bound is not None)

    # -- looking

    async def status(self, data: bytes, context: Any) -> bytes:
        """One snapshot of the node."""
        read(pb.StatusRequest, data)
        return self._fitting(pb.StatusResponse(json=json.dumps(await self._workers.operate(self._node.status))))

    async def members(self, data: bytes, context: Any) -> bytes:
        """The member list."""
        read(pb.MembersRequest, data)
        response = pb.MembersResponse()
        for name, record in (await self._workers.operate(self._node.members)).items():
            response.members.add(node=name, epoch=record["epoch"], state=record["state"], address=record["address"])
        return self._fitting(response)

    # -- membership

    async def join(self, data: bytes, context: Any) -> bytes:
        """Dial these addresses too, and join through them where that makes sense."""
        request = read(pb.JoinClusterRequest, data)
        patience = self._patience(context, request.timeout_ms or int(self._node.config.join_timeout * 1000))
        joining = self._workers.wait(self._node.join, list(request.addresses), patience)
        state = await self._calls.outlast("Admin.Join", joining)
        return pb.JoinClusterResponse(state=state).SerializeToString()

    async def leave(self, data: bytes, context: Any) -> bytes:
        """Leave the cluster in good order."""
        request = read(pb.LeaveRequest, data)
        leaving = self._workers.wait(self._node.leave, self._patience(context, request.timeout_ms))
        await self._calls.outlast("Admin.Leave", leaving)
        return pb.LeaveResponse().SerializeToString()

    async def evict(self, data: bytes, context: Any) -> bytes:
        """Declare a member gone for good."""
        request = read(pb.EvictRequest, data)
        if not request.node:
            raise BadRequest("node is not set.")
        evicting = self._workers.operate(lambda: self._node.evict(request.node, force=request.force))
        await self._calls.outlast("Admin.Evict", evicting)
        return pb.EvictResponse().SerializeToString()

    # -- what was set aside

    async def list_rescue(self, data: bytes, context: Any) -> bytes:
        """What this node set aside when it started over."""
        request = read(pb.ListRescueRequest, data)
        files = await self._workers.operate(self._node.rescue.show)
        for file in files:
            told = file.pop("objects")
            if request.contents:
                file["objects"] = [{**each, "value": jsonform.encode(each["value"])} for each in told]
        return self._fitting(pb.ListRescueResponse(json=json.dumps(files)))

    async def replay_rescue(self, data: bytes, context: Any) -> bytes:
        """Write it again, once."""
        request = read(pb.ReplayRescueRequest, data)
        replaying = self._workers.operate(self._node.rescue.replay, request.name)
        done = await self._calls.outlast("Admin.ReplayRescue", replaying)
        return pb.ReplayRescueResponse(**done).SerializeToString()

    async def drop_rescue(self, data: bytes, context: Any) -> bytes:
        """Give it up."""
        request = read(pb.DropRescueRequest, data)
        dropping = self._workers.operate(self._node.rescue.drop, request.name)
        await self._calls.outlast("Admin.DropRescue", dropping)
        return pb.DropRescueResponse().SerializeToString()

    # -- backups

    async def backup(self, data: bytes, context: Any) -> None:
        """The bytes of a backup file, made while the node goes on."""
        request = read(pb.BackupRequest, data)
        stream = await self._workers.operate(
            lambda: self._node.backup_stream(since=request.since or None, parent=request.parent)
        )
        pieces = Pieces(stream)
        try:
            while piece := await self._workers.operate(pieces.next):
                for at in range(0, len(piece), self._config.page_bytes):
                    chunk = pb.BackupChunk(data=piece[at : at + self._config.page_bytes])
                    await write(context, chunk.SerializeToString(), self._config.stall_max)
        finally:  # the caller may have gone while a thread makes the next piece
            threading.Thread(target=pieces.close, name="crdtsync-backup").start()

    async def restore(self, context: Any) -> bytes:
        """Merge backup files into the running node.  Once all have come, the merge goes on without its caller."""
        self._node.local.check()
        room = self._node.backups.receive()
        try:
            paths = await self._received(context, Path(room.name))
            await confirm(context)
        except BaseException:
            threading.Thread(target=room.cleanup, name="crdtsync-restore").start()  # a thread may be writing there
            raise
        merged = await self._calls.outlast("Admin.Restore", self._merged(paths, room))
        return pb.RestoreResponse(json=merged).SerializeToString()

    async def _merged(self, paths: list[Path], room: TemporaryDirectory[str]) -> str:
        try:
            return await self._workers.operate(self._merge, paths, room)
        except asyncio.CancelledError:  # the server has stopped before a thread was free
            room.cleanup()
            raise

    def _merge(self, paths: list[Path], room: TemporaryDirectory[str]) -> str:
        """What was applied and skipped, as JSON."""
        with room:
            try:
                return json.dumps(msgspec.structs.asdict(self._node.restore(paths)))
            except CrdtsyncError as error:  # the caller knows no such path, and its files by their order
                error.message = error.message.replace(f"{room.name}{os.sep}", "of what was sent, ")
                raise

    async def _received(self, context: Any, directory: Path) -> list[Path]:
        """The files that a caller sends, in their order.  Raises BadRequest, ValueTooLarge."""
        paths: list[Path] = []
        left = self._config.restore_bytes_max
        file: BinaryIO | None = None
        try:
            while (data := await read_on(context)) is not None:
                chunk = read(pb.RestoreChunk, data)
                left -= len(chunk.data)
                if left < 0 or len(paths) >= FILES_MAX:
                    raise ValueTooLarge(
                        f"A restore takes at most {self._config.restore_bytes_max:,} bytes in {FILES_MAX:,} files."
                    )
                if file is None:
                    paths.append(directory / f"file {len(paths) + 1}")
                    file = paths[-1].open("wb")
                await self._workers.operate(file.write, chunk.data)
                if chunk.last:
                    file.close()
                    file = None
            if file is not None:
                raise BadRequest("The last file has no end.", hint="The last chunk of each file has last=true.")
        except OSError as error:
            raise DiskFull(f"There is no room for what is sent: {error.strerror}.") from error
        finally:
            if file is not None:
                file.close()
        if not paths:
            raise BadRequest("No file was sent.")
        return paths

    # -- the end

    async def stop(self, data: bytes, context: Any) -> bytes:
        """Have the process end; this answer still leaves, as calls under way get their time."""
        read(pb.StopRequest, data)
        if self._on_stop is None:
            raise NotOffered(
                "The program that this node is part of does not let operators end it.", hint="End that program."
            )
        threading.Thread(target=self._on_stop, name="crdtsync-stop", daemon=True).start()
        return pb.StopResponse().SerializeToString()
