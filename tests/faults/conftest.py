"""The fixtures of every fault test: a project in which it happens, and the oracle that judges what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.oracle import Oracle, subreaper
from support.project import project
from support.real import real

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.project import ProjectDir

__all__ = ["oracle", "project", "real"]


@pytest.fixture(autouse=True)
def oracle(project: ProjectDir) -> Iterator[Oracle]:
    """Judges after the test; see ``support.oracle`` for what, and for how a test is excused."""
    with subreaper():
        it = Oracle(project)
        yield it
        complaints = it.complaints()
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)
