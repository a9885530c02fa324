"""The style guide, run: import arrows, a docstring a module, no file that nobody imports, functions that stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "crdtsync"
GENERATED = PACKAGE / "transport" / "pb"

# Who may import whom, as ARCHITECTURE.md draws it.  A name stands for itself and all below it.
LEAVES = {"errors", "bounds", "config"}
KERNELS = LEAVES | {"kernels"}
CLOCKS = KERNELS | {"clocks"}
DATATYPES = CLOCKS | {"datatypes"}
ARROWS = {
    "errors": set(),
    "bounds": set(),
    "config": {"errors", "bounds"},
    "_native": set(),
    "pure": set(),
    "kernels": {"pure", "_native"},
    "clocks": KERNELS,
    "datatypes": DATATYPES,
    "handles": DATATYPES,
    "storage": DATATYPES,
    "replication": DATATYPES,
    "security": LEAVES,
    "transport": LEAVES | {"security", "replication.messages", "transport.pb", "datatypes.rows", "clocks.members"},
    "backup": DATATYPES | {"storage", "__init__"},
    "node": DATATYPES | {"handles", "storage", "replication", "security", "transport", "backup"},
    "client": DATATYPES | {"handles", "security", "transport.pb", "transport.loop"},
    "service": DATATYPES | {"handles", "node", "backup", "security", "replication.peers", "transport.pb",
                            "transport.addresses", "transport.descriptors", "transport.loop", "__init__"},
    "sim": DATATYPES | {"handles", "replication", "storage", "transport.memory", "transport.wire", "transport.base"},
    "ops": DATATYPES | {"node", "service", "client", "handles", "security", "storage.check", "storage.directory",
                         "storage.files", "storage.whole", "backup", "sim", "transport", "replication.messages",
                         "replication.peers", "__init__"},
    "ops.bench": DATATYPES | {"ops", "node", "storage", "sim", "__init__"},  # measures the store alone, too
    "__init__": LEAVES | {"node", "handles", "service", "client", "aio", "datatypes.columns"},
    "aio": {"node", "client"},
    "__main__": {"ops"},
}
# Below the engine there is no world: time and randomness are passed in.
BANNED = {"replication": {"asyncio", "time", "os", "random", "socket", "threading"}}
# `import crdtsync` and what embeds it stay light.
HEAVY = {
    "numpy": {"datatypes.columns"},  # which the first bulk call loads
    "grpc": {"transport", "security", "service", "client", "ops.bench"},
    "grpc_health": {"service"},
    "grpc_reflection": {"service"},
    "cryptography": {"security"},
    "click": {"ops"},
    "rich": {"ops"},
    "prometheus_client": {"ops"},
    "psutil": {"ops.bench"},
    "hdrh": {"ops.bench"},
}

LONGEST_FUNCTION = 70  # lines without the docstring


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if GENERATED not in path.parents)


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] in ("__init__", "__main__") and len(parts) > 1 else parts)


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(kind, module) of every import in a file: ("ours", "storage.journal") or ("theirs", "grpc")."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            base = node.module or ""
            ours = base.split(".")[0] == "crdtsync"
            is_package = ours and (PACKAGE / Path(*base.split(".")[1:]) / "__init__.py").exists()
            names = [f"{base}.{alias.name}" if is_package else base for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative imports hide the arrows")
        else:
            continue
        for name in names:
            if name.split(".")[0] == "crdtsync":
                yield "ours", _module_of(name.removeprefix("crdtsync").removeprefix("."))
            else:
                yield "theirs", name


def _module_of(name: str) -> str:
    """A name right in the package that is no module is one of its public names."""
    top = PACKAGE / name.split(".")[0]
    return name if name and (top.is_dir() or top.with_suffix(".py").exists() or name == "_native") else "__init__"


def covered(name: str, allowed: set[str]) -> bool:
    return any(name == entry or name.startswith(entry + ".") for entry in allowed)


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_follow_the_arrows(path: Path) -> None:
    me = dotted(path).split(".")[0]
    within = ".".join(dotted(path).split(".")[:2])
    assert me in ARROWS, f"{path}: a new top-level module needs its arrows here and in ARCHITECTURE.md"
    for kind, name in imported(path):
        if kind == "theirs":
            assert name.split(".")[0] not in BANNED.get(me, set()), f"{path} imports {name}: pass it in instead"
            may = HEAVY.get(name.split(".")[0], {me})
            assert covered(dotted(path), may), f"{path} imports {name}, which must stay out of it"
        else:
            may = ARROWS.get(within, ARROWS[me])
            assert name.split(".")[0] == me or covered(name, may), f"{path} imports crdtsync.{name}"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_module_says_its_idea(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_no_module_is_forgotten() -> None:
    """Every module is imported by another, is an entry point, or is named where it is started from."""
    known = {name for path in modules() for kind, name in imported(path) if kind == "ours"}
    text = "\n".join(path.read_text() for path in [*modules(), ROOT / "pyproject.toml"])
    for path in modules():
        name = dotted(path)
        used = any(other == name or other.startswith(name + ".") for other in known) or f"crdtsync.{name}" in text
        entry = path.name in ("__init__.py", "__main__.py") or path.parent.name == "cli"
        assert used or entry, f"nobody imports {path}"


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    start = first.end_lineno if ast.get_docstring(node) and first.end_lineno else node.lineno
    return (node.end_lineno or start) - start


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_functions_stay_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert function_lines(node) <= LONGEST_FUNCTION, f"{path}: {node.name} has {function_lines(node)} lines"
