"""Every test of the kernels runs on both implementations; a missing compiled one fails, it is not skipped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.laws import implementations, load


@pytest.fixture(scope="session", params=implementations())
def kernels(request: pytest.FixtureRequest) -> Any:
    return load(request.param)
