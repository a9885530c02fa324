# Version vectors as plain dicts: compared entry by entry, most often by the identity of an entry alone.


def vector_join(dict x not None, dict y not None):
    """The least clock that covers both, a new one: entries of `x` in their order, then what `y` adds."""
    cdef dict joined = x.copy()
    cdef PyObject *actor
    cdef PyObject *seq
    cdef Py_ssize_t at = 0
    if x is not y:
        while PyDict_Next(y, &at, &actor, &seq):
            if beyond(x, <object>actor, <object>seq):
                joined[<object>actor] = <object>seq
    return joined


def vector_covers(dict x not None, dict y not None):
    """Whether `x` holds everything that `y` does."""
    cdef PyObject *actor
    cdef PyObject *seq
    cdef Py_ssize_t at = 0
    if x is not y:
        while PyDict_Next(y, &at, &actor, &seq):
            if beyond(x, <object>actor, <object>seq):
                return False
    return True


def vector_missing(dict x not None, dict y not None):
    """The entries of `y` that lie beyond `x`, in their order."""
    cdef dict found = {}
    cdef PyObject *actor
    cdef PyObject *seq
    cdef Py_ssize_t at = 0
    if x is not y:
        while PyDict_Next(y, &at, &actor, &seq):
            if beyond(x, <object>actor, <object>seq):
                found[<object>actor] = <object>seq
    return found


cdef inline bint beyond(dict clock, object actor, object seq) except -1:
    """Whether an entry lies beyond a clock."""
    cdef PyObject *held = PyDict_GetItemWithError(clock, actor)
    if held == <PyObject *>seq:
        return False
    return seq > 0 if held == NULL else seq > <object>held
