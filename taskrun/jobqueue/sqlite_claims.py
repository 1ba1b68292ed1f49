"""What a worker does to jobs in SQLite: it takes them, settles them, and gives back those of dead workers.

All of it within transactions that somebody else begins and commits; it waits for nothing and wakes nobody. A claim is
known by its worker and its number, which only ever rises, also where an attempt is given back and does not count.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

from taskrun.jobqueue.accepting import FAR
from taskrun.jobqueue.backoff import back_off
from taskrun.jobqueue.carrying import Claim
from taskrun.jobqueue.room import Costs, Room
from taskrun.jobqueue.ticking import MICROSECONDS
from taskrun.jobqueue.values import Cancelled, Dead, Done, JobState, Retry
from taskrun.model import Value

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

    from taskrun.jobqueue.carrying import Settlement
    from taskrun.jobqueue.values import Allowance

_Row: TypeAlias = tuple[Any, ...]
_LONGEST_ERROR = 10_000  # characters of an error that are kept

_SKIPPED = 64  # jobs that do not fit, over which one looks before one looks task by task

_DUE = "SELECT 1 FROM taskrun_job WHERE state = 'delayed' AND due_at <= ? LIMIT 1"
_PROMOTE = """
    UPDATE taskrun_job SET state = 'ready'
    WHERE id IN (SELECT id FROM taskrun_job WHERE state = 'delayed' AND due_at <= ? ORDER BY due_at LIMIT ?)
"""
_PROMOTED = 1000  # jobs at once, so that a turn stays short; the next follows at once
_WAITING = (
    "SELECT id, task, args, attempt + 1, max_attempts, priority, enqueued_at, claim + 1 FROM taskrun_job "
    "WHERE state = 'ready'{} ORDER BY priority DESC, id"
)
_FIRST = _WAITING.format("")
_FIRST_OF_TASK = _WAITING.format(" AND task = ?") + " LIMIT ?"
_TASKS = """
    WITH RECURSIVE waiting (task) AS (
        SELECT min(task) FROM taskrun_job WHERE state = 'ready'
        UNION ALL
        SELECT (SELECT min(task) FROM taskrun_job WHERE state = 'ready' AND task > waiting.task)
        FROM waiting WHERE waiting.task IS NOT NULL
    )
    SELECT task FROM waiting WHERE task IS NOT NULL
"""
_ELSEWHERE = "SELECT task, count(*) FROM taskrun_job WHERE state = 'running' AND worker <> ? GROUP BY task"
_TAKE = """
    UPDATE taskrun_job SET state = 'running', worker = ?, attempt = attempt + 1, claim = claim + 1, claimed_at = ?
    WHERE id = ? AND state = 'ready'
"""
_SETTLE = """
    UPDATE taskrun_job
    SET state = ?, worker = NULL, cancelling = 0, settled_at = ?, error = ?, result = ?, run = ?
    WHERE id = ?
"""
_SETTLE_HELD = _SETTLE + " AND worker = ? AND claim = ?"
_HELD = "SELECT attempt, max_attempts, cancelling FROM taskrun_job WHERE id = ? AND worker = ? AND claim = ?"
_AGAIN = """
    UPDATE taskrun_job
    SET state = ?, worker = NULL, cancelling = 0, due_at = ?, error = ?, run = ?
    WHERE id = ?
"""
_RELEASE = """
    UPDATE taskrun_job
    SET state = 'ready', worker = NULL, cancelling = 0, due_at = ?, attempt = attempt - 1
    WHERE id = ?
"""
_UNBLOCK = """
    UPDATE taskrun_job SET state = CASE WHEN due_at > ? THEN 'delayed' ELSE 'ready' END
    WHERE state = 'blocked' AND after = ?
