# Reading one row image.


def row_kind(bytes image not None):
    """PRESENCE, VALUES, LATEST or CELL."""
    return parse_kind(<const unsigned char*>PyBytes_AS_STRING(image), PyBytes_GET_SIZE(image))


def row_context(bytes image not None):
    """For each actor its last event known to have touched this row, ascending."""
    cdef Image row
    parse_context(image, &row)
    return dots(walk_context(&row))


def row_dead(bytes image not None):
    """No live dots, a deleted register, or a cell reset to its last event."""
    cdef Image row
    parse(image, &row)
    return dead(&row)


def row_log_dots(bytes image not None):
    """Dots under which the log names this row: its maximal events; for a register the winner alone."""
    cdef Image row
    parse(image, &row)
    if row.kind == LATEST:
        return [(row.latest.actor, row.latest.seq)]
    return dots(walk_context(&row))


def row_live_dots(bytes image not None):
    """Live dots; a register's winner; a cell's (owner, seq), dead or not."""
    cdef Image row
    parse(image, &row)
    if row.kind == LATEST:
        return [(row.latest.actor, row.latest.seq)]
    if row.kind == CELL:
        return [(row.cell.owner, row.cell.seq)]
    return dots(walk_live(&row))


def row_covered(bytes image not None, dict clock not None):
    """Whether `clock` covers the row's whole context."""
    cdef Image row
    parse_context(image, &row)
    return <bint>clock_covers(clock, &row)


def row_payloads(bytes image not None):
    """Payloads of a VALUES row, ordered by payload bytes.  Two writers of one value give it twice."""
    cdef Image row
    cdef Walk walk
    cdef list payloads = []
    parse_kind_of(image, VALUES, &row)
    walk = walk_live(&row)
    while step(&walk):
        payloads.append(PyBytes_FromStringAndSize(<const char*>walk.payload, walk.length))
    payloads.sort()
    return payloads


def row_latest(bytes image not None):
    """(stamp, actor, seq, payload or None when deleted, expiry or 0) of a LATEST row."""
    cdef Image row
    cdef object payload = None
    parse_kind_of(image, LATEST, &row)
    if not row.latest.deleted:
        payload = PyBytes_FromStringAndSize(<const char*>row.latest.payload, row.latest.length)
    return row.latest.stamp, row.latest.actor, row.latest.seq, payload, row.latest.expiry


def row_cell(bytes image not None):
    """(owner, start, seq, p, n, base_seq, base_p, base_n) of a CELL row."""
    cdef Image row
    parse_kind_of(image, CELL, &row)
    return (
        row.cell.owner, row.cell.start, row.cell.seq, row.cell.p, row.cell.n,
        row.cell.base_seq, row.cell.base_p, row.cell.base_n,
    )


def row_cell_value(bytes image not None):
    """What a CELL row adds to its counter: (p - n) - (base_p - base_n)."""
    cdef Image row
    cdef uint64_t up, down
    parse_kind_of(image, CELL, &row)
    up = row.cell.p + row.cell.base_n  # two counts below 2^63 never wrap
    down = row.cell.n + row.cell.base_p
    if up >= down and up - down <= COUNT_MAX:
        return <long long>(up - down)
    if down > up and down - up <= COUNT_MAX:
        return -<long long>(down - up)
    return <object>up - <object>down


cdef int parse_kind_of(bytes image, int kind, Image* row) except -1:
    """Parse an image that must be of one kind."""
    if kind == CELL and image is not None and plain_cell(image, row):
        return 0
    parse(image, row)
    if row.kind != kind:
        PyErr_Format(ValueError, b"row kind is %d, not %d", row.kind, kind)
        return -1
    return 0


cdef list dots(Walk walk):
    cdef list out = []
    while step(&walk):
        out.append((walk.actor, walk.seq))
    return out
