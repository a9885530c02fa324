"""Reading one row image."""

from __future__ import annotations

from crdtsync.pure.image import CELL, LATEST, VALUES, decode, decode_context, decode_kind, is_dead, live_dots

Clock = dict[int, int]
Dots = list[tuple[int, int]]


def row_kind(image: bytes) -> int:
    """PRESENCE, VALUES, LATEST or CELL."""
    return decode_kind(image)


def row_context(image: bytes) -> Dots:
    """For each actor its last event known to have touched this row, ascending."""
    decode_kind(image)
    return list(decode_context(image)[0].items())


def row_dead(image: bytes) -> bool:
    """No live dots, a deleted register, or a cell reset to its last event."""
    return is_dead(decode(image))


def row_log_dots(image: bytes) -> Dots:
    """Dots under which the log names this row: its maximal events; for a register the winner alone."""
    parsed = decode(image)
    if parsed.kind == LATEST:
        return [(parsed.latest.actor, parsed.latest.seq)]
    return list(parsed.context.items())


def row_live_dots(image: bytes) -> Dots:
    """Live dots; a register's winner; a cell's (owner, seq), dead or not."""
    return list(live_dots(decode(image)).items())


def row_covered(image: bytes, clock: Clock) -> bool:
    """Whether `clock` covers the row's whole context."""
    decode_kind(image)
    return all(clock.get(actor, 0) >= seq for actor, seq in decode_context(image)[0].items())


def row_payloads(image: bytes) -> list[bytes]:
    """Payloads of a VALUES row, ordered by payload bytes.  Two writers of one value give it twice."""
    parsed = decode(image)
    if parsed.kind != VALUES:
        raise ValueError(f"row kind is {parsed.kind}, not {VALUES}")
    return sorted(payload for _, payload in parsed.live.values())


def row_latest(image: bytes) -> tuple[int, int, int, bytes | None, int]:
    """(stamp, actor, seq, payload or None when deleted, expiry or 0) of a LATEST row."""
    parsed = decode(image)
    if parsed.kind != LATEST:
        raise ValueError(f"row kind is {parsed.kind}, not {LATEST}")
    stamp, actor, seq, payload, expiry = parsed.latest
    return stamp, actor, seq, payload, expiry


def row_cell(image: bytes) -> tuple[int, int, int, int, int, int, int, int]:
    """(owner, start, seq, p, n, base_seq, base_p, base_n) of a CELL row."""
    parsed = decode(image)
    if parsed.kind != CELL:
        raise ValueError(f"row kind is {parsed.kind}, not {CELL}")
    owner, start, seq, p, n, base_seq, base_p, base_n = parsed.cell
    return owner, start, seq, p, n, base_seq, base_p, base_n


def row_cell_value(image: bytes) -> int:
    """What a CELL row adds to its counter: (p - n) - (base_p - base_n)."""
    _, _, _, p, n, _, base_p, base_n = row_cell(image)
    return (p - n) - (base_p - base_n)