"""
_BLOCKED_BY = "SELECT id FROM taskrun_job WHERE state = 'blocked' AND after = ?"


class _End(Value, frozen=True, kw_only=True):
    state: JobState
    error: str | None = None
    result: bytes | None = None
    run: str | None = None


class Settled(Value, frozen=True, kw_only=True):
    """What has come of outcomes.

    Attributes:
        fenced: Jobs whose outcome changed nothing, since they are not this worker's any more.
        offers: Some job may be taken now or later that could not before.
    """

    fenced: list[int]
    offers: bool


class Clerk:
    """A worker's transactions.

    Args:
        worker: Its name.
        chance: For back-offs.
        allowance: What it takes.
    """

    def __init__(self, worker: str, chance: random.Random, allowance: Allowance) -> None:
        self._worker = worker
        self._chance = chance
        self.costs = Costs(allowance)

    # --- taking ---

    def may_take(self, database: sqlite3.Connection, running: Sequence[str], most: int, now: float) -> bool:
        """Whether there is anything to be taken; reads alone, so that idle workers do not write."""
        return bool(self._choose(database, running, most)) or _is_any(database, _DUE, int(now * MICROSECONDS))

    def take(self, database: sqlite3.Connection, running: Sequence[str], most: int, now: float) -> list[Claim]:
        """Takes up to ``most`` jobs whose time has come and for which there is room; the attempt counts from here.

        Args:
            database: Where.
            running: Tasks of the jobs that run in this worker.
            most: How many.
            now: Seconds since the epoch.
        """
        moment = int(now * MICROSECONDS)
        if _is_any(database, _DUE, moment):  # an UPDATE that changes nothing takes far longer than a look
            database.execute(_PROMOTE, (moment, _PROMOTED))
        found = self._choose(database, running, most)
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

    def _choose(self, database: sqlite3.Connection, running: Sequence[str], most: int) -> list[_Row]:
        """What is to be taken, in order."""
        room = self._room(database, running)
        chosen: list[_Row] = []
        skipped = 0
        with contextlib.closing(database.execute(_FIRST)) as waiting:
            for row in waiting:
                if room.admit(row[1]):
                    chosen.append(row)
                else:
                    skipped += 1
                if room.is_closed or len(chosen) >= most:
                    return chosen
                if skipped > _SKIPPED:
                    break
            else:
                return chosen
        return self._choose_by_task(database, self._room(database, running), most)

    def _choose_by_task(self, database: sqlite3.Connection, room: Room, most: int) -> list[_Row]:
        """The same, where many stand before it that do not fit: of each task only the first are looked at."""
        waiting: list[_Row] = []
        for task in self._tasks_ready(database):
            count = most if room.may_admit(task) else 1
            waiting += database.execute(_FIRST_OF_TASK, (task, count)).fetchall()
        waiting.sort(key=lambda row: (-row[5], row[0]))
        return [row for row in waiting if room.admit(row[1])][:most]

    def _room(self, database: sqlite3.Connection, running: Sequence[str]) -> Room:
        elsewhere = dict(database.execute(_ELSEWHERE, (self._worker,))) if self.costs.shares_limits else {}
        return Room(self.costs, running, elsewhere)

    def _tasks_ready(self, database: sqlite3.Connection) -> list[str]:
        """Tasks of this worker's of which a job is ready."""
        return [task for (task,) in database.execute(_TASKS).fetchall() if self.costs.of(task) is not None]

    # --- looking ---

    def is_drained(self, database: sqlite3.Connection) -> bool:
        """Whether nothing of its tasks is ready, and no job of theirs that has been tried waits for another attempt."""
        if self._tasks_ready(database):
            return False
        tried = database.execute("SELECT DISTINCT task FROM taskrun_job WHERE state = 'delayed' AND attempt > 0")
        return all(self.costs.of(task) is None for (task,) in tried.fetchall())

    def next_due(self, database: sqlite3.Connection) -> float | None:
        """When the next delayed job's time comes, in seconds since the epoch."""
        (due,) = database.execute("SELECT min(due_at) FROM taskrun_job WHERE state = 'delayed'").fetchone()
        return None if due is None else due / MICROSECONDS

    def asked_to_stop(self, database: sqlite3.Connection) -> list[int]:
        """Jobs of this worker that somebody has cancelled."""
        query = "SELECT id FROM taskrun_job WHERE state = 'running' AND worker = ? AND cancelling = 1"
        return [row[0] for row in database.execute(query, (self._worker,))]

    # --- settling ---

    def settle(self, database: sqlite3.Connection, settlements: Iterable[Settlement], now: float) -> Settled:
        """Records outcomes; those of claims that are not this worker's any more change nothing."""
        fenced: list[int] = []
        offers = False
        for each in settlements:
            offered = self._end(database, each, now)
            if offered is None:
                fenced.append(each.id)
            else:
                offers |= offered
        return Settled(fenced=fenced, offers=offers)

    def _end(self, database: sqlite3.Connection, settlement: Settlement, now: float) -> bool | None:
        """Whether that offers a job; ``None``: the claim is not this worker's any more."""
        job, outcome, number = settlement.id, settlement.outcome, settlement.number
        run = getattr(outcome, "run", None)
        match outcome:
            case Done():
                end = _End(state=JobState.DONE, run=run, result=settlement.result)
            case Dead(error=error):
                end = _End(state=JobState.DEAD, run=run, error=error)
            case Cancelled(error=error):
                end = _End(state=JobState.CANCELLED, run=run, error=error)
            case _:
                held = database.execute(_HELD, (job, self._worker, number)).fetchone()
                return None if held is None else self._give_back(database, settlement, held, now)
        return _settle(database, job, end, now, holder=(self._worker, number))

    def _give_back(
        self, database: sqlite3.Connection, settlement: Settlement, held: tuple[int, int, int], now: float
    ) -> bool | None:
        attempt, most, cancelling = held
        job, outcome = settlement.id, settlement.outcome
        run, error = getattr(outcome, "run", None), getattr(outcome, "error", "cancelled")
        if cancelling:
            return _settle(database, job, _End(state=JobState.CANCELLED, run=run, error=error), now)
        if not isinstance(outcome, Retry):
            database.execute(_RELEASE, (int(now * MICROSECONDS), job))
            return True
        if attempt >= most:
            return _settle(database, job, _End(state=JobState.DEAD, run=run, error=error), now)
        wait = self._wait(attempt, outcome.delay)
        _offer_again(database, job, now + wait, error, is_due=not wait, run=run)
        return True

    def _wait(self, attempt: int, delay: float | None) -> float:
        if delay is None or delay != delay:  # noqa: PLR0124 - not a number
            return back_off(attempt, self._chance)
        return min(max(delay, 0.0), FAR)

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
                _settle(database, job, _End(state=JobState.CANCELLED, error=f"cancelled; {error}"), now)
            elif attempt >= most:
                _settle(database, job, _End(state=JobState.DEAD, error=error), now)
            else:
                _offer_again(database, job, now, error, is_due=True)
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
            database.execute(_RELEASE, (int(now * MICROSECONDS), job))
        return lost


