"""Which rules hold.  All do; the tests of the tests take one away at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .members import join_records


@dataclass
class Rules:
    own_dot_of_removal: bool = True
    start_check: bool = True
    actor_per_start: bool = True
    whole_claim: bool = True
    stability: bool = True
    joiner_counted: bool = True
    stamp_after_replaced: bool = True
    whole_batches: bool = True
    announced_by_epoch: bool = True
    restamp: bool = True
    bound_by_votes: bool = True
    same_list: bool = True
    listens_before_it_judges: bool = True
    join_records: Any = field(default=join_records)


def last_heard(ours, theirs):
    """Broken on purpose: member records without versions, the last one heard wins."""
    return {**ours, **theirs}
