# The join of two images of one row.


def row_join(bytes current, bytes incoming not None, dict clock not None, ids):
    """The joined image, or None when nothing changes."""
    return join_one(current, incoming, clock, ids)


def rows_join(list current not None, list incoming not None, dict clock not None, ids):
    """`row_join` over two lists of equal length."""
    cdef Py_ssize_t number, count = PyList_GET_SIZE(incoming)
    cdef list joined
    cdef object row
    if PyList_GET_SIZE(current) != count:
        raise ValueError("lists differ in length")
    joined = [None] * count
    for number in range(count):
        row = join_one(current[number], incoming[number], clock, ids)
        if row is not None:
            joined[number] = row
    return joined


def row_mend(bytes current, bytes incoming not None, ids):
    """The join by contexts and bodies alone, for repair; always an image."""
    cdef Image cur, inc
    parse(incoming, &inc)
    if current is None:
        return incoming
    parse(current, &cur)
    return join_images(current, &cur, &inc, {}, ids)


def row_conflict(bytes current not None, bytes incoming not None):
    """Whether both are registers and neither side had seen the other's winning write."""
    cdef Image cur, inc
    parse(current, &cur)
    parse(incoming, &inc)
    return <bint>conflict(&cur, &inc)


cdef bint conflict(const Image* cur, const Image* inc) noexcept nogil:
    if cur.kind != LATEST or inc.kind != LATEST:
        return False
    return (
        context_of(cur, inc.latest.actor) < inc.latest.seq
        and context_of(inc, cur.latest.actor) < cur.latest.seq
    )


cdef object join_one(bytes current, bytes incoming, dict clock, object ids):
    cdef Image cur, inc
    return join_parsed(current, incoming, clock, ids, &cur, &inc)


cdef object join_parsed(bytes current, bytes incoming, dict clock, object ids, Image* cur, Image* inc):
    """`row_join`; when it gives an image, `inc` is the incoming row, and `cur` the current one if there is any."""
    cdef uint64_t seen = 0
    cdef object joined
    if incoming is None:
        raise TypeError("image must be bytes")
    parse(incoming, inc)
    if clock_covers(clock, inc):
        return None
    if current is None:
        if inc.kind == LATEST:
            seq_at(clock, inc.latest.actor, &seen)
            return None if seen >= inc.latest.seq else incoming
        if inc.kind == CELL:
            seq_at(clock, inc.cell.owner, &seen)
            return None if seen >= inc.cell.seq else incoming
        empty_image(cur, inc.kind)
    else:
        parse(current, cur)
    joined = join_images(current, cur, inc, clock, ids)
    return None if joined is current else joined


cdef bytes join_images(bytes current, const Image* cur, const Image* inc, dict clock, object ids):
    """The joined image; `current` itself when nothing changes."""
    cdef Buffer out
    cdef Cell cell
    cdef const Image* winner
    if cur.kind != inc.kind:
        raise ValueError(f"row kinds differ: {cur.kind} and {inc.kind}")
    open_buffer(&out)
    try:
        # Counts and entries of the join are at most those of both sides together.
        reserve(&out, cur.size + inc.size + 2 * VARINT_MAX)
        put_byte(&out, <unsigned char>cur.kind)
        join_contexts(&out, cur, inc)
        if cur.kind == LATEST:
            winner = inc if beats(&inc.latest, &cur.latest, ids) else cur
            put_bytes(&out, winner.body, winner.data + winner.size - winner.body)
        elif cur.kind == CELL:
            join_cells(&cell, &cur.cell, &inc.cell)
            put_cell(&out, &cell)
        else:
            join_live(&out, cur, inc, clock)
        if current is not None and out.size == cur.size and memcmp(out.data, cur.data, out.size) == 0:
            return current
        return taken(&out)
    finally:
        close_buffer(&out)


