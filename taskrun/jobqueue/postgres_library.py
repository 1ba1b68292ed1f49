"""procrastinate's part: its tables and its statements, carried out within a transaction of ours.

procrastinate keeps the jobs that can be taken, gives each to one worker, wakes workers, and knows when it last heard of
one. Its `JobManager` is used with a connector that runs on one connection, so that what it changes and what we note
beside it is one transaction. Nothing in here waits but for the server: its asynchronous methods never suspend.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

import procrastinate.jobs
from procrastinate.connector import BaseAsyncConnector
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager
from psycopg import Pipeline
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from taskrun.model import Value

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Coroutine, Sequence

    from psycopg import Connection

T = TypeVar("T")

CHANNEL = "procrastinate_any_queue_v1"
TASK = "taskrun:job"  # the one task that procrastinate knows of
_PREFIX = "taskrun:"
# procrastinate notifies on a channel that has the queue's name in it, and the server allows 63 bytes for a channel.
_LONGEST = 40 - len(_PREFIX)
_DIGITS = 12
_FUNCTIONS = (
    "procrastinate_defer_jobs_v1(procrastinate_job_to_defer_v1[])",
    "procrastinate_fetch_job_v2(character varying[],bigint)",
    "procrastinate_retry_job_v2(bigint,timestamp with time zone,integer,character varying,character varying)",
)

FAR = "9999-01-01 00:00:00+00"
"""When jobs that wait for another one are due; procrastinate has no other way to keep a job from being taken."""


LAST = -(2**31)
"""The priority, for procrastinate, of what must not be taken yet; no job has it of its own. procrastinate looks for
what may be taken in the order of priorities, and would each time look over all that may not."""


def queue_of(task: str) -> str:
    """The queue, of procrastinate's, for jobs of a task: so a worker can ask for those that it may take now."""
    name = task.encode()
    if len(name) <= _LONGEST and task.isprintable():
        return _PREFIX + task
    import hashlib

    digest = hashlib.blake2b(name, digest_size=_DIGITS // 2).hexdigest()
    start = name[: _LONGEST - _DIGITS - 1].decode(errors="ignore")
    return f"{_PREFIX}{start if start.isprintable() else ''}~{digest}"


class Deferred(Value, frozen=True, kw_only=True):
    """What procrastinate is told of a new job; ``due`` is ``None`` where it may be taken at once."""

    task: str
    priority: int
    due: dt.datetime | None


class OnConnection(BaseAsyncConnector):
    """Runs procrastinate's statements on one connection, within whatever transaction that has."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def get_sync_connector(self) -> OnConnection:
        """It is one."""
        return self

    def execute_query(self, query: LiteralString, **arguments: Any) -> None:
        """Carries a statement out."""
        self._connection.execute(query, _wrapped(arguments))

    def execute_query_one(self, query: LiteralString, **arguments: Any) -> dict[str, Any]:
        """The first row."""
        return self.execute_query_all(query, **arguments)[0]

    def execute_query_all(self, query: LiteralString, **arguments: Any) -> list[dict[str, Any]]:
        """All rows."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, _wrapped(arguments)).fetchall()

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        """As without async."""
        self.execute_query(query, **arguments)

    async def execute_query_one_async(self, query: LiteralString, **arguments: Any) -> dict[str, Any]:
        """As without async."""
        return self.execute_query_one(query, **arguments)

    async def execute_query_all_async(self, query: LiteralString, **arguments: Any) -> list[dict[str, Any]]:
        """As without async."""
        return self.execute_query_all(query, **arguments)


class Library:
    """What we ask of procrastinate, on one connection."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._jobs = JobManager(OnConnection(connection))

    # --- its tables ---

    def is_there(self) -> bool:
        """Whether its tables are."""
        return bool(_at_once(self._jobs.check_connection_async()))

    def make(self) -> None:
        """Makes its tables."""
        self._connection.execute(SchemaManager.get_schema())

    def missing(self) -> str | None:
        """A function of its that should be there and is not: its tables are of another version."""
        for function in _FUNCTIONS:
            if self._one("SELECT to_regprocedure(%s)", function) is None:
                return function
        return None

    # --- jobs ---

    def at_once(self) -> contextlib.AbstractContextManager[object]:
        """What is asked of the connection within it is sent without waiting for the answers, where libpq can (14)."""
        return self._connection.pipeline() if Pipeline.is_supported() else contextlib.nullcontext()

    def hold(self, jobs: Sequence[int]) -> dict[int, str]:
        """Keeps everybody else from changing these until the transaction ends; their statuses."""
        if not jobs:
            return {}
        query = "SELECT id, status::text FROM procrastinate_jobs WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
        return dict(self._connection.execute(query, (list(jobs),)).fetchall())

    def mend(self, job: int) -> None:
        """A job was taken, whatever another program has made of it."""
        self._connection.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", (job,))

    def defer(self, jobs: Sequence[Deferred]) -> list[int]:
        """Adds jobs; their ids, which rise."""
        added = self._jobs.batch_defer_jobs(
            [
                procrastinate.jobs.Job(
                    queue=queue_of(job.task),
                    priority=job.priority if job.due is None else LAST,
                    lock=None,
                    queueing_lock=None,
                    task_name=TASK,
                    scheduled_at=job.due,
                )
                for job in jobs
            ]
        )
        return sorted(job.id for job in added if job.id is not None)

    def fetch(self, task: str, worker: int) -> int | None:
        """Takes the first job of a task that nobody else is just taking."""
        job = _at_once(self._jobs.fetch_job([queue_of(task)], worker))
        return None if job is None else job.id

    def finish(self, job: int, status: procrastinate.jobs.Status) -> None:
        """A job that was taken has ended."""
        _at_once(self._jobs.finish_job_by_id_async(job, status, delete_job=False))

    def offer_again(self, job: int, due: dt.datetime | None) -> None:
        """A job that was taken may be taken again, from a moment on, or from now, whatever the clock says later."""
        # None is what it stores where nothing is asked; the priority stays where none is given
        self._jobs.retry_job_by_id(job, due, None if due is None else LAST)  # type: ignore[arg-type]

    def cancel(self, job: int, *, running: bool) -> None:
        """Cancels a job that was not taken; the worker of one that was is woken."""
        self._jobs.cancel_job_by_id(job, abort=running)

    def revive(self, job: int, priority: int, *, blocked: bool) -> None:
        """A job that has ended may be taken again; procrastinate itself has this for failed jobs alone."""
        self._connection.execute(
            "UPDATE procrastinate_jobs SET status = 'todo', abort_requested = false, worker_id = NULL, "
            "scheduled_at = CASE WHEN %s THEN %s::timestamptz END, priority = %s WHERE id = %s",
            (blocked, FAR, LAST if blocked else priority, job),
        )

    def reschedule(self, jobs: Sequence[tuple[int, int, dt.datetime | None]]) -> None:
        """Jobs that were not taken, with their priorities, are due at another time, or now."""
        if jobs:
            with self._connection.cursor() as cursor:
                cursor.executemany(
                    "UPDATE procrastinate_jobs SET scheduled_at = %s, priority = %s WHERE id = %s AND status = 'todo'",
                    [(due, priority if due is None else LAST, job) for job, priority, due in jobs],
                )

    def untaken(self, jobs: Sequence[int]) -> set[int]:
        """Which of these it would still hand out."""
        rows = self._connection.execute(
            "SELECT id FROM procrastinate_jobs WHERE id = ANY(%s) AND status = 'todo'", (list(jobs),)
        )
        return {row[0] for row in rows}

    def forget(self, jobs: Sequence[int]) -> None:
        """Deletes jobs that have ended."""
        self._connection.execute("DELETE FROM procrastinate_jobs WHERE id = ANY(%s)", (list(jobs),))

    def notify(self, job: int) -> None:
        """Wakes workers for a job that it does not wake them for itself: it does for new ones alone."""
        self._connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f'{{"type": "job_inserted", "job_id": {job}}}'))

    # --- workers ---

    def register(self) -> int:
        """A new worker; its number."""
        return _at_once(self._jobs.register_worker())

    def beat(self, worker: int) -> bool:
        """The worker lives. Whether procrastinate still knows it: others may have forgotten it."""
        _at_once(self._jobs.update_heartbeat(worker))
        return self._one("SELECT id FROM procrastinate_workers WHERE id = %s", worker) is not None

    def unregister(self, worker: int) -> None:
        """The worker is gone."""
        _at_once(self._jobs.unregister_worker(worker))

    def _one(self, query: LiteralString, value: object) -> Any:
        row = self._connection.execute(query, (value,)).fetchone()
        return None if row is None else row[0]


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not wait, since its connector does not."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    coroutine.close()
    raise AssertionError("procrastinate waits for something that is not its connector")


def _wrapped(value: Any) -> Any:
    """Values as psycopg takes them: dictionaries, but for the arguments themselves, are JSON."""
    return {name: _wrapped_one(each) for name, each in value.items()}


def _wrapped_one(value: Any) -> Any:
    if isinstance(value, dict):
        return Jsonb(value)
    if isinstance(value, list):
        return [_wrapped_one(each) for each in value]
    if isinstance(value, tuple):
        return tuple(_wrapped_one(each) for each in value)
    return value
