"""`import crdtsync` is light: what a service embeds must not load what only servers, benches or terminals use."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numpy", "grpc", "click", "rich")


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, crdtsync; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_load_when_they_are_asked_for() -> None:
    code = (
        "import sys, crdtsync; before = 'crdtsync.node' in sys.modules; crdtsync.open;"
        "print(before, 'crdtsync.node' in sys.modules, {'aio', *crdtsync.__all__} <= set(dir(crdtsync)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def test_public_names_are_pinned() -> None:
    import crdtsync

    for name in crdtsync.__all__:
        assert getattr(crdtsync, name) is not None
    assert {"open", "Node", "Config", "CrdtsyncError", "__version__"} <= set(crdtsync.__all__)
