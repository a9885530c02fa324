# Looking up bytes that are no object yet in dicts, many at a time.
#
# A look-up in a large dict waits for memory three or four times.  `dict_probe` tells the processor what it will touch, so
# that many look-ups wait together; it needs no key object, and gives the dict's own.  It knows the layout of dicts of
# CPython 3.11 to 3.13, and says so elsewhere: then the dict is asked, key by key.

from cpython.object cimport PyObject

cdef extern from *:
    """
    #ifdef __GNUC__
    #define hint(at) __builtin_prefetch(at)
    #else
    #define hint(at) ((void)(at))
    #endif

    static inline void hint_object(PyObject *object) {  /* short bytes lie in one line or in two */
        hint(object);
        hint((const char *)object + 48);
    }

    typedef struct {  /* PyDictKeyEntry */
        Py_hash_t hash;
        PyObject *key;
        PyObject *value;
    } dict_entry;

    #define DICT_PROBES 32

    #if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED) \\
        && !defined(PYPY_VERSION)
    extern Py_hash_t _Py_HashBytes(const void *, Py_ssize_t);
    #define bytes_hash(data, size) _Py_HashBytes(data, size)

    typedef struct {  /* struct _dictkeysobject */
        Py_ssize_t refcount;
        uint8_t log2_size;
        uint8_t log2_index_bytes;
        uint8_t kind;  /* 0: keys of any type */
        uint32_t version;
        Py_ssize_t usable;
        Py_ssize_t entries;
        char indices[];
    } dict_keys;

    /* Number of the entry that a slot names; below 0: none. */
    static inline Py_ssize_t dict_index(const dict_keys *keys, size_t slot) {
        if (keys->log2_size < 8)
            return ((const int8_t *)keys->indices)[slot];
        if (keys->log2_size < 16)
            return ((const int16_t *)keys->indices)[slot];
        if (keys->log2_size < 32)
            return ((const int32_t *)keys->indices)[slot];
        return (Py_ssize_t)((const int64_t *)keys->indices)[slot];
    }

    static inline size_t dict_mask(const dict_keys *keys) {
        return ((size_t)1 << keys->log2_size) - 1;
    }

    static inline const dict_entry *dict_entries(const dict_keys *keys) {
        return (const dict_entry *)(keys->indices + ((size_t)1 << keys->log2_index_bytes));
    }

    static inline void hint_slot(const dict_keys *keys, size_t slot) {
        hint(keys->indices + (slot << (keys->log2_index_bytes - keys->log2_size)));
    }

    static int dict_probe(
        PyObject *dict, const Py_hash_t *hashes, const unsigned char *which, Py_ssize_t count, const dict_entry **found
    ) {
        const dict_keys *keys = (const dict_keys *)((PyDictObject *)dict)->ma_keys;
        const dict_entry *entries;
        size_t slots[DICT_PROBES], perturbs[DICT_PROBES], mask;
        unsigned char going[DICT_PROBES];
        Py_ssize_t each, number, index, rest, still = count;
        if (keys->kind != 0)
            return 0;
        mask = dict_mask(keys);
        entries = dict_entries(keys);
        for (each = 0; each < count; each++) {
            going[each] = (unsigned char)each;
            perturbs[each] = (size_t)hashes[which[each]];
            slots[each] = perturbs[each] & mask;
            hint_slot(keys, slots[each]);
        }
        while (still) {
            for (each = rest = 0; each < still; each++) {
                number = going[each];
                index = dict_index(keys, slots[number]);
                found[number] = index < 0 ? NULL : entries + index;
                if (index >= 0) {
                    hint(found[number]);
                    hint(&found[number]->value);
                }
                if (index != -1)  /* -1: nothing was ever here, -2: something was */
                    going[rest++] = (unsigned char)number;
            }
            still = rest;
            for (each = rest = 0; each < still; each++) {
                number = going[each];
                if (found[number] != NULL && found[number]->hash == hashes[which[number]]) {
                    hint_object(found[number]->key);
                    hint_object(found[number]->value);
                } else {
                    perturbs[number] >>= 5;
                    slots[number] = (slots[number] * 5 + perturbs[number] + 1) & mask;
                    hint_slot(keys, slots[number]);
                    going[rest++] = (unsigned char)number;
                }
            }
            still = rest;
        }
        return 1;
    }
    #else
    static inline Py_hash_t bytes_hash(const unsigned char *data, Py_ssize_t size) {
        PyObject *key = PyBytes_FromStringAndSize((const char *)data, size);
        Py_hash_t hash = key == NULL ? -1 : PyObject_Hash(key);
        Py_XDECREF(key);
        return hash;
    }
    static int dict_probe(
        PyObject *dict, const Py_hash_t *hashes, const unsigned char *which, Py_ssize_t count, const dict_entry **found
    ) {
        return 0;
    }
    #endif
    """
    enum:
        DICT_PROBES  # look-ups that wait for memory at the same time

    ctypedef struct dict_entry:
        Py_hash_t hash
        PyObject* key
        PyObject* value

    void hint(const void* at) noexcept nogil
    void hint_object(PyObject* held) noexcept nogil
    # The hash of bytes, as `hash` gives it.
    Py_hash_t bytes_hash(const unsigned char* data, Py_ssize_t size) except -1
    # Of each of the hashes hashes[which[i]], at most DICT_PROBES, the first entry of the dict that has it, or NULL; key
    # and value are on their way into the cache.  Entries are good until the dict changes.  0: its layout is not known.
    int dict_probe(
        PyObject* held, const Py_hash_t* hashes, const unsigned char* which, Py_ssize_t count, const dict_entry** found
    ) noexcept
