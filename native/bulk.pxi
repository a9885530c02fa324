# Many rows in one call.  crdtsync/pure/bulk.py is the contract.


cdef struct Texts:
    # A column of texts: text i is data[ends[i]:ends[i + 1]].
    const unsigned char* ends  # int64, at any address
    const unsigned char* data
    Py_ssize_t count
    Py_ssize_t size


cdef inline long long int_at(const unsigned char* at, Py_ssize_t number) noexcept nogil:
    cdef long long value
    memcpy(&value, at + 8 * number, 8)
    return value


cdef class _Column:
    # A column of texts, held for the time of a call.
    cdef Texts texts
    cdef Py_buffer offsets
    cdef Py_buffer data

    def __cinit__(self, offsets, data):
        PyObject_GetBuffer(offsets, &self.offsets, PyBUF_SIMPLE)
        PyObject_GetBuffer(data, &self.data, PyBUF_SIMPLE)
        if self.offsets.len % 8:
            raise TypeError("memoryview: length is not a multiple of itemsize")
        self.texts.ends = <const unsigned char*>self.offsets.buf
        self.texts.data = <const unsigned char*>self.data.buf
        self.texts.count = self.offsets.len // 8 - 1
        self.texts.size = self.data.len

    def __dealloc__(self):
        PyBuffer_Release(&self.offsets)
        PyBuffer_Release(&self.data)

    cdef int check(self, Py_ssize_t first, Py_ssize_t last) except -1:
        if not 0 <= first <= last <= self.texts.count:
            raise ValueError("the rows asked for are not in the column")
        return 0


cdef class _Numbers:
    # A column of int64, held for the time of a call.
    cdef Py_buffer buffer

    def __cinit__(self, values, bint written):
        PyObject_GetBuffer(values, &self.buffer, PyBUF_WRITABLE if written else PyBUF_SIMPLE)

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)

    cdef int check(self, Py_ssize_t last) except -1:
        if last > self.buffer.len // 8:
            raise IndexError("index out of bounds on dimension 1")
        return 0


cdef inline int text_at(const Texts* texts, Py_ssize_t number, const unsigned char** text, Py_ssize_t* size) except -1:
    cdef long long start = int_at(texts.ends, number), end = int_at(texts.ends, number + 1)
    if not 0 <= start <= end <= texts.size:
        raise ValueError("an offset is not in the column")
    text[0] = texts.data + start
    size[0] = end - start
    return 0


# ---- columns


def texts_pack(list texts not None, Py_ssize_t most):
    cdef Buffer data
    cdef Py_ssize_t number, size, count = PyList_GET_SIZE(texts)
    cdef const char* text
    cdef bytes offsets = PyBytes_FromStringAndSize(NULL, 8 * (count + 1))
    cdef unsigned char* ends = <unsigned char*>PyBytes_AS_STRING(offsets)
    cdef object item
    cdef long long end = 0
    memcpy(ends, &end, 8)
    open_buffer(&data)
    try:
        for number in range(count):
            item = <object>PyList_GET_ITEM(texts, number)
            if type(item) is not str:
                return b"", b"", number
            try:
                text = PyUnicode_AsUTF8AndSize(item, &size)
            except UnicodeEncodeError:
                return b"", b"", number
            if not 1 <= size <= most or memchr(text, 0, size) != NULL:
                return b"", b"", number
            reserve(&data, size)
            put_bytes(&data, <const unsigned char*>text, size)
            end = data.size
            memcpy(ends + 8 * (number + 1), &end, 8)
        return offsets, taken(&data), -1
    finally:
        close_buffer(&data)


def texts_check(offsets, data, Py_ssize_t most):
    cdef _Column column = _Column(offsets, data)
    cdef const Texts* texts = &column.texts
    cdef Py_ssize_t number
    cdef long long start, end, plain  # up to where all is ASCII
    cdef const unsigned char* text
    if texts.count < 0:
        raise ValueError("a column has one offset more than texts")
    start = int_at(texts.ends, 0)
    if not 0 <= start <= texts.size:
        return 0
    plain = int_at(texts.ends, texts.count)  # as most columns are from end to end
    if not start <= plain <= texts.size or not is_ascii(texts.data + start, plain - start):
        plain = 0
    for number in range(texts.count):
        end = int_at(texts.ends, number + 1)
        if not start < end <= texts.size or end - start > most:
            return number
        text = texts.data + start
        if end > plain and (memchr(text, 0, end - start) != NULL or not is_utf8(text, text + (end - start))):
            return number
        start = end
    return -1


