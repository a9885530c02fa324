# Row keys: their grammar, and the keys column of a part.

cdef enum:
    ROW_KEY_MAX = 65536 + 1024
    NAME_MAX = 255
    SHARED_MAX = 255
    TAIL = 4


def keys_pack(list keys not None, dict positions not None):
    """The keys column alone, cell tails turned into positions."""
    cdef Buffer out
    cdef bytes key, moved, previous = b""
    open_buffer(&out)
    try:
        for key in keys:
            moved = moved_key(key, check_key(key) == CELL, positions)
            append_key(&out, previous, moved)
            previous = moved
        return taken(&out)
    finally:
        close_buffer(&out)


def keys_unpack(Py_ssize_t count, bytes keys not None, actors):
    """The keys of a column without images, checked; positions kept as they are."""
    cdef Cursor cursor = over(keys, 0)
    cdef bytes key = b""
    cdef list out = []
    cdef Py_ssize_t number
    cdef uint64_t table = u64(actors)
    for number in range(count):
        key = next_key(&cursor, key)
        if check_key(key) == CELL and cell_tail(key) >= table:
            raise ValueError(f"actor {cell_tail(key)} is not in the table")
        out.append(key)
    if cursor.at != cursor.end:
        fail(b"trailing bytes", cursor.at)
    return out


def keys_remap(list keys not None, list mapping not None):
    """Keys with the positions in cell tails turned into local indexes."""
    cdef bytes key
    cdef list out = []
    for key in keys:
        out.append(moved_key(key, check_key(key) == CELL, mapping))
    return out


cdef struct Place:
    # What a checked row key says.
    int kind  # that its row must have
    Py_ssize_t at  # of its type byte
    Py_ssize_t fields  # around the object


def name_prefix(name, bytes code not None, Py_ssize_t most):
    """The prefix of an object's row keys; None when the name may not be one."""
    cdef const char* text
    cdef Py_ssize_t size = 0, more = PyBytes_GET_SIZE(code)
    cdef bytes prefix
    cdef char* at
    if type(name) is not str:
        return None
    try:
        text = PyUnicode_AsUTF8AndSize(name, &size)
    except UnicodeEncodeError:
        return None
    if size < 1 or size > most or memchr(text, 0, size) != NULL:
        return None
    prefix = PyBytes_FromStringAndSize(NULL, size + 1 + more)
    at = PyBytes_AS_STRING(prefix)
    memcpy(at, text, size)
    at[size] = 0
    memcpy(at + size + 1, PyBytes_AS_STRING(code), more)
    return prefix


cdef int check_key(bytes key) except -1:
    """The row kind that a key is made for.  ValueError when it does not follow the grammar."""
    cdef Place place
    if key is None:
        raise TypeError("row key must be bytes")
    place_key(<const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), &place)
    return place.kind


cdef int place_key(const unsigned char* data, Py_ssize_t size, Place* place) except -1:
    """Check a key.  ValueError when it does not follow the grammar."""
    cdef Py_ssize_t at, tail
    cdef int kind
    cdef bint fits
    if size > ROW_KEY_MAX:
        raise ValueError("row key is too long")
    place.fields = 0
    at = check_name(data, size, 0, 1)
    while at < size and data[at] == c"m":
        at = check_name(data, size, at + 1, 0)
        place.fields += 1
    if at >= size:
        return fail(b"row key has no type", at)
    kind = kind_of_type(data[at])
    if kind < 0:
        PyErr_Format(ValueError, b"row key has unknown type %d at offset %zd", <int>data[at], at)
        return -1
    tail = size - at - 1
    if kind == CELL:
        fits = tail == TAIL
    elif data[at] == c"s" or data[at] == c"o":
        fits = tail >= 1
    else:
        fits = tail == 0
    if not fits:
        return fail(b"row key has a wrong tail", at + 1)
    place.kind = kind
    place.at = at
    return 0


cdef inline int kind_of_type(unsigned char letter) noexcept nogil:
    if letter == c"g" or letter == c"p":
        return CELL
    if letter == c"s" or letter == c"o" or letter == c"f":
        return PRESENCE
    if letter == c"l":
        return LATEST
    if letter == c"v":
        return VALUES
    return -1


cdef Py_ssize_t check_name(const unsigned char* data, Py_ssize_t size, Py_ssize_t at, Py_ssize_t least) except -1:
    """Check the name or field at `at`; the offset after its NUL."""
    cdef const unsigned char* end = NULL
    cdef Py_ssize_t length
    if at < size:
        end = <const unsigned char*>memchr(data + at, 0, size - at)
    if end == NULL:
        return fail(b"row key has a bad name", at)
    length = end - (data + at)
    if length < least or length > NAME_MAX or not is_utf8(data + at, end):
        return fail(b"row key has a bad name", at)
    return at + length + 1


