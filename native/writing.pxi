# The way of a single write: one verb, one row.  crdtsync/pure/writing.py is the contract.

cdef enum:
    LONG_WAY = 0  # only Verb.run knows how
    BY_GROWTH = 1
    BY_STEP = 2
    BY_ELEMENT = 3
    BY_PRESENCE = 4
    BY_VALUE = 5
    BY_VALUES = 6
    WRITE_FACT = 1  # of storage.facts
    RUN_FACT = 13
    ROW_OVERHEAD = 300  # of storage.layers
    ELEMENT_KEY_MAX = 65536  # datatypes.keys.ROW_KEY_MAX
    COUNTER_BITS = 16  # of clocks.hybrid

cdef long long MS_NEAR = 1LL << 47  # ms since the epoch, the year 6429: far from clocks.hybrid.STAMP_LAST

cdef uint64_t FORKS = 0  # that lead to this process


def _forked():
    global FORKS
    FORKS += 1


_register_at_fork(after_in_child=_forked)


def wall_ms():
    return wall()


cdef long long wall() except? -1:
    cdef timespec now
    if clock_gettime(CLOCK_REALTIME, &now):
        raise OSError("the system has no clock")
    return <long long>now.tv_sec * 1000 + now.tv_nsec // 1_000_000


cdef class Signal:
    cdef public bint up
    cdef object event

    def __cinit__(self):
        self.event = _Event()

    def set(self):
        self.up = True
        self.event.set()

    def clear(self):
        self.event.clear()
        self.up = False

    def wait(self):
        self.event.wait()