cdef bint is_ascii(const unsigned char* data, Py_ssize_t size) noexcept nogil:
    """ASCII without NUL."""
    cdef unsigned char all = 0
    cdef Py_ssize_t at
    for at in range(size):
        all |= data[at]
    return all < 0x80 and memchr(data, 0, size) == NULL


def payloads_pack(list values not None, Py_ssize_t most):
    cdef Buffer data
    cdef Py_ssize_t number, start, count = PyList_GET_SIZE(values)
    cdef bytes offsets = PyBytes_FromStringAndSize(NULL, 8 * (count + 1))
    cdef unsigned char* ends = <unsigned char*>PyBytes_AS_STRING(offsets)
    cdef long long end = 0
    memcpy(ends, &end, 8)
    open_buffer(&data)
    try:
        for number in range(count):
            start = data.size
            if not put_value(&data, <object>PyList_GET_ITEM(values, number)) or data.size - start > most:
                return b"", b"", number
            end = data.size
            memcpy(ends + 8 * (number + 1), &end, 8)
        return offsets, taken(&data), -1
    finally:
        close_buffer(&data)


cdef int put_value(Buffer* out, object value) except -1:
    """Canonical bytes of a simple value; False for another."""
    cdef const char* text
    cdef Py_ssize_t size
    cdef double real
    cdef uint64_t bits
    reserve(out, 16)
    if type(value) is str:
        try:
            text = PyUnicode_AsUTF8AndSize(value, &size)
        except UnicodeEncodeError:
            return False
        reserve(out, 5 + size)
        put_text_head(out, size)
        put_bytes(out, <const unsigned char*>text, size)
    elif type(value) is int:
        return put_int(out, value)
    elif type(value) is float:
        real = <double>value + 0.0  # -0.0 becomes 0.0
        if real != real:
            return False
        memcpy(&bits, &real, 8)
        put_byte(out, 0xCB)
        put_bits(out, bits, 64)
    elif type(value) is bytes:
        reserve(out, 5 + PyBytes_GET_SIZE(value))
        put_binary(out, value)
    elif value is None:
        put_byte(out, 0xC0)
    elif value is True or value is False:
        put_byte(out, 0xC3 if value is True else 0xC2)
    else:
        return False
    return True


cdef int put_int(Buffer* out, object value) except -1:
    """An int of up to 64 bits in its shortest form.  False beyond."""
    cdef int beyond = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &beyond)
    if beyond:
        if beyond < 0 or value > <uint64_t>0xFFFFFFFFFFFFFFFF:
            return False
        put_number(out, PyLong_AsUnsignedLongLong(value))
    elif number >= 0:
        put_number(out, <uint64_t>number)
    elif number >= -32:
        put_byte(out, <unsigned char>(number & 0xFF))
    elif number >= -128:
        put_byte(out, 0xD0)
        put_bits(out, <uint64_t>number, 8)
    elif number >= -32768:
        put_byte(out, 0xD1)
        put_bits(out, <uint64_t>number, 16)
    elif number >= -2147483648:
        put_byte(out, 0xD2)
        put_bits(out, <uint64_t>number, 32)
    else:
        put_byte(out, 0xD3)
        put_bits(out, <uint64_t>number, 64)
    return True


cdef inline void put_text_head(Buffer* out, Py_ssize_t size) noexcept nogil:
    if size < 32:
        put_byte(out, <unsigned char>(0xA0 | size))
    elif size <= 0xFF:
        put_byte(out, 0xD9)
        put_bits(out, size, 8)
    elif size <= 0xFFFF:
        put_byte(out, 0xDA)
        put_bits(out, size, 16)
    else:
        put_byte(out, 0xDB)
        put_bits(out, size, 32)


# ---- writing


