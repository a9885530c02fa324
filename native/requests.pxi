# Requests that write, read without a message object for each of their operations, and batches of verbs carried out.

cdef enum:
    TAKES_NOTHING = 0
    TAKES_GROWTH = 1
    TAKES_STEP = 2
    TAKES_VALUE = 3
    TAG_OPERATIONS = 0x12
    TAG_PLACE = 0x0A
    TAG_VERB = 0x12
    TAG_ARGUMENT = 0x1A
    TAG_INTEGER = 0x18
    TAG_TEXT = 0x32
    TAG_PACKED = 0x7A
    TEXT_HEAD_MAX = 5
    WIRE_VARINT = 0
    WIRE_FIXED64 = 1
    WIRE_LENGTH = 2
    WIRE_FIXED32 = 5

cdef object ODD = object()  # an argument that is not a simple one


cdef struct Span:
    const unsigned char* at
    const unsigned char* end


cdef inline bint take_number(Span* span, uint64_t* value) noexcept:
    """A number of up to nine bytes, 63 bits; False: there is none."""
    cdef int shift = 0
    cdef unsigned char byte
    value[0] = 0
    while span.at < span.end and shift < 63:
        byte = span.at[0]
        span.at += 1
        value[0] |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            return True
        shift += 7
    return False


cdef inline bint take_size(Span* span, Py_ssize_t* size) noexcept:
    """The length of what follows, which must be there."""
    cdef uint64_t value
    if not take_number(span, &value) or value > <uint64_t>(span.end - span.at):
        return False
    size[0] = <Py_ssize_t>value
    return True


cdef inline bint take_tag(Span* span, unsigned char tag) noexcept:
    if span.at == span.end or span.at[0] != tag:
        return False
    span.at += 1
    return True


def operations_read(bytes data not None, dict heads not None, other, Py_ssize_t most, Py_ssize_t bytes_max):
    """(the fields that are no operations, the operations as (verb, place, argument)) of an ApplyRequest."""
    cdef Span span
    cdef const unsigned char* begin
    cdef Py_ssize_t size = 0, number = 0
    cdef uint64_t ignored
    cdef unsigned char tag
    cdef list found = []
    cdef Buffer rest
    span.at = <const unsigned char*>PyBytes_AS_STRING(data)
    span.end = span.at + PyBytes_GET_SIZE(data)
    open_buffer(&rest)
    try:
        while span.at < span.end:
            begin = span.at
            tag = begin[0]
            span.at += 1
            if tag >= 0x80 or tag < 8:
                return None
            if tag & 7 == WIRE_VARINT:
                if not take_number(&span, &ignored):
                    return None
            elif tag & 7 == WIRE_LENGTH:
                if not take_size(&span, &size):
                    return None
                if tag == TAG_OPERATIONS:
                    if number == most:
                        return None
                    operation = operation_read(span.at, span.at + size, heads, other, bytes_max)
                    number += 1
                    if operation is not None:
                        found.append(operation)
                    span.at += size
                    continue
                span.at += size
            elif tag & 7 == WIRE_FIXED64 or tag & 7 == WIRE_FIXED32:
                size = 8 if tag & 7 == WIRE_FIXED64 else 4
                if size > span.end - span.at:
                    return None
                span.at += size
            else:
                return None
            reserve(&rest, span.at - begin)
            put_bytes(&rest, begin, span.at - begin)
        return taken(&rest), found
    finally:
        close_buffer(&rest)


cdef object operation_read(
    const unsigned char* at, const unsigned char* end, dict heads, other, Py_ssize_t bytes_max
):
    cdef Span span
    cdef Py_ssize_t size = 0
    cdef PyObject* known
    cdef tuple meant
    cdef bytes head = None
    span.at, span.end = at, end
    if take_tag(&span, TAG_PLACE) and take_size(&span, &size):
        span.at += size
        if take_tag(&span, TAG_VERB) and take_size(&span, &size):
            span.at += size
            head = PyBytes_FromStringAndSize(<const char*>at, span.at - at)
            known = PyDict_GetItemWithError(heads, head)
            if known != NULL:
                meant = <tuple?><object>known
                argument = argument_read(&span, meant[2], bytes_max)
                if argument is not ODD:
                    return meant[0], meant[1], argument
    return other(PyBytes_FromStringAndSize(<const char*>at, end - at), head)


