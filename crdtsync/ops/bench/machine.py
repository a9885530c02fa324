"""Where a run was made: processor, memory, kernel, file system, versions, commit, and how busy the machine was."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import crdtsync
from crdtsync import kernels
from crdtsync.errors import ExtraMissing

PACKAGES = ("crdtsync", "grpcio", "lmdb", "msgspec", "protobuf", "sortedcontainers", "numpy", "hdrhistogram")
ROOT = Path(crdtsync.__file__).parent.parent


def describe(directory: Path) -> dict[str, Any]:
    """Plain values about this machine and the file system of `directory`.  Raises ExtraMissing."""
    try:
        import psutil
    except ImportError as missing:
        raise ExtraMissing("Benchmarks need psutil.", hint="pip install 'crdtsync[bench]'") from missing
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "file_system": file_system(directory, psutil.disk_partitions(all=True)),
        "load_before": os.getloadavg()[0],
    }


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def file_system(directory: Path, partitions: Any) -> str:
    """Kind of the file system that a directory lies on."""
    place = directory.resolve()
    mounts = [part for part in partitions if place.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def versions() -> dict[str, str]:
    """Of Python, the kernels, and the packages below us."""
    found = {"python": platform.python_version(), "kernels": kernels.IMPLEMENTATION}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The git commit of this tree, with "+" when something in it is changed; "" outside of a repository."""
    head = _git("rev-parse", "HEAD")
    return f"{head}+" if head and _git("status", "--porcelain", "--untracked-files=no") else head


def _git(*arguments: str) -> str:
    if not (ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