cdef void join_contexts(Buffer* out, const Image* cur, const Image* inc) noexcept nogil:
    cdef Walk mine = walk_context(cur), theirs = walk_context(inc)
    cdef Py_ssize_t at = out.size
    cdef int width = varint_size(cur.events + inc.events)
    cdef uint64_t count = 0
    cdef bint more_mine = step(&mine), more_theirs = step(&theirs)
    out.size += width
    while more_mine or more_theirs:
        count += 1
        if not more_theirs or (more_mine and mine.actor < theirs.actor):
            put(out, mine.actor)
            put(out, mine.seq)
            more_mine = step(&mine)
        elif not more_mine or theirs.actor < mine.actor:
            put(out, theirs.actor)
            put(out, theirs.seq)
            more_theirs = step(&theirs)
        else:
            put(out, mine.actor)
            put(out, mine.seq if mine.seq > theirs.seq else theirs.seq)
            more_mine = step(&mine)
            more_theirs = step(&theirs)
    set_count(out, at, width, count)


cdef inline void put_live(Buffer* out, const Walk* dot) noexcept nogil:
    put(out, dot.actor)
    put(out, dot.seq)
    if dot.payloads:
        put(out, <uint64_t>dot.length)
        put_bytes(out, dot.payload, dot.length)


cdef int join_live(Buffer* out, const Image* cur, const Image* inc, dict clock) except -1:
    """Keep a dot that both have, or that the other side has not seen: add wins.  At most one of an actor survives."""
    cdef Walk mine = walk_live(cur), theirs = walk_live(inc)
    cdef Walk known = walk_context(cur), seen = walk_context(inc)
    cdef Py_ssize_t at = out.size
    cdef int width = varint_size(cur.lives + inc.lives)
    cdef uint64_t count = 0, told
    cdef bint more_mine = step(&mine), more_theirs = step(&theirs), both
    out.size += width
    while more_mine or more_theirs:
        both = more_mine and more_theirs and mine.actor == theirs.actor
        if both and mine.seq == theirs.seq:
            put_live(out, &mine)
            count += 1
            more_mine = step(&mine)
            more_theirs = step(&theirs)
        elif more_mine and (both or not more_theirs or mine.actor < theirs.actor):
            # When both sides have a dot of this actor, theirs gets its turn in the next round.
            if mine.seq > seek(&seen, mine.actor):
                put_live(out, &mine)
                count += 1
            more_mine = step(&mine)
        else:
            if theirs.seq > seek(&known, theirs.actor):
                seq_at(clock, theirs.actor, &told)
                if theirs.seq > told:
                    put_live(out, &theirs)
                    count += 1
            more_theirs = step(&theirs)
    set_count(out, at, width, count)
    return 0


cdef int beats(const Latest* theirs, const Latest* mine, object ids) except -1:
    """Whether their write wins: by stamp, then by actor id, which is the same on every replica."""
    if theirs.stamp != mine.stamp:
        return theirs.stamp > mine.stamp
    if theirs.actor == mine.actor:
        return theirs.seq > mine.seq
    return ids[theirs.actor] > ids[mine.actor]


cdef int join_cells(Cell* out, const Cell* cur, const Cell* inc) except -1:
    """The owner's part with the greater seq, the base with the greater base_seq; on ties the greater of each."""
    if cur.owner != inc.owner:
        raise ValueError(f"cell owners differ: {cur.owner} and {inc.owner}")
    out[0] = cur[0]
    if inc.seq > cur.seq:
        out.start, out.seq, out.p, out.n = inc.start, inc.seq, inc.p, inc.n
    elif inc.seq == cur.seq:
        out.start, out.p, out.n = max(cur.start, inc.start), max(cur.p, inc.p), max(cur.n, inc.n)
    if inc.base_seq > cur.base_seq:
        out.base_seq, out.base_p, out.base_n = inc.base_seq, inc.base_p, inc.base_n
    elif inc.base_seq == cur.base_seq:
        out.base_p, out.base_n = max(cur.base_p, inc.base_p), max(cur.base_n, inc.base_n)
    if out.base_seq < out.start:  # a base from an earlier incarnation does not count
        out.base_seq = out.base_p = out.base_n = 0
    return 0
