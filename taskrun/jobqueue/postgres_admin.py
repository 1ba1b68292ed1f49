"""Looks at the jobs in a queue on a PostgreSQL server and changes their course, for `QueueAdmin`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from taskrun.jobqueue.postgres_claims import cancel_blocked
from taskrun.jobqueue.postgres_endings import kept
from taskrun.jobqueue.postgres_enqueue import lock_key
from taskrun.jobqueue.postgres_library import Library
from taskrun.jobqueue.values import JobRecord, JobState, NoSuchJob, QueueStats, Retention
from taskrun.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from psycopg import Connection

    from taskrun.jobqueue.postgres_database import PostgresDatabase

BATCH = 500  # jobs that are forgotten in one transaction, so that nobody waits long
# fmt: off
_NAMES = (
    "id", "task", "payload", "state", "priority", "attempt", "max_attempts", "enqueued_at", "due_at", "claimed_at",
    "settled_at", "worker", "unique", "after", "cancelling", "error", "result", "run",
)
# fmt: on
_SELECT = sql.SQL("""
    SELECT job.id, job.task, job.args, job.state, job.priority, job.attempt, job.max_attempts,
        extract(epoch FROM job.enqueued_at)::float8, extract(epoch FROM job.due_at)::float8,
        extract(epoch FROM job.claimed_at)::float8, extract(epoch FROM job.settled_at)::float8,
        job.worker, job.unique_key, job.after, job.cancelling, job.error, job.result, job.run,
        (SELECT other.state FROM taskrun_job AS other WHERE other.id = job.after)
    FROM taskrun_job AS job
""")
_LOOK = "SELECT state, unique_key, after FROM taskrun_job WHERE id = %s"
_RETRY = """
    UPDATE taskrun_job SET state = %s, attempt = 0, due_at = now(), settled_at = NULL, result = NULL WHERE id = %s
    RETURNING priority
"""
_CANCEL = "UPDATE taskrun_job SET state = 'cancelled', settled_at = now(), error = 'cancelled' WHERE id = %s"
_OLD = """
    SELECT id FROM taskrun_job
    WHERE settled_at IS NOT NULL AND state = ANY(%s) AND settled_at <= now() - make_interval(secs => %s)
    ORDER BY settled_at LIMIT %s
"""
_FORGET = """
    DELETE FROM taskrun_job WHERE id = ANY(%s) AND settled_at <= now() - make_interval(secs => %s) RETURNING id
"""
_STATS = """
    SELECT extract(epoch FROM now() - (SELECT min(due_at) FROM taskrun_job WHERE state = 'ready'))::float8,
        extract(epoch FROM (SELECT min(due_at) FROM taskrun_job WHERE state = 'delayed') - now())::float8,
        (SELECT count(*) FROM taskrun_worker WHERE beat_at > now() - make_interval(secs => %s))
