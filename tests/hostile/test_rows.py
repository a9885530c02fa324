"""Bad transfers from a member over a real link: dots, contexts, bodies, keys, values (list (d), items 2 and 3)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec
import pytest

from crdtsync import Node
from crdtsync.clocks.hybrid import STAMP_FLOOR_LAST, STAMP_LAST
from crdtsync.config import MIB
from crdtsync.datatypes.rows import PackedRows
from crdtsync.datatypes.values import encode
from crdtsync.replication import messages as m
from tests.hostile.liar import Liar
from tests.hostile.rows import cell, columns, dots, latest, presence, values, varint
from tests.hostile.watch import DEADLINE, counters, refusal, state, works

X = encode("x")
BIG = 2**63 - 1
pack = msgspec.msgpack.encode
Row = tuple[bytes, bytes]
Lie = Callable[[Liar], m.Part]


def one(make: Callable[[int], Row | list[Row]], actors: tuple[int, ...] = (Liar.ACTOR,)) -> Lie:
    """A push of rows made from the liar's next seq, claimed as they should be."""

    def lie(liar: Liar) -> m.Part:
        seq = liar.next_dot()
        made = make(seq)
        rows = made if isinstance(made, list) else [made]
        return liar.part(columns(rows, actors), dict.fromkeys(actors, seq))

    return lie


def element(data: bytes) -> Lie:
    return one(lambda q: (b"s\0o" + data, presence([(0, q)], [(0, q)])))


def register(data: bytes) -> Lie:
    return one(lambda q: (b"r2\0l", latest([(0, q)], 0, q, 1 << 56, data)))


def multi(data: bytes) -> Lie:
    return one(lambda q: (b"v2\0v", values([(0, q)], [(0, q, data)])))


def added(key: bytes) -> Lie:
    return one(lambda q: (key, presence([(0, q)], [(0, q)])))


def counter(*numbers: Callable[[int], int] | int, key: bytes = b"p2\0p\0\0\0\0") -> Lie:
    return one(lambda q: (key, cell([(0, q)], *(n if isinstance(n, int) else n(q) for n in numbers))))


def column(change: Callable[[PackedRows], PackedRows]) -> Lie:
    def lie(liar: Liar) -> m.Part:
        part = added(b"s\0o" + X)(liar)
        return msgspec.structs.replace(part, rows=change(part.rows))

    return lie


def claim(**lies: Callable[[Liar], object]) -> Lie:
    return lambda liar: liar.part(**{name: lie(liar) for name, lie in lies.items()})


def own(liar: Liar) -> int:
    """The actor of the node itself."""
    return liar.node.local.store.actor()


def mine(liar: Liar, beyond: int = 0) -> m.Clock:
    return {own(liar): liar.clock()[own(liar)] + beyond}


def with_own(liar: Liar) -> m.Part:
    """A row that holds an event of the node's own actor which it never wrote."""
    actors = tuple(sorted([own(liar), Liar.ACTOR]))
    at, seq = actors.index(own(liar)), liar.clock()[own(liar)] + 5
    return liar.part(columns([(b"s\0o" + X, presence([(at, seq)], [(at, seq)]))], actors), {own(liar): seq})


def known(kind: bytes, change: Callable[[int, int, int], bytes]) -> Lie:
    """A row of the node under its own known dot with other content, with a dot of the liar's to make it news."""

    def lie(liar: Liar) -> m.Part:
        store = liar.node.local.store
        key, image = next(row for row in store.bucket("default").scan(kind) if row[0].startswith(kind))
        from crdtsync.kernels import row_context

        actors = tuple(sorted([own(liar), Liar.ACTOR]))
        at, his, seq = actors.index(own(liar)), actors.index(Liar.ACTOR), liar.next_dot()
        dot = dict(row_context(image))[store.actors.index[own(liar)]]
        if kind.endswith((b"p", b"g")):
            key = key[:-4] + at.to_bytes(4, "big")
        context = dots(sorted([(at, dot), (his, seq)]))
        return liar.part(columns([(key, image[:1] + context + change(at, dot, seq))], actors), {Liar.ACTOR: seq})

    return lie


def stamp_of(liar: Liar) -> int:
    from crdtsync.kernels import row_latest

    return row_latest(liar.node.local.store.bucket("default").get(b"r\0l"))[0]