cdef class BulkRows:
    cdef readonly list keys
    cdef readonly list images
    cdef readonly list before
    cdef list repeated  # row keys of the events; None while each of `keys` has one
    # Where the keys stand: the upper half of a key's hash and one more than its place, found by the lower half.
    cdef uint64_t* places
    cdef Py_ssize_t room  # a power of two

    def __cinit__(self):
        self.keys = []
        self.images = []
        self.before = []
        for held in (self.keys, self.images, self.before):  # of bytes alone: long, and no garbage collector's business
            PyObject_GC_UnTrack(<void*>held)

    def __init__(self, Py_ssize_t expected=0):
        self.prepare(expected)

    def __dealloc__(self):
        PyMem_Free(self.places)

    @property
    def events(self):
        return self.keys if self.repeated is None else self.repeated

    cdef int prepare(self, Py_ssize_t more) except -1:
        """Make room for the places of so many keys more."""
        cdef Py_ssize_t room = self.room if self.room else 64, number, count = PyList_GET_SIZE(self.keys)
        if count + more > 0x7FFFFFFF:
            raise OverflowError("too many rows")
        while room < 2 * (count + more):
            room *= 2
        if room == self.room:
            return 0
        PyMem_Free(self.places)
        self.room = 0
        self.places = <uint64_t*>PyMem_Calloc(room, sizeof(uint64_t))
        if self.places == NULL:
            raise MemoryError
        self.room = room
        for number in range(count):
            self.note(hash(<object>PyList_GET_ITEM(self.keys, number)), number)
        return 0

    cdef inline void note(self, Py_hash_t hashed, Py_ssize_t number) noexcept:
        cdef size_t mask = <size_t>(self.room - 1), at = <size_t>hashed & mask
        while self.places[at]:
            at = (at + 1) & mask
        self.places[at] = <uint64_t>hashed & <uint64_t>0xFFFFFFFF00000000 | <uint64_t>(number + 1)

    cdef inline Py_ssize_t place(self, const unsigned char* text, Py_ssize_t size, Py_hash_t hashed) noexcept:
        """Where a row key stands, or -1."""
        cdef uint64_t upper = <uint64_t>hashed & <uint64_t>0xFFFFFFFF00000000, held
        cdef size_t mask = <size_t>(self.room - 1), at = <size_t>hashed & mask
        cdef Py_ssize_t number
        cdef PyObject* key
        while self.places[at]:
            held = self.places[at]
            if held & <uint64_t>0xFFFFFFFF00000000 == upper:
                number = <Py_ssize_t>(held & <uint64_t>0xFFFFFFFF) - 1
                key = PyList_GET_ITEM(self.keys, number)
                if (
                    PyBytes_GET_SIZE(<bytes><object>key) == size
                    and memcmp(PyBytes_AS_STRING(<bytes><object>key), text, size) == 0
                ):
                    return number
            at = (at + 1) & mask
        return -1

    cdef inline int met(self, Py_ssize_t number) except -1:
        """One more event of a row."""
        if self.repeated is None:
            self.repeated = list(self.keys)
        self.repeated.append(<object>PyList_GET_ITEM(self.keys, number))
        return 0

    cdef inline int add(self, bytes rowkey, Py_hash_t hashed, bytes image, bytes before) except -1:
        """A row that was not met yet, and its first event."""
        self.note(hashed, PyList_GET_SIZE(self.keys))
        self.keys.append(rowkey)
        self.images.append(image)
        self.before.append(before)
        if self.repeated is not None:
            self.repeated.append(rowkey)
        return 0

    cdef inline int put(self, Py_ssize_t number, bytes image, Py_ssize_t* size) except -1:
        cdef bytes rowkey = <bytes>PyList_GET_ITEM(self.keys, number)
        self.images[number] = image
        size[0] += PyBytes_GET_SIZE(rowkey) + PyBytes_GET_SIZE(image)
        return 0


