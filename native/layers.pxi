# Rows looked up in layers, and put into one, column by column.  crdtsync/pure/layers.py is the contract.


def layer_find(BucketState bucket not None, list keys not None):
    cdef dict rows = bucket.active.rows
    cdef Py_ssize_t number, count = PyList_GET_SIZE(keys)
    cdef PyObject* found
    cdef list images = [None] * count, missing = [], places = []
    for number in range(count):
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


def layer_put(LayerState layer not None, list keys not None, list images not None, list before not None):
    cdef dict rows = layer.rows, origin = layer.origin, pending = layer.pending
    cdef list fresh = layer._fresh
    cdef PyObject* found
    cdef Py_ssize_t number, held, count = PyList_GET_SIZE(keys)
    cdef bytes key, image, old
    if PyList_GET_SIZE(images) != count or PyList_GET_SIZE(before) != count:
        raise ValueError("lists differ in length")
    for number in range(count):
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