def other_register(liar: Liar) -> m.Part:
    stamp = stamp_of(liar)
    return known(b"r\0l", lambda at, dot, seq: latest([], at, dot, stamp, X)[2:])(liar)


DOTS: list[tuple[str, Lie]] = [
    ("seq 0 in a context", one(lambda q: (b"s\0o" + X, presence([(0, 0)], [])))),
    ("seq 0 as a live dot", one(lambda q: (b"s\0o" + X, presence([(0, q)], [(0, 0)])))),
    ("seq 2^64 - 1, a negative one", one(lambda q: (b"s\0o" + X, presence([(0, 2**64 - 1)], [])))),
    ("seq of 70 bits", one(lambda q: (b"s\0o" + X, presence([(0, 2**70)], [])))),
    ("seq 2^63", one(lambda q: (b"s\0o" + X, presence([(0, 2**63)], [])))),
    ("a row from the future of its claim", one(lambda q: (b"s\0o" + X, presence([(0, q + 1)], [(0, q + 1)])))),
    ("a row 10^12 beyond its claim", one(lambda q: (b"s\0o" + X, presence([(0, q + 10**12)], [])))),
    ("our own actor's events in a claim", lambda liar: liar.part(target=mine(liar, 1))),
    ("our own actor's events, 10^12 of them", lambda liar: liar.part(target=mine(liar, 10**12))),
    ("our own actor's event in a row", with_own),
    ("a live dot outside the context", one(lambda q: (b"s\0o" + X, presence([(0, q)], [(0, q + 1)])))),
    ("a live dot of an actor outside the context", one(lambda q: (b"s\0o" + X, presence([(0, q)], [(1, 1)])),
                                                      (Liar.ACTOR, Liar.ACTOR + 1))),
    ("an unsorted context", one(lambda q: (b"s\0o" + X, presence([(1, q), (0, q)], [])),
                               (Liar.ACTOR, Liar.ACTOR + 1))),
    ("an actor twice in a context", one(lambda q: (b"s\0o" + X, presence([(0, q), (0, q)], [])))),
    ("live dots unsorted", one(lambda q: (b"s\0o" + X, presence([(0, q), (1, q)], [(1, q), (0, q)])),
                              (Liar.ACTOR, Liar.ACTOR + 1))),
    ("an empty context", one(lambda q: (b"s\0o" + X, presence([], [])))),
    ("an actor that is not in the table", one(lambda q: (b"s\0o" + X, presence([(1, q)], [])))),
    ("an actor of 2^32", one(lambda q: (b"s\0o" + X, presence([(2**32, q)], [])))),
    ("10^6 dots claimed, none there", one(lambda q: (b"s\0o" + X, b"\0" + varint(10**6)))),
    ("2^63 dots claimed", one(lambda q: (b"s\0o" + X, b"\0" + varint(2**63)))),
    ("a dot cloud: two live dots of one actor", one(lambda q: (b"s\0o" + X, presence([(0, q)], [(0, 1), (0, q)])))),
    ("a known register dot with another value", other_register),
    ("a known counter dot with other sums", known(
        b"p\0p", lambda at, dot, seq: cell([], at, 1, dot, 9, 9, 0, 0, 0)[2:])),
    ("a known value dot with another value", known(b"v\0v", lambda at, dot, seq: values([], [(at, dot, X)])[2:])),
]  # fmt: skip

