# A part taken in, column by column.  crdtsync/pure/parts.py is the contract.


def part_check(
    Py_ssize_t count, bytes keys not None, bytes images not None, actors, uint64_t stamp_last, Py_ssize_t depth_max,
    Py_ssize_t bytes_max,
):
    cdef Cursor cursor = over(keys, 0), column = over(images, 0)
    cdef Buffer key
    cdef Place place
    cdef Image row
    cdef Walk walk
    cdef uint64_t table = u64(actors), length
    cdef uint64_t* last = <uint64_t*>PyMem_Calloc(<size_t>table + 1, sizeof(uint64_t))
    cdef Py_ssize_t number, start
    cdef bytes first = b"", final = b""
    cdef list unclear = []
    cdef bint ascending = True
    if last == NULL:
        raise MemoryError
    open_buffer(&key)
    try:
        for number in range(count):
            if not follow_key(&cursor, &key):
                ascending = False
            place_key(key.data, key.size, &place)
            start = column.at
            take(&column, &length)
            if length > <uint64_t>(column.end - column.at):
                fail(b"image is cut off", start)
            parse_at(column.data + column.at, <Py_ssize_t>length, &row)
            column.at += <Py_ssize_t>length
            fit_row(key.data, key.size, place.kind, &row, table)
            walk = walk_context(&row)
            while step(&walk):
                if last[walk.actor] < walk.seq:
                    last[walk.actor] = walk.seq
            if not is_clear(key.data, key.size, &place, &row, stamp_last, depth_max, bytes_max):
                unclear.append(number)
            if number == 0:
                first = stem_of(&key, place.kind)
        if count > 0:
            final = stem_of(&key, place.kind)
        if cursor.at != cursor.end:
            fail(b"trailing bytes", cursor.at)
        if column.at != column.end:
            fail(b"trailing bytes", column.at)
        return [last[number] for number in range(<Py_ssize_t>table)], unclear, first, final, bool(ascending)
    finally:
        close_buffer(&key)
        PyMem_Free(last)


cdef bytes stem_of(Buffer* key, int kind):
    return PyBytes_FromStringAndSize(<const char*>key.data, key.size - TAIL if kind == CELL else key.size)


cdef int follow_key(Cursor* cursor, Buffer* key) except -1:
    """Turn the key before into the key at the cursor; whether that is the greater one."""
    cdef Py_ssize_t same
    cdef uint64_t shared, rest
    cdef const unsigned char* data
    cdef int order
    shared = next_lengths(cursor, key.size, &rest)
    data = cursor.data + cursor.at
    same = min(key.size - <Py_ssize_t>shared, <Py_ssize_t>rest)
    order = memcmp(data, key.data + shared, <size_t>same) if same else 0
    if order == 0:
        order = 1 if <Py_ssize_t>(shared + rest) > key.size else -1
    key.size = <Py_ssize_t>shared
    reserve(key, <Py_ssize_t>rest)
    put_bytes(key, data, <Py_ssize_t>rest)
    cursor.at += <Py_ssize_t>rest
    return order > 0


cdef bint is_clear(
    const unsigned char* key, Py_ssize_t size, const Place* place, const Image* row, uint64_t stamp_last,
    Py_ssize_t depth_max, Py_ssize_t bytes_max,
) noexcept nogil:
    cdef Walk walk
    if place.fields > depth_max:
        return False
    if row.kind == PRESENCE:
        return key[place.at] == c"f" or is_plain(key + place.at + 1, size - place.at - 1, bytes_max)
    if row.kind == VALUES:
        walk = walk_live(row)
        while step(&walk):
            if not is_plain(walk.payload, walk.length, bytes_max):
                return False
        return True
    if row.kind == LATEST:
        if row.latest.stamp > stamp_last:
            return False
        return row.latest.deleted or is_plain(row.latest.payload, row.latest.length, bytes_max)
    return key[place.at] == c"p" or (row.cell.n == 0 and row.cell.base_n == 0)


