# Local operations: the new image of a row after event (actor, seq).


def presence_add(bytes image, actor, seq):
    """The element is in: the new dot replaces the live dots that were observed."""
    return present(image, index(actor), u64(seq))


cdef bytes present(bytes image, uint64_t who, uint64_t event):
    cdef Image row
    cdef Buffer out
    before_event(image, PRESENCE, who, event, &row)
    open_buffer(&out)
    try:
        begin(&out, &row, who, event, 3 * VARINT_MAX)
        put(&out, 1)
        put(&out, who)
        put(&out, event)
        return taken(&out)
    finally:
        close_buffer(&out)


def presence_remove(bytes image not None, actor, seq):
    """The element is out.  A removal is an event with its own dot; without one it would be filtered as seen."""
    cdef Image row
    cdef Buffer out
    cdef uint64_t who = index(actor), event = u64(seq)
    before_event(image, PRESENCE, who, event, &row)
    open_buffer(&out)
    try:
        begin(&out, &row, who, event, 1)
        put(&out, 0)
        return taken(&out)
    finally:
        close_buffer(&out)


def values_set(bytes image, actor, seq, bytes payload):
    """One value in the place of all that were observed; None clears."""
    cdef Image row
    cdef Buffer out
    cdef uint64_t who = index(actor), event = u64(seq)
    before_event(image, VALUES, who, event, &row)
    open_buffer(&out)
    try:
        if payload is None:
            begin(&out, &row, who, event, 1)
            put(&out, 0)
        else:
            begin(&out, &row, who, event, 4 * VARINT_MAX + PyBytes_GET_SIZE(payload))
            put(&out, 1)
            put(&out, who)
            put(&out, event)
            put(&out, <uint64_t>PyBytes_GET_SIZE(payload))
            put_bytes(&out, <const unsigned char*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        return taken(&out)
    finally:
        close_buffer(&out)


def latest_set(bytes image, actor, seq, stamp, bytes payload, expiry=0):
    """A write under `stamp`; payload None deletes.  `expiry` 0: never.  The caller sees to it that the stamp is new."""
    cdef Image row
    cdef Latest latest
    latest.stamp = u64(stamp)
    latest.expiry = u64(expiry)
    latest.deleted = payload is None
    if latest.deleted and latest.expiry:
        raise ValueError("a deleted register does not expire")
    latest.actor = index(actor)
    latest.seq = u64(seq)
    latest.payload = NULL
    latest.length = 0
    if payload is not None:
        latest.payload = <const unsigned char*>PyBytes_AS_STRING(payload)
        latest.length = PyBytes_GET_SIZE(payload)
    before_event(image, LATEST, latest.actor, latest.seq, &row)
    return with_latest(&row, &latest)


def cell_add(bytes image, actor, seq, p, n):
    """The owner adds `p` up and `n` down.  OverflowError when either sum would pass 2^63 - 1."""
    cdef uint64_t up = u64(p), down = u64(n)
    return cell_moved(image, index(actor), u64(seq), up, down)


cdef bytes cell_moved(bytes image, uint64_t who, uint64_t event, uint64_t up, uint64_t down):
    cdef Image row
    cdef Cell* cell = &row.cell
    before_event(image, CELL, who, event, &row)
    if image is None:
        cell.owner = who
        cell.start = event
        cell.p = cell.n = cell.base_seq = cell.base_p = cell.base_n = 0
    if cell.owner != who:
        raise ValueError("a cell is written by its owner only")
    if up > COUNT_MAX - cell.p or down > COUNT_MAX - cell.n:
        raise OverflowError("counter cell would pass 2^63 - 1")
    cell.seq = event
    cell.p += up
    cell.n += down
    return with_cell(&row, who, event)


def cell_at(bytes image not None, actor, seq, p, n):
    """The owner's cell after steps that have brought it to `p` and `n`, the last of them the event (actor, seq)."""
    cdef Image row
    cdef uint64_t up = u64(p), down = u64(n), who = index(actor), event = u64(seq)
    before_event(image, CELL, who, event, &row)
    if row.cell.owner != who:
        raise ValueError("a cell is written by its owner only")
    if up < row.cell.p or down < row.cell.n or up > COUNT_MAX or down > COUNT_MAX:
        raise ValueError("a cell only grows, up to 2^63 - 1")
    row.cell.seq = event
    row.cell.p = up
    row.cell.n = down
    return with_cell(&row, who, event)


def cell_reset(bytes image not None, actor, seq):
    """The base becomes what `actor` has observed, so increments that it had not seen survive."""
    cdef Image row
    cdef uint64_t who = index(actor), event = u64(seq)
    before_event(image, CELL, who, event, &row)
    if row.cell.owner == who:
        row.cell.seq = event
    row.cell.base_seq = row.cell.seq
    row.cell.base_p = row.cell.p
    row.cell.base_n = row.cell.n
    return with_cell(&row, who, event)


cdef inline uint64_t index(object actor) except? 0:
    """An actor argument."""
    cdef uint64_t value = u64(actor)
    if value > ACTOR_MAX:
        raise OverflowError("actor does not fit in 32 bits")
    return value


cdef int before_event(bytes image, int kind, uint64_t actor, uint64_t seq, Image* row) except -1:
    """Parse the row (None: an empty one) and see that the event comes after all that it has seen."""
    if image is None:
        empty_image(row, kind)
    else:
        parse_kind_of(image, kind, row)
    if seq <= context_of(row, actor):
        raise ValueError(f"event {seq} is not after the row's context")
    return 0


cdef int begin(Buffer* out, const Image* row, uint64_t actor, uint64_t seq, Py_ssize_t more) except -1:
    """Write the kind and the context with the event in its place, and make room for `more` bytes of body."""
    cdef Walk walk = walk_context(row)
    cdef const unsigned char* head = row.context
    cdef const unsigned char* tail = row.context
    cdef uint64_t events = row.events + 1
    reserve(out, row.body - row.context + 4 * VARINT_MAX + more)
    if row.events <= 1 and (not step(&walk) or walk.actor == actor):  # as of most rows
        put_byte(out, <unsigned char>row.kind)
        put(out, 1)
        put(out, actor)
        put(out, seq)
        return 0
    walk = walk_context(row)
    while step(&walk):
        if walk.actor >= actor:
            break
        head = tail = walk.at
    else:
        walk.seq = 0
    if walk.seq and walk.actor == actor:
        events -= 1
        tail = walk.at
    put_byte(out, <unsigned char>row.kind)
    put(out, events)
    if row.events:
        put_bytes(out, row.context, head - row.context)
    put(out, actor)
    put(out, seq)
    if row.events:
        put_bytes(out, tail, row.body - tail)
    return 0


cdef bytes with_cell(const Image* row, uint64_t actor, uint64_t seq):
    """The row after the event, with its cell as it stands in `row`."""
    cdef Buffer out
    open_buffer(&out)
    try:
        begin(&out, row, actor, seq, 8 * VARINT_MAX)
        put_cell(&out, &row.cell)
        return taken(&out)
    finally:
        close_buffer(&out)


cdef bytes with_latest(const Image* row, const Latest* latest):
    """The row after the write `latest`."""
    cdef Buffer out
    open_buffer(&out)
    try:
        begin(&out, row, latest.actor, latest.seq, 6 * VARINT_MAX + latest.length)
        put_latest(&out, latest)
        return taken(&out)
    finally:
        close_buffer(&out)
