# Keys and values for one database of the row table, in two blocks of memory.  crdtsync/pure/entries.py is the contract.

cdef enum:
    BLOCK_LEAST = 64  # entries, and as many bytes for each, that the first blocks have room for


cdef struct Entry:
    uint64_t head  # bytes of the key from where it may differ from others, as a number: most comparisons need no more
    size_t at  # of the key in the data; the value follows
    uint32_t key
    uint32_t value


cdef struct Fresh:
    # Where the key and the value of a new entry are to be written; good until the next one is made.
    unsigned char* key
    unsigned char* value


cdef class Entries:
    cdef Entry* entries
    cdef unsigned char* data
    cdef Py_ssize_t size
    cdef Py_ssize_t room
    cdef size_t used
    cdef size_t space

    def __dealloc__(self):
        PyMem_Free(self.entries)
        PyMem_Free(self.data)

    def __len__(self):
        return self.size

    def __iter__(self):
        cdef Py_ssize_t number
        for number in range(self.size):
            yield PyBytes_FromStringAndSize(<const char*>self.data + self.entries[number].at, self.entries[number].key)

    def add(self, list pairs not None):
        cdef bytes key, value
        for key, value in pairs:
            self.put(key, value)

    def add_keys(self, list keys not None):
        cdef bytes key
        for key in keys:
            self.put(key, b"")

    def sort(self):
        with nogil:
            sort_entries(self.entries, self.size, self.data)

    def after(self, bytes key not None):
        cdef Py_ssize_t low = 0, high = self.size, middle
        cdef Entry* entry
        cdef int order
        while low < high:
            middle = (low + high) // 2
            entry = &self.entries[middle]
            order = compared(
                self.data + entry.at, entry.key, <unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)
            )
            if order > 0:
                high = middle
            else:
                low = middle + 1
        return low

    def pairs(self, Py_ssize_t start, Py_ssize_t stop):
        cdef Py_ssize_t number
        cdef Entry* entry
        cdef const char* at
        for number in range(max(start, 0), min(stop, self.size)):
            entry = &self.entries[number]
            at = <const char*>self.data + entry.at
            yield PyBytes_FromStringAndSize(at, entry.key), PyBytes_FromStringAndSize(at + entry.key, entry.value)

    cdef int put(self, bytes key, bytes value) except -1:
        cdef Fresh at
        if key is None or value is None:
            raise TypeError("keys and values must be bytes")
        self.make(PyBytes_GET_SIZE(key), PyBytes_GET_SIZE(value), &at)
        memcpy(at.key, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        memcpy(at.value, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        return 0

    cdef int make(self, Py_ssize_t key, Py_ssize_t value, Fresh* at) except -1:
        """Room for one more entry, which counts from now on: nothing may fail before it is written."""
        cdef Entry* entry
        cdef size_t more = <size_t>key + <size_t>value
        if more > <size_t>0xFFFFFFFF:
            raise OverflowError("key and value are too long")
        if self.size == self.room or self.used + more > self.space:
            self.grow(more)
        entry = &self.entries[self.size]
        entry.head = 0
        entry.at = self.used
        entry.key = <uint32_t>key
        entry.value = <uint32_t>value
        at.key = self.data + self.used
        at.value = at.key + key
        self.size += 1
        self.used += more
        return 0

    cdef int grow(self, size_t more) except -1:
        cdef Py_ssize_t room = max(2 * self.room, BLOCK_LEAST)
        cdef size_t space = max(2 * self.space, self.used + more, <size_t>BLOCK_LEAST * BLOCK_LEAST)
        cdef void* held
        if self.size == self.room:
            held = PyMem_Realloc(self.entries, <size_t>room * sizeof(Entry))
            if held == NULL:
                raise MemoryError
            self.entries = <Entry*>held
            self.room = room
        if self.data == NULL or self.used + more > self.space:  # an empty key, too, has its place
            held = PyMem_Realloc(self.data, space)
            if held == NULL:
                raise MemoryError
            self.data = <unsigned char*>held
            self.space = space
        return 0


cdef inline int compared(const unsigned char* x, size_t x_size, const unsigned char* y, size_t y_size) noexcept nogil:
    """Less than 0, 0 or more, as keys go."""
    cdef int order = memcmp(x, y, min(x_size, y_size))
    return order if order else (x_size > y_size) - (x_size < y_size)


cdef void sort_entries(Entry* entries, Py_ssize_t size, unsigned char* data) noexcept nogil:
    cdef Py_ssize_t number
    cdef Entry* entry
    cdef size_t shared = shared_by_all(entries, size, data)
    cdef bint sorted = True
    for number in range(size):
        entry = &entries[number]
        entry.head = head_of(data + entry.at + shared, <Py_ssize_t>(entry.key - shared))
        entry.at += <size_t>data  # comparisons know of no data
        sorted = sorted and (number == 0 or by_entry(&entries[number - 1], entry) <= 0)
    if not sorted:
        if size < FEW or not sort_heads(entries, size):
            qsort(entries, <size_t>size, sizeof(Entry), by_entry)
        else:
            sort_ties(entries, size)
    for number in range(size):
        entries[number].at -= <size_t>data


cdef bint sort_heads(Entry* entries, Py_ssize_t size) noexcept nogil:
    """By their heads, a byte at a time, the last one first; False when there is no memory for it."""
    cdef Py_ssize_t[8][256] places
    cdef Py_ssize_t number, place, count
    cdef int byte, value
    cdef Entry* here = entries
    cdef Entry* there
    cdef Entry* spare = <Entry*>malloc(<size_t>size * sizeof(Entry))
    if spare == NULL:
        return False
    memset(places, 0, sizeof(places))
    for number in range(size):
        for byte in range(8):
            places[byte][entries[number].head >> (8 * byte) & 0xFF] += 1
    for byte in range(8):
        if places[byte][here[0].head >> (8 * byte) & 0xFF] == size:
            continue  # all have the same
        place = 0
        for value in range(256):
            count = places[byte][value]
            places[byte][value] = place
            place += count
        there = spare if here == entries else entries
        for number in range(size):
            value = here[number].head >> (8 * byte) & 0xFF
            there[places[byte][value]] = here[number]
            places[byte][value] += 1
        here = there
    if here != entries:
        memcpy(entries, here, <size_t>size * sizeof(Entry))
    free(spare)
    return True


cdef void sort_ties(Entry* entries, Py_ssize_t size) noexcept nogil:
    """Those with one head, which lie side by side."""
    cdef Py_ssize_t first = 0, number
    for number in range(1, size + 1):
        if number == size or entries[number].head != entries[first].head:
            if number - first > 1:
                qsort(entries + first, <size_t>(number - first), sizeof(Entry), by_entry)
            first = number


cdef size_t shared_by_all(const Entry* entries, Py_ssize_t size, const unsigned char* data) noexcept nogil:
    """Bytes with which all keys begin."""
    cdef Py_ssize_t number
    cdef size_t shared = entries[0].key if size else 0
    for number in range(1, size):
        shared = min(shared, <size_t>entries[number].key)
        while memcmp(data + entries[0].at, data + entries[number].at, shared):
            shared -= 1
    return shared


cdef int by_entry(const void* x, const void* y) noexcept nogil:
    cdef const Entry* a = <const Entry*>x
    cdef const Entry* b = <const Entry*>y
    cdef int order
    if a.head != b.head:
        return 1 if a.head > b.head else -1
    order = compared(<const unsigned char*>a.at, a.key, <const unsigned char*>b.at, b.key)
    return order if order else (a.at > b.at) - (a.at < b.at)  # of one key, the last one added comes last
