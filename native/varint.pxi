# Varints at the border to Python.


def varint_encode(value):
    """`value` (0..2^64-1) as 1 to 10 bytes.  TypeError, OverflowError."""
    cdef uint64_t number = u64(value)
    cdef Buffer out
    open_buffer(&out)
    put(&out, number)
    return taken(&out)


def varint_decode(bytes data not None, Py_ssize_t offset):
    """The varint at `offset`, and the offset after it.  ValueError when cut off, longer than needed, or beyond 2^64."""
    cdef Cursor cursor = over(data, offset)
    cdef uint64_t value
    take(&cursor, &value)
    return value, cursor.at


cdef inline uint64_t u64(object value) except? 0:
    """An int argument.  TypeError for anything else, OverflowError outside 0..2^64-1."""
    if not isinstance(value, int):
        raise TypeError("an integer is required")
    return PyLong_AsUnsignedLongLong(value)


cdef inline Cursor over(bytes data, Py_ssize_t offset) noexcept:
    """A cursor over `data`, which the caller keeps alive."""
    cdef Cursor cursor
    cursor.data = <const unsigned char*>PyBytes_AS_STRING(data)
    cursor.at = offset
    cursor.end = PyBytes_GET_SIZE(data)
    return cursor
