"""Golden vectors of the kernels: calls and what they give, as bytes for ever.

`python -m tests.kernels.golden` writes a file in tests/golden once and refuses to write over it: rows on disks and on
the wire have these bytes.  Kernels that came later have files of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent.parent / "golden"
IDS = [900, 5, 70_000, 2**64 - 1]
Case = tuple[str, list[Any]]


def to_json(value: Any) -> Any:
    """Bytes as {"hex": ...}, dicts as {"map": pairs}, tuples as lists, sets as sorted lists."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {"map": [[key, value[key]] for key in sorted(value)]}
    if isinstance(value, set):
        return sorted(value)
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value: Any, depth: int = 0) -> Any:
    """Arguments again: a list of arguments, which may hold lists, which may hold rows."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if "hex" in value else dict(value["map"])
    if isinstance(value, list):
        items = [from_json(item, depth + 1) for item in value]
        return items if depth < 2 else tuple(items)
    return value


def images(k: Any) -> dict[str, bytes]:
    """One image of every shape."""
    presence, values = k.presence_add(None, 0, 1), k.values_set(None, 0, 7, b"\x01")
    cell = k.cell_add(k.cell_add(None, 1, 3, 40, 0), 1, 300, 0, 2)
    return {
        "added": presence,
        "added twice": k.row_mend(presence, k.presence_add(None, 3, 2**40), IDS),
        "removed": k.presence_remove(presence, 2, 128),
        "one value": values,
        "two values": k.row_mend(values, k.values_set(None, 2, 5, b"\x00"), IDS),
        "cleared": k.values_set(values, 1, 1, None),
        "written": k.latest_set(None, 0, 1, 112_000_000_000_000_000, b"\xa3abc"),
        "written at once": k.latest_set(None, 1, 9, 112_000_000_000_000_000, b"\xa3xyz"),
        "expiring": k.latest_set(None, 2, 2**32, 1, b"", 2**48),
        "deleted": k.latest_set(k.latest_set(None, 0, 1, 5, b"x"), 1, 2, 6, None),
        "counted": cell,
        "reset": k.cell_reset(cell, 0, 9),
        "reset by its owner": k.cell_reset(cell, 1, 301),
        "full": k.cell_add(None, 0, 2**64 - 1, 2**63 - 1, 2**63 - 1),
    }


def keyed(k: Any) -> list[list[bytes]]:
    """Those images under keys of their kinds, in key order."""
    tails = {0: b"o\xa1e", 1: b"v", 2: b"l", 3: b"p"}
    rows = []
    for name, image in images(k).items():
        tail = k.row_cell(image)[0].to_bytes(4, "big") if k.row_kind(image) == 3 else b""
        rows.append([name.encode() + b"\0m" + "größe".encode() + b"\0" + tails[k.row_kind(image)] + tail, image])
    return sorted(rows)


def later_cases(k: Any) -> list[Case]:
    """Calls of the kernels that came with journal format 3."""
    shapes = images(k)
    return [
        ("cell_at", [shapes["counted"], 1, 2**40, 41, 2]),
        ("cell_at", [shapes["reset"], 1, 301, 2**63 - 1, 2**62]),
        ("cell_at", [shapes["reset by its owner"], 1, 400, 40, 3]),
    ]


def part_cases(k: Any) -> list[Case]:
    """Calls of the kernels that take parts in."""
    rows, clock = keyed(k), {0: 7, 1: 300, 2: 2**33}
    mapping = sorted(range(len(IDS)), key=lambda actor: IDS[actor])
    columns = k.rows_pack([(key, image) for key, image in rows], {actor: at for at, actor in enumerate(mapping)})
    keys, incoming = [key for key, _ in rows], [image for _, image in rows]
    shapes = images(k)
    return [
        ("part_check", [len(rows), *columns, len(IDS), 2**56, 1, 100]),
        ("part_check", [len(rows), *columns, len(IDS), 2**57, 0, 100]),
        ("part_rows", [len(rows), *columns, mapping]),
        ("pairs_pack", [keys, incoming]),
        ("rows_newer", [rows, clock]),
        ("rows_merge", [keys, [None] * len(keys), incoming, clock, IDS, 5]),
        ("rows_merge", [
            [b"1", b"2"], [shapes["written"], shapes["counted"]], [shapes["written at once"], shapes["reset"]],
            {}, IDS, 5,
        ]),
    ]  # fmt: skip


def cases(k: Any) -> list[Case]:
    """Calls that together use every kernel of the first version."""
    shapes = images(k)
    rows, clock = keyed(k), {0: 7, 1: 300, 2: 2**33}
    out: list[Case] = [("varint_encode", [value]) for value in (0, 1, 127, 128, 16_384, 2**63, 2**64 - 1)]
    out += [("varint_decode", [b"\xff\x80\x01\x05", offset]) for offset in (0, 1, 3)]
    readers = ("row_kind", "row_context", "row_dead", "row_log_dots", "row_live_dots")
    by_kind = {1: ("row_payloads",), 2: ("row_latest",), 3: ("row_cell", "row_cell_value")}
    for image in shapes.values():
        out += [(name, [image]) for name in (*readers, *by_kind.get(k.row_kind(image), ()))]
        out += [("row_covered", [image, clock]), ("row_join", [None, image, clock, IDS])]
        for other in shapes.values():
            same_owner = k.row_kind(image) != 3 or k.row_live_dots(image)[0][0] == 1
            if k.row_kind(image) == k.row_kind(other) and same_owner and other is not shapes["full"]:
                out += [("row_join", [image, other, {}, IDS]), ("row_mend", [image, other, IDS])]
                out.append(("row_conflict", [image, other]))
    out += [
        ("presence_add", [shapes["added twice"], 1, 4]),
        ("presence_remove", [shapes["added twice"], 3, 2**41]),
        ("values_set", [shapes["two values"], 3, 1, b"z" * 200]),
        ("latest_set", [shapes["deleted"], 3, 1, 7, b"again", 0]),
        ("cell_add", [shapes["reset"], 1, 301, 5, 6]),
        ("cell_reset", [shapes["counted"], 3, 1]),
        ("rows_join", [[None, shapes["added"]], [shapes["written"], shapes["removed"]], {}, IDS]),
    ]
    return out + column_cases(k, rows, clock)


def column_cases(k: Any, rows: list[list[bytes]], clock: dict[int, int]) -> list[Case]:
    """Packing, unpacking and digest of all rows at once."""
    mapping = sorted(range(len(IDS)), key=lambda actor: IDS[actor])
    positions = {actor: position for position, actor in enumerate(mapping)}
    pairs = [(key, image) for key, image in rows]
    keys, column = k.rows_pack(pairs, positions)
    return [
        ("rows_pack", [rows, positions]),
        ("rows_unpack", [len(rows), keys, column, len(IDS)]),
        ("rows_remap", [k.rows_unpack(len(rows), keys, column, len(IDS)), mapping]),
        ("keys_pack", [[key for key, _ in rows], positions]),
        ("keys_unpack", [len(rows), keys, len(IDS)]),
        ("keys_remap", [k.keys_unpack(len(rows), keys, len(IDS)), mapping]),
        ("rows_actors", [rows]),
        ("rows_beyond", [rows, clock]),
        *[("rows_digest", [[row]]) for row in rows],
        ("rows_digest", [rows]),
    ]


def name_cases(k: Any) -> list[Case]:
    """What the row keys of objects begin with."""
    names = ("a", "\u00e9\u4e16", "", "a\0b", "\ud800", "x" * 255, "x" * 256, 7)
    return [("name_prefix", [name, b"g", 255]) for name in names]


def value_cases(k: Any) -> list[Case]:
    """Values of the simple types, at the edges of their forms; what is too long, or needs a closer look."""
    edges = [2**bits + by for bits in (5, 7, 8, 15, 16, 31, 32, 63, 64) for by in (-1, 0, 1)]
    numbers = [0, *edges, *(-edge for edge in edges)]
    texts = ["", "abc", "\u00e9\u4e16", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "\ud800"]
    blobs = [b"", b"\0\xff", b"x" * 255, b"x" * 256]
    others = [None, True, False, 0.0, -0.0, 1.5, -2.0**-1074, 1e308, ["list"]]
    return [("value_pack", [value, 300]) for value in (*numbers, *texts, *blobs, *others)] + [
        ("value_pack", [value, most]) for value, most in (("abc", 4), ("abc", 3), (7, 0), (b"", 1), (b"", 2), (1.5, 8))
    ]


def vector_cases(k: Any) -> list[Case]:
    """Clocks side by side: equal, one behind, each ahead, an entry of 0, none at all."""
    clocks = [{}, {1: 5}, {1: 4, 2: 2**40}, {2**64 - 1: 1, 1: 5}, {3: 0}]
    pairs = [[dict(x), dict(y)] for x in clocks for y in clocks]
    return [(name, pair) for name in ("vector_covers", "vector_join", "vector_missing") for pair in pairs]


def token_cases(k: Any) -> list[Case]:
    """Tokens, and texts that are none: altered, cut off, of another alphabet."""
    contents = [b"", b"\0", bytes(range(256)), b"\xfb\xff" * 20]
    tokens = [k.token_wrap(content) for content in contents]
    others = ["", "c1.", "c2" + tokens[1][2:], tokens[2][:-1], tokens[2] + "A", tokens[3].replace("-", "+"), "c1.AAAA"]
    return [("token_wrap", [content]) for content in contents] + [("token_unwrap", [text]) for text in tokens + others]


def main() -> None:
    from tests.laws import load

    k = load("pure")
    for path, made in FILES.items():
        if path.exists():
            print(f"{path} is there and stays as it is")
            continue
        vectors = []
        for name, args in made(k):
            stored = to_json(args)
            vectors.append([name, stored, to_json(getattr(k, name)(*from_json(stored)))])
        with path.open("x", encoding="ascii") as file:
            file.write("[\n" + ",\n".join(json.dumps(vector) for vector in vectors) + "\n]\n")


FILES: dict[Path, Callable[[Any], list[Case]]] = {
    GOLDEN / "kernels.json": cases,
    GOLDEN / "kernels-runs.json": later_cases,
    GOLDEN / "kernels-parts.json": part_cases,
    GOLDEN / "kernels-names.json": name_cases,
    GOLDEN / "kernels-vectors.json": vector_cases,
    GOLDEN / "kernels-tokens.json": token_cases,
    GOLDEN / "kernels-values.json": value_cases,
}


if __name__ == "__main__":
    main()
