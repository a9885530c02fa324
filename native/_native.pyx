# cython: language_level=3, wraparound=False, cdivision=True, auto_pickle=False
# Bounds checks stay on: they cover lists alone, where an index without an id must be an IndexError and not a crash.
"""The compiled kernels.  crdtsync.pure holds the same functions under the same stems; its docstrings are the contract."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Contains, PyDict_GetItemWithError, PyDict_Next, PyDict_SetDefault, PyDict_Size
from cpython.exc cimport PyErr_Format
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_AsUnsignedLongLong, PyLong_FromUnsignedLongLong
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memchr, memcmp, memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from buffer cimport (
    Buffer, VARINT_MAX, close_buffer, open_buffer, put, put_byte, put_bytes, reserve, set_count, taken, varint_size,
)
from cursor cimport Cursor, fail, skim, take
from dicts cimport DICT_PROBES, bytes_hash, dict_entry, dict_probe, hint, hint_object
from xxh3 cimport HASHED_LEAST, HASHED_MOST, Hash, xxh3_128

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(void* held)
    int PyContextVar_Get(object variable, PyObject* default, PyObject** value) except -1
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef extern from "Python.h":
    ctypedef void* PyThread_type_lock
    ctypedef enum PyLockStatus:
        PY_LOCK_ACQUIRED
        PY_LOCK_INTR
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long us, int interruptible) nogil
    void PyThread_release_lock(PyThread_type_lock lock)
    int PyErr_CheckSignals() except -1

cdef extern from *:
    ctypedef long long int128 "__int128"

from os import register_at_fork as _register_at_fork
from threading import Event as _Event
from time import monotonic as _monotonic

from xxhash import xxh3_128_digest as _xxh3_128_digest

include "varint.pxi"
include "vectors.pxi"
include "image.pxi"
include "rows.pxi"
include "operations.pxi"
include "joins.pxi"
include "keys.pxi"
include "columns.pxi"
include "digest.pxi"
include "tail.pxi"
include "entries.pxi"
include "table.pxi"
include "values.pxi"
include "state.pxi"
include "writing.pxi"
include "handles.pxi"
include "parts.pxi"
include "layers.pxi"
include "sorting.pxi"
include "bulk.pxi"
include "requests.pxi"
include "tokens.pxi"
