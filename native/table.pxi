# What the row table says of changed rows.  crdtsync/pure/table.py is the contract.

cdef enum:
    PLAIN_MAX = 506
    PREFIX = 4
    KEY_MAX = 511  # of LMDB
    LOG_KEY = 16


def table_rows(uint32_t number, list rows not None, dict origin not None, changes, physical):
    cdef Entries put = changes[0], log = changes[1], marks = changes[2], gone = changes[3], stale = changes[4]
    cdef Entries alive = changes[5]
    cdef long long more = 0, deads = 0, size = 0
    cdef bytes rowkey, image, old
    cdef PyObject* found
    cdef Key key
    cdef Image new_row, old_row
    cdef bint is_dead, was_dead
    cdef Hash added, taken_away
    cdef Buffer hashed
    added.low = added.high = taken_away.low = taken_away.high = 0
    open_buffer(&hashed)
    try:
        for rowkey, image in rows:
            if rowkey is None:
                raise TypeError("row key must be bytes")
            found = PyDict_GetItemWithError(origin, rowkey) if PyDict_Size(origin) else NULL
            old = None if found == NULL else <object>found
            make_key(&key, number, rowkey, physical)
            empty_image(&new_row, PRESENCE)
            empty_image(&old_row, PRESENCE)
            is_dead = was_dead = False
            if image is not None:
                parse(image, &new_row)
                is_dead = dead(&new_row)
                if not is_dead:
                    put_hashed(&hashed, rowkey, &new_row)
                    add_hash(&added, hash_of(&hashed))
                size += PyBytes_GET_SIZE(rowkey) + PyBytes_GET_SIZE(image)
                more += 1
            if old is not None:
                parse(old, &old_row)
                was_dead = dead(&old_row)
                if not was_dead:
                    put_hashed(&hashed, rowkey, &old_row)
                    add_hash(&taken_away, hash_of(&hashed))
                more -= 1
                name_dots(&old_row, &new_row, &key, False, stale)
            if image is not None:
                put_row(put, &key, rowkey, image)
                name_dots(&new_row, &old_row, &key, True, log)
            else:
                put_key(gone, &key)
            if is_dead != was_dead:
                deads += <int>is_dead - <int>was_dead
                put_key(marks if is_dead else alive, &key)
    finally:
        close_buffer(&hashed)
    added.high -= taken_away.high + (added.low < taken_away.low)
    added.low -= taken_away.low
    return more, deads, size, <object>added.high << 64 | <object>added.low


cdef struct Key:
    # Of a row in the table.
    unsigned char data[KEY_MAX]
    Py_ssize_t size


cdef int make_key(Key* key, uint32_t number, bytes rowkey, physical) except -1:
    cdef bytes long
    key.size = PREFIX + PyBytes_GET_SIZE(rowkey)
    if PyBytes_GET_SIZE(rowkey) <= PLAIN_MAX:
        big32(key.data, number)
        memcpy(key.data + PREFIX, PyBytes_AS_STRING(rowkey), PyBytes_GET_SIZE(rowkey))
        return 0
    long = physical(number, rowkey)
    if not PREFIX <= PyBytes_GET_SIZE(long) <= KEY_MAX:
        raise ValueError("a physical key has 4 to 511 bytes")
    key.size = PyBytes_GET_SIZE(long)
    memcpy(key.data, PyBytes_AS_STRING(long), key.size)
    return 0


cdef int put_key(Entries out, const Key* key) except -1:
    cdef Fresh at
    out.make(key.size, 0, &at)
    memcpy(at.key, key.data, key.size)
    return 0


cdef int put_row(Entries out, const Key* key, bytes rowkey, bytes image) except -1:
    """A row with its checked value."""
    cdef Fresh at
    cdef Py_ssize_t size = PyBytes_GET_SIZE(image), long = PyBytes_GET_SIZE(rowkey)
    cdef Py_ssize_t head = 5 if long <= PLAIN_MAX else 9 + long
    out.make(key.size, head + size, &at)
    memcpy(at.key, key.data, key.size)
    at.value[4] = long > PLAIN_MAX
    if long > PLAIN_MAX:
        set32(at.value + 5, <uint32_t>long)
        memcpy(at.value + 9, PyBytes_AS_STRING(rowkey), long)
    memcpy(at.value + head, PyBytes_AS_STRING(image), size)
    set32(at.value, crc32(crc32(0, key.data, key.size), at.value + 4, head + size - 4))
    return 0