cdef class Writer:
    cdef public object core
    cdef public object engine
    cdef public object batches
    cdef public object told
    cdef public bint shut
    cdef public Tail tail
    cdef public long long own
    cdef public Py_ssize_t dirty
    cdef readonly StoreLock lock
    cdef object hybrid
    cdef Signal appended
    cdef dict named
    cdef list listeners
    cdef Py_ssize_t dirty_max
    cdef Py_ssize_t value_max
    cdef Py_ssize_t batch_max
    cdef bint each
    cdef uint64_t forks
    cdef int held  # of the store's lock, by whoever has it
    # What the last record was, when that was a counter's step.
    cdef BucketState last_bucket
    cdef bytes last_row
    cdef uint64_t last_record
    # The open run, and the cell that it is about.
    cdef PlaceState place  # of the counter, in the bucket `name`; None: its next step goes through the lock
    cdef str name
    cdef BucketState bucket
    cdef bytes rowkey
    cdef bytes image  # with the last step that the layer knows
    cdef uint64_t actor
    cdef uint64_t seq
    cdef uint64_t ups
    cdef uint64_t downs
    cdef bint pending  # steps have been made that the layer does not know

    def __init__(self, core, Py_ssize_t dirty_max, Py_ssize_t batch_max, Py_ssize_t value_max, bint each):
        self.core = core
        self.hybrid = core.hybrid
        self.appended = core.appended
        self.named = core.named
        self.listeners = core.on_change
        self.own = -1
        self.dirty_max = dirty_max
        self.batch_max = batch_max
        self.value_max = value_max
        self.each = each
        self.forks = FORKS
        self.lock = StoreLock(self)

    # -- the lock has been taken

    cdef int entered(self) except -1:
        self.held += 1
        if self.place is not None:
            self.settle()
        return 0

    cdef int settle(self) except -1:
        """Whoever holds the lock finds all steps in the layer."""
        cdef bytes before = self.image
        cdef Image row
        self.place = None
        if not self.pending:
            return 0
        self.pending = False
        parse_kind_of(before, CELL, &row)
        row.cell.seq = self.seq
        row.cell.p = self.ups
        row.cell.n = self.downs
        self.image = with_cell(&row, self.actor, self.seq)
        self.install(self.bucket, self.actor, self.seq, self.rowkey, before, self.image, 0)
        if self.listeners:
            self.core.tell(self.bucket, [self.rowkey], True)
        return 0

    # -- without the lock

    cdef int again(self, str name, PlaceState place, uint64_t up, uint64_t down) except -1:
        """One more step of the cell whose run is open.  False: it must go the long way.

        The GIL is kept all the while and nobody holds the lock, so nobody else is anywhere in the store.
        """
        if self.place is not place or self.name is not name or self.held or self.forks != FORKS:
            return False
        if up > COUNT_MAX - self.ups or down > COUNT_MAX - self.downs:
            return False
        if not self.stepped(self.seq + 1, self.ups + up, self.downs + down):
            return False
        self.pending = True
        return True

    cdef int stepped(self, uint64_t seq, uint64_t ups, uint64_t downs) except -1:
        """Put a step into the open run.  False: it is not known to be there, and the long way says why."""
        try:
            self.tail.put_step(seq, ups, downs)
        except OSError as error:
            self.core.journal.fail(error)
            return False
        except Exception:
            return False
        self.seq = seq
        self.ups = ups
        self.downs = downs
        return True

    # -- with the lock

    cdef int direct(self, str name, verb, PlaceState place, argument) except -1:
        """`write` where nothing else has to be asked or waited for, and what follows a write.  False: not done."""
        if self.shut or self.each or not self.unbatched() or not self.write(name, verb, place, argument):
            return False
        if self.told is not None:
            self.told()
        return True

    cdef int unbatched(self) except -1:
        """Whether no batch is open in this context."""
        cdef PyObject* batch = NULL
        if PyContextVar_Get(self.batches, NULL, &batch) < 0:
            return -1
        if batch == NULL:
            return True
        Py_DECREF(<object>batch)
        return <object>batch is None

    cpdef uint64_t write(self, str name, verb, PlaceState place, argument) except? 0:
        cdef int way = verb.way
        if way == LONG_WAY or place.levels or self.forks != FORKS:
            return 0
        self.lock.enter()
        try:
            return self.row(name, way, place, argument)
        finally:
            self.lock.leave()

    cdef uint64_t row(self, str name, int way, PlaceState place, argument) except? 0:
        """Number of the record; 0: the long way must be taken, and nothing has changed."""
        cdef BucketState bucket
        cdef PyObject* found
        cdef bytes rowkey, before, image
        cdef uint64_t actor, seq, record
        cdef Py_ssize_t journaled = 0
        if self.own < 0 or self.tail is None or self.tail.segment is None or self.dirty >= self.dirty_max:
            return 0
        if self.engine is not None and self.engine.state != "member":
            return 0
        found = PyDict_GetItemWithError(self.named, name)
        if found == NULL:
            return 0
        bucket = <BucketState?><object>found
        actor = <uint64_t>self.own
        try:
            seq = sought(bucket.clock, actor) + 1
            rowkey = row_of(way, place, argument, actor)
            before = self.find(bucket, rowkey)
            image = written(way, self.hybrid, bucket.stamp_floor, before, actor, seq, argument)
            if way <= BY_STEP and self.goes_on(bucket, rowkey, actor):
                record = self.step_on(image, seq)
            else:
                record = self.append(bucket, actor, seq, rowkey, image, way <= BY_STEP, &journaled)
        except Exception:
            return 0
        if record == 0:
            return 0
        self.install(bucket, actor, seq, rowkey, before, image, journaled)
        if self.listeners:
            self.core.tell(bucket, [rowkey], True)
        # Listeners may have written: then the last record is another one.
        if way <= BY_STEP and self.goes_on(bucket, rowkey, actor) and self.tail.alone and not self.each and self.held == 1:
            self.place, self.name = place, name
        return record

    cdef bytes find(self, BucketState bucket, bytes rowkey):
        """Image of a row, or None."""
        cdef PyObject* found = PyDict_GetItemWithError(bucket.active.rows, rowkey)
        if found != NULL:
            return <bytes?><object>found
        if bucket.frozen is not None:
            found = PyDict_GetItemWithError((<LayerState?>bucket.frozen).rows, rowkey)
            if found != NULL:
                return <bytes?><object>found
        if not bucket.table_dirty:
            return None
        for generation in (<object>bucket).cache.generations:
            found = PyDict_GetItemWithError(<dict?>generation, rowkey)
            if found != NULL:
                return <bytes?><object>found
        return (<object>bucket).in_table(rowkey)  # the cache does not get it: it is about to be written

    # -- the journal

    cdef int goes_on(self, BucketState bucket, bytes rowkey, uint64_t actor) except -1:
        """Whether the open run is about this cell."""
        return self.tail.run and self.bucket is bucket and self.actor == actor and self.rowkey == rowkey

    cdef uint64_t step_on(self, bytes image, uint64_t seq) except? 0:
        cdef Image row
        parse_kind_of(image, CELL, &row)
        if not self.stepped(seq, row.cell.p, row.cell.n):
            return 0
        self.image = image
        return self.tail.next - 1

    cdef uint64_t append(
        self, BucketState bucket, uint64_t actor, uint64_t seq, bytes rowkey, bytes image, bint step,
        Py_ssize_t* journaled,
    ) except? 0:
        """Journal the row.  The second step of a cell that comes right after its first opens a run."""
        cdef Buffer out
        cdef Image row
        cdef uint64_t record
        cdef bint run = (
            step and self.last_row is not None and self.last_record == self.tail.next - 1
            and self.last_bucket is bucket and self.last_row == rowkey
        )
        open_buffer(&out)
        try:
            reserve(&out, PyBytes_GET_SIZE(rowkey) + PyBytes_GET_SIZE(image) + 64)
            put_byte(&out, 0x95)  # an array of five
            put_number(&out, RUN_FACT if run else WRITE_FACT)
            put_number(&out, bucket.number)
            put_number(&out, actor)
            if not run:
                put_number(&out, seq)
                put_byte(&out, 0x92)  # an array of two
            put_binary(&out, rowkey)
            put_binary(&out, image)
            journaled[0] = RECORD_SIZE + out.size + (2 * SLOT_SIZE if run else 0)
            if out.size > self.batch_max or self.tail.offset + journaled[0] > self.tail.size:
                return 0
            if run:
                parse_kind_of(image, CELL, &row)
                record = self.tail.add_run(out.data, out.size, seq, row.cell.p, row.cell.n)
                self.bucket, self.rowkey, self.image, self.actor = bucket, rowkey, image, actor
                self.seq, self.ups, self.downs = seq, row.cell.p, row.cell.n
            else:
                record = self.tail.add(out.data, out.size, 0)
        except OSError as error:
            self.core.journal.fail(error)
            return 0
        finally:
            close_buffer(&out)
        self.last_row = rowkey if step else None
        self.last_bucket = bucket
        self.last_record = record
        if not self.appended.up:
            self.appended.set()
        return record

    # -- the layer

    cdef int install(
        self, BucketState bucket, uint64_t actor, uint64_t seq, bytes rowkey, bytes before, bytes image,
        Py_ssize_t journaled,
    ) except -1:
        """Take the row in.  The log names a row once for an actor: what this event follows upon is named no more."""
        cdef LayerState layer = bucket.active
        cdef object who = actor, number = seq, old
        cdef PyObject* found
        cdef dict log
        cdef Image row
        if not PyDict_Contains(layer.rows, rowkey):
            if before is not None:
                layer.origin[rowkey] = before
            layer._fresh.append(rowkey)
            journaled += ROW_OVERHEAD
        if layer.pending is not None and not PyDict_Contains(layer.pending, rowkey):
            layer.pending[rowkey] = before
        layer.rows[rowkey] = image
        found = PyDict_GetItemWithError(layer.log, who)
        if found == NULL:
            log = layer.log[who] = {}
        else:
            log = <dict?><object>found
            if before is not None:
                parse_context(before, &row)
                old = context_of(&row, actor)
                found = PyDict_GetItemWithError(log, old)
                if found != NULL and <bytes><object>found == rowkey:
                    del log[old]
        log[number] = rowkey
        bucket.clock[who] = number
        bucket.unsynced[who] = number
        bucket.outward = None
        layer.size += journaled
        self.dirty += journaled
        return 0


