"""The table of exit statuses, row by row, and what comes before what."""

from __future__ import annotations

import signal

import pytest

from taskrun.events import TaskEnd
from taskrun.model import CancelKind, CancelReason
from taskrun.run.status import Tally, of_the_task

INTERRUPT = CancelReason(kind=CancelKind.SIGNAL, detail="SIGINT")
DEADLINE = CancelReason(kind=CancelKind.DEADLINE, detail="1s")
CLOSED = CancelReason(kind=CancelKind.OUTPUT, detail="stdout was closed")
ORPHANED = CancelReason(kind=CancelKind.PARENT)
HOSTLESS = CancelReason(kind=CancelKind.HOST)


def tally(*states: str, unable: bool = False, allowed: bool = False) -> Tally:
    made = Tally()
    for number, state in enumerate(states):
        made.see(TaskEnd(task=f"t{number}", attempt=1, state=state, allowed=allowed))
    made.unable = unable
    return made


@pytest.mark.parametrize(
    ("counted", "cancelled", "expected"),
    [
        (tally("succeeded", "skipped"), None, (0, None)),
        (tally("failed", "skipped"), None, (1, None)),
        (tally("failed", allowed=True), None, (0, None)),
        (tally("timed-out"), None, (124, None)),
        (tally("timed-out", allowed=True), None, (0, None)),
        (tally("timed-out", "failed"), None, (1, None)),
        (tally("cancelled", "not-started"), DEADLINE, (124, None)),
        (tally("succeeded", unable=True), None, (125, None)),
        (tally("failed", unable=True), None, (1, None)),
        (tally("timed-out", unable=True), None, (125, None)),
        (tally("failed"), INTERRUPT, (130, signal.SIGINT)),
        (tally("cancelled"), CLOSED, (141, signal.SIGPIPE)),
        (tally("cancelled", unable=True), CLOSED, (125, None)),
        (tally("cancelled"), ORPHANED, (143, signal.SIGTERM)),
        (tally("failed"), HOSTLESS, (1, None)),
        (tally("not-started"), HOSTLESS, (125, None)),
    ],
)
def test_the_exit_status_follows_the_table(counted, cancelled, expected):
    assert counted.exit_status(cancelled) == expected


@pytest.mark.parametrize(
    ("end", "status", "expected"),
    [
        (TaskEnd(task="t", attempt=1, state="succeeded", exit_code=0), 0, 0),
        (TaskEnd(task="t", attempt=1, state="succeeded", exit_code=0), 1, 0),  # its clean-up failed
        (TaskEnd(task="t", attempt=1, state="succeeded", exit_code=0), 125, 125),
        (TaskEnd(task="t", attempt=1, state="succeeded", exit_code=7), 0, 7),
        (TaskEnd(task="t", attempt=1, state="failed", exit_code=3), 1, 3),
        (TaskEnd(task="t", attempt=1, state="failed", exit_code=0), 1, 1),
        (TaskEnd(task="t", attempt=1, state="failed", signal=9), 1, 137),
        (TaskEnd(task="t", attempt=0, state="failed"), 1, 1),
        (TaskEnd(task="t", attempt=1, state="timed-out", exit_code=0), 124, 124),
        (TaskEnd(task="t", attempt=1, state="cancelled", signal=15), 124, 124),  # the deadline came
        (TaskEnd(task="t", attempt=0, state="skipped"), 0, 0),
        (TaskEnd(task="t", attempt=0, state="skipped", cause="u"), 1, 1),
        (TaskEnd(task="t", attempt=0, state="not-started"), 1, 1),
        (None, 125, 125),
    ],
)
def test_exit_code_task_hands_on_what_the_task_did(end, status, expected):
    assert of_the_task(end, status) == expected
