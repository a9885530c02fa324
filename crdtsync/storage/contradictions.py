"""Two images of one row that cannot both have come from correct nodes, told by what one actor says twice.

An actor writes one thing under one dot, its stamps on one register ascend, and the sums of its cell only grow.  A peer
that says otherwise has damaged memory, or lies; joining its row would leave replicas with different bytes for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from crdtsync.kernels import (
    CELL,
    LATEST,
    PRESENCE,
    VALUES,
    row_cell,
    row_kind,
    row_latest,
    row_live_dots,
    row_payloads,
)


def contradiction(mine: bytes, theirs: bytes) -> str:
    """What is wrong between two images of one row, local indexes in both; "" when they go together."""
    return _CHECKS[row_kind(mine)](mine, theirs)


def _latest(mine: bytes, theirs: bytes) -> str:
    stamp, actor, seq, value, expiry = row_latest(mine)
    other_stamp, other_actor, other_seq, other_value, other_expiry = row_latest(theirs)
    if actor != other_actor:
        return ""
    if seq == other_seq:
        same = (stamp, value, expiry) == (other_stamp, other_value, other_expiry)
        return "" if same else f"event {seq} of its writer has two contents"
    return "" if (seq < other_seq) == (stamp < other_stamp) else "the stamps of its writer do not ascend"


def _cell(mine: bytes, theirs: bytes) -> str:
    older, newer = sorted((row_cell(mine), row_cell(theirs)), key=lambda cell: cell[2])
    _, start, seq, p, n, base_seq, base_p, base_n = older
    _, other_start, other_seq, other_p, other_n, other_base_seq, other_base_p, other_base_n = newer
    if seq == other_seq and (start, p, n) != (other_start, other_p, other_n):
        return f"event {seq} of its owner has two contents"
    if start == other_start and (other_p < p or other_n < n):
        return "the sums of its owner go down"
    if base_seq and base_seq == other_base_seq and (base_p, base_n) != (other_base_p, other_base_n):
        return f"event {base_seq} of its owner has two contents"
    return ""


def _values(mine: bytes, theirs: bytes) -> str:
    same_dots = row_live_dots(mine) == row_live_dots(theirs)
    return "its events have two contents" if same_dots and row_payloads(mine) != row_payloads(theirs) else ""


def _presence(mine: bytes, theirs: bytes) -> str:
    return ""  # a presence dot has no content


_CHECKS: dict[int, Callable[[bytes, bytes], str]] = {
    PRESENCE: _presence, VALUES: _values, LATEST: _latest, CELL: _cell,
}  # fmt: skip
