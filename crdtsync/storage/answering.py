"""Writes that come with a request id: made once, and told the same answer however often they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdtsync.errors import BatchMisuse
from crdtsync.storage import facts
from crdtsync.storage.core import Core
from crdtsync.storage.facts import payload
from crdtsync.storage.requests import Answer, Request
from crdtsync.storage.txn import Txn


class Answering(Core):
    """The part of a store that knows what it has answered."""

    def transact_once(
        self, name: str, request: Request, ops: Callable[[Txn], object], wait: bool = True
    ) -> Answer:
        """As `transact`, unless the bucket has answered this request: then nothing runs, and its answer is given.

        The id goes into the journal record of the write, so a crash keeps both or neither; one that changes nothing
        gets a record of its own.  An exception leaves no id.  Raises BatchMisuse for an id that came with other
        operations, and what `transact` raises.
        """
        self.check_usable()
        with self.lock:
            answer = self._known(name, request)
            if answer is None and self.dirty >= self.config.dirty_bytes_max:
                self._wait_for_room()
                answer = self._known(name, request)  # waiting lets go of the lock
            if answer is None:
                answer = self._answer(name, request, ops)
            record = self.last_record
        if wait and self.config.durability == "each":
            self.wait_durable(record)
        return answer

    def _known(self, name: str, request: Request) -> Answer | None:
        """The answer that the request has had, if any."""
        entry = self.requests.find(name, request.id, self.now_ms())
        if entry is None:
            return None
        if entry.digest != request.digest:
            with self.counting():
                raise BatchMisuse(
                    f"Request {request.id!r} of bucket {name!r} comes again with other operations.",
                    hint="A retry repeats the same operations in the same order; something new gets an id of its own.",
                )
        self.counters["requests_repeated"] += 1
        return Answer(entry.actor, entry.seq, repeated=True)

    def _answer(self, name: str, request: Request, ops: Callable[[Txn], object]) -> Answer:
        bucket = self.named.get(name)
        fresh = bucket is None
        if bucket is None:
            with self.counting():
                bucket = self.new_bucket(name)
        txn = Txn(bucket, self._writer(), self.hybrid)
        ops(txn)
        txn.check()
        noted = self.requests.note(request, name, self.now_ms())
        answer = Answer(txn.actor, txn.next - 1) if txn.keys else Answer(0, 0)
        if txn.keys:
            self._commit(bucket, txn, fresh, noted)
        else:
            self._note_unchanged(noted)
        self.dirty += self.requests.add(noted, answer.actor, answer.seq)
        return answer

    def _note_unchanged(self, noted: list[Any]) -> None:
        with self.counting():
            self.journal.append(payload(facts.ANSWER, noted, 0, 0, 0, []))