cdef inline uint64_t log_seq(const Image* row, uint64_t actor) noexcept:
    """Under which seq of an actor the log names a row, or 0."""
    if row.size == 0:
        return 0
    if row.kind == LATEST:
        return row.latest.seq if row.latest.actor == actor else 0
    return context_of(row, actor)


cdef int name_dots(const Image* row, const Image* other, const Key* key, bint leads, Entries out) except -1:
    """Log keys of a row's maximal events that are none of the other's; with `leads`, entries that lead to its key."""
    cdef Walk walk
    if row.kind == LATEST:
        if log_seq(other, row.latest.actor) != row.latest.seq:
            name_dot(row.latest.actor, row.latest.seq, key, leads, out)
        return 0
    walk = walk_context(row)
    while step(&walk):
        if log_seq(other, walk.actor) != walk.seq:
            name_dot(walk.actor, walk.seq, key, leads, out)
    return 0


cdef int name_dot(uint64_t actor, uint64_t seq, const Key* key, bint leads, Entries out) except -1:
    cdef Fresh at
    out.make(LOG_KEY, key.size if leads else 0, &at)  # four bytes of the key go, four of the crc come
    memcpy(at.key, key.data, PREFIX)
    big32(at.key + 4, <uint32_t>actor)
    big32(at.key + 8, <uint32_t>(seq >> 32))
    big32(at.key + 12, <uint32_t>(seq & <uint64_t>0xFFFFFFFF))
    if leads:
        set32(at.value, crc32(crc32(0, at.key, LOG_KEY), key.data, key.size))
        memcpy(at.value + 4, key.data + PREFIX, key.size - PREFIX)
    return 0


cdef inline void big32(unsigned char* at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = value >> 16 & 0xFF
    at[2] = value >> 8 & 0xFF
    at[3] = value & 0xFF


def table_read(list pairs not None, Py_ssize_t most, list rows not None):
    cdef Py_ssize_t number = 0, size, length
    cdef bytes key, value
    cdef const unsigned char* at
    cdef const unsigned char* data
    for key, value in pairs:
        if key is None or value is None:
            raise TypeError("keys and values must be bytes")
        size, length = PyBytes_GET_SIZE(key), PyBytes_GET_SIZE(value)
        at, data = <const unsigned char*>PyBytes_AS_STRING(key), <const unsigned char*>PyBytes_AS_STRING(value)
        if length < 6 or size < PREFIX or size >= most or data[4] != 0:
            break
        if get32(data) != crc32(crc32(0, at, size), data + 4, length - 4):
            break
        rows.append(row_pair(
            PyBytes_FromStringAndSize(<const char*>at + PREFIX, size - PREFIX),
            PyBytes_FromStringAndSize(<const char*>data + 5, length - 5),
        ))
        number += 1
    return number


cdef inline tuple row_pair(bytes key, bytes image):
    """A row.  It holds bytes alone, so that the garbage collector, which thousands of them call, need not look at it."""
    cdef tuple pair = (key, image)
    PyObject_GC_UnTrack(<void*>pair)
    return pair


def row_read(uint32_t number, bytes rowkey not None, bytes value not None):
    cdef unsigned char head[PREFIX]
    cdef Py_ssize_t length = PyBytes_GET_SIZE(value)
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(value)
    cdef uint32_t crc
    if length < 6 or PyBytes_GET_SIZE(rowkey) > PLAIN_MAX or data[4] != 0:
        return None
    big32(head, number)
    crc = crc32(0, head, PREFIX)
    crc = crc32(crc, <const unsigned char*>PyBytes_AS_STRING(rowkey), PyBytes_GET_SIZE(rowkey))
    if get32(data) != crc32(crc, data + 4, length - 4):
        return None
    return PyBytes_FromStringAndSize(<const char*>data + 5, length - 5)


def log_read(list pairs not None, Py_ssize_t most, list rowkeys not None):
    cdef Py_ssize_t number = 0, size, length
    cdef bytes key, value
    cdef const unsigned char* at
    cdef const unsigned char* data
    for key, value in pairs:
        if key is None or value is None:
            raise TypeError("keys and values must be bytes")
        size, length = PyBytes_GET_SIZE(key), PyBytes_GET_SIZE(value)
        at, data = <const unsigned char*>PyBytes_AS_STRING(key), <const unsigned char*>PyBytes_AS_STRING(value)
        if size < PREFIX or length < 4 or length >= most:
            break
        # The row's key is the entry's first bytes and the value's last ones: one crc over both.
        if get32(data) != crc32(crc32(crc32(0, at, size), at, PREFIX), data + 4, length - 4):
            break
        rowkeys.append(PyBytes_FromStringAndSize(<const char*>data + 4, length - 4))
        number += 1
    return number
