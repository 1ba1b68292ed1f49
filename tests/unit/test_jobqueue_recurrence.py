"""When recurring tasks are due: the last moment at or before another one, also where clocks are put forward or back."""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskrun import config
from taskrun.jobqueue.recurrence import recurring_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VIENNA = ZoneInfo("Europe/Vienna")


@pytest.fixture
def vienna() -> Iterator[None]:
    """Local time is Vienna's."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Vienna"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def latest_of(line: str) -> Callable[[float], float]:
    project = config.load_text(f'[tasks.a]\nrun = ["x"]\n{line}\n', root="/")
    (recurring,) = recurring_of(project)
    assert recurring.task == "a"
    return recurring.latest


def at(text: str, fold: int = 0) -> float:
    """A moment in Vienna."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=VIENNA, fold=fold).timestamp()


def local(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, VIENNA).isoformat()


def test_tasks_without_either_key_do_not_recur():
    assert recurring_of(config.load_text('[tasks.a]\nrun = ["x"]\n', root="/")) == ()


@given(st.floats(0, 4e9), st.sampled_from([1, 2.5, 7, 300, 86400]))
def test_every_means_multiples_since_the_epoch(moment: float, seconds: float):
    due = latest_of(f"every = {seconds}")(moment)
    assert due <= moment < due + seconds
    assert due % seconds == 0


@pytest.mark.usefixtures("vienna")
@pytest.mark.parametrize(
    ("expression", "moment", "due"),
    [
        ("30 3 * * *", "2026-06-10T03:30:00", "2026-06-10T03:30:00+02:00"),
        ("30 3 * * *", "2026-06-10T03:29:59.9", "2026-06-09T03:30:00+02:00"),
        ("30 3 * * 1-5", "2026-06-14T12:00:00", "2026-06-12T03:30:00+02:00"),
        ("*/20 * * * *", "2026-06-10T12:41:07", "2026-06-10T12:40:00+02:00"),
        ("0 0 29 2 *", "2026-06-10T12:00:00", "2024-02-29T00:00:00+01:00"),
        ("0 12 L * *", "2026-03-01T00:00:00", "2026-02-28T12:00:00+01:00"),
        # The clock goes from 2:00 to 3:00: what is due in between is due at 3:00.
        ("30 2 * * *", "2026-03-29T02:59:00", "2026-03-29T03:00:00+02:00"),
        ("30 2 * * *", "2026-03-29T01:59:59", "2026-03-28T02:30:00+01:00"),
        ("30 2 * * *", "2026-03-30T02:29:00", "2026-03-29T03:00:00+02:00"),
        # From 3:00 back to 2:00: due once, the first time.
        ("30 2 * * *", "2026-10-25T02:30:00", "2026-10-25T02:30:00+02:00"),
        ("30 2 * * *", "2026-10-25T03:30:00", "2026-10-25T02:30:00+02:00"),
        ("45 2 * * *", "2026-10-25T02:30:00", "2026-10-24T02:45:00+02:00"),
    ],
)
def test_cron_is_local_time(expression: str, moment: str, due: str):
    assert local(latest_of(f'cron = "{expression}"')(at(moment))) == due


@pytest.mark.usefixtures("vienna")
def test_an_hour_that_comes_twice_has_its_fixed_moments_once_and_the_others_twice():
    fixed, each = latest_of('cron = "45 2 * * *"'), latest_of('cron = "*/30 * * * *"')
    first, second = at("2026-10-25T02:50:00"), at("2026-10-25T02:35:00", fold=1)
    assert fixed(first) == fixed(second) == at("2026-10-25T02:45:00")
    assert latest_of('cron = "45 2 * * *"')(second) == at("2026-10-25T02:45:00")  # by one who was not asked before
    assert each(first) == at("2026-10-25T02:30:00")
    assert each(second) == at("2026-10-25T02:30:00", fold=1) == each(first) + 3600


@pytest.mark.usefixtures("vienna")
@given(st.lists(st.integers(1_700_000_000, 1_830_000_000), min_size=2, max_size=5), st.data())
def test_what_was_asked_before_changes_no_answer(moments: list[int], data: st.DataObject):
    expression = data.draw(st.sampled_from(["*/7 * * * *", "0,30 2 * * *", "15 */5 * * 0", "0 0 1 */3 *"]))
    kept = latest_of(f'cron = "{expression}"')
    for moment in moments:
        due = kept(moment)
        assert due <= moment
        assert due == latest_of(f'cron = "{expression}"')(moment)
        assert kept(due) == due
        assert kept(due - 1) < due


@pytest.mark.usefixtures("vienna")
def test_going_through_a_year_minute_by_minute_names_each_moment_once():
    latest = latest_of('cron = "30 2 * * *"')
    start = int(at("2026-01-01T00:00:00"))
    seen = [latest(moment) for moment in range(start, start + 366 * 86400, 600)]
    assert seen == sorted(seen)
    assert len(set(seen)) == 367  # one of the day before