cdef bytes row_of(int way, PlaceState place, argument, uint64_t actor):
    """The key of the one row that is put."""
    cdef bytes rowkey
    if way <= BY_STEP:
        return place.cell(<uint32_t>actor)
    if way != BY_ELEMENT:
        return place.prefix
    rowkey = place.prefix + <bytes?>argument
    if PyBytes_GET_SIZE(rowkey) > ELEMENT_KEY_MAX:
        raise ValueError("the element is too large")
    return rowkey


cdef bytes written(int way, hybrid, uint64_t floor, bytes before, uint64_t actor, uint64_t seq, argument):
    """The row after the event; `floor` is that of the bucket's stamps."""
    if way <= BY_STEP:
        if argument > 0:
            return cell_moved(before, actor, seq, argument, 0)
        return cell_moved(before, actor, seq, 0, -argument)
    if way <= BY_PRESENCE:
        return present(before, actor, seq)
    if way == BY_VALUES:
        return values_set(before, actor, seq, argument)
    return register_set(hybrid, floor, before, actor, seq, argument)


cdef bytes register_set(hybrid, uint64_t floor, bytes before, uint64_t actor, uint64_t seq, bytes payload):
    """As datatypes.lwwregister.write."""
    cdef Image row
    cdef Latest latest
    cdef uint64_t after = floor
    before_event(before, LATEST, actor, seq, &row)
    if before is not None and row.latest.stamp > after:
        after = row.latest.stamp
    latest.stamp = stamp_after(hybrid, after)
    latest.actor = actor
    latest.seq = seq
    latest.expiry = 0
    latest.deleted = payload is None
    latest.payload = NULL if payload is None else <const unsigned char*>PyBytes_AS_STRING(payload)
    latest.length = 0 if payload is None else PyBytes_GET_SIZE(payload)
    return with_latest(&row, &latest)


