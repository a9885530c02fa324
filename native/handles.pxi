# Objects by name: their places, and handles of them.  crdtsync/pure/handles.py is the contract.

cdef extern from *:
    """
    static CYTHON_INLINE PyObject* unmade(PyObject* kind, PyObject* empty) {
        return ((PyTypeObject*)kind)->tp_new((PyTypeObject*)kind, empty, NULL);
    }
    """
    object unmade(object kind, tuple empty)  # an object before its __init__, without the ways of type.__call__

cdef tuple EMPTY = ()


cdef class Places:
    cdef object kind
    cdef Py_ssize_t most
    cdef list slots

    def __init__(self, type kind not None, Py_ssize_t most, Py_ssize_t count):
        if not issubclass(kind, PlaceState):
            raise TypeError("places are made of a subclass of PlaceState")
        if count < 1:
            raise ValueError("there must be a slot")
        self.kind = kind
        self.most = most
        self.slots = [None] * count

    cpdef PlaceState of(self, name, bytes code):
        cdef Py_ssize_t slot
        cdef PlaceState place
        cdef bytes prefix
        if code is None:
            raise TypeError("code must be bytes")
        if type(name) is not str:
            return None
        slot = slot_of(name, code, PyList_GET_SIZE(self.slots))
        found = <object>PyList_GET_ITEM(self.slots, slot)
        if found is not None:
            place = <PlaceState>found
            if (place.name is name or place.name == <str>name) and place.code == code:
                return place
        prefix = name_prefix(name, code, self.most)
        if prefix is None:
            return None
        place = <PlaceState>unmade(self.kind, EMPTY)
        place.name = <str>name
        place.fields = EMPTY
        place.code = code
        place.prefix = prefix
        place.levels = EMPTY
        place._actor = -1
        place._cell = b""
        self.slots[slot] = place
        return place


cdef inline Py_ssize_t slot_of(object name, bytes code, Py_ssize_t count) except -1:
    """Where a place is remembered: two types of one name, or the names of a row, are no neighbours by rule."""
    cdef size_t hashed = <size_t>hash(name)
    if PyBytes_GET_SIZE(code):
        hashed += <unsigned char>PyBytes_AS_STRING(code)[0]
    return <Py_ssize_t>(hashed % <size_t>count)


cdef class Handles:
    cdef object backend
    cdef Places places
    cdef Writer writer
    cdef str bucket
    cdef object kind  # of the last handle
    cdef bytes code

    def __init__(self, backend, Places places not None):
        self.backend = backend
        self.places = places
        self.writer = backend.writer
        self.bucket = backend.name

    @cython.binding(False)
    def make(self, type kind not None, name, /):
        cdef PlaceState place
        cdef HandleState handle
        cdef bytes code = self.code
        if kind is not self.kind:
            code = kind.CODE
            self.kind, self.code = kind, code
        place = self.places.of(name, code)
        if place is None:
            place = self.backend._place(name, code)
        handle = <HandleState?>unmade(kind, EMPTY)
        handle._backend = self.backend
        handle._place = place
        handle._hot = self.writer
        handle.bucket = self.bucket
        return handle
