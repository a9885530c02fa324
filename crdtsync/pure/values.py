"""Values of the simple types as canonical bytes; crdtsync/datatypes/values.py has the rules, and all other values."""

from __future__ import annotations

import struct

# (least, greatest, lead byte, what follows) of the forms of an int, the shortest that fits first
INTS = (
    (0, 0xFF, 0xCC, ">B"), (0, 0xFFFF, 0xCD, ">H"), (0, 2**32 - 1, 0xCE, ">I"), (0, 2**63 - 1, 0xCF, ">Q"),
    (-0x80, 0, 0xD0, ">b"), (-0x8000, 0, 0xD1, ">h"), (-(2**31), 0, 0xD2, ">i"), (-(2**63), 0, 0xD3, ">q"),
)  # fmt: skip
SIZES = ((0xFF, 0, ">B"), (0xFFFF, 1, ">H"), (2**32 - 1, 2, ">I"))
FEW = {None: b"\xc0", False: b"\xc2", True: b"\xc3"}


def value_pack(value: object, most: int) -> bytes | None:
    """Canonical bytes of None, a bool, an int of 64 bits with a sign, a float, a str or bytes, `most` of them at most.

    None for all that needs a closer look: other types, subclasses, NaN, lone surrogates, too many bytes.
    """
    packed = _packed(value)
    return packed if packed is not None and len(packed) <= most else None


def _packed(value: object) -> bytes | None:
    kind = type(value)
    if kind is str:
        try:
            text = value.encode()  # type: ignore[attr-defined]
        except UnicodeEncodeError:
            return None
        return bytes((0xA0 | len(text),)) + text if len(text) < 32 else _sized(0xD9, text)
    if kind is bytes:
        return _sized(0xC4, value)  # type: ignore[arg-type]
    if kind is int:
        return _int(value)  # type: ignore[arg-type]
    if kind is float:
        return None if value != value else b"\xcb" + struct.pack(">d", value + 0.0)  # type: ignore[operator]
    return FEW[value] if value is None or kind is bool else None  # type: ignore[index]


def _int(value: int) -> bytes | None:
    if -32 <= value <= 0x7F:
        return bytes((value & 0xFF,))
    for least, greatest, lead, form in INTS:
        if least <= value <= greatest:
            return bytes((lead,)) + struct.pack(form, value)
    return None


def _sized(lead: int, data: bytes) -> bytes | None:
    for greatest, more, form in SIZES:
        if len(data) <= greatest:
            return bytes((lead + more,)) + struct.pack(form, len(data)) + data
    return None
