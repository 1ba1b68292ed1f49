"""Of a job it is said why nothing will happen to it by itself, and of no other."""

from __future__ import annotations

import pytest

from taskrun.jobqueue.stuck import why_stuck
from taskrun.jobqueue.values import JobRecord, JobState

NOW = 1_800_000_000.0


def a_job(state: JobState, *, age: float = 10.0, after: int | None = None) -> JobRecord:
    return JobRecord(
        id=7,
        task="a",
        payload=b"{}",
        state=state,
        priority=0,
        attempt=0,
        max_attempts=3,
        enqueued_at=NOW - age,
        due_at=NOW - age,
        claimed_at=None,
        settled_at=None,
        worker=None,
        unique=None,
        after=after,
        cancelling=False,
        error=None,
        result=None,
        run=None,
        why="",
    )


def said(job: JobRecord, *, tasks=frozenset({"a"}), workers: int = 1, after: JobState | None = None) -> str:
    return why_stuck(job, tasks=tasks, workers=workers, after=after, now=NOW)


@pytest.mark.parametrize("state", [JobState.READY, JobState.BLOCKED, JobState.DELAYED])
def test_a_job_whose_task_is_gone_waits_for_ever_whatever_it_waits_for(state):
    assert "no such task any more" in said(a_job(state), tasks=frozenset({"b"}))
    assert said(a_job(state), tasks=None) == ""


@pytest.mark.parametrize("state", [JobState.DONE, JobState.DEAD, JobState.CANCELLED])
def test_what_is_settled_is_not_stuck(state):
    assert said(a_job(state, age=1e6), tasks=frozenset(), workers=0) == ""


def test_a_ready_job_needs_a_worker_and_not_an_hour():
    assert said(a_job(JobState.READY)) == ""
    assert "no worker lives" in said(a_job(JobState.READY), workers=0)
    assert said(a_job(JobState.READY, age=3599)) == ""
    assert "due for over an hour" in said(a_job(JobState.READY, age=3601))


def test_a_delayed_job_whose_time_has_come_is_as_good_as_ready():
    assert said(a_job(JobState.DELAYED, age=-10), workers=0) == ""
    assert "no worker lives" in said(a_job(JobState.DELAYED, age=10), workers=0)


def test_a_job_that_runs_has_a_worker():
    assert said(a_job(JobState.RUNNING, age=1e6)) == ""
    assert "its worker is gone" in said(a_job(JobState.RUNNING), workers=0)


@pytest.mark.parametrize("before", JobState)
def test_after_a_dead_job_nothing_comes(before):
    found = said(a_job(JobState.BLOCKED, after=3), after=before)
    assert found == ("job 3 is dead: retry or cancel that one" if before is JobState.DEAD else "")
