"""Objects of a file into a node, in batches; an import that was cut off goes on exactly where it was.

The file is cut into batches in the same way every time, and each has a request id of its own, so that a batch which had
been written before, by a run that could not note that down any more, is not written again.  Before a position is saved
the node is asked to have everything on its disk: what the position calls done survives a power cut of the node.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec.structs import replace

from crdtsync.datatypes import values
from crdtsync.errors import CrdtsyncError, InvalidValue
from crdtsync.ops.files.position import ImportPosition
from crdtsync.ops.files.rows import Line
from crdtsync.ops.reading import SETS, Object, handle

if TYPE_CHECKING:
    from crdtsync.client import Client
    from crdtsync.client.buckets import RemoteBucket
    from crdtsync.node import Bucket

BATCH_OBJECTS = 500  # objects of one batch
BATCH_BYTES = 512 * 1024  # what one batch may weigh, unless the cluster's batches must be smaller
ROW_BYTES = 100  # what a row weighs beyond its key and value: context, dots, checksum
SAVE_INTERVAL = 1.0  # s between saved positions


class Importer:
    """One run of an import."""

    def __init__(
        self, client: Client, position: ImportPosition, save: Callable[[ImportPosition], None],
        told: Callable[[int, int], None],
    ) -> None:  # fmt: skip
        """`save` keeps a position; `told` hears of progress: objects, and bytes of the file."""
        self._client, self._bucket = client, client.bucket(position.bucket)
        self.position, self._save, self._told = position, save, told
        self.objects = 0
        self._saved_at, self._ahead = time.monotonic(), False

    def run(self, lines: Iterable[Line]) -> None:
        """Write everything.  Raises what the node refuses, with the lines that it is about."""
        try:
            here = self.position
            for batch in batches(lines, here.batch_objects, here.batch_bytes, here.ahead, self._announce):
                self._write(batch)
                if time.monotonic() - self._saved_at > SAVE_INTERVAL:
                    self.save()
        finally:
            self.save()

    def _announce(self, end: int) -> None:
        """Note down where the last batch ends: it would be another one, under the same id, once the file has grown."""
        self.position, self._ahead = replace(self.position, ahead=end), True
        self.save()

    def save(self) -> None:
        """Have the node write everything down, then keep the position."""
        if self._ahead:
            self._client.sync()
            self._save(self.position)
            self._saved_at, self._ahead = time.monotonic(), False

    def _carry_out(self, piece: list[Line], request_id: str) -> None:
        with self._bucket.batch(request_id=request_id):
            for line in piece:
                at_lines([line], lambda: put(self._bucket, line.object))  # noqa: B023 - at once

    def _write(self, batch: list[Line]) -> None:
        here = self.position
        for number, piece in enumerate(pieces(batch, here.batch_bytes)):
            at_lines(piece, lambda: self._carry_out(piece, f"{here.id}-{here.batch}-{number}"))  # noqa: B023 - at once
        self.objects += len(batch)
        last = batch[-1]
        # One step: an interruption finds the old position or the new one.
        self.position = replace(
            here, batch=here.batch + 1, line=last.number, end=last.end, length=last.length, crc=last.crc, ahead=0
        )
        self._ahead = True
        self._told(self.objects, last.end)


def at_lines(batch: list[Line], act: Callable[[], Any]) -> None:
    """Do it; a refusal says which lines it is about."""
    try:
        act()
    except CrdtsyncError as error:
        if not hasattr(error, "lines"):  # the nearest lines are the right ones
            first, last = batch[0].number, batch[-1].number
            error.lines = (first, last)  # type: ignore[attr-defined]
            error.message = f"{f'Line {first}' if first == last else f'Lines {first} to {last}'}: {error.message}"
        raise


def batches(
    lines: Iterable[Line], objects: int, bytes_max: int, ahead: int = 0, at_end: Callable[[int], None] | None = None
) -> Iterator[list[Line]]:
    """Lines in batches, cut in the same way from whichever batch on they are read.

    The first one ends at the byte `ahead`, unless that is 0; `at_end` hears where the last one will end.
    """
    batch: list[Line] = []
    size = 0
    before = -1
    for line in lines:
        weight = weight_of(line)
        full = len(batch) >= objects or size + weight > bytes_max or 0 < ahead <= before
        if batch and full and line.end != before:  # several objects of one line stay together
            yield batch
            batch, size, ahead = [], 0, 0
        batch.append(line)
        size, before = size + weight, line.end
    if batch:
        if at_end is not None:
            at_end(before)
        yield batch


def weight_of(line: Line) -> int:
    """About as many bytes as the line's rows take, rather more than fewer."""
    one = line.object
    return line.length + row_bytes(one) * (len(one.value) if one.type in SETS else 1)


