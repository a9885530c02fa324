"""The switch between the kernels: forced, found, or fallen back, and never in silence when forced."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.laws import implementations

WITHOUT_NATIVE = "import sys; sys.modules['crdtsync._native'] = None\n"
TELL = "from crdtsync import kernels; print(kernels.IMPLEMENTATION, kernels.row_join.__module__)"


def run(code: str, forced: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CRDTSYNC_KERNELS": forced}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)


def test_pure_can_be_forced() -> None:
    assert run(TELL, "pure").stdout.split() == ["pure", "crdtsync.pure.joins"]


@pytest.mark.skipif("native" not in implementations(), reason="built without a compiler: CRDTSYNC_PURE=1")
@pytest.mark.parametrize("forced", ["native", ""])
def test_native_is_taken_when_forced_or_found(forced: str) -> None:
    assert run(TELL, forced).stdout.split() == ["native", "crdtsync._native"]


def test_pure_serves_when_native_is_missing() -> None:
    assert run(WITHOUT_NATIVE + TELL, "").stdout.split() == ["pure", "crdtsync.pure.joins"]


def test_native_forced_and_missing_is_an_error_at_once() -> None:
    done = run(WITHOUT_NATIVE + "import crdtsync.kernels", "native")
    assert done.returncode == 1
    assert "ImportError: CRDTSYNC_KERNELS=native, but the compiled kernels cannot be loaded" in done.stderr


def test_another_name_is_an_error_at_once() -> None:
    done = run("import crdtsync.kernels", "fast")
    assert done.returncode == 1 and "CRDTSYNC_KERNELS must be native or pure, not 'fast'" in done.stderr
