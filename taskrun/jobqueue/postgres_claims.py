"""What a worker does to jobs on a PostgreSQL server: it takes them, settles them, and gives back those of dead workers.

All of it within transactions that somebody else begins and commits. procrastinate hands a job out and is told how it
ended; what is known beside that changes in the same transaction. A claim is known by its worker and its number, which
only ever rises, also where an attempt is given back and does not count.

Whoever changes a job locks procrastinate's row first and ours afterwards, several in the order of their ids: so do
workers that take jobs, and two that want the same never wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from procrastinate.jobs import Status

from taskrun.jobqueue.carrying import Claim
from taskrun.jobqueue.postgres_endings import Ending, ending, ending_with_worker
from taskrun.jobqueue.postgres_enqueue import NEVER, datetime_of, moment_of
from taskrun.jobqueue.postgres_library import Library
from taskrun.jobqueue.values import JobState
from taskrun.model import Value

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable, Sequence

    from psycopg import Connection

    from taskrun.jobqueue.carrying import Settlement

# The first jobs of each task of which any is ready: from one task to the next by the index, and never over all jobs.
_LOOK: LiteralString = """
    WITH RECURSIVE kind (task) AS (
        (SELECT task FROM taskrun_job WHERE state = 'ready' ORDER BY task LIMIT 1)
        UNION ALL
        SELECT (SELECT task FROM taskrun_job WHERE state = 'ready' AND task > kind.task ORDER BY task LIMIT 1)
        FROM kind WHERE kind.task IS NOT NULL
    )
    SELECT first.id, kind.task FROM kind
    CROSS JOIN LATERAL (
        SELECT id, priority FROM taskrun_job
        WHERE state = 'ready' AND task = kind.task ORDER BY priority DESC, id LIMIT %s) AS first
    WHERE kind.task IS NOT NULL ORDER BY first.priority DESC, first.id
"""
_STANDING = """
    SELECT due, job.id, job.claim, job.cancelling
    FROM (SELECT extract(epoch FROM min(due_at) - now())::float8 FROM taskrun_job WHERE state = 'delayed') AS next (due)
    LEFT JOIN taskrun_job AS job ON job.state = 'running' AND job.worker = %s
"""
# Nobody takes a worker for dead while it takes a job: who does waits for this, and then finds the job as well.
_STAND = """
    SELECT EXISTS (SELECT FROM taskrun_job WHERE state = 'delayed' AND due_at <= now())
    FROM taskrun_worker WHERE name = %s FOR KEY SHARE
"""
_COMING = """
    SELECT DISTINCT task FROM taskrun_job WHERE state = 'ready' OR state = 'delayed' AND attempt > 0
"""
_MINE = "SELECT id, claim, cancelling FROM taskrun_job WHERE state = 'running' AND worker = %s"
_DUE = "SELECT id FROM taskrun_job WHERE state = 'delayed' AND due_at <= now() ORDER BY due_at LIMIT %s"
_PROMOTE = """
    UPDATE taskrun_job SET state = 'ready' WHERE id = ANY(%s) AND state = 'delayed' AND due_at <= now()
    RETURNING id, priority
"""
_PROMOTED = 1000  # jobs at once, so that a turn stays short; the next follows at once
_TAKE = """
    UPDATE taskrun_job
    SET state = 'running', worker = %s, attempt = attempt + 1, claim = claim + 1, claimed_at = now()
    WHERE id = %s AND state = 'ready'
    RETURNING id, task, args, attempt, max_attempts, priority, extract(epoch FROM enqueued_at)::float8, claim
"""
_LOST = "SELECT id FROM taskrun_job WHERE id = ANY(%s) AND state = 'ready' ORDER BY id FOR UPDATE SKIP LOCKED"
_HELD = """
    SELECT id, claim, attempt, max_attempts, cancelling FROM taskrun_job
    WHERE id = ANY(%s) AND state = 'running' AND worker = %s ORDER BY id
"""
_SETTLE = """
    UPDATE taskrun_job
    SET state = %s, worker = NULL, cancelling = false, settled_at = now(), error = %s, result = %s, run = %s
    WHERE id = %s
"""
_GIVE_BACK = """
    UPDATE taskrun_job
    SET state = %s, worker = NULL, cancelling = false, attempt = attempt - %s::boolean::integer,
        due_at = coalesce(%s, now()), error = coalesce(%s, error), run = CASE WHEN %s THEN %s ELSE run END
    WHERE id = %s
"""
_UNBLOCK = """
    UPDATE taskrun_job SET state = CASE WHEN due_at > now() THEN 'delayed' ELSE 'ready' END
    WHERE state = 'blocked' AND id = ANY(%s) RETURNING id, priority, CASE WHEN due_at > now() THEN due_at END
