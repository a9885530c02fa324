"""Shared by all tests: says which kernels run, and refuses to run without the compiled ones unless told to."""

from __future__ import annotations

import os
import signal

import hypothesis
import pytest

from crdtsync import kernels

# No test judges time: machines are busy with other things, too.
hypothesis.settings.register_profile("crdtsync", deadline=None)
hypothesis.settings.load_profile("crdtsync")


def pytest_report_header() -> str:
    return f"crdtsync kernels: {kernels.IMPLEMENTATION}"


def pytest_configure(config: pytest.Config) -> None:
    # A shell lets what it starts in the background ignore ^C, and so would every process that a test sends one to.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted = os.environ.get("CRDTSYNC_KERNELS") or "native"
    if wanted != kernels.IMPLEMENTATION:
        raise pytest.UsageError(
            f"The {wanted} kernels were wanted, the {kernels.IMPLEMENTATION} ones are loaded.  "
            "Build them with `make env`, or run on the pure ones with CRDTSYNC_KERNELS=pure."
        )
