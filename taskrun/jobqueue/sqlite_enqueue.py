"""Stores jobs in SQLite, within a transaction that somebody else has begun and commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.jobqueue.accepting import LARGEST
from taskrun.jobqueue.ticking import MICROSECONDS
from taskrun.jobqueue.values import Duplicate, JobState, NoSuchJob, Stored
from taskrun.model import UsageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from taskrun.jobqueue.values import NewJob

# Takes the lock for writing before anything is read: a transaction that read first could not write any more if another
# process had committed in between, however long it were ready to wait.
_TAKE_LOCK = "UPDATE taskrun_queue SET version = version WHERE 0"
_SAME_KEY = "SELECT id FROM taskrun_job WHERE unique_key = ? AND settled_at IS NULL"
_STATE = "SELECT state FROM taskrun_job WHERE id = ?"
_INSERT = """
    INSERT INTO taskrun_job (task, args, state, priority, due_at, max_attempts, unique_key, after, enqueued_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def insert(cursor: sqlite3.Cursor, jobs: Sequence[tuple[NewJob, bytes]], now: float) -> list[Stored | Duplicate]:
    """Stores them, and says under which ids.

    Raises:
        NoSuchJob, UsageError: One comes after a job that is not there, or is cancelled.
    """
    cursor.execute(_TAKE_LOCK)
    return [_insert(cursor, job, args, now) for job, args in jobs]


def _insert(cursor: sqlite3.Cursor, job: NewJob, args: bytes, now: float) -> Stored | Duplicate:
    if job.unique is not None:
        same = cursor.execute(_SAME_KEY, (job.unique,)).fetchone()
        if same is not None:
            return Duplicate(id=same[0])
    due = max(now + job.delay, now if job.at is None else job.at)
    state = JobState.DELAYED if due > now else JobState.READY
    if job.after is not None and _waits_for(cursor, job.after):
        state = JobState.BLOCKED
    cursor.execute(
        _INSERT,
        (
            job.task,
            args,
            str(state),
            job.priority,
            int(due * MICROSECONDS),
            job.max_attempts,
            job.unique,
            job.after,
            int(now * MICROSECONDS),
        ),
    )
    assert cursor.lastrowid is not None
    return Stored(id=cursor.lastrowid)


def _waits_for(cursor: sqlite3.Cursor, other: int) -> bool:
    row = cursor.execute(_STATE, (other,)).fetchone() if abs(other) <= LARGEST else None
    if row is None:
        raise NoSuchJob(f"there is no job {other} to come after; settled ones are forgotten after a while")
    if row[0] == JobState.CANCELLED:
        raise UsageError(f"nothing can come after job {other}, which is cancelled")
    return bool(row[0] != JobState.DONE)
