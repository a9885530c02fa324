"""Tokens: where a reader stands, as a string that any node of the cluster understands.

    "c1." + base64url of (crc32 of the rest, 4 bytes big-endian; MessagePack of
          [origin, [[bucket, [actor, seq, actor, seq, ...]], ...]], buckets and actors ascending)

`origin` is the cluster's id, or, for a store that has never had a peer, the node's name: such a token is good on that
store alone, and stays good when the store gets its first peer.  A bucket that is not named is not waited for.
"""

from __future__ import annotations

import msgspec

from crdtsync.errors import InvalidToken
from crdtsync.kernels import token_unwrap, token_wrap

PREFIX = "c1."
TOKEN_MAX = 16 * 1024 * 1024  # characters of a token that is looked at at all
Clocks = dict[str, dict[int, int]]  # bucket -> clock, with actor ids


class _Content(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    origin: int | str
    clocks: list[tuple[str, list[int]]]


_decoder = msgspec.msgpack.Decoder(_Content)
_encoder = msgspec.msgpack.Encoder()


def make_token(origin: int | str, clocks: Clocks) -> str:
    """The token of `clocks`; equal clocks give equal tokens."""
    flat = [(name, [n for pair in sorted(clock.items()) for n in pair]) for name, clock in sorted(clocks.items())]
    return token_wrap(_encoder.encode(_Content(origin, flat)))


def read_token(token: str, origins: tuple[int | str, ...]) -> Clocks:
    """The clocks in a token made by one of `origins`.  Raises InvalidToken."""
    origin, clocks = open_token(token)
    if origin not in origins:
        raise InvalidToken("A token comes from another cluster.", hint="Use it on a node of the cluster it came from.")
    return clocks


def open_token(token: str) -> tuple[int | str, Clocks]:
    """The origin and the clocks of a token, whoever made it.  Raises InvalidToken."""
    if type(token) is not str or not token.startswith(PREFIX) or len(token) > TOKEN_MAX:
        raise InvalidToken("This is not a token.", hint="Pass on what token() or a change gave, as it was.")
    packed = token_unwrap(token)
    try:
        content = None if packed is None else _decoder.decode(packed)
    except msgspec.DecodeError:
        content = None
    if content is None:
        raise InvalidToken("A token is cut off or altered.")
    clocks = {name: dict(zip(flat[::2], flat[1::2], strict=False)) for name, flat in content.clocks}
    for clock in clocks.values():
        if not all(0 <= actor < 2**64 and 0 < seq < 2**64 for actor, seq in clock.items()):
            raise InvalidToken("A token names events that cannot be.")
    return content.origin, clocks
