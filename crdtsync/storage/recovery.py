"""Opening: the row table's state, the journal replayed on top of it, and damage told from a torn tail."""

from __future__ import annotations

from typing import Any

from crdtsync.clocks.members import join_members
from crdtsync.errors import StoreDamaged
from crdtsync.kernels import NUMBER
from crdtsync.storage import facts
from crdtsync.storage.actors import PRIVATE
from crdtsync.storage.bucket import DROPPED, LIVE
from crdtsync.storage.checkpointing import IDENTITY, MEMBERS, POSITION, Checkpointing
from crdtsync.storage.core import log
from crdtsync.storage.facts import members_of, rows_of
from crdtsync.storage.maps import Snapshot
from crdtsync.storage.records import HEADER_SIZE, Position, segment_number
from crdtsync.storage.replay import Ending, describe, replay
from crdtsync.storage.table import ACTORS, BUCKETS, META, REQUESTS, decode_meta, physical, unflat, unpack


class Recovery(Checkpointing):
    """The part of a store that finds its state again."""

    def recover(self) -> Ending:
        """Read the table, replay the journal.  Raises StoreDamaged, UnsupportedFormat.

        A damaged journal is refused unless `accept_damage` is set; then its files are copied to *.damaged.
        """
        snapshot = self.table.snapshot()
        try:
            if snapshot.get(META, IDENTITY) is None:
                self._found_store()
            else:
                self._read_table(snapshot)
        finally:
            snapshot.close()
        ending = replay(self.disk, self.store_id, self._position, self._replayed)
        self.requests.trim(self.now_ms())
        if ending.damaged:
            if not self.config.accept_damage:
                raise StoreDamaged(describe(ending))
            log.error("%s: %s  Going on without it, as accept_damage says.", self.node, describe(ending))
            for name in ending.damaged:
                if name in self.disk.list():
                    self.disk.write(f"{name}.damaged", self.disk.read(name))
            self.counters["damage_accepted"] += 1
        for bucket in self.numbered.values():
            bucket.unsynced = {}
            bucket.table_clock = dict(bucket.clock)  # slices of a long transfer may lie in the table beyond its clock
        return ending

    def _found_store(self) -> None:
        """A new store.  Segments without a record are what a crash in the first moments leaves."""
        found = [name for name in self.disk.list() if segment_number(name) is not None]
        used = [name for name in found if any(self.disk.read(name)[HEADER_SIZE:])]
        if used and not self.config.accept_damage:
            raise StoreDamaged(f"There is a journal ({used[0]}), but the row table that it belongs to is empty.")
        for name in found:
            if name in used:
                log.error("The row table is empty; journal %s cannot be read without it and is set aside.", name)
                self.disk.rename(name, f"{name}.damaged")
            else:
                self.disk.remove(name)
        self.store_id = self.random.getrandbits(64)

    def _read_table(self, snapshot: Snapshot) -> None:
        identity, position, members = (_meta(snapshot, key) for key in (IDENTITY, POSITION, MEMBERS))
        self.node, self.store_id, self.cluster_id, self.start, private = identity
        self._position = Position(*position)
        self.member_records = {record.node: record for record in members_of(members)}
        if private:
            self.actors.publish(private)
        for key, value in snapshot.range(ACTORS, b""):
            index = NUMBER.unpack(key)[0]
            if index != PRIVATE:
                self.actors.add(index, [decode_meta(key, value, f"actor {index}")])
        self._saved_actors = len(self.actors.ids)
        for key, value in snapshot.range(BUCKETS, b""):
            number = NUMBER.unpack(key)[0]
            record = decode_meta(key, value, f"record of bucket {number}")
            bucket = self.make_bucket(number, record[3])
            bucket.decode(record)
            self.know_bucket(bucket)
            bucket.meta_dirty = False
        for key, value in snapshot.range(REQUESTS, b""):
            self._read_request(key, value)

    def _read_request(self, key: bytes, value: bytes) -> None:
        """A request whose entry is damaged would be made again in silence: that is for the operator to decide."""
        number = int.from_bytes(key, "big")
        try:
            self.requests.load(decode_meta(key, value, f"entry of request {number}"))
        except StoreDamaged as error:
            if not self.config.accept_damage:
                raise
            log.error("%s: %s  It is forgotten, as accept_damage says.", self.node, error.message)
            self.counters["damage_accepted"] += 1
            self.requests.skip(number)

    def _replayed(self, data: bytes) -> None:
        fields: list[Any] = unpack(data)
        _REPLAY[fields[0]](self, *fields[1:])
        self._meta_dirty = True

    def _replay_rows(self, number: int, items: list[bytes]) -> None:
        bucket = self.numbered.get(number)
        if bucket is None or bucket.state == DROPPED:  # dropped by a checkpoint after this record
            return
        rows = rows_of(items)
        before = []
        for rowkey in rows:
            before.append(bucket.peek(rowkey))
            if bucket.damaged:  # the record holds the whole row, so what the table has no longer matters
                bucket.clear_damaged(physical(number, rowkey))
        bucket.install(list(rows), list(rows.values()), before)
        self.add_dirty(bucket, sum(map(len, rows)) * 2, len(rows))

    def _replay_write(self, number: int, actor: int, seq: int, items: list[bytes]) -> None:
        self._replay_rows(number, items)
        self._replay_claim(number, {actor: seq}, {}, 0)

    def _replay_answer(self, noted: list[Any], number: int, actor: int, seq: int, items: list[bytes]) -> None:
        if seq:
            self._replay_write(number, actor, seq, items)
        self.dirty += self.requests.add(noted, actor, seq)

    def _replay_claim(self, number: int, clock: dict[int, int], floor: dict[int, int], stamp_floor: int) -> None:
        bucket = self.numbered.get(number)
        if bucket is not None:
            bucket.claim(clock)
            bucket.raise_floor(floor, stamp_floor)

    def _replay_join(self, number: int, clock: list[int], floor: list[int], stamp: int, items: list[bytes]) -> None:
        self._replay_rows(number, items)
        self._replay_claim(number, unflat(clock), unflat(floor), stamp)

    def _replay_collect(self, number: int, floor: list[int], stamp: int, keys: list[bytes]) -> None:
        self._replay_rows(number, [item for key in keys for item in (key, None)])  # type: ignore[misc]
        self._replay_claim(number, {}, unflat(floor), stamp)

    def _replay_actors(self, first: int, ids: list[int]) -> None:
        self.actors.add(first, ids)

    def _replay_bucket(self, number: int, name: str, state: int) -> None:
        if number not in self.numbered:
            bucket = self.make_bucket(number, name)
            bucket.state = state
            self.know_bucket(bucket)

    def _replay_members(self, items: list[list[Any]]) -> None:
        self.member_records = join_members(self.member_records, members_of(items))

    def _replay_start(self, start: int) -> None:
        self.start = max(self.start, start)

    def _replay_staged(self, number: int, state: dict[str, Any] | None, items: list[bytes]) -> None:
        self._replay_rows(number, items)
        bucket = self.numbered.get(number)
        if bucket is not None:
            bucket.staged = state
            bucket.meta_dirty = True
            if state is None:
                self.drop_bucket(bucket)

    def set_published(self, cluster: int, private: int, found: bool) -> None:
        """The store belongs to a cluster from now on; `found`: to a new one, so earlier members are forgotten."""
        self.cluster_id = cluster
        if found:
            self.member_records = {}
        if private:
            self.actors.publish(private)
            for bucket in self.numbered.values():
                bucket.floor.pop(PRIVATE, None)  # nobody else ever saw these events, so nobody is below them
                bucket.meta_dirty = True
        self._meta_dirty = True

    def set_adopted(self, number: int, replaced: int) -> None:
        """A hidden bucket takes the place of a named one."""
        old, bucket = self.numbered.get(replaced), self.numbered.get(number)
        if old is not None:
            self.drop_bucket(old)
        if bucket is not None:
            bucket.state, bucket.staged, bucket.meta_dirty = LIVE, None, True
            if old is not None:  # the stamps of registers collected here stay behind us, whatever state comes next
                bucket.stamp_floor = max(bucket.stamp_floor, old.stamp_floor)
            self.named[bucket.name] = bucket


def _meta(snapshot: Snapshot, key: bytes) -> Any:
    value = snapshot.get(META, key)
    if value is None:
        raise StoreDamaged(f"The row table lacks its {key.decode()}.")
    return decode_meta(key, value, key.decode())


_REPLAY: dict[int, Any] = {
    facts.WRITE: Recovery._replay_write,
    facts.JOIN: Recovery._replay_join,
    facts.COLLECT: Recovery._replay_collect,
    facts.ACTORS: Recovery._replay_actors,
    facts.BUCKET: Recovery._replay_bucket,
    facts.PUBLISH: Recovery.set_published,
    facts.MEMBERS: Recovery._replay_members,
    facts.ADOPT: Recovery.set_adopted,
    facts.ROWS: Recovery._replay_rows,
    facts.START: Recovery._replay_start,
    facts.STAGED: Recovery._replay_staged,
    facts.ANSWER: Recovery._replay_answer,
}
