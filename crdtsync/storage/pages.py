"""Reading an LMDB file that something has damaged: every page is looked at with suspicion, and skipped when it is bad.

Data format of engine 0.9, as in liblmdb's mdb.c: 16 bytes of page header, offsets of the nodes, nodes from the end.
Nothing is believed that does not lie within its page; whether keys and values mean anything, the caller has to see.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEADER = struct.Struct("<QHHHH")  # page number, pad, flags, end of the offsets, start of the nodes
NODE = struct.Struct("<HHHH")  # size of the data in two halves (or page of a child), flags, size of the key
DATABASE = struct.Struct("<IHHQQQQQ")  # pad, flags, depth, branch, leaf and overflow pages, entries, root
META = struct.Struct("<IIQQ48s48sQQ")  # magic, version, address, map size, two databases, last page, transaction
MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW, META_PAGE = 1, 2, 4, 8
BIG, SUBTREE = 1, 2  # flags of a node: its data is on overflow pages; it is the record of a database
NO_PAGE = 2**64 - 1
DEPTH_MAX = 32
PAGE_SIZES = tuple(1 << n for n in range(9, 17))


class Tree(NamedTuple):
    """One database: where it begins, and how many entries it should have."""

    root: int
    entries: int


class Pages:
    """A damaged file.  `losses` counts the pages and nodes that were skipped."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError when no meta page can be read."""
        with open(path, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.losses = 0
        self.both = False  # both meta pages can be read; else the lost one may have been the newer
        self._size, self._main = self._newest()

    def _newest(self) -> tuple[int, Tree]:
        """(page size, main database) by the meta page of the later transaction."""
        metas = [(0, size) for size in PAGE_SIZES] + [(size, size) for size in PAGE_SIZES]
        found = [(meta[7], size, meta[5]) for at, size in metas if (meta := self._meta(at, size)) is not None]
        if not found:
            raise ValueError("neither meta page can be read")
        self.both = len(found) == 2
        _, size, record = max(found)
        return size, _tree(record)

    def _meta(self, at: int, size: int) -> tuple[int, int, int, int, bytes, bytes, int, int] | None:
        head = self._data[at : at + HEADER.size]
        body = self._data[at + HEADER.size : at + HEADER.size + META.size]
        if len(body) < META.size or not HEADER.unpack(head)[2] & META_PAGE:
            return None
        meta = META.unpack(body)
        page_size = DATABASE.unpack(meta[4])[0]  # kept where the free list's record has its pad
        return meta if meta[:2] == (MAGIC, VERSION) and page_size == size else None

    def databases(self) -> dict[str, Tree]:
        """The named databases that can be found."""
        named: dict[str, Tree] = {}
        for key, value, flags in self._nodes(self._main.root, set(), 0):
            if flags & SUBTREE and len(value) == DATABASE.size:
                named[key.decode("ascii", "replace")] = _tree(value)
        return named

    def entries(self, tree: Tree) -> Iterator[tuple[bytes, bytes | None]]:
        """Pairs that can be read, in the order of pages; None for a value whose own pages are bad."""
        for key, value, flags in self._nodes(tree.root, set(), 0):
            yield key, self._overflow(value) if flags & BIG else value

    def _nodes(self, page: int, seen: set[int], depth: int) -> Iterator[tuple[bytes, bytes, int]]:
        """(key, data, flags) of the leaf nodes below a page."""
        if page == NO_PAGE:
            return
        start = page * self._size
        whole = self._data[start : start + self._size]
        if page in seen or depth > DEPTH_MAX or len(whole) < self._size:
            self.losses += 1
            return
        seen.add(page)
        number, _, flags, lower, upper = HEADER.unpack_from(whole)
        if number != page or flags not in (BRANCH, LEAF) or not HEADER.size <= lower <= upper <= self._size:
            self.losses += 1
            return
        for at in range(HEADER.size, lower - 1, 2):
            node = self._node(whole, int.from_bytes(whole[at : at + 2], "little"), upper, flags)
            if node is None:
                self.losses += 1
            elif flags == LEAF:
                yield node[1:]
            else:
                yield from self._nodes(node[0], seen, depth + 1)

    def _node(self, page: bytes, at: int, upper: int, kind: int) -> tuple[int, bytes, bytes, int] | None:
        """(child, key, data, flags) of a node; None when it leaves its page."""
        if at < upper or at + NODE.size > len(page):
            return None
        low, high, flags, size = NODE.unpack_from(page, at)
        begin = at + NODE.size + size
        if kind == BRANCH:
            return (low | high << 16 | flags << 32, b"", b"", 0) if begin <= len(page) else None
        length = 8 if flags & BIG else low | high << 16
        if begin + length > len(page):
            return None
        data = page[begin : begin + length]
        if flags & BIG:
            data += (low | high << 16).to_bytes(4, "little")
        return 0, page[at + NODE.size : begin], data, flags

    def _overflow(self, data: bytes) -> bytes | None:
        """A value on pages of its own, from (first page, its size)."""
        page, size = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
        start = page * self._size
        head = self._data[start : start + HEADER.size]
        value = self._data[start + HEADER.size : start + HEADER.size + size]
        if len(head) < HEADER.size or HEADER.unpack(head)[:3:2] != (page, OVERFLOW) or len(value) < size:
            self.losses += 1
            return None
        return value


def _tree(record: bytes) -> Tree:
    fields = DATABASE.unpack(record)
    return Tree(root=fields[7], entries=fields[6])
