# Sorting without the GIL.  crdtsync/pure/sorting.py is the contract.


cdef enum:
    FEW = 256  # items up to which comparing them is faster


cdef struct Sortable:
    uint64_t head  # the first bytes beyond those that all share, as a number: most comparisons need no more
    const unsigned char* data
    Py_ssize_t size
    PyObject* item


cdef class Sorter:
    cdef Sortable* items
    cdef Py_ssize_t size
    cdef Py_ssize_t room
    cdef Py_ssize_t given

    def __dealloc__(self):
        while self.given < self.size:
            Py_DECREF(<object>self.items[self.given].item)
            self.given += 1
        PyMem_Free(self.items)

    def add(self, list items not None):
        cdef Py_ssize_t number, count = PyList_GET_SIZE(items), room
        cdef Sortable* held
        cdef bytes key
        if self.size + count > self.room:
            room = max(2 * self.room, self.size + count)
            held = <Sortable*>PyMem_Realloc(self.items, <size_t>room * sizeof(Sortable))
            if held == NULL:
                raise MemoryError
            self.items = held
            self.room = room
        for number in range(count):
            item = items[number]
            key = item[0] if type(item) is tuple else item
            if key is None:
                raise TypeError("key must be bytes")
            held = &self.items[self.size]
            held.data = <const unsigned char*>PyBytes_AS_STRING(key)
            held.size = PyBytes_GET_SIZE(key)
            held.item = <PyObject*>item
            Py_INCREF(item)
            self.size += 1

    def sort(self):
        cdef Py_ssize_t number
        cdef Sortable* spare
        with nogil:
            self.set_heads()
            for number in range(self.given + 1, self.size):
                if by_key(&self.items[number - 1], &self.items[number]) > 0:
                    spare = <Sortable*>malloc(<size_t>(self.size - self.given) * sizeof(Sortable))
                    sort_all(self.items + self.given, spare, self.size - self.given)
                    free(spare)
                    break

    cdef void set_heads(self) noexcept nogil:
        cdef const Sortable* first = self.items + self.given
        cdef const Sortable* item
        cdef Py_ssize_t number, at, shared = first.size if self.given < self.size else 0
        for number in range(self.given + 1, self.size):
            item = &self.items[number]
            shared = min(shared, item.size)
            if shared and memcmp(item.data, first.data, <size_t>shared) != 0:
                at = 0
                while item.data[at] == first.data[at]:
                    at += 1
                shared = at
        for number in range(self.given, self.size):
            self.items[number].head = head_of(self.items[number].data + shared, self.items[number].size - shared)

    def take(self, Py_ssize_t most):
        cdef list found = []
        while self.given < self.size and most > 0:
            item = <object>self.items[self.given].item
            found.append(item)
            Py_DECREF(item)
            self.given += 1
            most -= 1
        return found


cdef inline uint64_t head_of(const unsigned char* data, Py_ssize_t size) noexcept nogil:
    cdef uint64_t head = 0
    cdef Py_ssize_t number
    for number in range(8):
        head = head << 8 | (data[number] if number < size else 0)
    return head


cdef void sort_all(Sortable* items, Sortable* spare, Py_ssize_t count) noexcept nogil:
    """By heads, a byte at a time, from the last one on; then those of one head.  Without room to spare by comparing."""
    cdef Py_ssize_t[256] ends
    cdef Py_ssize_t number, end, first
    cdef Sortable* held = items
    cdef Sortable* other = spare
    cdef int byte, value
    if spare == NULL or count < FEW:
        qsort(items, <size_t>count, sizeof(Sortable), by_key)
        return
    for byte in range(8):
        memset(ends, 0, sizeof(ends))
        for number in range(count):
            ends[held[number].head >> 8 * byte & 0xFF] += 1
        if ends[held[0].head >> 8 * byte & 0xFF] == count:
            continue
        end = 0
        for value in range(256):
            first = end
            end += ends[value]
            ends[value] = first
        for number in range(count):
            value = held[number].head >> 8 * byte & 0xFF
            other[ends[value]] = held[number]
            ends[value] += 1
        held, other = other, held
    if held != items:
        memcpy(items, held, <size_t>count * sizeof(Sortable))
    first = 0
    for number in range(1, count + 1):
        if number == count or items[number].head != items[first].head:
            if number - first > 1:
                qsort(items + first, <size_t>(number - first), sizeof(Sortable), by_key)
            first = number


cdef int by_key(const void* x, const void* y) noexcept nogil:
    cdef const Sortable* a = <const Sortable*>x
    cdef const Sortable* b = <const Sortable*>y
    cdef int order
    if a.head != b.head:
        return 1 if a.head > b.head else -1
    order = memcmp(a.data, b.data, <size_t>min(a.size, b.size))
    return order if order else (a.size > b.size) - (a.size < b.size)