BODIES: list[tuple[str, Lie]] = [
    ("start beyond seq", counter(0, lambda q: q + 1, lambda q: q, 1, 0, 0, 0, 0)),
    ("start 0", counter(0, 0, lambda q: q, 1, 0, 0, 0, 0)),
    ("p of 2^63", counter(0, 1, lambda q: q, 2**63, 0, 0, 0, 0)),
    ("n of 2^63", counter(0, 1, lambda q: q, 0, 2**63, 0, 0, 0)),
    ("p of 2^64 - 1, a negative one", counter(0, 1, lambda q: q, 2**64 - 1, 0, 0, 0, 0)),
    ("a base beyond the cell", counter(0, 1, lambda q: q, 1, 0, lambda q: q + 1, 0, 0)),
    ("a base greater than what it observed", counter(0, 1, lambda q: q, 1, 0, lambda q: q, 2, 0)),
    ("a base without an event", counter(0, 1, lambda q: q, 1, 0, 0, 1, 0)),
    ("a gcounter that went down", counter(0, 1, lambda q: q, 5, 1, 0, 0, 0, key=b"g2\0g\0\0\0\0")),
    ("a gcounter reset to below", counter(0, 1, lambda q: q, 0, 0, 1, 0, 1, key=b"g2\0g\0\0\0\0")),
    ("a cell of another owner", counter(0, 1, lambda q: q, 1, 0, 0, 0, 0, key=b"p2\0p\0\0\0\1")),
    ("a winner beyond the context", one(lambda q: (b"r2\0l", latest([(0, q)], 0, q + 1, 1, X)))),
    ("a deleted register with a value", one(lambda q: (b"r2\0l", latest([(0, q)], 0, q, 1, X, flags=1)))),
    ("unknown flags", one(lambda q: (b"r2\0l", latest([(0, q)], 0, q, 1, X, flags=7)))),
    ("an unknown kind", one(lambda q: (b"s\0o" + X, b"\4" + presence([(0, q)], [])[1:]))),
    ("no image", one(lambda q: (b"s\0o" + X, b""))),
    ("bytes after an image", one(lambda q: (b"s\0o" + X, presence([(0, q)], []) + b"\0"))),
    ("a number longer than it must be", one(lambda q: (b"s\0o" + X, b"\0\x81\0" + presence([(0, q)], [])[2:]))),
    ("a set row in a counter's place", added(b"p2\0p\0\0\0\0")),
    ("a set row in a register's place", added(b"r2\0l")),
    ("a counter row in a set's place", counter(0, 1, lambda q: q, 1, 0, 0, 0, 0, key=b"s\0o" + X)),
    ("a value row in a flag's place", one(lambda q: (b"f2\0f", values([(0, q)], [(0, q, X)])))),
    ("a row twice", one(lambda q: [(b"s\0o" + X, presence([(0, q)], []))] * 2)),
]

KEYS: list[tuple[str, Lie]] = [
    ("an empty key", added(b"")),
    ("no type", added(b"s\0")),
    ("no NUL", added(b"s")),
    ("an empty name", added(b"\0o" + X)),
    ("a name of 256 bytes", added(b"n" * 256 + b"\0o" + X)),
    ("a name that is not UTF-8", added(b"\xff\0o" + X)),
    ("a name with a surrogate", added(b"\xed\xa0\x80\0o" + X)),
    ("an overlong name", added(b"\xc0\xaf\0o" + X)),
    ("an unknown type", added(b"s\0z" + X)),
    ("a field of 256 bytes", added(b"s\0m" + b"f" * 256 + b"\0f")),
    ("a field that is not UTF-8", added(b"s\0m\xff\0f")),
    ("a map that ends in nothing", added(b"s\0mf\0")),
    ("17 maps deep", added(b"s\0" + b"mf\0" * 17 + b"f")),
    ("a thousand maps deep", added(b"s\0" + b"m\0" * 1000 + b"f")),
    ("no element", added(b"s\0o")),
    ("a flag with a tail", added(b"s\0fx")),
    ("a cell with a short tail", counter(0, 1, lambda q: q, 1, 0, 0, 0, 0, key=b"p2\0p\0\0\0")),
    ("a key of 128 KiB", added(b"s\0o" + encode("x" * 131_072))),
    ("a prefix shared with nothing", column(lambda r: msgspec.structs.replace(r, keys=b"\5" + r.keys[1:]))),
    ("a prefix of 2^63", column(lambda r: msgspec.structs.replace(r, keys=varint(2**63) + r.keys[1:]))),
    ("a key cut off", column(lambda r: msgspec.structs.replace(r, keys=r.keys[:-1]))),
    ("a key too many", column(lambda r: msgspec.structs.replace(r, keys=r.keys + b"\0\1x"))),
    ("a row less than counted", column(lambda r: msgspec.structs.replace(r, count=2))),
    ("bytes after the images", column(lambda r: msgspec.structs.replace(r, images=r.images + b"\0"))),
    ("no images", column(lambda r: msgspec.structs.replace(r, images=b""))),
]

