"""Expected beside each replica: every number, name and register, not only the totals that the screen has room for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from crdtsync.ops.demo.expected import EXACT, ONE_OF, Sections

EXAMPLES = 5  # differences shown in words


@dataclass
class Line:
    """One line of the table: what, expected, and each replica's number."""

    section: str
    name: str  # "" for the total of a section
    expected: int
    found: dict[str, int]
    differences: int = 0


@dataclass
class Comparison:
    lines: list[Line] = field(default_factory=list)
    compared: int = 0  # answers compared, on all replicas
    differences: int = 0
    examples: list[str] = field(default_factory=list)

    def differ(self, line: Line, text: str) -> None:
        line.differences += 1
        self.differences += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


PER_CARRIER = ("flights per carrier", "delay minutes per carrier", "aircraft per carrier")


def compare(expected: Sections, replicas: dict[str, Sections]) -> Comparison:
    """Compare what the file says with what each replica shows."""
    result = Comparison()
    for name in sorted(expected["flights per carrier"]):
        for section in PER_CARRIER:
            result.lines.append(compare_names(result, expected, replicas, section, name, [name]))
    for section in (*EXACT, *ONE_OF):
        per_carrier = section in PER_CARRIER
        names = every_name(section, expected, replicas)
        shown = set(expected["flights per carrier"]) if per_carrier else set()
        rest = [name for name in names if name not in shown]
        if rest or not per_carrier:
            result.lines.append(compare_names(result, expected, replicas, section, "", rest))
    for extra in sorted({name for sections in replicas.values() for name in sections} - set(expected)):
        names = every_name(extra, expected, replicas)
        result.lines.append(compare_names(result, expected, replicas, extra, "", names))
    return result


def every_name(section: str, expected: Sections, replicas: dict[str, Sections]) -> list[str]:
    """Names that anyone has in a section: a replica may show what it should not."""
    names = set(expected.get(section, {}))
    for sections in replicas.values():
        names.update(sections.get(section, {}))
    return sorted(names)


def compare_names(
    result: Comparison, expected: Sections, replicas: dict[str, Sections], section: str, name: str, names: list[str]
) -> Line:
    """Compare some names of a section; one line of the table."""
    wanted = expected.get(section, {})
    one_of = section in ONE_OF
    line = Line(section, name, sum(size(wanted.get(each), one_of) for each in names), {})
    for replica, sections in replicas.items():
        shown = sections.get(section, {})
        line.found[replica] = sum(size(shown.get(each), one_of) for each in names)
    for each in names:
        values = {replica: sections.get(section, {}).get(each) for replica, sections in replicas.items()}
        right = wanted.get(each)
        if right is not None or any(value is not None for value in values.values()):
            result.compared += len(values)
        if one_of:
            check_one_of(result, line, f"{section}, {each}", right or [], values)
        else:
            for replica, value in values.items():
                if value != right:
                    text = f"{section}, {each}: {replica} shows {short(value)}, expected {short(right)}"
                    result.differ(line, text)
    return line


def check_one_of(result: Comparison, line: Line, what: str, right: list[str], values: dict[str, Any]) -> None:
    """A register of several writers: one of their own last values, the same everywhere."""
    for replica, value in values.items():
        if value not in right:
            result.differ(line, f"{what}: {replica} shows {short(value)}, expected one of {short(right)}")
    if len({repr(value) for value in values.values()}) > 1:
        result.differ(line, f"{what}: the replicas differ: {short(values)}")


def size(value: Any, one_of: bool) -> int:
    """What a value adds to its section's total: a number itself, a list its length, a register one."""
    if value is None:
        return 0
    if one_of or isinstance(value, str):
        return 1
    return value if isinstance(value, int) else len(value)


def short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
