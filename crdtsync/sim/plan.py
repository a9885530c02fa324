"""A run before it happens: how many nodes, what they do, and what will go wrong; drawn from the seed."""

from __future__ import annotations

import random

import msgspec

from crdtsync.sim.network import Weather

NODES_MAX = 6
STILL = (0.0005, 0.003)  # s that a message takes where `delay` is left out

WEATHER = frozenset(("loss", "doubled", "reordered", "breaks", "late", "stale"))
CLOCKS = frozenset(("skew", "drift"))  # wrong from the beginning, unlike those that step or jump
CUTS = frozenset(("cut in halves", "cut off a minority", "cut in a ring", "isolate", "one way", "swizzle"))
MACHINES = frozenset(("power", "power in a write", "kill", "kill in a write", "pause", "sleep", "absence"))
DISKS = frozenset((
    "disk full", "disk error", "write error", "flip in the journal", "flip in the table", "old copy", "clone",
    "lost disk",
))  # fmt: skip
CROWD = frozenset(("join", "leave", "evict", "evict by force"))
STRIKES = CUTS | MACHINES | DISKS | CROWD | {"break links", "clock step", "clock jump"}
TROUBLES = WEATHER | CLOCKS | STRIKES | {"delay"}


class Plan(msgspec.Struct):
    """One run, before it happens.  Rates are events per second of virtual time; 0: never."""

    nodes: int
    operations: int
    duration: float  # s over which the operations are spread
    weather: Weather
    skews: tuple[float, ...]  # s by which each node's wall clock is off
    rates: dict[str, float]
    drifts: tuple[float, ...] = (1.0,) * NODES_MAX  # seconds that each node's clocks count in one second
    buckets: tuple[str, ...] = ("default",)
    batches: float = 0.1  # share of operations that are batches
    requests: float = 0.0  # share of writes that come with a request id, and may come again
    cold: float = 0.0  # share of operations that go to one of many keys instead of the few hot ones
    small_parts: bool = False  # transfers in many parts
    long_transfers: bool = False  # every difference of note is a long transfer


def draw(seed: int) -> Plan:
    """The plan of a seed: at least 300 operations on at least 3 nodes, and a mixture of troubles."""
    rng = random.Random(f"plan {seed}")
    nodes = rng.choice((3, 3, 3, 3, 3, 3, 4, 5))
    duration = rng.uniform(1.5, 2.5)
    troubles = _troubles(rng) | _rare(random.Random(f"rare {seed}")) | _strife(random.Random(f"strife {seed}"))
    rates = {name: rate / duration for name, rate in troubles.items()}
    plan = Plan(
        nodes=nodes,
        operations=rng.randint(300, 310),
        duration=duration,
        weather=_weather(rng),
        skews=tuple(rng.choice((0.0, 0.0, 0.0, 0.05, -0.05, 0.5, -2.0)) for _ in range(NODES_MAX)),
        rates=rates,
        buckets=rng.choice((("default",), ("default",), ("default", "other"))),
        batches=rng.choice((0.0, 0.1, 0.3)),
        small_parts=rng.random() < 0.4,
        long_transfers=rng.random() < 0.15,
        requests=rng.choice((0.0, 0.1, 0.4)),
        cold=rng.choice((0.0, 0.1, 0.4)),
    )
    if rng.random() < 0.3:
        plan.drifts = tuple(rng.choice((1.0, 1.0, 0.98, 1.02, 0.8, 1.25)) for _ in range(NODES_MAX))
    if not faulty(plan):
        plan.rates["power"] = 1 / duration
    return plan


def faulty(plan: Plan) -> bool:
    """Whether anything at all is to go wrong."""
    weather = any(getattr(plan.weather, name) for name in WEATHER)
    return weather or any(rate for name, rate in plan.rates.items() if name not in ("join", "leave"))