ODD_BYTES: list[tuple[str, bytes]] = [
    ("1 in two bytes", b"\xcc\x01"),
    ("1 in nine bytes", b"\xcf" + bytes(7) + b"\x01"),
    ("a positive number as a signed one", b"\xd0\x01"),
    ("text with a long header", b"\xd9\x01x"),
    ("-0.0", struct.pack(">Bd", 0xCB, -0.0)),
    ("NaN", struct.pack(">Bd", 0xCB, float("nan"))),
    ("a signalling NaN", b"\xcb\x7f\xf0\0\0\0\0\0\1"),
    ("a short float", struct.pack(">Bf", 0xCA, 1.0)),
    ("text that is not UTF-8", b"\xa1\xff"),
    ("text with a surrogate", b"\xa3\xed\xa0\x80"),
    ("an unknown extension", b"\xd4\x63\x00"),
    ("MessagePack's own timestamp", b"\xd6\xff\0\0\0\0"),
    ("a tuple of no array", b"\xd4\x02\x01"),
    ("a tuple with a tail", b"\xd5\x02\x90\x00"),
    ("a small int as a big one", b"\xd4\x01\x05"),
    ("a big int with zeros before it", b"\xc7\x0a\x01\x00\x00\x80" + bytes(7)),
    ("an empty big int", b"\xc7\x00\x01"),
    ("a Decimal that is none", b"\xc7\x03\x05abc"),
    ("a Decimal written otherwise", b"\xc7\x03\x051.0"),
    ("a Decimal NaN", b"\xc7\x03\x05NaN"),
    ("a Decimal beyond all exponents", b"\xc7\x16\x051E99999999999999999999"),
    ("a date beyond the calendar", b"\xd7\x03" + struct.pack(">q", 2**63 - 1)),
    ("an offset of a year", b"\xd8\x04" + struct.pack(">qq", 0, 365 * 86_400 * 10**6)),
    ("a short date", b"\xd6\x03\0\0\0\0"),
    ("a short UUID", b"\xd6\x06\0\0\0\0"),
    ("a reserved byte", b"\xc1"),
    ("nothing", b""),
    ("two values", b"\x01\x02"),
    ("text cut off", b"\xa5abc"),
    ("2^32 - 1 items, none there", b"\xdd\xff\xff\xff\xff"),
    ("100000 levels", b"\x91" * 65_000 + b"\x01"),
    ("17 levels", b"\x91" * 17 + b"\x01"),
]

NOT_FOR_SETS: list[tuple[str, bytes]] = [("a list", b"\x91\x01"), ("a dict", b"\x81\xa1a\x01")]

ONLY_IN_DICTS: list[tuple[str, bytes]] = [
    ("dict keys unsorted", b"\x82\xa1b\x01\xa1a\x01"),
    ("a dict key twice", b"\x82\xa1a\x01\xa1a\x01"),
    ("int dict keys", b"\x81\x01\x01"),
    ("list dict keys", b"\x81\x90\x01"),
    ("a value over 1 MiB", encode("x" * (MIB - 5)) + b"x"),
    ("1 MiB and a byte of text", b"\xdb" + struct.pack(">I", MIB) + b"x" * MIB),
]

VALUES: list[tuple[str, Lie]] = [
    *((f"element: {what}", element(data)) for what, data in [*ODD_BYTES, *NOT_FOR_SETS] if data),
    *((f"register: {what}", register(data)) for what, data in [*ODD_BYTES, *ONLY_IN_DICTS]),
    *((f"values: {what}", multi(data)) for what, data in [*ODD_BYTES, *ONLY_IN_DICTS]),
]

CLAIMS: list[tuple[str, Lie]] = [
    ("a part in the name of another", claim(node=lambda liar: "b")),
    ("a part in our own name", claim(node=lambda liar: liar.node.name)),
    ("a push of two parts", claim(number=lambda liar: 1)),
    ("a push without an end", claim(last=lambda liar: False)),
    ("a push that is a scan", claim(scan=lambda liar: True)),
    ("more forgotten than claimed", claim(floor=lambda liar: {1: 1})),
    ("more on disk than claimed", claim(synced=lambda liar: {1: 1})),
    ("a stamp floor of 2^64 - 1", claim(stamp_floor=lambda liar: 2**64 - 1)),
    ("a stamp floor without room", claim(stamp_floor=lambda liar: STAMP_FLOOR_LAST + 1)),
    ("a stamp of 2^64 - 1", one(lambda q: (b"r2\0l", latest([(0, q)], 0, q, 2**64 - 1, X)))),
    ("a stamp beyond the last", one(lambda q: (b"r2\0l", latest([(0, q)], 0, q, STAMP_LAST + 1, X)))),
    ("a stamp of 65 bits", one(lambda q: (b"r2\0l", latest([(0, q)], 0, q, 2**64, X)))),
]

