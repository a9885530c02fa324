# What the compiled write path keeps at hand, as structures that Python can see.  crdtsync/pure/state.py is the contract.


cdef class LayerState:
    cdef public dict rows
    cdef public dict origin
    cdef public dict pending
    cdef public dict log
    cdef public list arrived
    cdef public list runs
    cdef public Py_ssize_t size
    cdef public object _folded
    cdef public list _fresh
    cdef public object _order
    cdef public set _ragged


cdef class BucketState:
    cdef public uint64_t number
    cdef public int state
    cdef public LayerState active
    cdef public object frozen
    cdef public dict clock
    cdef public dict unsynced
    cdef public object outward
    cdef public object stamp_floor
    cdef public bint table_dirty


cdef class PlaceState:
    cdef public str name
    cdef public tuple fields
    cdef public bytes code
    cdef public bytes prefix
    cdef public tuple levels
    cdef public long long _actor
    cdef public bytes _cell

    def __init__(self, str name, tuple fields, bytes code, bytes prefix, tuple levels):
        self.name = name
        self.fields = fields
        self.code = code
        self.prefix = prefix
        self.levels = levels
        self._actor = -1
        self._cell = b""

    cpdef bytes cell(self, uint32_t actor):
        cdef unsigned char* at
        cdef Py_ssize_t size
        if self._actor != actor:
            size = PyBytes_GET_SIZE(self.prefix)
            self._cell = PyBytes_FromStringAndSize(NULL, size + 4)
            at = <unsigned char*>PyBytes_AS_STRING(self._cell)
            memcpy(at, PyBytes_AS_STRING(self.prefix), size)
            at[size] = actor >> 24
            at[size + 1] = actor >> 16 & 0xFF
            at[size + 2] = actor >> 8 & 0xFF
            at[size + 3] = actor & 0xFF
            self._actor = actor
        return self._cell


cdef class HandleState:
    cdef public object _backend
    cdef public PlaceState _place
    cdef public Writer _hot
    cdef str bucket  # with `_hot`: the name of the bucket

    def __init__(self, backend, PlaceState place not None):
        self._backend = backend
        self._place = place
        self._hot = backend.writer
        if self._hot is not None:
            self.bucket = backend.name

    @cython.binding(False)
    def _write(self, verb, PlaceState place not None, argument):
        self.put(verb, place, argument)

    @cython.binding(False)
    def _set(self, verb, value):
        cdef bytes payload = self.simple(value)
        self.put(verb, self._place, self._encode(value) if payload is None else payload)

    @cython.binding(False)
    def _add(self, verb, element):
        cdef bytes payload = self.simple(element)  # which can be hashed
        self.put(verb, self._place, self._element(element) if payload is None else payload)

    cdef bytes simple(self, value):
        """Canonical bytes of a value of a simple type; None: it needs a closer look."""
        return None if self._hot is None else packed_value(value, self._hot.value_max)

    cdef int put(self, verb, PlaceState place, argument) except -1:
        if self._hot is None or not self._hot.direct(self.bucket, verb, place, argument):
            self._backend.write(verb, place, argument)
        return 0
