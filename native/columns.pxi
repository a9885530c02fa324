# Rows packed into the two columns of a part, and back.

cdef enum:
    STACK_DOTS = 16  # contexts up to this length are sorted without touching the heap


cdef struct Dot:
    uint64_t actor
    uint64_t seq
    const unsigned char* payload
    Py_ssize_t length


cdef struct Dots:
    Dot* items
    Py_ssize_t size
    Dot stack[16]


def rows_pack(list rows not None, dict positions not None):
    """(keys column, images column), local indexes turned into positions.  ValueError for an actor without one."""
    cdef Buffer keys, images, moved
    cdef bytes key, image, previous = b""
    cdef Image row
    open_buffer(&keys)
    open_buffer(&images)
    open_buffer(&moved)
    try:
        for key, image in rows:
            move_row(&moved, image, &row)
            key = moved_key(key, row.kind == CELL, positions)
            move_image(&moved, &row, positions)
            append_key(&keys, previous, key)
            reserve(&images, VARINT_MAX + moved.size)
            put(&images, <uint64_t>moved.size)
            put_bytes(&images, moved.data, moved.size)
            previous = key
        return taken(&keys), taken(&images)
    finally:
        close_buffer(&keys)
        close_buffer(&images)
        close_buffer(&moved)


def rows_unpack(Py_ssize_t count, bytes keys not None, bytes images not None, actors):
    """The rows of a part, every byte of them checked; positions kept as they are.  ValueError says what is wrong."""
    cdef Cursor cursor = over(keys, 0), column = over(images, 0)
    cdef uint64_t length, table = u64(actors)
    cdef Py_ssize_t number, start
    cdef int kind
    cdef bytes key = b"", image
    cdef list rows = []
    for number in range(count):
        key = next_key(&cursor, key)
        kind = check_key(key)
        start = column.at
        take(&column, &length)
        if length > <uint64_t>(column.end - column.at):
            fail(b"image is cut off", start)
        image = PyBytes_FromStringAndSize(<const char*>column.data + column.at, <Py_ssize_t>length)
        column.at += <Py_ssize_t>length
        check_row(key, kind, image, table)
        rows.append((key, image))
    if cursor.at != cursor.end:
        fail(b"trailing bytes", cursor.at)
    if column.at != column.end:
        fail(b"trailing bytes", column.at)
    return rows


def rows_remap(list rows not None, list mapping not None):
    """Rows with positions turned into local indexes, in keys and images."""
    cdef Buffer moved
    cdef bytes key, image
    cdef Image row
    cdef list out = []
    open_buffer(&moved)
    try:
        for key, image in rows:
            move_row(&moved, image, &row)
            key = moved_key(key, row.kind == CELL, mapping)
            move_image(&moved, &row, mapping)
            if moved.size == row.size and memcmp(moved.data, row.data, row.size) == 0:
                out.append((key, image))
            else:
                out.append((key, taken(&moved)))
        return out
    finally:
        close_buffer(&moved)


def rows_actors(list rows not None):
    """Every actor that a row names: a context names them all."""
    cdef Image row
    cdef Walk walk
    cdef bytes image
    cdef set actors = set()
    for _, image in rows:
        if image is None:
            raise TypeError("image must be bytes")
        parse_context(image, &row)
        walk = walk_context(&row)
        while step(&walk):
            actors.add(walk.actor)
    return actors


def rows_beyond(list rows not None, dict clock not None):
    """Position of the first row with an event beyond `clock`, or -1."""
    cdef Image row
    cdef bytes image
    cdef Py_ssize_t number = 0
    for _, image in rows:
        if image is None:
            raise TypeError("image must be bytes")
        parse_context(image, &row)
        if not clock_covers(clock, &row):
            return number
        number += 1
    return -1


def rows_newer(list rows not None, dict clock not None):
    cdef Image row
    cdef uint64_t seq
    cdef bytes image
    cdef list found = []
    for pair in rows:
        _, image = pair
        if image is None:
            raise TypeError("image must be bytes")
        parse(image, &row)
        if row.kind == LATEST:
            seq_at(clock, row.latest.actor, &seq)
            if seq < row.latest.seq:
                found.append(pair)
        elif not clock_covers(clock, &row):
            found.append(pair)
    return found


cdef int check_row(bytes key, int kind, bytes image, uint64_t table) except -1:
    cdef Image row
    parse(image, &row)
    return fit_row(<const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), kind, &row, table)