cdef object argument_read(Span* span, int takes, Py_ssize_t bytes_max):
    """The argument that follows; ODD when it is not a simple one."""
    cdef Py_ssize_t size = 0
    cdef uint64_t zigzag
    cdef int64_t step
    cdef unsigned char tag
    cdef Buffer out
    if takes == TAKES_NOTHING:
        return None if span.at == span.end else ODD
    if not take_tag(span, TAG_ARGUMENT) or not take_size(span, &size) or size == 0 or span.at + size != span.end:
        return ODD
    tag = span.at[0]
    span.at += 1
    if takes != TAKES_VALUE:
        if tag != TAG_INTEGER or not take_number(span, &zigzag) or span.at != span.end:
            return ODD
        step = <int64_t>(zigzag >> 1) ^ -<int64_t>(zigzag & 1)
        if step == 0 or (step < 0 and takes == TAKES_GROWTH):
            return ODD
        return step
    if (tag != TAG_TEXT and tag != TAG_PACKED) or not take_size(span, &size) or span.at + size != span.end:
        return ODD
    if tag == TAG_PACKED:
        return PyBytes_FromStringAndSize(<const char*>span.at, size) if is_plain(span.at, size, bytes_max) else ODD
    if size == 0 or size + TEXT_HEAD_MAX > bytes_max or not is_utf8(span.at, span.end):
        return ODD
    open_buffer(&out)
    try:
        reserve(&out, size + TEXT_HEAD_MAX)
        put_text_head(&out, size)
        put_bytes(&out, span.at, size)
        return taken(&out)
    finally:
        close_buffer(&out)


def operations_run(txn not None, list operations not None, Py_ssize_t first):
    """Carry operations out inside a store's transaction; the number of the first one that has to go its own way."""
    cdef dict rows, before, active
    cdef list keys
    cdef uint64_t actor, seq, floor
    cdef bytes rowkey, image
    cdef int way
    cdef PyObject* found
    cdef Py_ssize_t count = PyList_GET_SIZE(operations)
    if txn.bulk is not None or txn._order is not None or not is_short(operations, first, count):
        return first
    rows, before, active, keys = txn.rows, txn.before, txn._active, txn.keys
    below, floor = txn._bucket.below, txn._bucket.stamp_floor
    actor, seq = txn.actor, txn.next
    try:
        while is_short(operations, first, count):
            verb, held, argument = <tuple?>operations[first]
            place = <PlaceState?>held
            way = verb.way
            try:
                rowkey = row_of(way, place, argument, actor)
                found = PyDict_GetItemWithError(rows, rowkey)
                if found == NULL:
                    found = PyDict_GetItemWithError(before, rowkey)
                if found != NULL:
                    image = <bytes?><object>found
                else:
                    found = PyDict_GetItemWithError(active, rowkey)
                    image = <bytes?><object>found if found != NULL else below(rowkey)
                    before[rowkey] = image
                image = written(way, txn._hybrid, floor, image, actor, seq, argument)
            except Exception:
                break  # its own way tells what is wrong
            rows[rowkey] = image
            keys.append(rowkey)
            seq += 1
            first += 1
    finally:
        txn.next = seq
    return first


cdef bint is_short(list operations, Py_ssize_t number, Py_ssize_t count) except -1:
    """Whether there is such an operation, and it puts one row in a way that is known here."""
    cdef tuple operation
    if number >= count:
        return False
    operation = <tuple?>operations[number]
    return <int>operation[0].way != LONG_WAY and not (<PlaceState?>operation[1]).levels
