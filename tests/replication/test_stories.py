"""Every story prints what it printed when it was last read by a person.

CRDTSYNC_RERECORD=1 writes the stories anew: read the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.replication.story import play

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    told = path.read_text()
    played = play(told)
    if os.environ.get("CRDTSYNC_RERECORD"):
        path.write_text(played)
    assert played == told or os.environ.get("CRDTSYNC_RERECORD"), f"{path.name} has changed"


def test_there_are_stories() -> None:
    assert len(STORIES) >= 12
