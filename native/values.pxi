# Values of the simple types as canonical bytes.  crdtsync/pure/values.py is the contract.


def value_pack(value, Py_ssize_t most):
    return packed_value(value, most)


cdef bytes packed_value(object value, Py_ssize_t most):
    cdef unsigned char[9] head
    cdef const char* data = NULL
    cdef Py_ssize_t size = 0
    cdef int width
    cdef bytes packed
    kind = type(value)
    if kind is str:
        try:
            data = PyUnicode_AsUTF8AndSize(value, &size)
        except UnicodeEncodeError:
            return None
        width = text_head(head, size)
    elif kind is int:
        width = int_head(head, value)
    elif kind is bytes:
        data = PyBytes_AS_STRING(<bytes>value)
        size = PyBytes_GET_SIZE(<bytes>value)
        width = sized_head(head, 0xC4, size)
    elif kind is float:
        width = float_head(head, <double>value)
    elif value is None or kind is bool:
        head[0] = 0xC0 if value is None else 0xC3 if value is True else 0xC2
        width = 1
    else:
        return None
    if width == 0 or size > most - width:
        return None
    packed = PyBytes_FromStringAndSize(NULL, width + size)
    memcpy(PyBytes_AS_STRING(packed), head, width)
    if size:
        memcpy(PyBytes_AS_STRING(packed) + width, data, size)
    return packed


cdef inline int text_head(unsigned char* head, Py_ssize_t size) noexcept:
    if size < 32:
        head[0] = <unsigned char>(0xA0 | size)
        return 1
    return sized_head(head, 0xD9, size)


cdef int sized_head(unsigned char* head, unsigned char lead, Py_ssize_t size) noexcept:
    """A lead byte, and the length in one, two or four bytes; 0 for what no MessagePack holds."""
    if size <= 0xFF:
        return put_lead(head, lead, <uint64_t>size, 1)
    if size <= 0xFFFF:
        return put_lead(head, lead + 1, <uint64_t>size, 2)
    if size <= <Py_ssize_t>0xFFFFFFFF:
        return put_lead(head, lead + 2, <uint64_t>size, 4)
    return 0


cdef int int_head(unsigned char* head, object value) except -1:
    """The shortest form of an int of 64 bits with a sign; 0 for those beyond."""
    cdef int beyond = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &beyond)
    if beyond:
        return 0
    if -32 <= number <= 0x7F:
        head[0] = <unsigned char>(number & 0xFF)
        return 1
    if number >= 0:
        if number <= 0xFF:
            return put_lead(head, 0xCC, <uint64_t>number, 1)
        if number <= 0xFFFF:
            return put_lead(head, 0xCD, <uint64_t>number, 2)
        return put_lead(head, 0xCE, number, 4) if number <= 0xFFFFFFFFLL else put_lead(head, 0xCF, number, 8)
    if number >= -0x80:
        return put_lead(head, 0xD0, <uint64_t>number, 1)
    if number >= -0x8000:
        return put_lead(head, 0xD1, <uint64_t>number, 2)
    return put_lead(head, 0xD2, number, 4) if number >= -0x80000000LL else put_lead(head, 0xD3, number, 8)


cdef int float_head(unsigned char* head, double value) noexcept:
    """-0.0 becomes 0.0; 0 for NaN."""
    cdef uint64_t bits
    if value != value:
        return 0
    value += 0.0
    memcpy(&bits, &value, 8)
    return put_lead(head, 0xCB, bits, 8)


cdef inline int put_lead(unsigned char* head, unsigned char lead, uint64_t value, int width) noexcept:
    """A byte, and the last `width` bytes of `value`, the greatest first; how many bytes that are."""
    cdef int at
    head[0] = lead
    for at in range(width, 0, -1):
        head[at] = value & 0xFF
        value >>= 8
    return 1 + width