"""
_BLOCKED_BY = "SELECT id FROM taskrun_job WHERE state = 'blocked' AND after = %s ORDER BY id"
_STATUSES = {JobState.DONE: Status.SUCCEEDED, JobState.DEAD: Status.FAILED, JobState.CANCELLED: Status.ABORTED}


class Standing(Value, frozen=True, kw_only=True):
    """How it stands for a worker.

    Attributes:
        due: Seconds until the next delayed job; ``None``: there is none.
        running: Number of the claim, by job, of what the server says this worker has.
        cancelling: Jobs of this worker that somebody has cancelled.
    """

    due: float | None
    running: dict[int, int]
    cancelling: list[int]


class _End(Value, frozen=True, kw_only=True):
    job: int
    status: str | None  # procrastinate's; None: another program has deleted its row
    how: Ending
    result: bytes | None = None


def standing(connection: Connection[Any], worker: str) -> Standing:
    """Reads how it stands."""
    rows = connection.execute(_STANDING, (worker,)).fetchall()
    return Standing(
        due=rows[0][0],
        running={job: claim for _due, job, claim, _cancelling in rows if job is not None},
        cancelling=[job for _due, job, _claim, cancelling in rows if cancelling],
    )


def stand(connection: Connection[Any], worker: str) -> bool | None:
    """Keeps a worker from being taken for dead until the transaction ends, and says whether delayed jobs are due.

    Returns:
        ``None`` if it was taken for dead.
    """
    row = connection.execute(_STAND, (worker,)).fetchone()
    return None if row is None else bool(row[0])


def candidates(connection: Connection[Any], count: int) -> list[tuple[int, str]]:
    """Id and task of jobs that could be taken, the first first: of each task up to ``count``."""
    return connection.execute(_LOOK, (count,)).fetchall()


def coming(connection: Connection[Any]) -> list[str]:
    """Tasks of which a job is ready, or was tried and waits for its next attempt."""
    return [row[0] for row in connection.execute(_COMING).fetchall()]


def promote(connection: Connection[Any]) -> bool:
    """Makes those ready whose time has come, for good: also if the clock is set back then. Whether there were any."""
    due = [row[0] for row in connection.execute(_DUE, (_PROMOTED,)).fetchall()]
    if not due:
        return False
    library = Library(connection)
    library.hold(due)
    promoted = connection.execute(_PROMOTE, (due,)).fetchall()
    library.reschedule([(job, priority, None) for job, priority in promoted])
    return bool(promoted)


def take_each(connection: Connection[Any], chosen: Iterable[tuple[int, str]], worker: str, number: int) -> list[Claim]:
    """Takes a job of each task that is named, mostly the one that was seen; the attempt counts from here.

    Args:
        connection: Where.
        chosen: Id and task of each.
        worker: Its name.
        number: procrastinate's number of it.
    """
    library = Library(connection)
    claims: list[Claim] = []
    missed: list[int] = []
    for job, task in chosen:
        fetched = library.fetch(task, number)
        if fetched is None:
            missed.append(job)
            continue
        row = connection.execute(_TAKE, (worker, fetched)).fetchone()
        if row is None:
            _put_back(connection, fetched)
            continue
        names = ("id", "task", "payload", "attempt", "max_attempts", "priority", "enqueued_at", "number")
        claims.append(Claim(**dict(zip(names, row, strict=True))))
    if missed:
        _bury_lost(connection, missed)
    return claims


def _put_back(connection: Connection[Any], job: int) -> None:
    """What procrastinate hands out although it is not ready: another program has changed its row."""
    library = Library(connection)
    row = connection.execute("SELECT state, due_at FROM taskrun_job WHERE id = %s", (job,)).fetchone()
    state = None if row is None else JobState(row[0])
    if row is not None and state in {JobState.DELAYED, JobState.BLOCKED}:
        library.offer_again(job, row[1] if state is JobState.DELAYED else NEVER)
    elif state is not JobState.RUNNING:  # else it is as it should be again
        library.finish(job, Status.FAILED)


def _bury_lost(connection: Connection[Any], jobs: Sequence[int]) -> None:
    """Jobs that are ready, and that procrastinate would never hand out, since another program has changed its row."""
    waiting = [row[0] for row in connection.execute(_LOST, (list(jobs),)).fetchall()]
    there = Library(connection).untaken(waiting) if waiting else set()
    error = "another program has taken it from procrastinate's tables, or deleted it there"
    for job in waiting:
        if job not in there:
            _settle(connection, _End(job=job, status=None, how=Ending(state=JobState.DEAD, error=error)))


def settle(
    connection: Connection[Any], settlements: Sequence[Settlement], worker: str, chance: random.Random
) -> list[int]:
    """Records outcomes. Those of claims that are not this worker's any more change nothing, and are returned."""
    if not settlements:
        return []
    jobs = [each.id for each in settlements]
    statuses = Library(connection).hold(jobs)
    rows = connection.execute(_HELD, (jobs, worker)).fetchall()
    held = {(row[0], row[1]): row[2:] for row in rows}
    fenced: list[int] = []
    ends: list[_End] = []
    for each in sorted(settlements, key=lambda settlement: settlement.id):
        row = held.pop((each.id, each.number), None)
        if row is None:
            fenced.append(each.id)
            continue
        attempt, most, cancelling = row
        how = ending(each.outcome, attempt, most, cancelling=cancelling, chance=chance)
        ends.append(_End(job=each.id, status=statuses.get(each.id), how=how, result=each.result))
    _end(connection, ends)
    return fenced


