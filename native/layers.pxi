# Rows looked up in layers, and put into one, column by column.  crdtsync/pure/layers.py is the contract.


cdef class _Sought:
    # Some rows that are looked for in layers, together.
    cdef Buffer data  # their keys
    cdef Py_ssize_t ends[DICT_PROBES + 1]
    cdef Py_hash_t hashes[DICT_PROBES]
    cdef PyObject* keys[DICT_PROBES]  # held; NULL: the row key is no object yet
    cdef PyObject* images[DICT_PROBES]  # held; NULL: no layer has it
    cdef int levels[DICT_PROBES]  # which layer has it
    cdef Py_ssize_t count

    def __cinit__(self):
        open_buffer(&self.data)

    def __dealloc__(self):
        self.clear()
        close_buffer(&self.data)

    cdef void clear(self) noexcept:
        cdef Py_ssize_t number
        for number in range(self.count):
            Py_XDECREF(self.keys[number])
            Py_XDECREF(self.images[number])
        self.count = self.data.size = 0

    cdef inline int add(
        self, const unsigned char* name, Py_ssize_t size, bytes code, const unsigned char* tail, Py_ssize_t more
    ) except -1:
        """One more, under name NUL code tail.  There is room for `DICT_PROBES`."""
        cdef Py_ssize_t start = self.data.size, middle = PyBytes_GET_SIZE(code), number = self.count
        reserve(&self.data, size + 1 + middle + more)
        put_bytes(&self.data, name, size)
        put_byte(&self.data, 0)
        put_bytes(&self.data, <const unsigned char*>PyBytes_AS_STRING(code), middle)
        put_bytes(&self.data, tail, more)
        self.hashes[number] = bytes_hash(self.data.data + start, self.data.size - start)
        self.ends[number] = start
        self.ends[number + 1] = self.data.size
        self.keys[number] = self.images[number] = NULL
        self.levels[number] = 0
        self.count += 1
        return 0

    cdef inline const unsigned char* text(self, Py_ssize_t number) noexcept:
        return self.data.data + self.ends[number]

    cdef inline Py_ssize_t size(self, Py_ssize_t number) noexcept:
        return self.ends[number + 1] - self.ends[number]

    cdef inline bytes key(self, Py_ssize_t number):
        """The row key as an object: the one that a layer has, or a new one."""
        if self.keys[number] == NULL:
            key = PyBytes_FromStringAndSize(<const char*>self.text(number), self.size(number))
            Py_INCREF(key)
            self.keys[number] = <PyObject*>key
        return <bytes><object>self.keys[number]

    cdef inline bytes image(self, Py_ssize_t number):
        """What was found: an image, None: a row that is known to be absent; None, too, for a row that no layer has."""
        cdef bytes found = None if self.images[number] == NULL else <object>self.images[number]
        return found

    cdef int find(self, tuple layers) except -1:
        """Look for all of them: the first layer that has one counts."""
        cdef unsigned char left[DICT_PROBES]
        cdef const dict_entry* entries[DICT_PROBES]
        cdef const dict_entry* entry
        cdef Py_ssize_t each, number, rest, still = self.count
        cdef int level = 0
        cdef bint probed
        cdef PyObject* found
        cdef dict layer
        for each in range(still):
            left[each] = <unsigned char>each
        for layer in layers:
            if still and PyDict_Size(layer):
                probed = dict_probe(<PyObject*>layer, self.hashes, left, still, entries)
                rest = 0
                for each in range(still):
                    number = left[each]
                    entry = entries[each] if probed else NULL
                    if entry != NULL and self.same(number, entry.key):
                        self.take(number, entry.key, entry.value, level)
                        continue
                    if entry != NULL or not probed:
                        found = PyDict_GetItemWithError(layer, self.key(number))
                        if found != NULL:
                            self.take(number, NULL, found, level)
                            continue
                    left[rest] = <unsigned char>number
                    rest += 1
                still = rest
            level += 1
        return 0

    cdef inline bint same(self, Py_ssize_t number, PyObject* key) noexcept:
        return (
            type(<object>key) is bytes
            and PyBytes_GET_SIZE(<bytes><object>key) == self.size(number)
            and memcmp(PyBytes_AS_STRING(<bytes><object>key), self.text(number), self.size(number)) == 0
        )

    cdef inline void take(self, Py_ssize_t number, PyObject* key, PyObject* found, int level) noexcept:
        Py_INCREF(<object>found)
        self.images[number] = found
        self.levels[number] = level
        if key != NULL and self.keys[number] == NULL:
            Py_INCREF(<object>key)
            self.keys[number] = key


