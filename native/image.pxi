# The row image.  `parse` checks every byte once; after it, entries are walked without checks.

cdef enum:
    PRESENCE = 0
    VALUES = 1
    LATEST = 2
    CELL = 3
    DELETED = 1
    EXPIRES = 2

cdef uint64_t ACTOR_MAX = <uint64_t>0xFFFFFFFF
cdef uint64_t COUNT_MAX = <uint64_t>0x7FFFFFFFFFFFFFFF


cdef struct Latest:
    uint64_t actor
    uint64_t seq
    uint64_t stamp
    uint64_t expiry
    bint deleted
    const unsigned char* payload
    Py_ssize_t length


cdef struct Cell:
    uint64_t owner
    uint64_t start
    uint64_t seq
    uint64_t p
    uint64_t n
    uint64_t base_seq
    uint64_t base_p
    uint64_t base_n


cdef struct Image:
    const unsigned char* data
    Py_ssize_t size
    int kind
    uint64_t events               # entries of the context
    const unsigned char* context  # the first of them
    const unsigned char* body     # the byte after the last
    uint64_t lives                # PRESENCE, VALUES: live dots
    const unsigned char* live     # the first of them
    Latest latest
    Cell cell


cdef struct Walk:
    # A walk over checked entries of a context or of live dots.
    const unsigned char* at
    uint64_t left
    bint payloads
    uint64_t actor
    uint64_t seq
    const unsigned char* payload
    Py_ssize_t length


cdef inline Walk walk_context(const Image* image) noexcept nogil:
    cdef Walk walk
    walk.at = image.context
    walk.left = image.events
    walk.payloads = False
    walk.actor = walk.seq = 0
    walk.payload = NULL
    walk.length = 0
    return walk


cdef inline Walk walk_live(const Image* image) noexcept nogil:
    cdef Walk walk
    walk.at = image.live
    walk.left = image.lives
    walk.payloads = image.kind == VALUES
    walk.actor = walk.seq = 0
    walk.payload = NULL
    walk.length = 0
    return walk


cdef inline bint step(Walk* walk) noexcept nogil:
    """The next entry; at the end False, and seq 0."""
    if walk.left == 0:
        walk.seq = 0
        return False
    walk.left -= 1
    walk.actor = skim(&walk.at)
    walk.seq = skim(&walk.at)
    if walk.payloads:
        walk.length = <Py_ssize_t>skim(&walk.at)
        walk.payload = walk.at
        walk.at += walk.length
    return True


cdef inline uint64_t seek(Walk* walk, uint64_t actor) noexcept nogil:
    """The seq of `actor`, or 0; actors must be sought in ascending order.  The walk begins before its first entry."""
    while walk.actor < actor or walk.seq == 0:
        if not step(walk):
            return 0
    return walk.seq if walk.actor == actor else 0


cdef inline uint64_t context_of(const Image* image, uint64_t actor) noexcept nogil:
    """The context's entry of one actor, or 0."""
    cdef Walk walk = walk_context(image)
    return seek(&walk, actor)


cdef inline void empty_image(Image* image, int kind) noexcept nogil:
    """No row: no context, no body."""
    image.data = image.context = image.body = image.live = NULL
    image.size = 0
    image.events = image.lives = 0
    image.kind = kind


cdef int parse(bytes data, Image* image) except -1:
    """Decode and check `data` in full; `image` points into it."""
    return parse_at(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), image)


cdef int parse_context(bytes data, Image* image) except -1:
    """Kind and context alone."""
    cdef Cursor cursor = over(data, 0)
    return parse_head(&cursor, image)


cdef int parse_at(const unsigned char* data, Py_ssize_t size, Image* image) except -1:
    cdef Cursor cursor
    cursor.data = data
    cursor.at = 0
    cursor.end = size
    parse_head(&cursor, image)
    if image.kind == LATEST:
        parse_latest(&cursor, image)
    elif image.kind == CELL:
        parse_cell(&cursor, image)
    else:
        parse_live(&cursor, image)
    if cursor.at != cursor.end:
        return fail(b"trailing bytes", cursor.at)
    return 0


