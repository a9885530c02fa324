"""A part taken in: checked in one pass, brought to local indexes, and joined with what is here, column by column."""

from __future__ import annotations

from collections.abc import Sequence

from crdtsync.pure.columns import rows_remap, rows_unpack
from crdtsync.pure.image import CELL, LATEST, PRESENCE, VALUES, Image, decode, decode_context
from crdtsync.pure.joins import row_conflict, row_join
from crdtsync.pure.keys import TAIL

Clock = dict[int, int]
Images = list[bytes | None]


def part_check(
    count: int, keys: bytes, images: bytes, actors: int, stamp_last: int, depth_max: int, bytes_max: int
) -> tuple[list[int], list[int], bytes, bytes, bool]:
    """Check every byte of a part, as `rows_unpack` does.  ValueError says what is wrong.

    Gives of each actor in its table the last event that a row names (0: none); the numbers of the rows of which
    kernels cannot tell that values and elements are canonical, sums go up, and stamps (`stamp_last`), nesting
    (`depth_max`) and sizes (`bytes_max`) are within their bounds; the first and the last key, without the actor of a
    cell; and whether the keys ascend, so that none comes twice.
    """
    rows = rows_unpack(count, keys, images, actors)
    last, unclear, ascending, before = [0] * actors, [], True, b""
    for number, (key, image) in enumerate(rows):
        for actor, seq in decode_context(image)[0].items():
            last[actor] = max(last[actor], seq)
        if not _is_clear(key, decode(image), stamp_last, depth_max, bytes_max):
            unclear.append(number)
        ascending &= before < key
        before = key
    first, final = (_stem(*rows[0]), _stem(*rows[-1])) if rows else (b"", b"")
    return last, unclear, first, final, ascending


def _stem(key: bytes, image: bytes) -> bytes:
    return key[:-TAIL] if image[0] == CELL else key


def _is_clear(key: bytes, image: Image, stamp_last: int, depth_max: int, bytes_max: int) -> bool:
    at, fields = key.index(0) + 1, 0
    while key[at] == ord("m"):
        at, fields = key.index(0, at + 1) + 1, fields + 1
    if fields > depth_max:
        return False
    if image.kind == PRESENCE:
        return key[at] == ord("f") or is_plain(key[at + 1 :], bytes_max)
    if image.kind == VALUES:
        return all(is_plain(payload, bytes_max) for _, payload in image.live.values())
    if image.kind == LATEST:
        latest = image.latest
        return latest.stamp <= stamp_last and (latest.payload is None or is_plain(latest.payload, bytes_max))
    return key[at] == ord("p") or image.cell.n == image.cell.base_n == 0


def is_plain(value: bytes, bytes_max: int) -> bool:
    """Whether bytes are seen to be canonical MessagePack of None, a bool, a number, a string or bytes."""
    if not 0 < len(value) <= bytes_max:
        return False
    tag, size = value[0], len(value) - 1
    if tag < 0x80 or tag >= 0xE0 or tag in (0xC0, 0xC2, 0xC3):
        return size == 0
    if 0xA0 <= tag <= 0xBF:
        return size == tag - 0xA0 and _is_text(value[1:])
    if tag in _TEXTS or tag in _BINARIES:
        width, least = (_TEXTS if tag in _TEXTS else _BINARIES)[tag]
        length = int.from_bytes(value[1 : 1 + width], "big")
        if size < width or size - width != length or length < least:
            return False
        return tag in _BINARIES or _is_text(value[1 + width :])
    if tag in _UNSIGNED:
        width, least = _UNSIGNED[tag]
        return size == width and int.from_bytes(value[1:], "big") >= least
    if tag in _SIGNED:
        width, most = _SIGNED[tag]
        return size == width and int.from_bytes(value[1:], "big", signed=True) < most
    if tag == 0xCB and size == 8:
        bits = int.from_bytes(value[1:], "big")
        return bits != 1 << 63 and bits & (1 << 63) - 1 <= 0x7FF << 52  # neither -0.0 nor a NaN
    return False


