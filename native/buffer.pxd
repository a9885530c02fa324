# Writing bytes: a buffer that begins on the stack and grows on the heap.  Reserve first, then put.

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memmove

cdef enum:
    VARINT_MAX = 10  # bytes of the longest varint
    STACK_ROOM = 512  # most rows fit without touching the heap


cdef struct Buffer:
    unsigned char* data
    Py_ssize_t size
    Py_ssize_t room
    unsigned char stack[512]


cdef inline void open_buffer(Buffer* out) noexcept:
    out.data = out.stack
    out.size = 0
    out.room = STACK_ROOM


cdef inline void close_buffer(Buffer* out) noexcept:
    if out.data != out.stack:
        PyMem_Free(out.data)


cdef inline int reserve(Buffer* out, Py_ssize_t more) except -1:
    """Make room for `more` bytes."""
    cdef Py_ssize_t room
    cdef unsigned char* data
    if more <= out.room - out.size:
        return 0
    room = 2 * out.room if 2 * out.room > out.size + more else out.size + more
    if out.data == out.stack:
        data = <unsigned char*>PyMem_Malloc(room)
        if data != NULL:
            memcpy(data, out.stack, out.size)
    else:
        data = <unsigned char*>PyMem_Realloc(out.data, room)
    if data == NULL:
        raise MemoryError
    out.data = data
    out.room = room
    return 0


cdef inline void put_byte(Buffer* out, unsigned char byte) noexcept nogil:
    out.data[out.size] = byte
    out.size += 1


cdef inline void put(Buffer* out, uint64_t value) noexcept nogil:
    """A varint."""
    while value >= 0x80:
        out.data[out.size] = <unsigned char>(value & 0x7F | 0x80)
        out.size += 1
        value >>= 7
    out.data[out.size] = <unsigned char>value
    out.size += 1


cdef inline void put_bytes(Buffer* out, const unsigned char* data, Py_ssize_t size) noexcept nogil:
    if size:  # an empty payload has no address
        memcpy(out.data + out.size, data, size)
        out.size += size


cdef inline int varint_size(uint64_t value) noexcept nogil:
    cdef int size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef inline void set_count(Buffer* out, Py_ssize_t at, int width, uint64_t count) noexcept nogil:
    """Write a count into the `width` bytes kept free for it at `at`; what follows closes up when it is shorter."""
    cdef int size = varint_size(count)
    cdef Py_ssize_t end = out.size
    if size < width:
        memmove(out.data + at + size, out.data + at + width, end - at - width)
    out.size = at
    put(out, count)
    out.size = end - (width - size)


cdef inline bytes taken(Buffer* out):
    """What was written, as bytes."""
    return PyBytes_FromStringAndSize(<char*>out.data, out.size)