cdef bint is_utf8(const unsigned char* at, const unsigned char* end) noexcept nogil:
    """Strict UTF-8: no overlong form, no surrogate, nothing beyond U+10FFFF."""
    cdef unsigned char lead, low, high
    cdef int more
    while at < end:
        lead = at[0]
        at += 1
        if lead < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return False
        if end - at < more:
            return False
        while more:
            if not low <= at[0] <= high:
                return False
            low, high = 0x80, 0xBF
            at += 1
            more -= 1
    return True


cdef uint64_t cell_tail(bytes key) except? 0:
    """The actor in the key of a cell."""
    if key is None:
        raise TypeError("row key must be bytes")
    if PyBytes_GET_SIZE(key) < TAIL:
        raise ValueError("row key of a cell is too short")
    return tail_at(<const unsigned char*>PyBytes_AS_STRING(key) + (PyBytes_GET_SIZE(key) - TAIL))


cdef inline uint64_t tail_at(const unsigned char* tail) noexcept nogil:
    return <uint32_t>tail[0] << 24 | <uint32_t>tail[1] << 16 | <uint32_t>tail[2] << 8 | <uint32_t>tail[3]


cdef bytes moved_key(bytes key, bint cell, object positions):
    """The key with the actor of a cell's tail turned into its position."""
    cdef uint64_t place
    cdef bytes moved
    cdef unsigned char* tail
    if not cell:
        if key is None:
            raise TypeError("row key must be bytes")
        return key
    position(positions, cell_tail(key), &place)
    moved = PyBytes_FromStringAndSize(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    tail = <unsigned char*>PyBytes_AS_STRING(moved) + (PyBytes_GET_SIZE(moved) - TAIL)
    tail[0] = <unsigned char>(place >> 24)
    tail[1] = <unsigned char>(place >> 16 & 0xFF)
    tail[2] = <unsigned char>(place >> 8 & 0xFF)
    tail[3] = <unsigned char>(place & 0xFF)
    return moved


cdef inline int position(object positions, uint64_t actor, uint64_t* place) except -1:
    """Where `actor` goes, in a dict or a list.  ValueError when it goes nowhere."""
    cdef PyObject* found = NULL
    if type(positions) is list:
        if actor < <uint64_t>PyList_GET_SIZE(positions):
            found = <PyObject*>PyList_GET_ITEM(positions, <Py_ssize_t>actor)
    else:
        found = PyDict_GetItemWithError(positions, PyLong_FromUnsignedLongLong(actor))
    if found == NULL:
        raise ValueError(f"actor {actor} has no position")
    place[0] = index(<object>found)
    return 0


cdef int append_key(Buffer* out, bytes previous, bytes key) except -1:
    """Append one key to the column, after `previous`."""
    cdef const unsigned char* old = <const unsigned char*>PyBytes_AS_STRING(previous)
    cdef const unsigned char* new = <const unsigned char*>PyBytes_AS_STRING(key)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(key), shared = 0
    cdef Py_ssize_t most = min(PyBytes_GET_SIZE(previous), size, <Py_ssize_t>SHARED_MAX)
    while shared < most and old[shared] == new[shared]:
        shared += 1
    reserve(out, 2 * VARINT_MAX + size - shared)
    put(out, <uint64_t>shared)
    put(out, <uint64_t>(size - shared))
    put_bytes(out, new + shared, size - shared)
    return 0


cdef bytes next_key(Cursor* cursor, bytes previous):
    """The key at the cursor, as it stands."""
    cdef uint64_t rest, shared = next_lengths(cursor, PyBytes_GET_SIZE(previous), &rest)
    cdef bytes key
    key = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(shared + rest))
    memcpy(PyBytes_AS_STRING(key), PyBytes_AS_STRING(previous), <size_t>shared)
    memcpy(PyBytes_AS_STRING(key) + shared, cursor.data + cursor.at, <size_t>rest)
    cursor.at += <Py_ssize_t>rest
    return key


cdef uint64_t next_lengths(Cursor* cursor, Py_ssize_t previous, uint64_t* rest) except? 0:
    """Bytes that the key at the cursor shares with the one before, of `previous` bytes, and bytes that follow."""
    cdef Py_ssize_t start = cursor.at
    cdef uint64_t shared
    take(cursor, &shared)
    if shared > <uint64_t>previous or shared > SHARED_MAX:
        fail(b"shared prefix is too long", start)
    take(cursor, rest)
    if rest[0] > <uint64_t>(cursor.end - cursor.at):
        fail(b"row key is cut off", start)
    if shared + rest[0] > ROW_KEY_MAX:
        fail(b"row key is too long", start)
    return shared