cdef bint is_plain(const unsigned char* value, Py_ssize_t size, Py_ssize_t bytes_max) noexcept nogil:
    """Whether bytes are seen to be canonical MessagePack of None, a bool, a number, a string or bytes."""
    cdef unsigned char tag
    cdef int width
    cdef uint64_t number
    if size <= 0 or size > bytes_max:
        return False
    tag = value[0]
    if tag < 0x80 or tag >= 0xE0 or tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
        return size == 1
    if 0xA0 <= tag <= 0xBF:
        return size == tag - 0xA0 + 1 and is_utf8(value + 1, value + size)
    width = width_of(tag)
    if width == 0 or size < 1 + width:
        return False
    number = big(value + 1, width)
    if tag <= 0xC6 or tag >= 0xD9:
        if number != <uint64_t>(size - 1 - width) or number < (0 if tag == 0xC4 else 32 if tag == 0xD9 else least_of(width)):
            return False
        return tag <= 0xC6 or is_utf8(value + 1 + width, value + size)
    if size != 1 + width:
        return False
    if tag == 0xCB:  # neither -0.0 nor a NaN
        return number != <uint64_t>1 << 63 and (number & COUNT_MAX) <= <uint64_t>0x7FF << 52
    if tag <= 0xCF:
        return number >= (128 if width == 1 else least_of(width))
    # Below what the next shorter form holds, so the sign bit is set: compare the two's complement.
    number |= ~<uint64_t>0 << (8 * width - 1) if number >> (8 * width - 1) & 1 else 0
    return <int64_t>number < (-32 if width == 1 else -(<int64_t>1 << (4 * width - 1)))


cdef inline int width_of(unsigned char tag) noexcept nogil:
    """Bytes of the length or number after a first byte; 0: it has none, or is nothing plain."""
    if tag == 0xC4 or tag == 0xCC or tag == 0xD0 or tag == 0xD9:
        return 1
    if tag == 0xC5 or tag == 0xCD or tag == 0xD1 or tag == 0xDA:
        return 2
    if tag == 0xC6 or tag == 0xCE or tag == 0xD2 or tag == 0xDB:
        return 4
    if tag == 0xCB or tag == 0xCF or tag == 0xD3:
        return 8
    return 0


cdef inline uint64_t least_of(int width) noexcept nogil:
    """The least number that does not fit into half of `width` bytes."""
    return <uint64_t>1 << 4 * width


cdef inline uint64_t big(const unsigned char* at, int width) noexcept nogil:
    cdef uint64_t value = 0
    cdef int number
    for number in range(width):
        value = value << 8 | at[number]
    return value


def part_rows(Py_ssize_t count, bytes keys not None, bytes images not None, list mapping not None):
    cdef Cursor cursor = over(keys, 0), column = over(images, 0)
    cdef Buffer moved
    cdef Image row
    cdef uint64_t length
    cdef Py_ssize_t number, start
    cdef bytes key = b""
    cdef list local_keys = [], local_images = []
    open_buffer(&moved)
    try:
        for number in range(count):
            key = next_key(&cursor, key)
            start = column.at
            take(&column, &length)
            if length > <uint64_t>(column.end - column.at):
                fail(b"image is cut off", start)
            parse_at(column.data + column.at, <Py_ssize_t>length, &row)
            column.at += <Py_ssize_t>length
            moved.size = 0
            reserve(&moved, 3 * row.size + 2 * VARINT_MAX)
            move_image(&moved, &row, mapping)
            local_keys.append(moved_key(key, row.kind == CELL, mapping))
            local_images.append(taken(&moved))
        if cursor.at != cursor.end:
            fail(b"trailing bytes", cursor.at)
        if column.at != column.end:
            fail(b"trailing bytes", column.at)
        return local_keys, local_images
    finally:
        close_buffer(&moved)


def rows_merge(
    list keys not None, list current not None, list incoming not None, dict clock not None, ids, uint64_t alarm
):
    cdef Py_ssize_t number, count = PyList_GET_SIZE(keys), skewed = 0
    cdef list changed = [], images = [], before = [], conflicts = [], suspects = []
    cdef bytes old, image
    cdef object new
    cdef Image cur, inc
    if PyList_GET_SIZE(current) != count or PyList_GET_SIZE(incoming) != count:
        raise ValueError("lists differ in length")
    for number in range(count):
        old = current[number]
        image = incoming[number]
        new = join_parsed(old, image, clock, ids, &cur, &inc)
        if new is None:
            continue
        changed.append(keys[number])
        images.append(new)
        before.append(old)
        if inc.kind == LATEST and inc.latest.stamp > alarm:
            skewed += 1
        if old is not None:
            if conflict(&cur, &inc):
                conflicts.append(number)
            if is_suspect(&cur, &inc):
                suspects.append(number)
    return changed, images, before, skewed, conflicts, suspects