CASES = [*DOTS, *BODIES, *KEYS, *VALUES, *CLAIMS]


@pytest.mark.parametrize("lie", [lie for _, lie in CASES], ids=[what for what, _ in CASES])
def test_bad_push(node: Node, liar: Liar, lie: Lie) -> None:
    liar.ready()
    with refusal(node, "bad_transfer"):
        part = lie(liar)
        liar.send(part)
        answer = liar.answer(part.transfer)
        assert isinstance(answer, m.Abort) and answer.code == "bad"
    assert not liar.is_down(), "the link outlives a bad transfer"


def test_every_truncation_of_a_column(node: Node, liar: Liar) -> None:
    liar.ready()
    part = counter(0, 1, lambda q: q, 1, 0, 0, 0, 0)(liar)
    before = state(node)
    for field in ("keys", "images"):
        data = getattr(part.rows, field)
        for at in range(2 if field == "keys" else 0, len(data)):
            rows = msgspec.structs.replace(part.rows, **{field: data[:at]})
            answer = liar.push(rows, {Liar.ACTOR: liar.next_dot()})
            assert isinstance(answer, m.Abort) and answer.code == "bad", (field, at)
    assert state(node) == before
    works(node)


def test_the_good_row_that_the_lies_were_made_from(node: Node, friend: Node, liar: Liar) -> None:
    """The builder itself is right: without a lie in it the push is taken, and goes round."""
    liar.ready()
    for lie in (element(encode("honest")), register(X), multi(X), counter(0, 1, lambda q: q, 1, 0, 0, 0, 0)):
        part = lie(liar)
        liar.send(part)
        assert isinstance(liar.answer(part.transfer), m.Credit)
    assert "honest" in node.orset("s") and node.lwwregister("r2").value == "x"
    friend.wait_for(node.token(), DEADLINE)
    assert friend.digest() == node.digest()


def test_an_actor_takes_back_what_it_said(node: Node, liar: Liar) -> None:
    """After the good rows above: stamps of one actor that descend, and sums that do."""
    liar.ready()
    first = [
        one(lambda q: (b"r3\0l", latest([(0, q)], 0, q, 1 << 56, X))),
        counter(0, 1, lambda q: q, 9, 9, 0, 0, 0, key=b"p3\0p\0\0\0\0"),
    ]
    for lie in first:
        part = lie(liar)
        liar.send(part)
        assert isinstance(liar.answer(part.transfer), m.Credit)
    older = one(lambda q: (b"r3\0l", latest([(0, q)], 0, q, 1 << 55, X)))
    lower = counter(0, 1, lambda q: q, 8, 9, 0, 0, 0, key=b"p3\0p\0\0\0\0")
    for lie in (older, lower):
        with refusal(node, "bad_transfer"):
            part = lie(liar)
            liar.send(part)
            answer = liar.answer(part.transfer)
            assert isinstance(answer, m.Abort) and answer.code == "bad"


def test_a_gap_waits_for_what_is_missing(node: Node, liar: Liar) -> None:
    """A push that builds on 10^12 events that nobody has: it is not applied, the node asks, and gives up."""
    liar.again()
    with refusal(node, "pushes_parked"):
        base = liar.clock() | {Liar.ACTOR: 10**12}
        part = liar.part(columns([], ()), base=base, target=base)
        liar.send(part)
        pull = liar.hear(m.Pull)
        assert pull.clock == liar.clock()
        liar.send(m.Abort(transfer=pull.transfer, push=False, code="gone"))
        answer = liar.answer(part.transfer)
        assert isinstance(answer, m.Abort) and answer.code == "stale_base"


def test_harmless_oddities(node: Node, friend: Node, liar: Liar) -> None:
    """An empty push, and a tombstone of what was never there, are taken; nobody sees a difference."""
    liar.ready()
    digest, items = node.digest(), list(node.items())
    assert isinstance(liar.push(), m.Credit)
    part = one(lambda q: (b"never\0o" + X, presence([(0, q)], [])))(liar)
    liar.send(part)
    assert isinstance(liar.answer(part.transfer), m.Credit)
    assert (node.digest(), list(node.items())) == (digest, items)
    friend.wait_for(node.token(), DEADLINE)
    assert friend.digest() == digest
    assert "internal_error" not in counters(node)
    works(node)
