"""Tokens as text: base64url without padding, of a checksum and the content, behind a prefix."""

from __future__ import annotations

import base64
import binascii
import zlib

TOKEN_PREFIX = "c1."


def token_wrap(content: bytes) -> str:
    """The token of a content."""
    plain = zlib.crc32(content).to_bytes(4, "big") + content
    return TOKEN_PREFIX + base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def token_unwrap(token: str) -> bytes | None:
    """The content of a token; None for what `token_wrap` has not made: cut off, altered, or something else."""
    text = token[len(TOKEN_PREFIX) :]
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return plain[4:] if len(plain) >= 4 and token_wrap(plain[4:]) == token else None