# The first byte -> (bytes of the length or number, the least length or number that takes so many).
_TEXTS = {0xD9: (1, 32), 0xDA: (2, 1 << 8), 0xDB: (4, 1 << 16)}
_BINARIES = {0xC4: (1, 0), 0xC5: (2, 1 << 8), 0xC6: (4, 1 << 16)}
_UNSIGNED = {0xCC: (1, 1 << 7), 0xCD: (2, 1 << 8), 0xCE: (4, 1 << 16), 0xCF: (8, 1 << 32)}
_SIGNED = {0xD0: (1, -(1 << 5)), 0xD1: (2, -(1 << 7)), 0xD2: (4, -(1 << 15)), 0xD3: (8, -(1 << 31))}


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def part_rows(count: int, keys: bytes, images: bytes, mapping: list[int]) -> tuple[list[bytes], list[bytes]]:
    """Keys and images of a part that has been checked, positions turned into local indexes."""
    rows = rows_remap(rows_unpack(count, keys, images, len(mapping)), mapping)
    return [key for key, _ in rows], [image for _, image in rows]


def rows_merge(
    keys: list[bytes], current: Images, incoming: list[bytes], clock: Clock, ids: Sequence[int], alarm: int
) -> tuple[list[bytes], list[bytes], Images, int, list[int], list[int]]:
    """`row_join` over columns.

    Gives keys, images and earlier images of the rows that change, how many of these are registers with an incoming
    stamp beyond `alarm`, and the numbers, among all rows, of two kinds of them: registers with a conflict
    (`row_conflict`), and rows of which the two images let one event have two contents, or one actor go backwards.
    """
    if not len(keys) == len(current) == len(incoming):
        raise ValueError("lists differ in length")
    changed, images, before = list[bytes](), list[bytes](), Images()
    skewed, conflicts, suspects = 0, list[int](), list[int]()
    for number, (key, old, image) in enumerate(zip(keys, current, incoming, strict=True)):
        new = row_join(old, image, clock, ids)
        if new is None:
            continue
        changed.append(key)
        images.append(new)
        before.append(old)
        inc = decode(image)
        skewed += inc.kind == LATEST and inc.latest.stamp > alarm
        if old is not None:
            if row_conflict(old, image):
                conflicts.append(number)
            if _is_suspect(decode(old), inc):
                suspects.append(number)
    return changed, images, before, skewed, conflicts, suspects


def _is_suspect(mine: Image, theirs: Image) -> bool:
    if mine.kind == LATEST:
        one, other = sorted((mine.latest, theirs.latest), key=lambda latest: latest.seq)
        if one.actor != other.actor:
            return False
        return one != other if one.seq == other.seq else one.stamp >= other.stamp
    if mine.kind == CELL:
        older, newer = sorted((mine.cell, theirs.cell), key=lambda cell: cell.seq)
        if older.seq == newer.seq and (older.start, older.p, older.n) != (newer.start, newer.p, newer.n):
            return True
        if older.start == newer.start and (newer.p < older.p or newer.n < older.n):
            return True
        bases = (older.base_p, older.base_n) != (newer.base_p, newer.base_n)
        return older.base_seq > 0 and older.base_seq == newer.base_seq and bases
    if mine.kind == VALUES:
        dots = [{actor: seq for actor, (seq, _) in image.live.items()} for image in (mine, theirs)]
        return dots[0] == dots[1] and mine.live != theirs.live
    return False


def pairs_pack(keys: list[bytes], images: Images, head: bytes = b"") -> bytes:
    """Key, image, key, image, ... as items of a MessagePack array, after `head`; None is a row that is gone."""
    if len(keys) != len(images):
        raise ValueError("lists differ in length")
    return head + b"".join(_binary(item) for pair in zip(keys, images, strict=True) for item in pair)


def _binary(data: bytes | None) -> bytes:
    if data is None:
        return b"\xc0"
    size = len(data)
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big") + data
    return (b"\xc5" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xc6" + size.to_bytes(4, "big")) + data