cdef bint is_suspect(const Image* mine, const Image* theirs) noexcept nogil:
    """Whether one event has two contents, or one actor goes backwards."""
    cdef const Image* older = mine if mine_is_older(mine, theirs) else theirs
    cdef const Image* newer = theirs if older is mine else mine
    cdef Walk one, other
    cdef bint differs = False
    if mine.kind == LATEST:
        if mine.latest.actor != theirs.latest.actor:
            return False
        if mine.latest.seq != theirs.latest.seq:
            return older.latest.stamp >= newer.latest.stamp
        return (
            mine.latest.stamp != theirs.latest.stamp or mine.latest.expiry != theirs.latest.expiry
            or mine.latest.deleted != theirs.latest.deleted
            or differ(mine.latest.payload, mine.latest.length, theirs.latest.payload, theirs.latest.length)
        )
    if mine.kind == CELL:
        if older.cell.seq == newer.cell.seq and (
            older.cell.start != newer.cell.start or older.cell.p != newer.cell.p or older.cell.n != newer.cell.n
        ):
            return True
        if older.cell.start == newer.cell.start and (newer.cell.p < older.cell.p or newer.cell.n < older.cell.n):
            return True
        return older.cell.base_seq > 0 and older.cell.base_seq == newer.cell.base_seq and (
            older.cell.base_p != newer.cell.base_p or older.cell.base_n != newer.cell.base_n
        )
    if mine.kind != VALUES or mine.lives != theirs.lives:
        return False
    one, other = walk_live(mine), walk_live(theirs)
    while step(&one) and step(&other):
        if one.actor != other.actor or one.seq != other.seq:
            return False
        if differ(one.payload, one.length, other.payload, other.length):
            differs = True
    return differs


cdef inline bint mine_is_older(const Image* mine, const Image* theirs) noexcept nogil:
    if mine.kind == LATEST:
        return mine.latest.seq <= theirs.latest.seq
    return mine.kind != CELL or mine.cell.seq <= theirs.cell.seq


cdef inline bint differ(
    const unsigned char* one, Py_ssize_t size, const unsigned char* other, Py_ssize_t length
) noexcept nogil:
    return size != length or (size > 0 and memcmp(one, other, <size_t>size) != 0)


cdef enum:
    AHEAD = 8  # rows of which memory is told before their turn comes


def pairs_pack(list keys not None, list images not None, bytes head not None=b""):
    cdef Py_ssize_t number, count = PyList_GET_SIZE(keys), size = PyBytes_GET_SIZE(head)
    cdef bytes key, image, out
    cdef Buffer window
    if PyList_GET_SIZE(images) != count:
        raise ValueError("lists differ in length")
    for number in range(count):
        if number + AHEAD < count:
            hint_object(PyList_GET_ITEM(keys, number + AHEAD))
            hint_object(PyList_GET_ITEM(images, number + AHEAD))
        key = keys[number]
        image = images[number]
        size += binary_size(key) + (1 if image is None else binary_size(image))
    out = PyBytes_FromStringAndSize(NULL, size)
    window.data = <unsigned char*>PyBytes_AS_STRING(out)
    window.size = 0
    window.room = size
    put_bytes(&window, <const unsigned char*>PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
    for number in range(count):
        key = keys[number]
        image = images[number]
        put_binary(&window, key)
        if image is None:
            put_byte(&window, 0xC0)
        else:
            put_binary(&window, image)
    return out


cdef inline Py_ssize_t binary_size(bytes data) except -1:
    """Bytes that `put_binary` writes."""
    cdef Py_ssize_t size
    if data is None:
        raise TypeError("row key must be bytes")
    size = PyBytes_GET_SIZE(data)
    return size + (2 if size <= 0xFF else 3 if size <= 0xFFFF else 5)