"""


class PostgresAdmin:
    """The jobs of one database.

    Args:
        database: Where they are.
        limit: Seconds without a heartbeat after which a worker is not counted among the living.
    """

    def __init__(self, database: PostgresDatabase, limit: float) -> None:
        self._database = database
        self._limit = limit

    def find(
        self,
        *,
        states: Collection[JobState] = (),
        task: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """Jobs, the newest first; ``before`` pages on. No states: all."""
        wheres = [sql.SQL("true")]
        values: list[Any] = []
        if states:
            wheres.append(sql.SQL("job.state = ANY(%s)"))
            values.append([str(state) for state in states])
        if task is not None:
            wheres.append(sql.SQL("job.task = %s"))
            values.append(kept(task))  # what cannot be written is in no name
        if before is not None:
            wheres.append(sql.SQL("job.id < %s"))
            values.append(before)
        query = _SELECT + sql.SQL("WHERE {} ORDER BY job.id DESC LIMIT %s").format(sql.SQL(" AND ").join(wheres))
        with self._database.reading() as connection:
            return [_record(row) for row in connection.execute(query, [*values, limit]).fetchall()]

    def show(self, job: int) -> JobRecord | None:
        """One job."""
        with self._database.reading() as connection:
            row = connection.execute(_SELECT + sql.SQL("WHERE job.id = %s"), (job,)).fetchone()
        return None if row is None else _record(row)

    def retry(self, job: int) -> JobState:
        """Offers a dead or cancelled job again, with all of its attempts; it waits if the one before it is not done."""
        with self._database.writing() as connection:
            library = Library(connection)
            _state, key, after = _look(connection, job)
            same = None if key is None else lock_key(connection, key)
            library.hold([job] if after is None else [after, job])
            state, _key, _after = _look(connection, job)
            other = None if after is None else _state_of(connection, after)
            if state not in {JobState.DEAD, JobState.CANCELLED}:
                raise UsageError(f"job {job} is {state}: only dead and cancelled jobs can be retried")
            if same is not None:
                raise UsageError(f"job {job} cannot be retried: job {same} has its unique key {key!r} now")
            waits = other not in {None, JobState.DONE}  # one that is forgotten holds up nobody
            new = JobState.BLOCKED if waits else JobState.READY
            ((priority,),) = connection.execute(_RETRY, (str(new), job)).fetchall()
            library.revive(job, priority, blocked=waits)
            library.notify(job)
        return new

    def cancel(self, job: int) -> JobState:
        """Cancels a job, and what would come after it; one that runs is asked to stop."""
        with self._database.writing() as connection:
            library = Library(connection)
            library.hold([job])
            state, _key, _after = _look(connection, job)
            if state.settled:
                return state
            library.cancel(job, running=state is JobState.RUNNING)
            if state is JobState.RUNNING:
                connection.execute("UPDATE taskrun_job SET cancelling = true WHERE id = %s", (job,))
                return state
            connection.execute(_CANCEL, (job,))
            cancel_blocked(connection, job)
        return JobState.CANCELLED

    def prune(self, retention: Retention | None = None) -> int:
        """Forgets what settled longer ago than that, a batch a transaction. How many."""
        count = 0
        while some := self.prune_some(retention or Retention()):
            count += some
        return count

    def prune_some(self, retention: Retention) -> int:
        """Forgets one batch."""
        forgotten: list[int] = []
        with self._database.writing() as connection:
            library = Library(connection)
            for states, keep in ((["done", "cancelled"], retention.done), (["dead"], retention.dead)):
                old = [row[0] for row in connection.execute(_OLD, (states, keep, BATCH - len(forgotten))).fetchall()]
                library.hold(old)
                forgotten += [row[0] for row in connection.execute(_FORGET, (old, keep)).fetchall()] if old else []
            for job in sorted(forgotten):
                cancel_blocked(connection, job, "is dead and forgotten")
            library.forget(forgotten)
        return len(forgotten)

    def stats(self) -> QueueStats:
        """How it stands."""
        with self._database.reading() as connection:
            counted = dict(connection.execute("SELECT state, count(*) FROM taskrun_job GROUP BY state").fetchall())
            row = connection.execute(_STATS, (self._limit,)).fetchone()
        assert row is not None
        ready, due, workers = row
        return QueueStats(
            counts={state: counted.get(str(state), 0) for state in JobState},
            oldest_ready=None if ready is None else max(0.0, ready),
            next_due=None if due is None else max(0.0, due),
            workers=workers,
        )


def _look(connection: Connection[Any], job: int) -> tuple[JobState, str | None, int | None]:
    row = connection.execute(_LOOK, (job,)).fetchone()
    if row is None:
        raise NoSuchJob(f"there is no job {job}; settled ones are forgotten after a while")
    return JobState(row[0]), row[1], row[2]


def _state_of(connection: Connection[Any], job: int) -> str | None:
    row = connection.execute("SELECT state FROM taskrun_job WHERE id = %s", (job,)).fetchone()
    return None if row is None else str(row[0])


def _record(row: tuple[Any, ...]) -> JobRecord:
    fields = dict(zip(_NAMES, row, strict=False))
    state = fields["state"] = JobState(row[3])
    return JobRecord(**fields, why=_why(state, fields, row[-1]))


def _why(state: JobState, job: dict[str, Any], other: str | None) -> str:
    match state:
        case JobState.BLOCKED:
            return f"comes after job {job['after']}, which is {other or 'forgotten'}"
        case JobState.DELAYED if job["attempt"]:
            return f"attempt {job['attempt']} of {job['max_attempts']} failed: {job['error']}"
        case JobState.RUNNING if job["cancelling"]:
            return "asked to stop"
        case JobState.DEAD:
            return f"dead after {job['attempt']} of {job['max_attempts']} attempts: {job['error']}"
        case JobState.CANCELLED:
            return str(job["error"] or "")
    return ""