cdef uint64_t stamp_after(hybrid, uint64_t after) except? 0:
    """As HybridClock.stamp, which is asked itself where the end of all stamps may be near."""
    cdef object now = hybrid._now_ms
    cdef long long ms = wall() if now is wall_ms else now()
    if ms > MS_NEAR or after > <uint64_t>MS_NEAR << COUNTER_BITS:
        return hybrid.stamp(after)
    return max(<uint64_t>max(ms, 0) << COUNTER_BITS, after + 1)


cdef inline uint64_t sought(dict clock, object actor) except? 0:
    """An entry of a clock, or 0."""
    cdef PyObject* found = PyDict_GetItemWithError(clock, actor)
    return 0 if found == NULL else PyLong_AsUnsignedLongLong(<object>found)


cdef inline void put_number(Buffer* out, uint64_t value) noexcept nogil:
    """An unsigned int as MessagePack has it.  Room must have been made."""
    if value < 0x80:
        put_byte(out, <unsigned char>value)
    elif value <= 0xFF:
        put_byte(out, 0xCC)
        put_bits(out, value, 8)
    elif value <= 0xFFFF:
        put_byte(out, 0xCD)
        put_bits(out, value, 16)
    elif value <= <uint64_t>0xFFFFFFFF:
        put_byte(out, 0xCE)
        put_bits(out, value, 32)
    else:
        put_byte(out, 0xCF)
        put_bits(out, value, 64)