def row_bytes(one: Object) -> int:
    """What a row of an object takes beyond its element or value."""
    return ROW_BYTES + sum(len(name.encode(errors="replace")) + 2 for name in (one.key, *one.path))


def pieces(batch: list[Line], bytes_max: int) -> Iterator[list[Line]]:
    """A batch as what is written at once: a set that is too large for that, alone and in several parts."""
    if len(batch) > 1 or batch[0].object.type not in SETS or weight_of(batch[0]) <= bytes_max:
        yield batch
        return
    ((one, *where),) = batch
    for part in _parts(one, bytes_max):
        yield [Line(one._replace(value=part), *where)]


def _parts(one: Object, bytes_max: int) -> Iterator[list[Any]]:
    part: list[Any] = []
    size = 0
    for element in one.value:
        weight = row_bytes(one) + len(values.encode(element, 64, 2**31))
        if part and size + weight > bytes_max:
            yield part
            part, size = [], 0
        part.append(element)
        size += weight
    yield part


def check(lines: Iterable[Line]) -> int:
    """Read everything and write nothing; the number of objects.  Raises what a node with default bounds would."""
    from crdtsync.node import open as open_node

    count = 0
    with open_node(None) as nowhere:
        bucket = nowhere.bucket("dry-run")
        for line in lines:
            with contextlib.suppress(Enough), bucket.batch():
                at_lines([line], lambda: put(bucket, line.object))  # noqa: B023 - at once
                raise Enough
            count += 1
    return count


class Enough(Exception):
    """Gives up a batch that was only to be checked."""


# ---- one object


def put(bucket: RemoteBucket | Bucket, one: Object) -> None:
    """Write an object: counters grow by the value, sets get the elements, registers and flags are set."""
    _PUT[one.type](handle(bucket, one.key, one.path, one.type), one.value)


def _count(counter: Any, value: int) -> None:
    if value:
        counter.increment(value)
    else:  # a counter that stands at 0 is there
        counter.increment(1)
        counter.decrement(1)


def _several(register: Any, value: list[Any]) -> None:
    if len(value) != 1:
        raise InvalidValue(
            f"The mvregister has {len(value)} values; one writer can write one.",
            hint="Resolve the conflict before the export, leave one value here, or move a backup, which keeps all.",
        )
    register.set(value[0])


_PUT: dict[str, Callable[[Any, Any], None]] = {
    "gcounter": lambda counter, value: counter.increment(value),
    "pncounter": _count,
    "gset": lambda holder, value: holder.update(value),
    "orset": lambda holder, value: holder.update(value),
    "lwwregister": lambda register, value: register.set(value),
    "mvregister": _several,
    "flag": lambda flag, value: flag.enable() if value else flag.disable(),
}


def only_once(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines, unless two in a row set the same MV-Register: the second would replace the first.  Raises InvalidValue."""
    before: Line | None = None
    for line in lines:
        if before is not None and line.object.type == "mvregister" and line.object[:3] == before.object[:3]:
            raise InvalidValue(
                f"Lines {before.number} and {line.number} set one mvregister twice.", hint="Leave one of its values."
            )
        yield line
        before = line


# ---- the file


def skip(file: BinaryIO, position: ImportPosition, read: int) -> None:
    """Read on from where a position stands, `read` bytes having been read.  Raises InvalidValue for another file."""
    at = position.end - position.length
    if file.seekable():
        file.seek(at)
    else:
        left = at - read
        while left > 0 and (block := file.read(min(left, 2**20))):
            left -= len(block)
    if position.end and zlib.crc32(file.read(position.length)) != position.crc:
        raise InvalidValue(
            f"The file is not the one whose first {position.line:,} lines have been imported.",
            hint="Name that file, or another --resume file to begin anew.",
        )
