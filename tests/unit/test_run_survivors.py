"""Who is above whom, in a list of processes that was not made in one moment."""

from __future__ import annotations

import pytest

from taskrun.host.platform import Seen
from taskrun.run.survivors import _above


@pytest.mark.parametrize(
    ("parents", "above"),
    [
        ({5: 4, 4: 1, 1: 0}, [4, 1]),
        ({5: 4}, [4]),
        ({}, []),
        ({5: 4, 4: 3, 3: 4}, [4, 3, 4]),  # 4 ended under way, and its pid was given to a child of 3
    ],
)
def test_it_ends_also_where_the_looks_make_a_circle(parents: dict[int, int], above: list[int]) -> None:
    everyone = {pid: Seen(pid, "S", parent=parent, group=1, session=1, start=1) for pid, parent in parents.items()}
    assert list(_above(5, everyone)) == above