def _weather(rng: random.Random) -> Weather:
    slow = rng.choice((STILL, (0.001, 0.03), (0.01, 0.15)))
    weather = Weather(delay=slow, breaks=rng.choice((0.0, 0.2, 1.0)))
    if rng.random() < 0.6:
        weather.loss = rng.choice((0.01, 0.05, 0.2, 0.5))
        weather.breaks = min(weather.breaks, 0.05 / weather.loss)  # or no link lives long enough to say hello
    if rng.random() < 0.5:
        weather.doubled = rng.choice((0.02, 0.1, 0.3))
    if rng.random() < 0.5:
        weather.reordered = rng.choice((0.02, 0.1, 0.3))
    if rng.random() < 0.4:
        weather.late = rng.choice((0.01, 0.05))
    if rng.random() < 0.2:
        weather.stale = rng.choice((0.01, 0.05))
    return weather


def _troubles(rng: random.Random) -> dict[str, float]:
    """How often each trouble comes in one run, on average."""
    often: dict[str, float] = {}
    if rng.random() < 0.6:
        often |= {"cut in halves": rng.choice((1, 3)), "isolate": rng.choice((0, 2)), "one way": rng.choice((0, 2))}
        often |= {"cut off a minority": rng.choice((0, 1)), "cut in a ring": rng.choice((0, 1))}
        often["swizzle"] = rng.choice((0, 1))
    if rng.random() < 0.4:
        often["break links"] = rng.choice((2, 6))
    if rng.random() < 0.6:
        often |= {"power": rng.choice((1, 3)), "power in a write": rng.choice((0, 2))}
    if rng.random() < 0.5:
        often |= {"kill": rng.choice((1, 3)), "kill in a write": rng.choice((0, 2)), "pause": rng.choice((0, 2))}
    if rng.random() < 0.3:
        often |= {"disk full": rng.choice((1, 2)), "disk error": rng.choice((0, 1)), "write error": rng.choice((0, 1))}
    if rng.random() < 0.4:
        often |= {"join": rng.choice((1, 2)), "leave": rng.choice((0, 1)), "evict": rng.choice((0, 1))}
    if rng.random() < 0.3:
        often["clock step"] = 2
    if rng.random() < 0.1:
        often |= {"old copy": 1, "lost disk": rng.choice((0, 0.5))}
    return often


def _rare(rng: random.Random) -> dict[str, float]:
    """Troubles that make a run long, or take a disk with them: few runs have more than one or two of them."""
    rare = (
        ("sleep", 0.12, 1), ("absence", 0.1, 1), ("clock jump", 0.12, 2), ("flip in the journal", 0.08, 2),
        ("flip in the table", 0.12, 4), ("clone", 0.07, 1),
    )  # fmt: skip
    return {name: rate for name, share, rate in rare if rng.random() < share}


def _strife(rng: random.Random) -> dict[str, float]:
    """Operators who put out each other's nodes at the same time, in few runs and then often."""
    often: dict[str, float] = {}
    if rng.random() < 0.1:
        often |= {"evict": rng.choice((3, 8)), "evict by force": rng.choice((0, 0, 2))}
    return often


def without(plan: Plan, trouble: str) -> Plan:
    """The plan less one of TROUBLES."""
    replace = msgspec.structs.replace
    if trouble == "delay":
        return replace(plan, weather=replace(plan.weather, delay=STILL))
    if trouble in WEATHER:
        return replace(plan, weather=replace(plan.weather, **{trouble: 0.0}))
    if trouble == "skew":
        return replace(plan, skews=(0.0,) * NODES_MAX)
    if trouble == "drift":
        return replace(plan, drifts=(1.0,) * NODES_MAX)
    return replace(plan, rates={**plan.rates, trouble: 0.0})


def chosen(seed: int, leave_out: frozenset[str] = frozenset()) -> Plan:
    """The plan of a seed, less some of TROUBLES."""
    plan = draw(seed)
    for trouble in sorted(leave_out):
        plan = without(plan, trouble)
    return plan
