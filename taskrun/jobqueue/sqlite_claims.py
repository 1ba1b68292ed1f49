"""What a worker does to jobs in SQLite: it takes them, settles them, and gives back those of dead workers.

All of it within transactions that somebody else begins and commits; it waits for nothing and wakes nobody. A claim is
known by its worker and its number, which only ever rises, also where an attempt is given back and does not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.jobqueue.backoff import back_off
from taskrun.jobqueue.sqlite_enqueue import MICROSECONDS
from taskrun.jobqueue.values import Cancelled, Dead, Done, JobOutcome, JobState, Released, Retry
from taskrun.model import Value

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Collection, Iterable

_LONGEST_ERROR = 10_000  # characters of an error that are kept

# `known` is a table of the connection: the tasks that this worker takes.
_KNOWN = " AND EXISTS (SELECT 1 FROM temp.known WHERE known.task = taskrun_job.task)"
_PROMOTE = "UPDATE taskrun_job SET state = 'ready' WHERE state = 'delayed' AND due_at <= ?"
_FIRST = (
    "SELECT id, task, args, attempt + 1, max_attempts, priority, enqueued_at, claim + 1 FROM taskrun_job "
    "WHERE state = 'ready'{known} ORDER BY priority DESC, id LIMIT ?"
)
_TAKE = """
    UPDATE taskrun_job SET state = 'running', worker = ?, attempt = attempt + 1, claim = claim + 1, claimed_at = ?
    WHERE id = ? AND state = 'ready'
"""
_HELD = "SELECT attempt, max_attempts, cancelling FROM taskrun_job WHERE id = ? AND worker = ? AND claim = ?"
_SETTLE = """
    UPDATE taskrun_job
    SET state = ?, worker = NULL, cancelling = 0, settled_at = ?, error = ?, result = ?
    WHERE id = ?
"""
_GIVE_BACK = """
    UPDATE taskrun_job
    SET state = ?, worker = NULL, cancelling = 0, attempt = attempt - ?, due_at = ?, error = coalesce(?, error)
    WHERE id = ?
"""
_UNBLOCK = """
    UPDATE taskrun_job SET state = CASE WHEN due_at > ? THEN 'delayed' ELSE 'ready' END
    WHERE state = 'blocked' AND after = ?
"""
_BLOCKED_BY = "SELECT id FROM taskrun_job WHERE state = 'blocked' AND after = ?"


class Claim(Value, frozen=True, kw_only=True):
    """A job in the hands of a worker; ``number`` and the worker's name are what settling it needs."""

    id: int
    task: str
    payload: bytes
    attempt: int
    max_attempts: int
    priority: int
    enqueued_at: float
    number: int


class Settlement(Value, frozen=True, kw_only=True):
    """How a claim ended; ``result`` is what the outcome says, as JSON."""

    id: int
    number: int
    outcome: JobOutcome
    result: bytes | None = None


