# The digest of live rows.


def rows_digest(list rows not None):
    """Sum modulo 2^128 of xxh3_128 over live rows; None and dead rows give 0."""
    cdef Buffer out
    cdef Image row
    cdef bytes key, image
    cdef Hash total
    total.low = total.high = 0
    open_buffer(&out)
    try:
        for key, image in rows:
            if image is None:
                continue
            parse(image, &row)
            if dead(&row):
                continue
            put_hashed(&out, key, &row)
            add_hash(&total, hash_of(&out))
    finally:
        close_buffer(&out)
    return <object>total.high << 64 | <object>total.low


cdef inline void add_hash(Hash* total, Hash hash) noexcept nogil:
    total.low += hash.low
    total.high += hash.high + (total.low < hash.low)


cdef Hash hash_of(const Buffer* out) except *:
    """Of what was written."""
    cdef Hash hash
    cdef bytes hashed
    if HASHED_LEAST <= out.size <= HASHED_MOST:
        return xxh3_128(out.data, <uint64_t>out.size)
    hashed = _xxh3_128_digest(PyBytes_FromStringAndSize(<char*>out.data, out.size))
    hash.low = big_endian(hashed, 8)
    hash.high = big_endian(hashed, 0)
    return hash


cdef inline uint64_t big_endian(bytes data, Py_ssize_t at) noexcept:
    cdef const unsigned char* byte = <const unsigned char*>PyBytes_AS_STRING(data) + at
    cdef uint64_t value = 0
    cdef int number
    for number in range(8):
        value = value << 8 | byte[number]
    return value


cdef int put_hashed(Buffer* out, bytes key, const Image* row) except -1:
    """Write what is hashed of one row: its key without a cell's actor, and its meaning."""
    cdef Py_ssize_t size
    if key is None:
        raise TypeError("row key must be bytes")
    size = PyBytes_GET_SIZE(key)
    if row.kind == CELL:
        if size < TAIL:
            raise ValueError("row key of a cell is too short")
        size -= TAIL
    out.size = 0
    reserve(out, size + row.size + 6 * VARINT_MAX)
    put(out, <uint64_t>size)
    put_bytes(out, <const unsigned char*>PyBytes_AS_STRING(key), size)
    if row.kind == CELL:
        put(out, row.cell.seq)
        put(out, row.cell.p)
        put(out, row.cell.n)
        put(out, row.cell.base_p)
        put(out, row.cell.base_n)
    elif row.kind == LATEST:
        put(out, row.latest.stamp)
        put(out, row.latest.seq)
        put(out, row.latest.expiry)
        put(out, <uint64_t>row.latest.length)
        put_bytes(out, row.latest.payload, row.latest.length)
    else:
        put_dots(out, row)
    return 0


cdef int put_dots(Buffer* out, const Image* row) except -1:
    cdef Dots dots
    cdef Dot* dot
    cdef Py_ssize_t number
    gather(&dots, walk_live(row))
    sort_dots(&dots, by_meaning)
    put(out, <uint64_t>dots.size)
    for number in range(dots.size):
        dot = &dots.items[number]
        put(out, dot.seq)
        if row.kind == VALUES:
            put(out, <uint64_t>dot.length)
            put_bytes(out, dot.payload, dot.length)
    scatter(&dots)
    return 0
