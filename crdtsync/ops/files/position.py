"""Where an import or export stands: a small file beside the data, replaced whole, that a later run goes on from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from crdtsync.errors import InvalidValue

P = TypeVar("P", bound=msgspec.Struct)


class ImportPosition(msgspec.Struct, forbid_unknown_fields=True):
    """What of a file has been written, and is on the node's disk."""

    id: str  # of this import: with a batch's number it makes the batch's request id
    node: str  # the node that knows those request ids
    bucket: str
    batch_objects: int  # how the file is cut into batches: the same in every run
    batch_bytes: int
    batch: int = 0  # batches that are done
    line: int = 0  # lines that are done
    end: int = 0  # bytes of the file that are done
    length: int = 0  # bytes of the last of these lines
    crc: int = 0  # and their checksum: it is the same file
    ahead: int = 0  # bytes up to the end of a batch that may have been written since, though the file had no more


class ExportPosition(msgspec.Struct, forbid_unknown_fields=True):
    """What of an export is in NAME.partial."""

    prefix: str
    bucket: str
    format: str
    node: str = ""
    end: int = 0  # bytes of the file that are done
    cursor: str = ""
    objects: int = 0
    done: bool = False  # all of it; only the name was still to be given


def load(path: Path, kind: type[P]) -> P | None:
    """The position in a file; None when there is no such file.  Raises InvalidValue."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"{path} is not the position of such a run: {error}.", hint="Name another file.") from None


def save(path: Path, position: msgspec.Struct) -> None:
    """Replace the file, so that a crash leaves the old position or the new one."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(position) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