class Clerk:
    """A worker's transactions.

    Args:
        worker: Its name.
        chance: For back-offs.
        tasks: Takes jobs of these alone; ``None``: of all.
    """

    def __init__(self, worker: str, chance: random.Random, tasks: Collection[str] | None = None) -> None:
        self._worker = worker
        self._chance = chance
        self._tasks = tasks
        self._known = "" if tasks is None else _KNOWN

    def prepare(self, database: sqlite3.Connection) -> None:
        """Tells a new connection which tasks are known: names by the thousand are too many for a statement."""
        if self._tasks is not None:
            database.execute("CREATE TEMP TABLE known (task TEXT PRIMARY KEY) WITHOUT ROWID")
            database.execute("BEGIN")
            database.executemany("INSERT OR IGNORE INTO temp.known VALUES (?)", [(task,) for task in self._tasks])
            database.execute("COMMIT")

    # --- taking ---

    def may_take(self, database: sqlite3.Connection, now: float) -> bool:
        """Whether there is anything to be taken; reads alone, so that idle workers do not write."""
        ready = f"SELECT 1 FROM taskrun_job WHERE state = 'ready'{self._known} LIMIT 1"  # noqa: S608 - ours
        due = "SELECT 1 FROM taskrun_job WHERE state = 'delayed' AND due_at <= ? LIMIT 1"
        return (
            database.execute(ready).fetchone() is not None
            or database.execute(due, (int(now * MICROSECONDS),)).fetchone() is not None
        )

    def retries_come(self, database: sqlite3.Connection) -> bool:
        """Whether a job that has been tried waits for its next attempt."""
        query = f"SELECT 1 FROM taskrun_job WHERE state = 'delayed' AND attempt > 0{self._known} LIMIT 1"  # noqa: S608 - ours
        return database.execute(query).fetchone() is not None

    def next_due(self, database: sqlite3.Connection) -> float | None:
        """When the next delayed job's time comes, in seconds since the epoch."""
        (due,) = database.execute("SELECT min(due_at) FROM taskrun_job WHERE state = 'delayed'").fetchone()
        return None if due is None else due / MICROSECONDS

    def take(self, database: sqlite3.Connection, count: int, now: float) -> list[Claim]:
        """Takes up to ``count`` jobs whose time has come; the attempt counts from here."""
        moment = int(now * MICROSECONDS)
        database.execute(_PROMOTE, (moment,))
        found = database.execute(_FIRST.format(known=self._known), (count,)).fetchall()
        database.executemany(_TAKE, [(self._worker, moment, row[0]) for row in found])
        return [
            Claim(
                id=row[0],
                task=row[1],
                payload=row[2],
                attempt=row[3],
                max_attempts=row[4],
                priority=row[5],
                enqueued_at=row[6] / MICROSECONDS,
                number=row[7],
            )
            for row in found
        ]

    def asked_to_stop(self, database: sqlite3.Connection) -> list[int]:
        """Jobs of this worker that somebody has cancelled."""
        query = "SELECT id FROM taskrun_job WHERE state = 'running' AND worker = ? AND cancelling = 1"
        return [row[0] for row in database.execute(query, (self._worker,))]

    # --- settling ---

    def settle(self, database: sqlite3.Connection, settlements: Iterable[Settlement], now: float) -> list[int]:
        """Records outcomes. Those of claims that are not this worker's any more change nothing, and are returned."""
        fenced = []
        for each in settlements:
            held = database.execute(_HELD, (each.id, self._worker, each.number)).fetchone()
            if held is None:
                fenced.append(each.id)
            else:
                self._end(database, each, held, now)
        return fenced

    def _end(
        self,
        database: sqlite3.Connection,
        settlement: Settlement,
        held: tuple[int, int, int],
        now: float,
    ) -> None:
        attempt, most, cancelling = held
        job, outcome = settlement.id, settlement.outcome
        match outcome:
            case Done():
                _settle(database, job, JobState.DONE, now, None, result=settlement.result)
            case Dead(error=error):
                _settle(database, job, JobState.DEAD, now, error)
            case Cancelled(error=error):
                _settle(database, job, JobState.CANCELLED, now, error)
            case Retry() | Released() if cancelling:
                _settle(database, job, JobState.CANCELLED, now, getattr(outcome, "error", "cancelled"))
            case Retry(error=error) if attempt >= most:
                _settle(database, job, JobState.DEAD, now, error)
            case Retry(error=error, delay=delay):
                wait = back_off(attempt, self._chance) if delay is None else max(delay, 0.0)
                _give_back(database, job, now, wait, counts=True, error=error)
            case Released():
                _give_back(database, job, now, 0.0, counts=False)

    # --- what dead workers leave ---

    def others(self, database: sqlite3.Connection) -> list[str]:
        """Workers, but this one, that have jobs."""
        query = "SELECT DISTINCT worker FROM taskrun_job WHERE state = 'running' AND worker <> ?"
        return [row[0] for row in database.execute(query, (self._worker,))]

    def give_back_of_dead(self, database: sqlite3.Connection, worker: str, now: float) -> list[int]:
        """Offers the jobs of a worker that has ended again at once; those without attempts left are dead."""
        query = "SELECT id, attempt, max_attempts, cancelling FROM taskrun_job WHERE state = 'running' AND worker = ?"
        found = database.execute(query, (worker,)).fetchall()
        for job, attempt, most, cancelling in found:
            error = f"the worker ended during attempt {attempt} of {most}"
            if cancelling:
                _settle(database, job, JobState.CANCELLED, now, f"cancelled; {error}")
            elif attempt >= most:
                _settle(database, job, JobState.DEAD, now, error)
            else:
                _give_back(database, job, now, 0.0, counts=True, error=error)
        return [row[0] for row in found]

    def give_back_unknown(
        self, database: sqlite3.Connection, held: Collection[tuple[int, int]], now: float
    ) -> list[int]:
        """Gives back claims of this worker that it does not know: of a commit that took effect but seemed to fail.

        Args:
            database: Where.
            held: Id and number of each claim that it knows.
            now: Seconds since the epoch.
        """
        query = "SELECT id, claim FROM taskrun_job WHERE state = 'running' AND worker = ?"
        lost = [row[0] for row in database.execute(query, (self._worker,)).fetchall() if tuple(row) not in held]
        for job in lost:
            _give_back(database, job, now, 0.0, counts=False)
        return lost


# --- what all ends of a job have in common ----------------------------------------------------------------------------


def _settle(
    database: sqlite3.Connection,
    job: int,
    state: JobState,
    now: float,
    error: str | None,
    *,
    result: bytes | None = None,
) -> None:
    moment = int(now * MICROSECONDS)
    database.execute(_SETTLE, (str(state), moment, _short(error), result, job))
    if state is JobState.DONE:
        database.execute(_UNBLOCK, (moment, job))
    elif state is JobState.CANCELLED:
        cancel_blocked(database, job, now)


def cancel_blocked(database: sqlite3.Connection, job: int, now: float, why: str = "is cancelled") -> int:
    """Cancels what would come after a job, and what would come after that. How many."""
    count = 0
    open_ends = [job]
    while open_ends:
        first = open_ends.pop()
        for (blocked,) in database.execute(_BLOCKED_BY, (first,)).fetchall():
            error = f"job {first}, after which it was to come, {why}"
            database.execute(_SETTLE, (str(JobState.CANCELLED), int(now * MICROSECONDS), error, None, blocked))
            open_ends.append(blocked)
            count += 1
        why = "is cancelled"
    return count


def _give_back(
    database: sqlite3.Connection, job: int, now: float, delay: float, *, counts: bool, error: str | None = None
) -> None:
    state = JobState.DELAYED if delay > 0 else JobState.READY
    due = int((now + delay) * MICROSECONDS)
    database.execute(_GIVE_BACK, (str(state), 0 if counts else 1, due, _short(error), job))


def _short(error: str | None) -> str | None:
    if error is None:
        return None
    error = error.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be stored
    return error if len(error) <= _LONGEST_ERROR else error[:_LONGEST_ERROR] + "…"