cdef class _Events:
    # The rows that the events of one call are about: places in BulkRows.
    cdef BulkRows rows
    cdef tuple layers
    cdef object below
    cdef _Sought sought  # added, and not looked up yet
    cdef uint32_t* places
    cdef Py_ssize_t count
    cdef list missing  # row keys that no layer has, and their places
    cdef list gaps

    def __cinit__(self, BulkRows rows not None, tuple layers not None, below, Py_ssize_t most):
        self.rows = rows
        self.layers = layers
        self.below = below
        self.sought = _Sought()
        self.missing = []
        self.gaps = []
        self.places = <uint32_t*>PyMem_Malloc(max(most, 1) * sizeof(uint32_t))
        if self.places == NULL:
            raise MemoryError
        rows.prepare(most)

    def __dealloc__(self):
        PyMem_Free(self.places)

    cdef inline int add(
        self, const unsigned char* name, Py_ssize_t size, bytes code, const unsigned char* tail, Py_ssize_t more
    ) except -1:
        """The next event is about this row."""
        self.sought.add(name, size, code, tail, more)
        if self.sought.count == DICT_PROBES:
            self.look()
        return 0

    cdef int look(self) except -1:
        """Look up the rows that were added last."""
        cdef BulkRows rows = self.rows
        cdef _Sought sought = self.sought
        cdef Py_ssize_t each, number
        cdef bytes image
        for each in range(sought.count):
            hint(rows.places + (<size_t>sought.hashes[each] & <size_t>(rows.room - 1)))
        sought.find(self.layers)
        for each in range(sought.count):
            number = rows.place(sought.text(each), sought.size(each), sought.hashes[each])
            if number >= 0:
                rows.met(number)
            else:
                number = PyList_GET_SIZE(rows.keys)
                if sought.images[each] == NULL and self.below is not None:
                    self.missing.append(sought.key(each))
                    self.gaps.append(number)
                image = sought.image(each)
                rows.add(sought.key(each), sought.hashes[each], image, image if sought.levels[each] else None)
            self.places[self.count] = <uint32_t>number
            self.count += 1
        sought.clear()
        return 0

    cdef int fill(self) except -1:
        """All have been added: ask for what no layer has."""
        cdef bytes image
        self.look()
        if self.missing:
            for number, image in zip(self.gaps, self.below(self.missing), strict=True):
                self.rows.images[number] = self.rows.before[number] = image
        return 0


def cells_step(
    BulkRows rows not None, tuple layers not None, below, bytes code not None,
    actor, seq, offsets, data, Py_ssize_t first, Py_ssize_t last, steps,
):
    cdef _Column names = _Column(offsets, data)
    cdef _Numbers amounts = _Numbers(steps, False)
    cdef _Events events
    cdef Py_ssize_t number = first, size = 0, length, place, at = 0
    cdef const unsigned char* text
    cdef uint64_t who = index(actor), start = u64(seq)
    cdef long long step
    cdef unsigned char tail[4]
    cdef bytes image
    names.check(first, last)
    amounts.check(last)
    big32(tail, <uint32_t>who)
    events = _Events(rows, layers, below, last - first)
    for number in range(first, last):
        text_at(&names.texts, number, &text, &length)
        if int_at(<const unsigned char*>amounts.buffer.buf, number):
            events.add(text, length, code, tail, 4)
    events.fill()
    try:
        for number in range(first, last):
            step = int_at(<const unsigned char*>amounts.buffer.buf, number)
            if step == 0:
                continue
            place = events.places[at]
            image = rows.images[place]
            image = cell_moved(
                image, who, start + <uint64_t>at, <uint64_t>step if step > 0 else 0, 0 if step > 0 else -<uint64_t>step
            )
            rows.put(place, image, &size)
            at += 1
    except OverflowError:
        return number, at, size
    return -1, at, size


def presences_add(
    BulkRows rows not None, tuple layers not None, below, bytes code not None,
    actor, seq, offsets, data, Py_ssize_t first, Py_ssize_t last, ends, elements,
):
    cdef _Column names = _Column(offsets, data), added = _Column(ends, elements)
    cdef _Events events
    cdef Py_ssize_t number, size = 0, length, more, at
    cdef const unsigned char* text
    cdef const unsigned char* element
    cdef bytes image
    cdef uint64_t who = index(actor), start = u64(seq)
    names.check(first, last)
    added.check(first, last)
    events = _Events(rows, layers, below, last - first)
    for number in range(first, last):
        text_at(&names.texts, number, &text, &length)
        text_at(&added.texts, number, &element, &more)
        events.add(text, length, code, element, more)
    events.fill()
    for at in range(events.count):
        number = events.places[at]
        image = rows.images[number]
        rows.put(number, present(image, who, start + <uint64_t>at), &size)
    return -1, events.count, size


def latests_set(
    BulkRows rows not None, tuple layers not None, below, bytes code not None,
    actor, seq, offsets, data, Py_ssize_t first, Py_ssize_t last, ends, payloads, now, floor, most,
):
    cdef _Column names = _Column(offsets, data), wanted = _Column(ends, payloads)
    cdef _Events events
    cdef Py_ssize_t number, size = 0, length, at
    cdef const unsigned char* text
    cdef bytes image
    cdef uint64_t who = index(actor), start = u64(seq)
    cdef uint64_t present_time = u64(now), least = u64(floor), greatest = u64(most)
    cdef Image row
    cdef Latest latest
    latest.actor = who
    latest.expiry = 0
    latest.deleted = False
    names.check(first, last)
    wanted.check(first, last)
    events = _Events(rows, layers, below, last - first)
    for number in range(first, last):
        text_at(&names.texts, number, &text, &length)
        events.add(text, length, code, NULL, 0)
    events.fill()
    for at in range(events.count):
        text_at(&wanted.texts, first + at, &latest.payload, &latest.length)
        number = events.places[at]
        image = rows.images[number]
        latest.seq = start + <uint64_t>at
        before_event(image, LATEST, who, latest.seq, &row)
        latest.stamp = max(present_time, max(least, 0 if image is None else row.latest.stamp) + 1)
        if latest.stamp > greatest:
            return first + at, at, size
        rows.put(number, with_latest(&row, &latest), &size)
    return -1, events.count, size