def layer_find(BucketState bucket not None, list keys not None):
    cdef dict rows = bucket.active.rows
    cdef Py_ssize_t number, count = PyList_GET_SIZE(keys)
    cdef PyObject* found
    cdef list images = [None] * count, missing = [], places = []
    for number in range(count):
        if number % DICT_PROBES == 0:
            hint_rows(rows, keys, number, min(number + DICT_PROBES, count))
        found = PyDict_GetItemWithError(rows, keys[number])
        if found != NULL:
            images[number] = <object>found
        else:
            missing.append(keys[number])
            places.append(number)
    if missing and (bucket.frozen is not None or bucket.table_dirty):
        for place, image in zip(places, (<object>bucket).below_many(missing)):
            images[place] = image
    return images


def layer_rows(LayerState layer not None, list keys not None):
    cdef dict rows = layer.rows
    cdef Py_ssize_t number, count = PyList_GET_SIZE(keys)
    cdef PyObject* found
    cdef bytes key
    cdef list out = []
    for number in range(count):
        if number % DICT_PROBES == 0:
            hint_rows(rows, keys, number, min(number + DICT_PROBES, count))
        key = keys[number]
        found = PyDict_GetItemWithError(rows, key)
        if found == NULL:
            raise KeyError(key)
        out.append(row_pair(key, <object>found))
    return out


def layer_put(LayerState layer not None, list keys not None, list images not None, list before not None):
    cdef dict rows = layer.rows, origin = layer.origin, pending = layer.pending
    cdef list fresh = layer._fresh
    cdef PyObject* found
    cdef Py_ssize_t number, held, count = PyList_GET_SIZE(keys)
    cdef bytes key, image, old
    if PyList_GET_SIZE(images) != count or PyList_GET_SIZE(before) != count:
        raise ValueError("lists differ in length")
    for number in range(count):
        if number % DICT_PROBES == 0:
            hint_rows(rows, keys, number, min(number + DICT_PROBES, count))
        key = keys[number]
        image = images[number]
        old = before[number]
        if pending is not None and not PyDict_Contains(pending, key):
            found = PyDict_GetItemWithError(rows, key)
            pending[key] = old if found == NULL else <object>found
        held = PyDict_Size(rows)
        rows[key] = image
        if PyDict_Size(rows) != held:
            fresh.append(key)
            if old is not None:
                origin[key] = old


cdef int hint_rows(dict rows, list keys, Py_ssize_t first, Py_ssize_t last) except -1:
    """These keys are about to be looked up."""
    cdef Py_hash_t hashes[DICT_PROBES]
    cdef unsigned char which[DICT_PROBES]
    cdef const dict_entry* entries[DICT_PROBES]
    cdef Py_ssize_t number
    for number in range(first, last):
        hint_object(PyList_GET_ITEM(keys, number))
    for number in range(first, last):
        hashes[number - first] = hash(<object>PyList_GET_ITEM(keys, number))
        which[number - first] = <unsigned char>(number - first)
    dict_probe(<PyObject*>rows, hashes, which, last - first, entries)
    return 0


def layer_note(LayerState layer not None, list keys not None, list images not None, list before not None):
    cdef Py_ssize_t number, count = PyList_GET_SIZE(keys)
    cdef bytes image
    cdef LogEnd end
    if PyList_GET_SIZE(images) != count or PyList_GET_SIZE(before) != count:
        raise ValueError("lists differ in length")
    end.log = NULL
    end.actor = 0
    for number in range(count):
        image = images[number]
        if image is not None:
            note_dots(layer, &end, keys[number], image, before[number])


cdef struct LogEnd:
    # The log that the last entry went into.
    PyObject* log  # a dict that the layer holds, or NULL
    uint64_t actor


cdef int note_dots(LayerState layer, LogEnd* end, bytes key, bytes image, bytes old) except -1:
    """Log those maximal events of a row that are none of the old one's."""
    cdef Image row, known
    cdef Walk walk
    parse(image, &row)
    empty_image(&known, row.kind)
    if old is not None:
        parse(old, &known)
    if row.kind == LATEST:
        if log_seq(&known, row.latest.actor) != row.latest.seq:
            log_dot(layer, end, row.latest.actor, row.latest.seq, key)
        return 0
    walk = walk_context(&row)
    while step(&walk):
        if log_seq(&known, walk.actor) != walk.seq:
            log_dot(layer, end, walk.actor, walk.seq, key)
    return 0


cdef int log_dot(LayerState layer, LogEnd* end, uint64_t actor, uint64_t seq, bytes key) except -1:
    cdef object who, log
    if end.log == NULL or end.actor != actor:
        who = actor
        layer._ragged.add(who)
        log = layer.log.setdefault(who, {})
        end.log = <PyObject*>log
        end.actor = actor
    (<dict><object>end.log)[seq] = key
    return 0
