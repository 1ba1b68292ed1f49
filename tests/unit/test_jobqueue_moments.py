"""How people write when a job is due, and many jobs in lines."""
# ruff: noqa: DTZ001 - local time is what people mean

from __future__ import annotations

import datetime as dt
import time

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
        ("23:30z", dt.datetime(2026, 11, 22, 23, 30, tzinfo=dt.UTC)),
        ("23:30-03:00", dt.datetime(2026, 11, 23, 2, 30, tzinfo=dt.UTC)),
        ("00:30:05+05:45", dt.datetime(2026, 11, 22, 18, 45, 5, tzinfo=dt.UTC)),
        ("1815-12-10T12:00", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        ("0001-01-01T00:00", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_a_moment_is_read(text, due):
    assert read_moment(text, NOW) == due.timestamp()


def test_a_time_that_comes_twice_in_a_night_is_the_next_of_both(monkeypatch):
    first = dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC).timestamp()  # 02:30, and again an hour later
    try:
        monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        assert read_moment("02:30", first - 60) == first
        assert read_moment("02:30", first) == first + 3600
        assert read_moment("02:30", first + 3600) == first + 25 * 3600
        assert read_moment("02:45", first + 3600 - 900 + 60) == first + 3600 + 900
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text",
    ["", "3:00", "18:00+24:00", "3", "24:00:01", "2026-12-24", "20261224", "tomorrow", "2026-13-01T00:00", "99:00"],
)
def test_what_is_none_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="is no time: as in 2026-12-24T18:00"):
        read_moment(text, NOW)


def test_lines_become_jobs_with_what_holds_for_all():
    data = b"""
{"task": "a"}

{"task": "b", "args": {"n": 3, "x": "y", "f": 0.5, "on": true}, "delay": "1m30s", "priority": 2, "unique": "k"}
{"task": "d", "delay": null, "at": null, "priority": null, "unique": null, "max_attempts": null, "after": null}
{"task": "c", "delay": 5, "at": "2026-12-24T18:00Z", "max_attempts": 9, "after": 4}\r
"""
    numbers, jobs = read_jobs(data, {"priority": 7})
    assert numbers == [2, 4, 5, 6]
    at = dt.datetime(2026, 12, 24, 18, tzinfo=dt.UTC).timestamp()
    assert jobs == [
        NewJob(task="a", priority=7),
        NewJob(task="b", args={"n": 3, "x": "y", "f": 0.5, "on": True}, delay=90.0, priority=2, unique="k"),
        NewJob(task="d", priority=7),
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
