"""Freed memory, of which glibc's malloc keeps whatever lies below a block in use, for every thread by itself."""

from __future__ import annotations

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it


def give_back() -> None:
    """Let the system have what is free; some milliseconds, in which other threads go on."""
    if _trim is not None:
        _trim(0)
