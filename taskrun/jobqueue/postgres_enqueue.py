"""Stores jobs on a PostgreSQL server, within a transaction that somebody else has begun and commits."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, TypeAlias

from taskrun.jobqueue.accepting import checked as checked_anyway
from taskrun.jobqueue.postgres_library import FAR, Deferred, Library
from taskrun.jobqueue.values import Duplicate, JobState, NoSuchJob, Stored
from taskrun.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

    from taskrun.jobqueue.values import NewJob

_LARGEST = 2**31 - 1  # of procrastinate's priorities
_LONGEST = 2000  # bytes of what an index holds
NEVER = dt.datetime.fromisoformat(FAR)
"""When jobs that wait for another one are due, for procrastinate."""


# Two that store the same key wait for each other, and the second sees what the first has stored. Numbers are taken in
# their order, so that nobody waits for one who waits for him.
_LOCK_KEYS = """
    SELECT pg_advisory_xact_lock(number) FROM (
        SELECT DISTINCT hashtextextended(key, 0) AS number FROM unnest(%s::text[]) AS key ORDER BY number) AS numbers
"""
_SAME_KEYS = "SELECT unique_key, id FROM taskrun_job WHERE unique_key = ANY(%s) AND settled_at IS NULL"
# Who settles such a job waits until we have committed, and then sees what waits for it.
_OTHERS = "SELECT id, state FROM taskrun_job WHERE id = ANY(%s) ORDER BY id FOR SHARE"
_INSERT = """
    INSERT INTO taskrun_job (id, task, args, state, priority, due_at, max_attempts, unique_key, after, enqueued_at)
    SELECT id, task, args, state, priority, coalesce(due, now()), most, key, after, now() FROM unnest(
        %s::bigint[], %s::text[], %s::bytea[], %s::text[], %s::integer[], %s::timestamptz[], %s::bigint[], %s::text[],
        %s::bigint[]) AS job (id, task, args, state, priority, due, most, key, after)
"""
_New: TypeAlias = "tuple[NewJob, bytes, JobState, dt.datetime | None]"  # when it is due; None: now


def checked(jobs: Sequence[NewJob]) -> list[tuple[NewJob, bytes]]:
    """The jobs with their arguments as JSON.

    Raises:
        UsageError: One is not well-formed, or is more than this engine can store.
    """
    for job in jobs:
        for text in (job.task, job.unique or ""):
            if "\0" in text or len(text.encode(errors="replace")) > _LONGEST:
                raise UsageError(f"a task's name and a unique key have at most {_LONGEST} bytes, none of which is zero")
        if not -_LARGEST <= job.priority <= _LARGEST:
            raise UsageError(f"the priority {job.priority} is beyond 32 bits, which is what procrastinate has")
    return checked_anyway(jobs)


def insert(connection: Connection[Any], jobs: Sequence[tuple[NewJob, bytes]]) -> list[Stored | Duplicate]:
    """Stores them, and says under which ids. The insertion wakes workers when it is committed.

    Raises:
        NoSuchJob, UsageError: One comes after a job that is not there, or is cancelled; nothing was stored.
    """
    is_timed = any(job.delay or job.at is not None for job, _args in jobs)
    now = moment_of(connection) if is_timed else 0.0
    held = _keys(connection, {job.unique for job, _args in jobs if job.unique is not None})
    others = _others(connection, {job.after for job, _args in jobs if job.after is not None})
    new: list[_New] = []
    places: list[int | str] = []  # in `new`, or a key
    begun: set[str] = set()
    for job, args in jobs:
        if job.unique is not None and (job.unique in held or job.unique in begun):
            places.append(job.unique)
            continue
        due = max(now + job.delay, now if job.at is None else job.at)
        is_later = due > now
        state = JobState.DELAYED if is_later else JobState.READY
        if job.after is not None and _waits_for(others, job.after):
            state = JobState.BLOCKED
        if job.unique is not None:
            begun.add(job.unique)
        places.append(len(new))
        new.append((job, args, state, datetime_of(due) if is_later else None))
    ids = _store(connection, new)
    held.update({job.unique: ids[place] for place, (job, *_rest) in enumerate(new) if job.unique is not None})
    return [Stored(id=ids[place]) if isinstance(place, int) else Duplicate(id=held[place]) for place in places]


def moment_of(connection: Connection[Any]) -> float:
    """The server's clock at the beginning of the transaction, in seconds since the epoch."""
    row = connection.execute("SELECT extract(epoch FROM now())::float8").fetchone()
    assert row is not None
    return float(row[0])


def datetime_of(moment: float) -> dt.datetime:
    """What procrastinate stores of a time; those after the year 9998 are one."""
    try:
        found = dt.datetime.fromtimestamp(moment, dt.UTC)
    except (OverflowError, ValueError):
        return NEVER
    return min(found, NEVER)


def _keys(connection: Connection[Any], keys: Iterable[str]) -> dict[str, int]:
    names = sorted(keys)
    if not names:
        return {}
    connection.execute(_LOCK_KEYS, ([f"taskrun {name}" for name in names],))
    return dict(connection.execute(_SAME_KEYS, (names,)).fetchall())


def lock_key(connection: Connection[Any], key: str) -> int | None:
    """Keeps others from storing a job with that key until the transaction ends; the job that has it, if one has."""
    return _keys(connection, [key]).get(key)


def _others(connection: Connection[Any], jobs: Iterable[int]) -> dict[int, str]:
    ids = list(jobs)
    return dict(connection.execute(_OTHERS, (ids,)).fetchall()) if ids else {}


def _waits_for(others: dict[int, str], other: int) -> bool:
    if other not in others:
        raise NoSuchJob(f"there is no job {other} to come after; settled ones are forgotten after a while")
    if others[other] == JobState.CANCELLED:
        raise UsageError(f"nothing can come after job {other}, which is cancelled")
    return others[other] != JobState.DONE


def _store(connection: Connection[Any], new: Sequence[_New]) -> list[int]:
    if not new:
        return []
    dues = [NEVER if state is JobState.BLOCKED else due for _job, _args, state, due in new]
    ids = Library(connection).defer(
        [Deferred(task=each[0].task, priority=each[0].priority, due=due) for each, due in zip(new, dues, strict=True)]
    )
    rows = [
        (number, job.task, args, str(state), job.priority, due, job.max_attempts, job.unique, job.after)
        for number, (job, args, state, due) in zip(ids, new, strict=True)
    ]
    connection.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)])
    return ids
