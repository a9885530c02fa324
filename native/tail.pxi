# The tail of the journal.  crdtsync/pure/tail.py is the contract; these bytes are the same.

cdef enum:
    RECORD_SIZE = 24
    SLOT_SIZE = 28
    RUN = 1 << 29

cdef uint32_t[16][256] CRC  # of zlib, by slices of 16 bytes


cdef void make_crc() noexcept:
    cdef uint32_t value
    cdef int byte, bit, slice
    for byte in range(256):
        value = byte
        for bit in range(8):
            value = (value >> 1) ^ (<uint32_t>0xEDB88320 if value & 1 else 0)
        CRC[0][byte] = value
    for byte in range(256):
        for slice in range(1, 16):
            CRC[slice][byte] = (CRC[slice - 1][byte] >> 8) ^ CRC[0][CRC[slice - 1][byte] & 0xFF]


make_crc()


cdef uint32_t crc32(uint32_t seed, const unsigned char* data, Py_ssize_t size) noexcept nogil:
    """As zlib.crc32(data, seed)."""
    cdef uint32_t crc = ~seed, second, third, fourth
    while size >= 16:
        crc ^= get32(data)
        second = get32(data + 4)
        third = get32(data + 8)
        fourth = get32(data + 12)
        crc = (
            CRC[15][crc & 0xFF] ^ CRC[14][crc >> 8 & 0xFF] ^ CRC[13][crc >> 16 & 0xFF] ^ CRC[12][crc >> 24]
            ^ CRC[11][second & 0xFF] ^ CRC[10][second >> 8 & 0xFF] ^ CRC[9][second >> 16 & 0xFF] ^ CRC[8][second >> 24]
            ^ CRC[7][third & 0xFF] ^ CRC[6][third >> 8 & 0xFF] ^ CRC[5][third >> 16 & 0xFF] ^ CRC[4][third >> 24]
            ^ CRC[3][fourth & 0xFF] ^ CRC[2][fourth >> 8 & 0xFF] ^ CRC[1][fourth >> 16 & 0xFF] ^ CRC[0][fourth >> 24]
        )
        data += 16
        size -= 16
    while size >= 8:
        crc ^= get32(data)
        crc = (
            CRC[7][crc & 0xFF] ^ CRC[6][crc >> 8 & 0xFF] ^ CRC[5][crc >> 16 & 0xFF] ^ CRC[4][crc >> 24]
            ^ CRC[3][data[4]] ^ CRC[2][data[5]] ^ CRC[1][data[6]] ^ CRC[0][data[7]]
        )
        data += 8
        size -= 8
    while size:
        crc = crc >> 8 ^ CRC[0][(crc ^ data[0]) & 0xFF]
        data += 1
        size -= 1
    return ~crc


cdef inline uint32_t get32(const unsigned char* at) noexcept nogil:
    """Four bytes, the least first."""
    return <uint32_t>at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24


cdef inline void set32(unsigned char* at, uint32_t value) noexcept nogil:
    at[0] = value & 0xFF
    at[1] = value >> 8 & 0xFF
    at[2] = value >> 16 & 0xFF
    at[3] = value >> 24


cdef inline void set64(unsigned char* at, uint64_t value) noexcept nogil:
    set32(at, value & <uint64_t>0xFFFFFFFF)
    set32(at + 4, value >> 32)


cdef void encode_head(
    unsigned char* at, uint32_t length, uint32_t* crc, uint64_t number, uint64_t synced,
    const unsigned char* payload, Py_ssize_t size,
) noexcept nogil:
    """The head of a record, and its crc; `crc` comes in as the seed."""
    cdef unsigned char sealed[20]
    set32(sealed, length)
    set64(sealed + 4, number)
    set64(sealed + 12, synced)
    crc[0] = crc32(crc32(crc[0], sealed, 20), payload, size)
    set32(at, length)
    set32(at + 4, crc[0])
    memcpy(at + 8, sealed + 4, 16)


cdef inline void encode_slot(unsigned char* at, uint64_t seq, uint64_t ups, uint64_t downs, uint32_t seed) noexcept nogil:
    set64(at, seq)
    set64(at + 8, ups)
    set64(at + 16, downs)
    set32(at + 24, crc32(seed, at, 24))


