"""What the engine asks of a store: a Protocol of its own, met by storage.Store under Node and under the simulator."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from crdtsync.clocks.members import MemberRecord, Members
from crdtsync.datatypes.rows import Answer as Answer
from crdtsync.datatypes.rows import Applied as Applied
from crdtsync.datatypes.rows import Collected as Collected
from crdtsync.datatypes.rows import PackedRows
from crdtsync.replication.messages import Clock


class ReplicaStore(Protocol):
    """State of one replica.  Every method is atomic; clocks are {actor id: seq}.  Errors: see each method.

    A store belongs to a cluster from `publish` on; before, its events belong to a private actor without an id.
    """

    node: str  # node name
    start: int  # incarnation of this start
    instance: int  # random 64-bit number of this start

    @property
    def lock(self) -> AbstractContextManager[Any]: ...  # re-entrant; holding it makes several calls one state

    # -- identity and membership (all journaled; `flush` makes them durable)
    def cluster(self) -> int: ...  # 0: never published
    def publish(self, cluster: int) -> None:
        """Give the private actor its id and the store its cluster.

        A floor that only private events reached is forgotten: nobody else has ever seen them, so nobody is below it.
        """

    def raise_start(self, start: int) -> None: ...  # this start counts as later than `start` (an old copy came back)
    def actor(self) -> int: ...  # id that this start writes under; 0: nothing written since the start
    def members(self) -> Members: ...
    def put_members(self, records: Iterable[MemberRecord]) -> bool: ...  # join by version; True if anything changed
    def flush(self) -> None: ...  # everything so far is durable when it returns

    # -- reading
    def buckets(self) -> list[str]: ...
    def clock(self, bucket: str) -> Clock: ...  # {} for a bucket that does not exist
    def synced_clock(self, bucket: str) -> Clock: ...
    def floor(self, bucket: str) -> Clock: ...
    def stamp_floor(self, bucket: str) -> int: ...
    def damaged(self, bucket: str) -> Sequence[bytes]: ...  # row keys set aside; no claims while any
    def is_empty(self) -> bool: ...  # no event and no row in any bucket

    def answer(self, bucket: str, clock: Clock, part_bytes: int, bytes_max: int) -> Answer | None:
        """Rows with a maximal event beyond `clock`, packed, and the claim of the same state.

        None when they pass `bytes_max` in all.
        """

    def answering(
        self, bucket: str, clock: Clock, part_bytes: int, bytes_max: int
    ) -> Generator[None, None, Answer | None]:
        """As `answer`, in turns of a few ms: of the state of the first one.  To be finished or closed."""

    def scan(self, bucket: str, after: bytes, part_bytes: int) -> tuple[PackedRows, bytes]:
        """Rows of durable state in key order from after the object prefix `after`, and where to go on (b"": the end).

        A part ends between two objects' rows, never between cells of one counter, so that any replica can go on.
        """

    # -- taking a transfer in
    def has_room(self) -> bool: ...  # whether more may be taken in before the next checkpoint

    def stage(self, bucket: str, rows: PackedRows) -> Any:
        """Decode and check a part.  Raises BadTransfer; changes nothing.  The result goes into `apply`."""

    def apply(self, bucket: str, staged: Sequence[Any], target: Clock, floor: Clock, stamp_floor: int) -> Applied:
        """Join rows and claim together, for readers and for the journal.  `target` and `floor` are joined in.

        Raises BadTransfer when a row has an event beyond `target`, or an event of our own actor that we never wrote.
        """

    # -- long transfers: staged on disk; then rows and claim are shown at once, while local writes go on
    def staging(self, bucket: str) -> tuple[Clock, bytes] | None: ...  # (T0, resume point) of a staged scan, if any
    def staged_buckets(self) -> list[str]: ...  # names of those that have one, whether they hold anything yet or not
    def stage_scan(self, bucket: str, scan_clock: Clock, staged: Any, resume: bytes) -> None: ...
    def drop_scan(self, bucket: str) -> None: ...
    def finish_scan(self, bucket: str, staged: Sequence[Any], target: Clock, floor: Clock, stamp_floor: int) -> Applied:
        """Apply what was staged on disk, then `staged`, with the claim.  Not one step: others may write, not apply.

        Raises BadTransfer, before anything is applied, when a staged row has an event beyond `target`.
        """

    # -- deleting for good, repair, starting over
    def collect(self, bucket: str, stable: Clock, now_stamp: int) -> Collected: ...
    def damaged_keys(self, bucket: str) -> PackedRows: ...
    def damaged_clock(self, bucket: str) -> Clock: ...  # events under which the log lists the rows set aside
    def rows_at(self, bucket: str, keys: PackedRows) -> PackedRows: ...  # for answering a RepairRequest
    def repair(self, bucket: str, keys: PackedRows, rows: PackedRows) -> int: ...  # rows mended
    def give_up(self, bucket: str) -> None: ...  # a member's state will take its place; until then it is read as it is
    def given_up(self, bucket: str) -> bool: ...
    def replace(
        self, bucket: str, staged: Sequence[Any], target: Clock, floor: Clock, stamp_floor: int, covered: Clock
    ) -> Applied:
        """Put a member's state in the place of a bucket given up; rows not covered by `covered` -> rescue file."""

    def new_actor(self) -> None: ...  # never write again under this start's actor
    def restamp(self, bucket: str, actors: Collection[int], stamp_floor: int) -> int:
        """Write again every live register whose winner is of one of `actors` and stamped at or below `stamp_floor`.

        For a store that wrote alone and then joined: such a register could lie below a deletion that one member has
        collected and another has not, visible here and deleted there for ever.  Gives how many were written.
        """
