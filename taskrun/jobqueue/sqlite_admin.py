"""Looks at the jobs in an SQLite queue and changes their course, for `QueueAdmin`. It carries nothing out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.jobqueue import presence
from taskrun.jobqueue.accepting import LARGEST
from taskrun.jobqueue.sqlite_claims import cancel_blocked
from taskrun.jobqueue.ticking import MICROSECONDS
from taskrun.jobqueue.values import JobRecord, JobState, NoSuchJob, QueueStats, Retention
from taskrun.model import UsageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection
    from typing import Any

    from taskrun.jobqueue.sqlite_file import SqliteFile

BATCH = 500  # jobs that are forgotten in one transaction, so that nobody waits long
_COLUMNS = (
    "job.id, job.task, job.args, job.state, job.priority, job.attempt, job.max_attempts, job.enqueued_at, job.due_at, "
    "job.claimed_at, job.settled_at, job.worker, job.unique_key, job.after, job.cancelling, job.error, job.result, "
    "job.run, (SELECT other.state FROM taskrun_job AS other WHERE other.id = job.after)"
)
_RETRY = """
    UPDATE taskrun_job
    SET state = ?, attempt = 0, due_at = ?, settled_at = NULL, result = NULL
    WHERE id = ?
"""
_OLD = """
    SELECT id FROM taskrun_job
    WHERE settled_at IS NOT NULL AND state = ? AND settled_at <= ? ORDER BY settled_at LIMIT ?
"""


class SqliteAdmin:
    """The jobs of one file.

    Args:
        file: Where they are.
        folder: Where workers have their locks and sockets.
        clock: Seconds since the epoch.
    """

    def __init__(self, file: SqliteFile, folder: str, clock: Callable[[], float]) -> None:
        self._file = file
        self._folder = folder
        self._clock = clock

    def find(
        self,
        *,
        states: Collection[JobState] = (),
        task: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """Jobs, the newest first; ``before`` pages on. No states: all."""
        wheres: list[str] = []
        values: list[Any] = []
        if states:
            wheres.append(f"job.state IN ({', '.join('?' * len(states))})")
            values += [str(state) for state in states]
        if task is not None:
            wheres.append("job.task = ?")
            values.append(task.encode("utf-8", "replace").decode())  # half of a surrogate pair is in no name
        if before is not None:
            wheres.append("job.id < ?")
            values.append(min(before, LARGEST))
        where = f"WHERE {' AND '.join(wheres)}" if wheres else ""
        query = f"SELECT {_COLUMNS} FROM taskrun_job AS job {where} ORDER BY job.id DESC LIMIT ?"  # noqa: S608 - ours
        with self._file.reading() as database:
            return [_record(row) for row in database.execute(query, [*values, min(limit, LARGEST)])]

    def show(self, job: int) -> JobRecord | None:
        """One job."""
        query = f"SELECT {_COLUMNS} FROM taskrun_job AS job WHERE job.id = ?"  # noqa: S608 - ours
        with self._file.reading() as database:
            row = database.execute(query, (job,)).fetchone() if abs(job) <= LARGEST else None
        return None if row is None else _record(row)

    def retry(self, job: int) -> JobState:
        """Offers a dead or cancelled job again, with all of its attempts; it waits if the one before it is not done."""
        with self._file.writing() as database:
            state, key, after = _look(database, job)
            if state not in {JobState.DEAD, JobState.CANCELLED}:
                raise UsageError(f"job {job} is {state}: only dead and cancelled jobs can be retried")
            query = "SELECT id FROM taskrun_job WHERE unique_key = ? AND settled_at IS NULL"
            same = database.execute(query, (key,)).fetchone()
            if same is not None:
                raise UsageError(f"job {job} cannot be retried: job {same[0]} has its unique key {key!r} now")
            done = "SELECT 1 FROM taskrun_job WHERE id = ? AND state <> 'done'"  # one that is forgotten holds up nobody
            waits = after is not None and database.execute(done, (after,)).fetchone() is not None
            new = JobState.BLOCKED if waits else JobState.READY
            database.execute(_RETRY, (str(new), int(self._clock() * MICROSECONDS), job))
        presence.ring(self._folder)
        self._file.try_to_copy_back()
        return new

    def cancel(self, job: int) -> JobState:
        """Cancels a job, and what would come after it; one that runs is asked to stop."""
        now = self._clock()
        with self._file.writing() as database:
            state, _key, _after = _look(database, job)
            if state is JobState.RUNNING:
                database.execute("UPDATE taskrun_job SET cancelling = 1 WHERE id = ?", (job,))
            elif not state.settled:
                query = "UPDATE taskrun_job SET state = 'cancelled', settled_at = ?, error = 'cancelled' WHERE id = ?"
                database.execute(query, (int(now * MICROSECONDS), job))
                cancel_blocked(database, job, now)
                state = JobState.CANCELLED
        presence.ring(self._folder)
        self._file.try_to_copy_back()
        return state

    def prune(self, retention: Retention | None = None) -> int:
        """Forgets what settled longer ago than that, a batch a transaction. How many."""
        count = 0
        while some := self.prune_some(retention or Retention()):
            count += some
        self._file.try_to_copy_back()
        return count

    def prune_some(self, retention: Retention) -> int:
        """Forgets one batch."""
        now = self._clock()
        count = 0
        with self._file.writing() as database:
            for state, keep in (("done", retention.done), ("cancelled", retention.done), ("dead", retention.dead)):
                until = int((now - keep) * MICROSECONDS)
                old = database.execute(_OLD, (state, until, BATCH - count)).fetchall()
                for (job,) in old:
                    cancel_blocked(database, job, now, "is dead and forgotten")
                database.executemany("DELETE FROM taskrun_job WHERE id = ?", old)
                count += len(old)
        return count

    def stats(self) -> QueueStats:
        """How it stands."""
        now = self._clock()
        with self._file.reading() as database:
            counts = {state: database.execute(_count(state)).fetchone()[0] for state in JobState}
            (ready,) = database.execute("SELECT min(due_at) FROM taskrun_job WHERE state = 'ready'").fetchone()
            (due,) = database.execute("SELECT min(due_at) FROM taskrun_job WHERE state = 'delayed'").fetchone()
        return QueueStats(
            counts=counts,
            oldest_ready=None if ready is None else max(0.0, now - ready / MICROSECONDS),
            next_due=None if due is None else max(0.0, due / MICROSECONDS - now),
            workers=len(presence.living(self._folder)),
        )


def _count(state: JobState) -> str:
    """Each state's index has its rows alone, so that counting reads no job."""
    settled = " AND settled_at IS NOT NULL" if state.settled else ""
    return f"SELECT count(*) FROM taskrun_job WHERE state = '{state.value}'{settled}"  # noqa: S608 - ours


