# Reading varints from bytes: every checked read is bounded; `skim` is for bytes that have been checked before.

from cpython.exc cimport PyErr_Format
from libc.stdint cimport uint64_t


cdef struct Cursor:
    const unsigned char* data
    Py_ssize_t at
    Py_ssize_t end


cdef inline int fail(const char* what, Py_ssize_t offset) except -1:
    PyErr_Format(ValueError, b"%s at offset %zd", what, offset)
    return -1


cdef inline int take_long(Cursor* cursor, uint64_t* value) except -1:
    """A varint of any length."""
    cdef Py_ssize_t start = cursor.at
    cdef uint64_t result = 0
    cdef unsigned char byte
    cdef int shift = 0
    while shift < 70:
        if cursor.at < 0 or cursor.at >= cursor.end:
            return fail(b"varint is cut off", start)
        byte = cursor.data[cursor.at]
        cursor.at += 1
        if shift == 63 and byte > 1:
            return fail(b"varint is too large", start)
        result |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                return fail(b"varint is not minimal", start)
            value[0] = result
            return 0
        shift += 7
    return fail(b"varint is too large", start)


cdef inline int take(Cursor* cursor, uint64_t* value) except -1:
    """The varint at the cursor, which moves on.  ValueError when cut off, longer than needed, or beyond 2^64."""
    if 0 <= cursor.at < cursor.end and cursor.data[cursor.at] < 0x80:
        value[0] = cursor.data[cursor.at]
        cursor.at += 1
        return 0
    return take_long(cursor, value)


cdef inline uint64_t skim(const unsigned char** at) noexcept nogil:
    """The varint at `at`, which moves on; only over checked bytes."""
    cdef uint64_t value = at[0][0]
    cdef int shift = 7
    at[0] += 1
    if value < 0x80:
        return value
    value &= 0x7F
    while at[0][0] >= 0x80:
        value |= <uint64_t>(at[0][0] & 0x7F) << shift
        shift += 7
        at[0] += 1
    value |= <uint64_t>at[0][0] << shift
    at[0] += 1
    return value
