"""Storing jobs from a program of one's own, such as a web application: found, checked and kept as on the command line.

What was read is kept while the file is the same one. Safe in threads, and in processes that fork.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from taskrun.jobqueue.values import NewJob
from taskrun.model import Value

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from taskrun.config.project import Project
    from taskrun.jobqueue.values import Duplicate, JobId, QueueEngine, Stored


def enqueue(
    task: str,
    args: Mapping[str, str | float | bool | os.PathLike[str]] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    delay: float | dt.timedelta = 0.0,
    at: float | dt.datetime | None = None,
    priority: int = 0,
    unique: str | None = None,
    max_attempts: int = 3,
    after: JobId | None = None,
    connection: Any = None,
) -> Stored | Duplicate:
    """Stores a job, and wakes a worker. When it returns, the job survives SIGKILL and a power failure.

    Args:
        task: A task of the file, or an instance of one as ``task[key=value]``.
        args: What ``KEY=VALUE`` is on the command line: checked against `[vars]`. Others become arguments of a Python
            function, which only the worker checks.
        file: The project's file; else it is found as on the command line, from the working directory.
        delay: Seconds from now, or a ``timedelta``, before which no worker takes it.
        at: Seconds since the epoch, or a ``datetime``, before which none takes it; of the two the later counts.
        priority: The higher goes first.
        unique: While a job that is not settled has this key, nothing is stored, and ``Duplicate`` has its id.
        max_attempts: How often it is tried, attempts that die with their worker included.
        after: The job that has to be done first.
        connection: Of the application's, to the database that is the queue (``sqlite3.Connection``, or
            ``psycopg.Connection``): the job is stored in its transaction, and there if it commits. Call ``wake`` then;
            else workers see it within a second.

    Raises:
        UsageError: There is no such task, KEY or value, or no file.
        NothingMatched: No instance is so.
        ProjectError: The file has mistakes.
        NoSuchJob: That of ``after``.
        ResourceError: The queue is locked (``QueueBusy``), full, or out of reach.
    """
    import datetime as dt

    from taskrun.jobqueue.moments import timestamp_of

    job = NewJob(
        task=task,
        args=dict(args or {}),
        delay=delay.total_seconds() if hasattr(delay, "total_seconds") else delay,
        at=timestamp_of(at) if isinstance(at, dt.datetime) else at,
        priority=priority,
        unique=unique,
        max_attempts=max_attempts,
        after=after,
    )
    (stored,) = enqueue_many((job,), file=file, connection=connection)
    return stored


def enqueue_many(
    jobs: Iterable[NewJob], *, file: str | os.PathLike[str] | None = None, connection: Any = None
) -> list[Stored | Duplicate]:
    """Stores all of the jobs or none, in one transaction; see ``enqueue``. An answer for each, in order."""
    from taskrun.config import working_directory
    from taskrun.jobqueue.enqueueing import JobChecker

    place = _place_of(file)
    checker = JobChecker(place.project, os.environ, working_directory())
    checked = [checker.check(job).job for job in jobs]
    return place.queue.enqueue(checked, connection=connection) if checked else []


def wake(*, file: str | os.PathLike[str] | None = None) -> None:
    """Tells the workers that there may be something: for after the commit of a transaction of one's own."""
    _place_of(file).queue.wake()


class _Place(Value, frozen=True, kw_only=True):
    """A project's file as it was read, and its queue.

    Attributes:
        version: What of the file changes when it does.
    """

    version: tuple[int, ...]
    project: Any
    queue: Any


_places: dict[str, _Place] = {}
_queues: dict[str, QueueEngine] = {}
_lock = threading.Lock()


def _renew_lock() -> None:
    """In a forked child: another thread may have held it, and is not there."""
    global _lock  # noqa: PLW0603 - there is one for the module
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _place_of(file: str | os.PathLike[str] | None) -> _Place:
    """The project and its queue; the file is read again when it has changed."""
    from taskrun import config
    from taskrun.jobqueue.opening import location_of, make_place

    found = config.find(None if file is None else os.fspath(file), os.environ)
    status = os.stat(found.path)
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    with _lock:
        known = _places.get(found.path)
    if known is not None and known.version == version:
        project: Project = known.project
        if known.queue is _queues.get(location_of(project, os.environ)):  # $TASKRUN_QUEUE may say another
            return known
    else:
        project = config.load(found)
    location = make_place(project, os.environ)
    with _lock:
        queue = _queues.get(location)
        if queue is None:
            from taskrun.jobqueue.opening import open_queue

            queue = _queues[location] = open_queue(location)
        place = _places[found.path] = _Place(version=version, project=project, queue=queue)
    return place
