"""The bytes of rows and columns never change: both kernels give what the golden file has said from the first."""

from __future__ import annotations

import json
from typing import Any

from tests.kernels.golden import FILES, from_json, to_json
from tests.laws import KERNELS


def test_golden_vectors(kernels: Any) -> None:
    vectors = [vector for path in FILES for vector in json.loads(path.read_text("ascii"))]
    assert {name for name, _, _ in vectors} == set(KERNELS)
    for name, args, expected in vectors:
        assert to_json(getattr(kernels, name)(*from_json(args))) == expected, (name, args)
