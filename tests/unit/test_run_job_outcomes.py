"""What the end of a run means for its job."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskrun.jobqueue.values import Cancelled, Done, Released, Retry
from taskrun.model import CancelKind, CancelReason
from taskrun.report.tails import Tails
from taskrun.run.job_outcomes import outcome_of


def run(counts: dict[str, int], *, cancelled: CancelKind | None = None, deadline: bool = False, failed: int = 0) -> Any:
    """A run of tasks that ended so, as far as its outcome is concerned."""
    return SimpleNamespace(
        setting=SimpleNamespace(run_id="run"),
        cancelled=None if cancelled is None else CancelReason(kind=cancelled),
        tally=SimpleNamespace(counts=counts, failed=failed, timed_out=0, ends={}),
        plan=SimpleNamespace(first_cause=None),
        scheduler=SimpleNamespace(cancelled=CancelReason(kind=CancelKind.DEADLINE) if deadline else None),
        selection=SimpleNamespace(requested=()),
    )


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(CancelKind.JOB, Cancelled), (CancelKind.SIGNAL, Released), (CancelKind.SECOND_SIGNAL, Released)],
)
def test_a_run_that_was_stopped_is_not_done(kind, outcome):
    for counts in ({"cancelled": 1}, {"succeeded": 1, "not-started": 1}, {"failed": 1}):
        assert type(outcome_of(run(counts, cancelled=kind), Tails())) is outcome


@pytest.mark.parametrize("kind", [CancelKind.JOB, CancelKind.SIGNAL, CancelKind.HOST])
def test_a_stop_that_came_too_late_changes_nothing(kind):
    assert type(outcome_of(run({"succeeded": 2, "skipped": 1}, cancelled=kind), Tails())) is Done


def test_a_deadline_is_a_failure_unless_all_was_done():
    assert type(outcome_of(run({"cancelled": 1}, deadline=True), Tails())) is Retry
    assert type(outcome_of(run({"succeeded": 1}, deadline=True), Tails())) is Done


def test_a_failure_that_is_allowed_is_none():
    assert type(outcome_of(run({"failed": 1}), Tails())) is Done
    assert type(outcome_of(run({"failed": 1}, failed=1), Tails())) is Retry
