"""The compiled kernels: one extension, crdtsync._native, from native/_native.pyx.  All else is in pyproject.toml.

Environment: CRDTSYNC_PURE=1 builds without a compiler (crdtsync.pure serves then); CRDTSYNC_DEBUG=1 compiles with
C asserts, line numbers of the sources and no optimisation; CRDTSYNC_SANITIZE=1 with AddressSanitizer and UBSan, for
`make test-sanitized`; CRDTSYNC_ANNOTATE=1 writes native/_native.html, which shows what costs what.
"""

from __future__ import annotations

import os

from setuptools import Extension, setup

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]


def knob(name: str) -> bool:
    """Whether an environment variable is set to something else than nothing or 0."""
    return os.environ.get(name, "") not in ("", "0")


def extensions() -> list[Extension]:
    """The extension, cythonized; none for a pure build."""
    if knob("CRDTSYNC_PURE"):
        return []
    from Cython.Build import cythonize

    debug, sanitize = knob("CRDTSYNC_DEBUG"), knob("CRDTSYNC_SANITIZE")
    flags = ["-O0", "-g", "-UNDEBUG"] if debug else ["-O3", "-fno-strict-aliasing"]
    if sanitize:
        flags = ["-O1", "-g", "-UNDEBUG", "-fno-strict-aliasing", *SANITIZERS]
    native = Extension(
        "crdtsync._native",
        ["native/_native.pyx"],
        extra_compile_args=flags,
        extra_link_args=SANITIZERS if sanitize else [],
    )
    modules: list[Extension] = cythonize(
        [native],
        include_path=["native"],
        annotate=knob("CRDTSYNC_ANNOTATE"),
        emit_linenums=debug,
        force=debug or sanitize or knob("CRDTSYNC_ANNOTATE"),
    )
    return modules


setup(ext_modules=extensions())