cdef int fit_row(const unsigned char* key, Py_ssize_t size, int kind, const Image* row, uint64_t table) except -1:
    """Check that an image goes with its key, and with a table of so many actors."""
    cdef Walk walk
    if row.kind != kind:
        raise ValueError(f"row kind {row.kind} does not fit the key's type")
    walk = walk_context(row)
    while step(&walk):
        pass
    if walk.actor >= table:
        raise ValueError(f"actor {walk.actor} is not in the table")
    if kind == CELL and tail_at(key + size - TAIL) != row.cell.owner:
        raise ValueError("row key names another owner than the cell")
    return 0


cdef int move_row(Buffer* out, bytes image, Image* row) except -1:
    """Parse the next image, and begin its moved copy."""
    if image is None:
        raise TypeError("image must be bytes")
    parse(image, row)
    out.size = 0
    # An actor's place takes up to five bytes where one stood: every entry is at least two bytes long.
    return reserve(out, 3 * row.size + 2 * VARINT_MAX)


cdef int move_image(Buffer* out, Image* row, object positions) except -1:
    """Write the image with its actors turned into their positions, sorted anew."""
    put_byte(out, <unsigned char>row.kind)
    move_dots(out, walk_context(row), positions)
    if row.kind == LATEST:
        position(positions, row.latest.actor, &row.latest.actor)
        put_latest(out, &row.latest)
    elif row.kind == CELL:
        position(positions, row.cell.owner, &row.cell.owner)
        put_cell(out, &row.cell)
    else:
        move_dots(out, walk_live(row), positions)
    return 0


cdef int move_dots(Buffer* out, Walk walk, object positions) except -1:
    cdef Dots dots
    cdef Dot* dot
    cdef Py_ssize_t number
    cdef uint64_t place
    cdef bint payloads = walk.payloads
    if walk.left <= 1:  # as of most rows
        put(out, walk.left)
        if step(&walk):
            position(positions, walk.actor, &place)
            put(out, place)
            put(out, walk.seq)
            if payloads:
                put(out, <uint64_t>walk.length)
                put_bytes(out, walk.payload, walk.length)
        return 0
    gather(&dots, walk)
    try:
        for number in range(dots.size):
            position(positions, dots.items[number].actor, &dots.items[number].actor)
        sort_dots(&dots, by_actor)
        put(out, <uint64_t>dots.size)
        for number in range(dots.size):
            dot = &dots.items[number]
            if number and dot.actor == dots.items[number - 1].actor:
                raise ValueError("two actors share a position")
            put(out, dot.actor)
            put(out, dot.seq)
            if payloads:
                put(out, <uint64_t>dot.length)
                put_bytes(out, dot.payload, dot.length)
    finally:
        scatter(&dots)
    return 0


cdef int gather(Dots* dots, Walk walk) except -1:
    """The entries of a walk as an array, which `scatter` frees."""
    cdef Dot* dot
    dots.size = <Py_ssize_t>walk.left
    dots.items = dots.stack
    if dots.size > STACK_DOTS:
        dots.items = <Dot*>PyMem_Malloc(<size_t>dots.size * sizeof(Dot))
        if dots.items == NULL:
            raise MemoryError
    dot = dots.items
    while step(&walk):
        dot.actor = walk.actor
        dot.seq = walk.seq
        dot.payload = walk.payload
        dot.length = walk.length
        dot += 1
    return 0


cdef inline void scatter(Dots* dots) noexcept:
    if dots.items != dots.stack:
        PyMem_Free(dots.items)


ctypedef int (*Compare)(const void*, const void*) noexcept nogil


cdef inline void sort_dots(Dots* dots, Compare compare) noexcept nogil:
    """Sort, unless in order already, as is usual."""
    cdef Py_ssize_t number
    for number in range(1, dots.size):
        if compare(&dots.items[number - 1], &dots.items[number]) > 0:
            qsort(dots.items, <size_t>dots.size, sizeof(Dot), compare)
            return


cdef int by_actor(const void* x, const void* y) noexcept nogil:
    cdef uint64_t a = (<const Dot*>x).actor, b = (<const Dot*>y).actor
    return (a > b) - (a < b)


cdef int by_meaning(const void* x, const void* y) noexcept nogil:
    """By seq, then by payload bytes."""
    cdef const Dot* a = <const Dot*>x
    cdef const Dot* b = <const Dot*>y
    cdef int order
    if a.seq != b.seq:
        return 1 if a.seq > b.seq else -1
    order = memcmp(a.payload, b.payload, <size_t>min(a.length, b.length)) if a.length and b.length else 0
    return order if order else (a.length > b.length) - (a.length < b.length)