# --- what all ends of a job have in common ----------------------------------------------------------------------------


def _settle(
    database: sqlite3.Connection, job: int, end: _End, now: float, *, holder: tuple[str, int] | None = None
) -> bool | None:
    """Whether that offers a job; ``None``: the claim is no more its ``holder``'s: a worker's name, and a number."""
    moment = int(now * MICROSECONDS)
    values = (end.state.value, moment, _short(end.error), end.result, _short(end.run), job)
    if holder is None:
        database.execute(_SETTLE, values)
    elif not database.execute(_SETTLE_HELD, values + holder).rowcount:
        return None
    if end.state is JobState.DONE and _is_any(database, _BLOCKED_BY, job):
        database.execute(_UNBLOCK, (moment, job))
        return True
    if end.state is JobState.CANCELLED:
        cancel_blocked(database, job, now)
    return False


def cancel_blocked(database: sqlite3.Connection, job: int, now: float, why: str = "is cancelled") -> int:
    """Cancels what would come after a job, and what would come after that. How many."""
    count = 0
    open_ends = [job]
    while open_ends:
        first = open_ends.pop()
        for (blocked,) in database.execute(_BLOCKED_BY, (first,)).fetchall():
            error = f"job {first}, after which it was to come, {why}"
            database.execute(_SETTLE, (JobState.CANCELLED.value, int(now * MICROSECONDS), error, None, None, blocked))
            open_ends.append(blocked)
            count += 1
        why = "is cancelled"
    return count


def _offer_again(
    database: sqlite3.Connection, job: int, due: float, error: str, *, is_due: bool, run: str | None = None
) -> None:
    state = JobState.READY if is_due else JobState.DELAYED
    database.execute(_AGAIN, (state.value, int(due * MICROSECONDS), _short(error), _short(run), job))


def _is_any(database: sqlite3.Connection, query: str, *values: object) -> bool:
    return database.execute(query, values).fetchone() is not None


def _short(error: str | None) -> str | None:
    if error is None:
        return None
    error = error.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be stored
    return error if len(error) <= _LONGEST_ERROR else error[:_LONGEST_ERROR] + "…"