cdef class Tail:
    cdef public uint64_t next
    cdef public uint64_t synced
    cdef public Py_ssize_t offset
    cdef public uint32_t seed
    cdef public object segment
    cdef Py_ssize_t size  # of the segment
    cdef object memory  # view of a mapped segment
    cdef unsigned char* base  # its first byte; NULL: writes go through segment.write
    cdef Py_ssize_t run  # where the slots of the open run begin; 0: no run is open
    cdef uint32_t run_crc  # of the run, which seeds its slots
    cdef int turn
    cdef bint alone  # a step may be written without the store's lock: nobody else runs meanwhile

    def __init__(self, uint64_t next, uint32_t seed, uint64_t synced):
        self.next = next
        self.seed = seed
        self.synced = synced

    cdef int release(self) except -1:
        self.run = 0
        self.base = NULL
        if self.memory is not None:
            memory, self.memory = self.memory, None
            memory.release()
        return 0

    def begin(self, segment, Py_ssize_t offset):
        self.release()
        self.segment = segment
        self.offset = offset
        self.size = segment.size
        memory = getattr(segment, "memory", None)
        if memory is not None:
            self.memory = memoryview(memory)
            self.base = <unsigned char*>PyMemoryView_GET_BUFFER(self.memory).buf
        self.alone = self.base != NULL or getattr(segment, "alone", False)

    def let_go(self):
        self.release()
        self.segment = None

    def append(self, bytes payload not None, uint32_t flags=0):
        return self.add(<const unsigned char*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), flags)

    def append_run(self, bytes payload not None, uint64_t seq, uint64_t ups, uint64_t downs):
        return self.add_run(
            <const unsigned char*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), seq, ups, downs
        )

    cdef uint64_t add(self, const unsigned char* payload, Py_ssize_t size, uint32_t flags) except? 0:
        cdef unsigned char[RECORD_SIZE] head
        cdef uint32_t crc = self.seed
        self.run = 0
        encode_head(head, <uint32_t>size | flags, &crc, self.next, self.synced, payload, size)
        if self.base != NULL:
            self.check_room(RECORD_SIZE + size)
            memcpy(self.base + self.offset, head, RECORD_SIZE)
            memcpy(self.base + self.offset + RECORD_SIZE, payload, size)
        else:
            self.segment.write(self.offset, <bytes>head[:RECORD_SIZE] + <bytes>payload[:size])
        return self.added(RECORD_SIZE + size, crc)

    cdef uint64_t add_run(
        self, const unsigned char* payload, Py_ssize_t size, uint64_t seq, uint64_t ups, uint64_t downs
    ) except? 0:
        cdef unsigned char[RECORD_SIZE] head
        cdef unsigned char[2 * SLOT_SIZE] slots
        cdef uint32_t crc = self.seed
        cdef Py_ssize_t whole = RECORD_SIZE + size + 2 * SLOT_SIZE
        cdef uint64_t number
        self.run = 0
        encode_head(head, <uint32_t>(size + 2 * SLOT_SIZE) | RUN, &crc, self.next, self.synced, payload, size)
        memset(slots, 0, 2 * SLOT_SIZE)
        encode_slot(slots, seq, ups, downs, crc)
        if self.base != NULL:
            self.check_room(whole)
            memcpy(self.base + self.offset, head, RECORD_SIZE)
            memcpy(self.base + self.offset + RECORD_SIZE, payload, size)
            memcpy(self.base + self.offset + RECORD_SIZE + size, slots, 2 * SLOT_SIZE)
        else:
            self.segment.write(
                self.offset, <bytes>head[:RECORD_SIZE] + <bytes>payload[:size] + <bytes>slots[:2 * SLOT_SIZE]
            )
        number = self.added(whole, get32(slots + 24))
        self.run = self.offset - 2 * SLOT_SIZE
        self.run_crc = crc
        self.turn = 1
        return number

    cdef int check_room(self, Py_ssize_t size) except -1:
        if size > self.size - self.offset:
            raise ValueError("the record passes the end of its segment")
        return 0

    cdef uint64_t added(self, Py_ssize_t size, uint32_t seed) noexcept:
        cdef uint64_t number = self.next
        self.offset += size
        self.next = number + 1
        self.seed = seed
        return number

    cdef int put_step(self, uint64_t seq, uint64_t ups, uint64_t downs) except -1:
        cdef unsigned char[SLOT_SIZE] slot
        cdef Py_ssize_t at = self.run + self.turn * SLOT_SIZE
        encode_slot(slot, seq, ups, downs, self.run_crc)
        if self.base != NULL:
            memcpy(self.base + at, slot, SLOT_SIZE)
        else:
            self.segment.write(at, <bytes>slot[:SLOT_SIZE])
        self.seed = get32(slot + 24)
        self.turn = 1 - self.turn
        return 0

    def step(self, uint64_t seq, uint64_t ups, uint64_t downs):
        if not self.run:
            raise ValueError("no run is open")
        self.put_step(seq, ups, downs)

    @property
    def open(self):
        return self.run > 0

    def seal(self):
        self.run = 0
