"""A campaign: a target, spoilt inputs by the thousand, and what to do with one that it does not survive."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import NamedTuple

from .mutate import mutate
from .seeds import each
from .targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")


class Failure(NamedTuple):
    """An input that a target did not survive as it should."""

    data: bytes
    error: BaseException


def known(target: str) -> list[bytes]:
    """Inputs that have failed before."""
    return [path.read_bytes() for path in sorted(CORPUS.glob(f"{target}-*"))]


def campaign(name: str, count: int, seed: int) -> Failure | None:
    """Try the target on its seeds, on what has failed before, and on `count` spoilt inputs; the first failure."""
    target, rng = TARGETS[name], random.Random(f"{name}:{seed}")
    pool = list(each(target.seeds())) + known(name)
    for data in pool:
        if failure := attempt(name, data):
            return failure
    for _ in range(max(1, int(count * target.share))):
        if failure := attempt(name, mutate(rng.choice(pool), rng, pool)):
            return failure
    return None


def attempt(name: str, data: bytes) -> Failure | None:
    """One input."""
    try:
        TARGETS[name].run(data)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return Failure(data, error)
    return None


def keep(name: str, data: bytes) -> Path:
    """Write an input to the corpus."""
    path = CORPUS / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path