cdef int parse_kind(const unsigned char* data, Py_ssize_t size) except -1:
    if size == 0:
        return fail(b"image is empty", 0)
    if data[0] > CELL:
        PyErr_Format(ValueError, b"unknown row kind %d at offset 0", <int>data[0])
        return -1
    return data[0]


cdef int parse_head(Cursor* cursor, Image* image) except -1:
    cdef uint64_t number, actor, seq, previous = 0
    image.data = cursor.data
    image.size = cursor.end
    image.lives = 0
    image.kind = parse_kind(cursor.data, cursor.end)
    cursor.at = 1
    take(cursor, &image.events)
    if image.events == 0:
        return fail(b"context is empty", 1)
    image.context = cursor.data + cursor.at
    for number in range(image.events):
        parse_dot(cursor, number > 0, previous, &actor, &seq)
        previous = actor
    image.body = cursor.data + cursor.at
    return 0


cdef inline int parse_dot(Cursor* cursor, bint follows, uint64_t previous, uint64_t* actor, uint64_t* seq) except -1:
    cdef Py_ssize_t start = cursor.at
    take(cursor, actor)
    if actor[0] > ACTOR_MAX:
        return fail(b"actor is too large", start)
    if follows and actor[0] <= previous:
        return fail(b"actors are not ascending", start)
    take(cursor, seq)
    if seq[0] == 0:
        return fail(b"seq is zero", start)
    return 0


cdef inline int parse_payload(Cursor* cursor, const unsigned char** payload, Py_ssize_t* length) except -1:
    cdef Py_ssize_t start = cursor.at
    cdef uint64_t size
    take(cursor, &size)
    if size > <uint64_t>(cursor.end - cursor.at):
        return fail(b"payload is cut off", start)
    payload[0] = cursor.data + cursor.at
    length[0] = <Py_ssize_t>size
    cursor.at += <Py_ssize_t>size
    return 0


cdef int parse_live(Cursor* cursor, Image* image) except -1:
    cdef uint64_t number, actor, seq, previous = 0
    cdef Py_ssize_t start, length
    cdef const unsigned char* payload
    cdef Walk context = walk_context(image)
    take(cursor, &image.lives)
    image.live = cursor.data + cursor.at
    for number in range(image.lives):
        start = cursor.at
        parse_dot(cursor, number > 0, previous, &actor, &seq)
        if seq > seek(&context, actor):
            return fail(b"live dot is beyond the context", start)
        if image.kind == VALUES:
            parse_payload(cursor, &payload, &length)
        previous = actor
    return 0


cdef int parse_latest(Cursor* cursor, Image* image) except -1:
    cdef Latest* latest = &image.latest
    cdef Py_ssize_t start = cursor.at
    cdef unsigned char flags
    parse_dot(cursor, False, 0, &latest.actor, &latest.seq)
    if latest.seq > context_of(image, latest.actor):
        return fail(b"winner is beyond the context", start)
    take(cursor, &latest.stamp)
    if cursor.at >= cursor.end:
        return fail(b"flags are cut off", cursor.at)
    flags = cursor.data[cursor.at]
    if flags > EXPIRES:
        PyErr_Format(ValueError, b"unknown flags %d at offset %zd", <int>flags, cursor.at)
        return -1
    cursor.at += 1
    latest.deleted = flags == DELETED
    latest.expiry = 0
    if flags == EXPIRES:
        start = cursor.at
        take(cursor, &latest.expiry)
        if latest.expiry == 0:
            return fail(b"expiry is zero", start)
    start = cursor.at
    parse_payload(cursor, &latest.payload, &latest.length)
    if latest.deleted and latest.length:
        return fail(b"deleted register has a payload", start)
    return 0


cdef int parse_cell(Cursor* cursor, Image* image) except -1:
    cdef Cell* cell = &image.cell
    cdef Py_ssize_t body = cursor.at
    take(cursor, &cell.owner)
    take(cursor, &cell.start)
    take(cursor, &cell.seq)
    take(cursor, &cell.p)
    take(cursor, &cell.n)
    take(cursor, &cell.base_seq)
    take(cursor, &cell.base_p)
    take(cursor, &cell.base_n)
    if not (sound_owner(image) and sound_base(cell)):
        return fail(b"cell contradicts itself", body)
    return 0