def without_ours(connection: Connection[Any], fenced: Sequence[int], settlements: Sequence[Settlement]) -> list[int]:
    """Of refused outcomes those that nobody else has claimed since were recorded by a commit that seemed to fail."""
    rows = connection.execute("SELECT id, claim FROM taskrun_job WHERE id = ANY(%s)", (list(fenced),)).fetchall()
    return [job for job in fenced if (job, dict(rows).get(job)) not in {(each.id, each.number) for each in settlements}]


def give_back(connection: Connection[Any], worker: str, known: Collection[tuple[int, int]] | None) -> list[int]:
    """Gives jobs of a worker back.

    Args:
        connection: Where.
        worker: Its name.
        known: ``None``: it is dead. Else id and number of the claims that it knows: others are of a commit that took
            effect though it seemed to fail, and do not count.
    """
    rows = connection.execute(_MINE, (worker,)).fetchall()
    jobs = [job for job, claim, _cancelling in rows if known is None or (job, claim) not in known]
    if not jobs:
        return []
    statuses = Library(connection).hold(jobs)
    ends: list[_End] = []
    for job, _claim, attempt, most, cancelling in connection.execute(_HELD, (jobs, worker)).fetchall():
        how = Ending(state=JobState.CANCELLED if cancelling else JobState.READY, counts=cancelling)
        if known is None:
            how = ending_with_worker(attempt, most, cancelling=cancelling)
        ends.append(_End(job=job, status=statuses.get(job), how=how))
    _end(connection, ends)
    return jobs


def _end(connection: Connection[Any], ends: Sequence[_End]) -> None:
    """Attempts at running jobs have ended."""
    if not ends:
        return
    library = Library(connection)
    now = moment_of(connection) if any(each.how.state is JobState.DELAYED for each in ends) else 0.0
    with library.at_once():
        for each in ends:
            if each.status not in {None, Status.DOING.value}:
                library.mend(each.job)
            if each.how.state.settled:
                _settle(connection, each)
            else:
                _give_back(connection, each, now)
    for each in ends:
        if each.how.state is JobState.DONE:
            _unblock(connection, each.job)
        elif each.how.state is JobState.CANCELLED:
            cancel_blocked(connection, each.job)


def _settle(connection: Connection[Any], end: _End) -> None:
    if end.status is not None:
        Library(connection).finish(end.job, _STATUSES[end.how.state])
    connection.execute(_SETTLE, (str(end.how.state), end.how.error, end.result, end.how.run, end.job))


def _give_back(connection: Connection[Any], end: _End, now: float) -> None:
    how = end.how
    library = Library(connection)
    due = datetime_of(now + how.delay) if how.state is JobState.DELAYED else None
    connection.execute(_GIVE_BACK, (str(how.state), not how.counts, due, how.error, how.counts, how.run, end.job))
    if end.status is not None:
        library.offer_again(end.job, due)
    library.notify(end.job)


def _unblock(connection: Connection[Any], job: int) -> None:
    blocked = [row[0] for row in connection.execute(_BLOCKED_BY, (job,)).fetchall()]
    if blocked:
        library = Library(connection)
        library.hold(blocked)
        library.reschedule(connection.execute(_UNBLOCK, (blocked,)).fetchall())
        library.notify(blocked[0])


def cancel_blocked(connection: Connection[Any], job: int, why: str = "is cancelled") -> int:
    """Cancels what would come after a job, and what would come after that. How many."""
    library = Library(connection)
    count = 0
    open_ends = [job]
    while open_ends:
        first = open_ends.pop()
        found = [row[0] for row in connection.execute(_BLOCKED_BY, (first,)).fetchall()]
        library.hold(found)
        for (blocked,) in connection.execute(_BLOCKED_BY, (first,)).fetchall() if found else ():
            library.cancel(blocked, running=False)
            error = f"job {first}, after which it was to come, {why}"
            connection.execute(_SETTLE, (str(JobState.CANCELLED), error, None, None, blocked))
            open_ends.append(blocked)
            count += 1
        why = "is cancelled"
    return count