def _look(database: sqlite3.Connection, job: int) -> tuple[JobState, str | None, int | None]:
    query = "SELECT state, unique_key, after FROM taskrun_job WHERE id = ?"
    row = database.execute(query, (job,)).fetchone() if abs(job) <= LARGEST else None
    if row is None:
        raise NoSuchJob(f"there is no job {job}; settled ones are forgotten after a while")
    return JobState(row[0]), row[1], row[2]


def _record(row: tuple[Any, ...]) -> JobRecord:
    state = JobState(row[3])
    return JobRecord(
        id=row[0],
        task=row[1],
        payload=row[2],
        state=state,
        priority=row[4],
        attempt=row[5],
        max_attempts=row[6],
        enqueued_at=row[7] / MICROSECONDS,
        due_at=row[8] / MICROSECONDS,
        claimed_at=None if row[9] is None else row[9] / MICROSECONDS,
        settled_at=None if row[10] is None else row[10] / MICROSECONDS,
        worker=row[11],
        unique=row[12],
        after=row[13],
        cancelling=bool(row[14]),
        error=row[15],
        result=row[16],
        run=row[17],
        why=_why(state, row),
    )


def _why(state: JobState, row: tuple[Any, ...]) -> str:
    match state:
        case JobState.BLOCKED:
            return f"comes after job {row[13]}, which is {row[18] or 'forgotten'}"
        case JobState.DELAYED if row[5]:
            return f"attempt {row[5]} of {row[6]} failed: {row[15]}"
        case JobState.RUNNING if row[14]:
            return "asked to stop"
        case JobState.DEAD:
            return f"dead after {row[5]} of {row[6]} attempts: {row[15]}"
        case JobState.CANCELLED:
            return row[15] or ""
    return ""