cdef bint plain_cell(bytes data, Image* image) noexcept:
    """Parse a cell as most are: touched by its owner alone, and never reset.  False: it must be parsed, to tell."""
    cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef const unsigned char* end = at + PyBytes_GET_SIZE(data)
    cdef Cell* cell = &image.cell
    cdef uint64_t actor, seq
    if end - at < 12 or at[0] != CELL or at[1] != 1 or (end - 3)[0] or (end - 2)[0] or (end - 1)[0]:
        return False
    image.data = at
    image.size = end - at
    image.kind = CELL
    image.events = 1
    image.lives = 0
    end -= 3
    at += 2
    image.context = at
    if not (quick(&at, end, &actor) and quick(&at, end, &seq)):
        return False
    image.body = at
    if not (
        quick(&at, end, &cell.owner) and quick(&at, end, &cell.start) and quick(&at, end, &cell.seq)
        and quick(&at, end, &cell.p) and quick(&at, end, &cell.n) and at == end
    ):
        return False
    cell.base_seq = cell.base_p = cell.base_n = 0
    return cell.owner == actor <= ACTOR_MAX and 1 <= cell.start <= cell.seq <= seq


cdef inline bint quick(const unsigned char** at, const unsigned char* end, uint64_t* value) noexcept nogil:
    """The varint at `at`, which moves on.  False: cut off, longer than needed, or of more than 63 bits."""
    cdef const unsigned char* byte = at[0]
    cdef uint64_t found
    cdef int shift = 7
    if byte >= end:
        return False
    found = byte[0]
    if found >= 0x80:
        found &= 0x7F
        while True:
            byte += 1
            if byte >= end or shift == 63:
                return False
            found |= <uint64_t>(byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                break
        if byte[0] == 0:
            return False
    value[0] = found
    at[0] = byte + 1
    return True


cdef inline bint sound_owner(const Image* image) noexcept nogil:
    cdef const Cell* cell = &image.cell
    return (
        cell.owner <= ACTOR_MAX
        and 1 <= cell.start <= cell.seq
        and cell.seq <= context_of(image, cell.owner)
        and cell.p <= COUNT_MAX
        and cell.n <= COUNT_MAX
    )


cdef inline bint sound_base(const Cell* cell) noexcept nogil:
    if cell.base_seq == 0:
        return cell.base_p == 0 and cell.base_n == 0
    if cell.base_p > COUNT_MAX or cell.base_n > COUNT_MAX:
        return False
    if not cell.start <= cell.base_seq <= cell.seq:
        return False
    return cell.base_seq < cell.seq or (cell.base_p <= cell.p and cell.base_n <= cell.n)


cdef inline bint dead(const Image* image) noexcept nogil:
    if image.kind == LATEST:
        return image.latest.deleted
    if image.kind == CELL:
        return image.cell.base_seq >= image.cell.seq
    return image.lives == 0


cdef inline void put_latest(Buffer* out, const Latest* latest) noexcept nogil:
    put(out, latest.actor)
    put(out, latest.seq)
    put(out, latest.stamp)
    put_byte(out, DELETED if latest.deleted else EXPIRES if latest.expiry else 0)
    if latest.expiry:
        put(out, latest.expiry)
    put(out, <uint64_t>latest.length)
    put_bytes(out, latest.payload, latest.length)


cdef inline void put_cell(Buffer* out, const Cell* cell) noexcept nogil:
    put(out, cell.owner)
    put(out, cell.start)
    put(out, cell.seq)
    put(out, cell.p)
    put(out, cell.n)
    put(out, cell.base_seq)
    put(out, cell.base_p)
    put(out, cell.base_n)


cdef inline int seq_at(dict clock, uint64_t actor, uint64_t* seq) except -1:
    """A clock's entry of one actor, or 0."""
    cdef PyObject* entry = PyDict_GetItemWithError(clock, PyLong_FromUnsignedLongLong(actor))
    seq[0] = 0 if entry == NULL else u64(<object>entry)
    return 0


cdef int clock_covers(dict clock, const Image* image) except -1:
    """Whether `clock` covers the whole context."""
    cdef Walk walk = walk_context(image)
    cdef uint64_t seq
    while step(&walk):
        seq_at(clock, walk.actor, &seq)
        if seq < walk.seq:
            return False
    return True
