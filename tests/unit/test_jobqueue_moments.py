"""How people write when a job is due, and many jobs in lines."""
# ruff: noqa: DTZ001 - local time is what people mean

from __future__ import annotations

import datetime as dt

import pytest

from taskrun.jobqueue.json_lines import read_jobs
from taskrun.jobqueue.moments import read_moment
from taskrun.jobqueue.values import NewJob
from taskrun.model import UsageError

NOW = dt.datetime(2026, 11, 22, 12, 30).timestamp()


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("2026-12-24T18:00", dt.datetime(2026, 12, 24, 18)),
        ("2026-12-24 18:00:30", dt.datetime(2026, 12, 24, 18, 0, 30)),
        ("2026-12-24T18:00Z", dt.datetime(2026, 12, 24, 18, tzinfo=dt.UTC)),
        ("2026-12-24t18:00z", dt.datetime(2026, 12, 24, 18, tzinfo=dt.UTC)),
        ("20261224T180000+0130", dt.datetime(2026, 12, 24, 16, 30, tzinfo=dt.UTC)),
        ("12:31", dt.datetime(2026, 11, 22, 12, 31)),
        ("12:30", dt.datetime(2026, 11, 23, 12, 30)),
        (" 03:00:15 ", dt.datetime(2026, 11, 23, 3, 0, 15)),
    ],
)
def test_a_moment_is_read(text, due):
    assert read_moment(text, NOW) == due.timestamp()


@pytest.mark.parametrize(
    "text", ["", "3", "24:00:01", "2026-12-24", "20261224", "tomorrow", "2026-13-01T00:00", "99:00"]
)
def test_what_is_none_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="is no time: as in 2026-12-24T18:00"):
        read_moment(text, NOW)


def test_lines_become_jobs_with_what_holds_for_all():
    data = b"""
{"task": "a"}

{"task": "b", "args": {"n": 3, "x": "y", "f": 0.5, "on": true}, "delay": "1m30s", "priority": 2, "unique": "k"}
{"task": "c", "delay": 5, "at": "2026-12-24T18:00Z", "max_attempts": 9, "after": 4}\r
"""
    numbers, jobs = read_jobs(data, {"priority": 7})
    assert numbers == [2, 4, 5]
    at = dt.datetime(2026, 12, 24, 18, tzinfo=dt.UTC).timestamp()
    assert jobs == [
        NewJob(task="a", priority=7),
        NewJob(task="b", args={"n": 3, "x": "y", "f": 0.5, "on": True}, delay=90.0, priority=2, unique="k"),
        NewJob(task="c", delay=5.0, at=at, priority=7, max_attempts=9, after=4),
    ]


def test_every_wrong_line_is_named():
    data = b"""{"task": "a"}
{"task": 5}
{"tsk": "a"}
{"task
{"task": "a", "args": {"k": [1]}}
{"task": "a", "delay": "5 s"}
{"task": "a", "delay": -1}
{"task": "a", "at": "noon"}
{"task": "a", "max_attempts": 0}
"""
    with pytest.raises(UsageError) as caught:
        read_jobs(data, {})
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"line {number}" for number in range(2, 10)]
    assert lines[0] == "line 2: Expected `str`, got `int` (at `task`)"
    assert "no JSON" in lines[2]


def test_of_very_many_wrong_lines_the_first_are_named():
    with pytest.raises(UsageError) as caught:
        read_jobs(b"x\n" * 100, {})
    assert str(caught.value).endswith("\nand 80 more")
