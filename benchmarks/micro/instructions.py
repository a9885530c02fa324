"""Instructions per call of the hottest kernels, counted by valgrind: the same on a busy machine as on a quiet one.

    python -m benchmarks.micro.instructions            # measure, and compare with what is noted
    python -m benchmarks.micro.instructions --write    # note what is measured: after a change that is meant

What is noted (instructions.json) holds for one Python, Cython, compiler and kind of processor; elsewhere there is
nothing to compare with.  A tenth more is a regression: counts of one build differ by less than a hundredth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

HOTTEST = (
    "cell_add", "presence_add", "latest_set", "row_join", "row_context", "row_covered", "rows_join", "rows_pack",
    "rows_unpack", "rows_digest", "part_check", "part_rows", "rows_merge",
)  # fmt: skip
NOTED = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parent.parent.parent
CALLS = 300  # of kernels on one row
COLUMN_CALLS = 3  # of kernels on a thousand rows
BAND = 0.10  # share by which a count may rise
LINE = re.compile(r"^\s*([\d,]+) .*:__pyx_pw_\w*?_native_\d+(\w+?)(?:'\d+)? \[", re.MULTILINE)


def calls(name: str) -> int:
    """How often a kernel is called while it is counted."""
    return COLUMN_CALLS if name.startswith(("rows_", "part_")) else CALLS


def call_all() -> None:
    """What is run under valgrind."""
    from benchmarks.micro.kernels import column_cases, single_cases
    from crdtsync import _native

    cases = {**column_cases(_native), **single_cases(_native)}
    for name in HOTTEST:
        kernel, arguments = getattr(_native, name), cases[name]
        for _ in range(calls(name)):
            kernel(*arguments)


def missing() -> str:
    """Why nothing can be counted here; "" when it can."""
    for program in ("valgrind", "callgrind_annotate"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return ""


def count() -> dict[str, int]:
    """Instructions per call, those below it included."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "callgrind.out")
        program = [sys.executable, "-m", "benchmarks.micro.instructions", "--call"]
        run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *program])
        text = run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", str(out)])
    found = {name: int(total.replace(",", "")) for total, name in LINE.findall(text)}
    lost = [name for name in HOTTEST if name not in found]
    if lost:
        raise SystemExit(f"callgrind tells nothing about {', '.join(lost)}: were the kernels stripped?")
    return {name: found[name] // calls(name) for name in HOTTEST}


def run(command: Sequence[str]) -> str:
    """Standard output of a program in the root of the tree; SystemExit with its complaint when it fails."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def build() -> str:
    """What counts depend on, other than our code."""
    compiler = subprocess.run(["cc", "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
    made_by = f"Cython {metadata.version('Cython')}, cc {compiler}"
    return f"Python {platform.python_version()}, {made_by}, {platform.machine()}"


def noted(where: str) -> dict[str, int]:
    """Counts noted for a build; none for one that nobody has noted."""
    counts: dict[str, int] = json.loads(NOTED.read_text()).get(where, {}) if NOTED.exists() else {}
    return counts


def risen(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Kernels that cost more than what was noted, beyond the band."""
    return [
        f"{name}: {after[name]:,} instructions a call, {before[name]:,} were noted"
        for name in HOTTEST
        if name in before and after[name] > before[name] * (1 + BAND)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="note what is measured")
    parser.add_argument("--call", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.call:
        call_all()
        return
    if missing():
        raise SystemExit(f"Nothing is counted: {missing()}.")
    where, found = build(), count()
    before = noted(where)
    print(where)
    for name in HOTTEST:
        print(f"{name:<16} {found[name]:>12,} {f'{found[name] / before[name]:.3f} of noted' if name in before else ''}")
    if options.write:
        whole = json.loads(NOTED.read_text()) if NOTED.exists() else {}
        NOTED.write_text(json.dumps({**whole, where: found}, indent=1, sort_keys=True) + "\n")
    elif worse := risen(before, found):
        raise SystemExit("\n".join(worse))


if __name__ == "__main__":
    main()
