# Sorting without the GIL.  crdtsync/pure/sorting.py is the contract.


cdef struct Sortable:
    uint64_t head  # the first bytes as a number: most comparisons need no more
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
            held.head = head_of(held.data, held.size)
            held.item = <PyObject*>item
            Py_INCREF(item)
            self.size += 1

    def sort(self):
        cdef Py_ssize_t number
        with nogil:
            for number in range(self.given + 1, self.size):
                if by_key(&self.items[number - 1], &self.items[number]) > 0:
                    qsort(self.items + self.given, <size_t>(self.size - self.given), sizeof(Sortable), by_key)
                    break

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


cdef int by_key(const void* x, const void* y) noexcept nogil:
    cdef const Sortable* a = <const Sortable*>x
    cdef const Sortable* b = <const Sortable*>y
    cdef int order
    if a.head != b.head:
        return 1 if a.head > b.head else -1
    order = memcmp(a.data, b.data, <size_t>min(a.size, b.size))
    return order if order else (a.size > b.size) - (a.size < b.size)