# ---- reading


def cells_sum(
    tuple layers not None, below, bytes code not None, list actors not None, offsets, data,
    Py_ssize_t first, Py_ssize_t last, out,
):
    cdef _Column names = _Column(offsets, data)
    cdef _Numbers values = _Numbers(out, True)
    cdef Py_ssize_t number, more, length, each, place, count = PyList_GET_SIZE(actors)
    cdef const unsigned char* text
    cdef bytes image
    cdef bytearray tails = bytearray(4 * count)
    cdef unsigned char* tail = <unsigned char*>PyByteArray_AS_STRING(tails)
    cdef _Sought sought = _Sought()
    cdef Py_ssize_t at = 0  # cells of the text `number` that have been taken in
    cdef int128 total = 0
    cdef long long value
    cdef Image row
    names.check(first, last)
    values.check(last)
    if count == 0:
        memset(<unsigned char*>values.buffer.buf + 8 * first, 0, 8 * (last - first))
        return -1
    for each in range(count):
        big32(tail + 4 * each, <uint32_t>index(actors[each]))
    number = first
    for more in range(first, last):
        text_at(&names.texts, more, &text, &length)
        for each in range(count):
            sought.add(text, length, code, tail + 4 * each, 4)
            if sought.count < DICT_PROBES and not (more == last - 1 and each == count - 1):
                continue
            sought.find(layers)
            for place in range(sought.count):
                image = found_or_below(sought, place, below)
                if image is not None:
                    parse_kind_of(image, CELL, &row)
                    total += <int128>row.cell.p - row.cell.n - row.cell.base_p + row.cell.base_n
                at += 1
                if at == count:
                    value = <long long>total
                    if value != total:
                        return number
                    memcpy(<unsigned char*>values.buffer.buf + 8 * number, &value, 8)
                    number += 1
                    at = 0
                    total = 0
            sought.clear()
    return -1


def images_of(tuple layers not None, below, bytes code not None, offsets, data, Py_ssize_t first, Py_ssize_t last):
    cdef _Column names = _Column(offsets, data)
    cdef Py_ssize_t number, length
    cdef const unsigned char* text
    cdef _Sought sought = _Sought()
    cdef Py_ssize_t each
    cdef list out = []
    names.check(first, last)
    for number in range(first, last):
        text_at(&names.texts, number, &text, &length)
        sought.add(text, length, code, NULL, 0)
        if sought.count < DICT_PROBES and number < last - 1:
            continue
        sought.find(layers)
        for each in range(sought.count):
            out.append(found_or_below(sought, each, below))
        sought.clear()
    return out


cdef inline bytes found_or_below(_Sought sought, Py_ssize_t number, object below):
    if sought.images[number] == NULL and below is not None:
        return below(sought.key(number))
    return sought.image(number)


# ---- listing


cdef struct Gathered:
    # A column of texts that is being made.
    Buffer ends
    Buffer data


cdef inline void open_gathered(Gathered* out) noexcept:
    cdef long long end = 0
    open_buffer(&out.ends)
    open_buffer(&out.data)
    put_bytes(&out.ends, <const unsigned char*>&end, 8)


cdef inline void close_gathered(Gathered* out) noexcept:
    close_buffer(&out.ends)
    close_buffer(&out.data)


cdef inline int gather_text(Gathered* out, const unsigned char* text, Py_ssize_t size) except -1:
    cdef long long end
    reserve(&out.data, size)
    put_bytes(&out.data, text, size)
    end = out.data.size
    reserve(&out.ends, 8)
    put_bytes(&out.ends, <const unsigned char*>&end, 8)
    return 0


cdef inline Py_ssize_t name_end(bytes rowkey) except -1:
    cdef const char* text = PyBytes_AS_STRING(rowkey)
    cdef const char* end = <const char*>memchr(text, 0, PyBytes_GET_SIZE(rowkey))
    if end == NULL:
        raise ValueError("subsection not found")
    return end - text