cdef inline void put_binary(Buffer* out, bytes data) noexcept:
    """Bytes as MessagePack has them.  Room must have been made."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    if size <= 0xFF:
        put_byte(out, 0xC4)
        put_bits(out, size, 8)
    elif size <= 0xFFFF:
        put_byte(out, 0xC5)
        put_bits(out, size, 16)
    else:
        put_byte(out, 0xC6)
        put_bits(out, size, 32)
    put_bytes(out, <const unsigned char*>PyBytes_AS_STRING(data), size)


cdef inline void put_bits(Buffer* out, uint64_t value, int bits) noexcept nogil:
    """The greatest byte first."""
    while bits:
        bits -= 8
        put_byte(out, <unsigned char>(value >> bits & 0xFF))


cdef class StoreLock:
    """As threading.RLock, without Python's ways of a call."""

    cdef PyThread_type_lock inner
    cdef unsigned long owner  # thread
    cdef Py_ssize_t holds  # of the owner
    cdef Writer writer

    def __cinit__(self):
        self.inner = PyThread_allocate_lock()
        if self.inner == NULL:
            raise MemoryError

    def __init__(self, Writer writer not None):
        self.writer = writer

    def __dealloc__(self):
        if self.inner != NULL:
            if self.holds:
                PyThread_release_lock(self.inner)
            PyThread_free_lock(self.inner)

    cdef int take(self, long long us) except -1:
        """Take it within so many microseconds; -1: however long it takes.  False: others have it."""
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.holds and self.owner == me:
            self.holds += 1
            return True
        if PyThread_acquire_lock_timed(self.inner, 0, 0) != PY_LOCK_ACQUIRED and (us == 0 or not self.wait(us)):
            return False
        self.owner = me
        self.holds = 1
        return True

    cdef int wait(self, long long us) except -1:
        """Wait for it without the GIL.  A signal's handler may run meanwhile, and raise."""
        cdef double end = _monotonic() + us / 1e6
        cdef PyLockStatus status
        while True:
            with nogil:
                status = PyThread_acquire_lock_timed(self.inner, us, 1)
            if status != PY_LOCK_INTR:
                return status == PY_LOCK_ACQUIRED
            PyErr_CheckSignals()
            if us > 0:
                us = max(<long long>((<double>end - <double>_monotonic()) * 1e6), 0)

    cdef int give(self, Py_ssize_t holds) except -1:
        if self.holds < holds or self.owner != PyThread_get_thread_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self.holds -= holds
        if self.holds == 0:
            PyThread_release_lock(self.inner)
        return 0

    cdef int enter(self) except -1:
        self.take(-1)
        return self.entered()

    cdef int entered(self) except -1:
        try:
            self.writer.entered()
        except BaseException:
            self.leave()
            raise
        return 0

    cdef int leave(self) except -1:
        self.give(1)  # keeps the GIL: whoever comes next counts itself in after this
        self.writer.held -= 1
        return 0

    def acquire(self, bint blocking=True, timeout=-1):
        cdef long long us = -1 if blocking else 0
        if timeout != -1:
            if not blocking:
                raise ValueError("can't specify a timeout for a non-blocking call")
            if timeout < 0:
                raise ValueError("timeout value must be a non-negative number")
            us = <long long>min(<double>timeout * 1e6, 1e15)
        if not self.take(us):
            return False
        self.entered()
        return True

    def release(self):
        self.leave()

    def __enter__(self):
        self.enter()
        return True

    def __exit__(self, kind, error, trace):
        self.leave()

    def _is_owned(self):
        return self.holds > 0 and self.owner == PyThread_get_thread_ident()

    def _release_save(self):
        cdef Py_ssize_t holds = self.holds
        if holds == 0:
            raise RuntimeError("cannot release un-acquired lock")
        self.give(holds)
        self.writer.held -= holds
        return holds

    def _acquire_restore(self, Py_ssize_t holds):
        self.take(-1)
        self.holds = holds
        self.writer.held += <int>holds - 1
        self.entered()


cdef class Growing(HandleState):
    @cython.binding(False)
    def increment(self, n=1):
        """Add `n`, magnitude up to 2^63 - 1; 0 changes nothing, and a gcounter takes no negative ones.

        A node's cell holds up to 2^63 - 1 of ups, and as much of downs, between resets.  Raises NegativeStep,
        CounterOverflow, InvalidValue.
        """
        cdef uint64_t step = simple(n)
        if step and self._hot is not None and self._hot.unbatched() and self._hot.again(self.bucket, self._place, step, 0):
            return
        if step:
            self.put(self._STEP, self._place, n)
        else:
            self._increment(n)


cdef class Stepping(Growing):
    @cython.binding(False)
    def decrement(self, n=1):
        """Subtract `n`; as `increment`."""
        cdef uint64_t step = simple(n)
        if step and self._hot is not None and self._hot.unbatched() and self._hot.again(self.bucket, self._place, 0, step):
            return
        if step:
            self.put(self._STEP, self._place, -n)
        else:
            self._decrement(n)


cdef inline uint64_t simple(object n) noexcept:
    """A plain int from 1 to 2^63 - 1; 0 for all that needs a closer look."""
    cdef int beyond = 0
    cdef long long step
    if type(n) is not int:
        return 0
    step = PyLong_AsLongLongAndOverflow(n, &beyond)
    return 0 if beyond or step < 0 else <uint64_t>step
