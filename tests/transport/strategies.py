"""Hypothesis strategies for every message, valid within the default limits."""

from __future__ import annotations

from hypothesis import strategies as st

from crdtsync.clocks.members import RANK, Ballot, MemberRecord
from crdtsync.datatypes.rows import NO_ROWS, PackedRows
from crdtsync.replication import messages as m

U64 = st.integers(0, 2**64 - 1)
NUMBER = st.integers(0, 2**63 - 1)
ACTOR = st.integers(1, 2**64 - 1)


def text(limit: int, least: int = 0) -> st.SearchStrategy[str]:
    """Text without surrogates and NUL, of `least` characters up to `limit` UTF-8 bytes."""
    characters = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
    return st.text(characters, min_size=least, max_size=min(limit // 4, 40)) | st.just("x" * limit)


NAME = text(255, 1)
BUCKET = text(64, 1)
CODE = st.sampled_from(["busy", "gone", "stale_base", "x" * 64])
CLOCK = st.dictionaries(ACTOR, st.integers(1, 2**63 - 1), max_size=8)
BALLOT = st.builds(
    Ballot,
    proposer=NAME,
    epoch=NUMBER,
    start=NUMBER,
    number=NUMBER,
    victim=NAME,
    victim_epoch=NUMBER,
    config=U64,
    absent=NUMBER,
)
MEMBER = st.builds(
    MemberRecord, node=NAME, epoch=NUMBER, state=st.sampled_from(sorted(RANK)), address=text(255), start=NUMBER,
    revision=NUMBER, ballot=st.none() | BALLOT,
)  # fmt: skip
MEMBERS = st.lists(MEMBER, max_size=4, unique_by=lambda record: record.node).map(tuple)


@st.composite
def packed_rows(draw: st.DrawFn) -> PackedRows:
    keys = draw(st.binary(min_size=2, max_size=60))
    return PackedRows(
        actors=tuple(sorted(draw(st.sets(ACTOR, max_size=5)))),
        count=draw(st.integers(1, len(keys) // 2)),
        keys=keys,
        images=draw(st.binary(max_size=60)),
    )


ROWS = st.just(NO_ROWS) | packed_rows()
BUCKET_CLOCKS = st.builds(m.BucketClocks, bucket=BUCKET, clock=CLOCK, synced=CLOCK, whole=st.booleans())

MESSAGES: dict[type[m.Message], st.SearchStrategy[m.Message]] = {
    m.Hello: st.builds(
        m.Hello, node=NAME, cluster=U64, start=NUMBER, instance=U64, actor=U64, address=text(255),
        state=st.sampled_from(["member", "joining", "starting_over"]), protocol_min=st.integers(0, 5),
        protocol_max=st.integers(5, 2**32 - 1), kinds=st.lists(st.integers(0, 255), max_size=64).map(tuple),
        settings=st.dictionaries(text(64, 1), NUMBER, max_size=8), wall_ms=NUMBER, members=MEMBERS,
        members_digest=U64,
    ),
    m.Refuse: st.builds(m.Refuse, code=CODE, text=text(4096), hint=text(4096)),
    m.Announce: st.builds(
        m.Announce, node=NAME, start=NUMBER, actor=U64, wall_ms=NUMBER, seq=NUMBER, answers=NUMBER,
        members=MEMBERS, members_digest=U64,
        buckets=st.lists(BUCKET_CLOCKS, max_size=4, unique_by=lambda entry: entry.bucket).map(tuple),
    ),
    m.JoinRequest: st.builds(m.JoinRequest, node=NAME, address=text(255)),
    m.JoinAccept: st.builds(
        m.JoinAccept, cluster=U64, members=MEMBERS, buckets=st.lists(BUCKET, max_size=4, unique=True).map(tuple)
    ),
    m.JoinDone: st.builds(m.JoinDone, node=NAME),
    m.Pull: st.builds(
        m.Pull, transfer=U64, bucket=BUCKET, clock=CLOCK, scan_from=st.none() | st.binary(max_size=40), scan_clock=CLOCK
    ),
    m.Part: st.builds(
        m.Part, transfer=U64, bucket=BUCKET, push=st.booleans(), node=NAME, start=NUMBER, number=NUMBER, base=CLOCK,
        rows=ROWS, last=st.booleans(), target=CLOCK, floor=CLOCK, stamp_floor=U64, synced=CLOCK, members=MEMBERS,
        scan=st.booleans(), scan_clock=CLOCK, scan_next=st.binary(max_size=40), members_digest=U64,
    ),
    m.Credit: st.builds(m.Credit, transfer=U64, push=st.booleans(), number=NUMBER, window=NUMBER),
    m.Abort: st.builds(m.Abort, transfer=U64, push=st.booleans(), code=CODE, text=text(4096)),
    m.RepairRequest: st.builds(m.RepairRequest, bucket=BUCKET, clock=CLOCK, keys=ROWS),
    m.RepairReply: st.builds(m.RepairReply, bucket=BUCKET, clock=CLOCK, keys=ROWS, rows=ROWS),
    m.MembersUpdate: st.builds(m.MembersUpdate, members=MEMBERS),
    m.Bye: st.builds(m.Bye, reason=text(4096)),
}  # fmt: skip
ANY_MESSAGE = st.one_of(*MESSAGES.values())