cdef inline int starts_alike(bytes rowkey, bytes first, Py_ssize_t size) noexcept:
    return PyBytes_GET_SIZE(rowkey) >= size and memcmp(PyBytes_AS_STRING(rowkey), PyBytes_AS_STRING(first), size) == 0


def listings_merge(list listings not None, bytes horizon):
    cdef list merged = [], listing
    for listing in listings:
        merged = merge_two(merged, listing) if merged else listing
    cdef list found = []
    cdef tuple pair
    for pair in merged:
        if horizon is not None and compare_keys(<bytes?>pair[0], horizon) > 0:
            break
        if pair[1] is not None:
            found.append(pair)
    return found


cdef list merge_two(list older, list newer):
    """Both in order; the newer one wins."""
    cdef list out = []
    cdef Py_ssize_t left = 0, right = 0, olds = PyList_GET_SIZE(older), news = PyList_GET_SIZE(newer)
    cdef tuple old, new
    cdef int order
    while left < olds and right < news:
        old = older[left]
        new = newer[right]
        order = compare_keys(<bytes?>old[0], <bytes?>new[0])
        out.append(old if order < 0 else new)
        left += order <= 0
        right += order >= 0
    out.extend(older[left:])
    out.extend(newer[right:])
    return out


cdef inline int compare_keys(bytes one, bytes other) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(one), more = PyBytes_GET_SIZE(other)
    cdef int order = memcmp(PyBytes_AS_STRING(one), PyBytes_AS_STRING(other), size if size < more else more)
    return order if order else (size > more) - (size < more)


def cells_gather(list rows not None, bytes code not None, Py_ssize_t most, bint whole):
    cdef Gathered out
    cdef Buffer values
    cdef Image row
    cdef int128 total
    cdef long long value
    cdef bytes first, rowkey, image
    cdef tuple pair
    cdef Py_ssize_t used = 0, at, name, count = PyList_GET_SIZE(rows), found = 0
    cdef bint wanted, live
    open_gathered(&out)
    open_buffer(&values)
    try:
        while used < count and found < most:
            pair = rows[used]
            first = pair[0]
            name = name_end(first)
            wanted = PyBytes_GET_SIZE(first) > name + 1 and PyBytes_AS_STRING(first)[name + 1] == PyBytes_AS_STRING(code)[0]
            total = 0
            live = False
            at = used
            while at < count:
                pair = rows[at]
                rowkey = pair[0]
                if not starts_alike(rowkey, first, min(name + 2, PyBytes_GET_SIZE(first))):
                    break
                if wanted:
                    image = pair[1]
                    parse_kind_of(image, CELL, &row)
                    live = live or not dead(&row)
                    total += <int128>row.cell.p - row.cell.n - row.cell.base_p + row.cell.base_n
                at += 1
            if at == count and not whole:
                break
            if live:
                value = <long long>total
                if value != total:
                    return taken(&out.ends), taken(&out.data), taken(&values), used, found
                gather_text(&out, <const unsigned char*>PyBytes_AS_STRING(first), name)
                reserve(&values, 8)
                put_bytes(&values, <const unsigned char*>&value, 8)
                found += 1
            used = at
        return taken(&out.ends), taken(&out.data), taken(&values), used, -1
    finally:
        close_gathered(&out)
        close_buffer(&values)


def singles_gather(list rows not None, bytes code not None, Py_ssize_t most):
    cdef Gathered out
    cdef Image row
    cdef bytes rowkey, image
    cdef tuple pair
    cdef list images = []
    cdef Py_ssize_t used, name, count = PyList_GET_SIZE(rows)
    open_gathered(&out)
    try:
        for used in range(count):
            if PyList_GET_SIZE(images) == most:
                return taken(&out.ends), taken(&out.data), images, used
            pair = rows[used]
            rowkey = pair[0]
            image = pair[1]
            name = name_end(rowkey)
            if PyBytes_GET_SIZE(rowkey) != name + 2 or PyBytes_AS_STRING(rowkey)[name + 1] != PyBytes_AS_STRING(code)[0]:
                continue
            parse(image, &row)
            if not dead(&row):
                gather_text(&out, <const unsigned char*>PyBytes_AS_STRING(rowkey), name)
                images.append(image)
        return taken(&out.ends), taken(&out.data), images, count
    finally:
        close_gathered(&out)
