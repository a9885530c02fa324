# What the row table says of changed rows.  crdtsync/pure/table.py is the contract.

cdef enum:
    PLAIN_MAX = 506
    PREFIX = 4


def table_rows(uint32_t number, list keys not None, dict rows not None, dict origin not None, changes, physical):
    cdef list put = changes[0], log = changes[1], marks = changes[2], gone = changes[3], stale = changes[4]
    cdef list alive = changes[5]
    cdef long long more = 0, deads = 0, size = 0
    cdef bytes rowkey, image, old, key
    cdef Image new_row, old_row
    cdef bint is_dead, was_dead
    for rowkey in keys:
        image = rows[rowkey]
        old = origin.get(rowkey)
        if PyBytes_GET_SIZE(rowkey) <= PLAIN_MAX:
            key = plain_key(number, rowkey)
        else:
            key = physical(number, rowkey)
        empty_image(&new_row, PRESENCE)
        empty_image(&old_row, PRESENCE)
        is_dead = was_dead = False
        if image is None:
            gone.append(key)
        else:
            parse(image, &new_row)
            is_dead = dead(&new_row)
            put.append((key, row_value(key, rowkey, image)))
            size += PyBytes_GET_SIZE(rowkey) + PyBytes_GET_SIZE(image)
            more += 1
        if old is not None:
            parse(old, &old_row)
            was_dead = dead(&old_row)
            more -= 1
            name_dots(number, &old_row, &new_row, None, stale)
        if image is not None:
            name_dots(number, &new_row, &old_row, key, log)
        if is_dead != was_dead:
            deads += <int>is_dead - <int>was_dead
            if is_dead:
                marks.append((key, b""))
            else:
                alive.append(key)
    return more, deads, size


cdef bytes plain_key(uint32_t number, bytes rowkey):
    cdef bytes key = PyBytes_FromStringAndSize(NULL, PREFIX + PyBytes_GET_SIZE(rowkey))
    cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(key)
    big32(at, number)
    memcpy(at + PREFIX, PyBytes_AS_STRING(rowkey), PyBytes_GET_SIZE(rowkey))
    return key


cdef bytes row_value(bytes key, bytes rowkey, bytes image):
    """The checked value of a row."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(image), long = PyBytes_GET_SIZE(rowkey)
    cdef Py_ssize_t head = 5 if long <= PLAIN_MAX else 9 + long
    cdef bytes value = PyBytes_FromStringAndSize(NULL, head + size)
    cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(value)
    at[4] = long > PLAIN_MAX
    if long > PLAIN_MAX:
        set32(at + 5, <uint32_t>long)
        memcpy(at + 9, PyBytes_AS_STRING(rowkey), long)
    memcpy(at + head, PyBytes_AS_STRING(image), size)
    set32(at, crc32(crc32(0, <const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)), at + 4, head + size - 4))
    return value


cdef inline uint64_t log_seq(const Image* row, uint64_t actor) noexcept:
    """Under which seq of an actor the log names a row, or 0."""
    if row.size == 0:
        return 0
    if row.kind == LATEST:
        return row.latest.seq if row.latest.actor == actor else 0
    return context_of(row, actor)


cdef int name_dots(uint32_t number, const Image* row, const Image* other, bytes key, list out) except -1:
    """Log keys of a row's maximal events that are none of the other's; with `key`, entries that lead to it."""
    cdef Walk walk
    if row.kind == LATEST:
        if log_seq(other, row.latest.actor) != row.latest.seq:
            out.append(named_dot(number, row.latest.actor, row.latest.seq, key))
        return 0
    walk = walk_context(row)
    while step(&walk):
        if log_seq(other, walk.actor) != walk.seq:
            out.append(named_dot(number, walk.actor, walk.seq, key))
    return 0


cdef object named_dot(uint32_t number, uint64_t actor, uint64_t seq, bytes key):
    cdef bytes name = PyBytes_FromStringAndSize(NULL, 16), value
    cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(name)
    cdef const unsigned char* row
    cdef uint32_t crc
    big32(at, number)
    big32(at + 4, <uint32_t>actor)
    big32(at + 8, <uint32_t>(seq >> 32))
    big32(at + 12, <uint32_t>(seq & <uint64_t>0xFFFFFFFF))
    if key is None:
        return name
    row = <const unsigned char*>PyBytes_AS_STRING(key)
    crc = crc32(crc32(0, at, 16), row, PyBytes_GET_SIZE(key))
    value = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(key))  # four bytes of the key go, four of the crc come
    set32(<unsigned char*>PyBytes_AS_STRING(value), crc)
    memcpy(PyBytes_AS_STRING(value) + 4, row + PREFIX, PyBytes_GET_SIZE(key) - PREFIX)
    return name, value


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
        rows.append((
            PyBytes_FromStringAndSize(<const char*>at + PREFIX, size - PREFIX),
            PyBytes_FromStringAndSize(<const char*>data + 5, length - 5),
        ))
        number += 1
    return number


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
