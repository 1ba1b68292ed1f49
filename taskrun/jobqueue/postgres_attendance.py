"""That a worker on a PostgreSQL server lives: it says so again and again, and listens for jobs on the same connection.

Who lives is judged by clocks that nobody sets: each worker counts its heartbeats in a row of its own, and another one
believes it dead when it has seen that count stand still for as long as the limit says, by its own monotonic clock, and
without a gap in its looking. The worker itself stops its jobs somewhat earlier, counted from before the last heartbeat
that succeeded. Neither the server's clock nor a machine that slept makes two workers carry out the same job.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from typing import TYPE_CHECKING

from taskrun.jobqueue.postgres_claims import give_back
from taskrun.jobqueue.postgres_library import CHANNEL, Library
from taskrun.model import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskrun.jobqueue.postgres_database import PostgresDatabase

LIMIT = 30.0  # seconds without a heartbeat after which a worker is believed dead
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # it goes on while the machine sleeps

_ENTER = "INSERT INTO taskrun_worker (name, number, beats, beat_at) VALUES (%s, %s, 0, now())"
_BEAT = "UPDATE taskrun_worker SET beats = beats + 1, beat_at = now(), number = %s WHERE name = %s"
_LEAVE = """
    DELETE FROM taskrun_worker WHERE name = %s
    AND NOT EXISTS (SELECT FROM taskrun_job WHERE state = 'running' AND worker = %s)
"""
_ALL = """
    SELECT coalesce(taskrun_worker.name, busy.worker), beats FROM taskrun_worker
    FULL JOIN (SELECT DISTINCT worker FROM taskrun_job WHERE state = 'running') AS busy
    ON busy.worker = taskrun_worker.name
"""
_SAME = "SELECT number FROM taskrun_worker WHERE name = %s AND beats IS NOT DISTINCT FROM %s FOR UPDATE"


def steady() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class Identity(Value, frozen=True, kw_only=True):
    """Which worker it is.

    Attributes:
        name: Ours; no other worker ever has it.
        number: procrastinate's.
    """

    name: str
    number: int


class Attendance:
    """This worker's heartbeat, and its ear.

    Args:
        database: A connection of its own.
        limit: Seconds without a heartbeat after which others believe it dead.
        clock: Seconds of a clock that nobody sets.
    """

    def __init__(self, database: PostgresDatabase, limit: float, clock: Callable[[], float] = steady) -> None:
        self._database = database
        self._clock = clock
        self._good = -limit
        self.limit = limit
        self.interval = limit / 3
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """Who it is; another one after it was believed dead."""
        assert self._identity is not None, "it has not entered"
        return self._identity

    def left(self) -> float:
        """Seconds for which its jobs are certainly its own; there is some time to stop them beyond that."""
        return self._good + self.limit * 5 / 6 - self._clock()

    # --- with the server, in a thread ---

    def enter(self) -> None:
        """Begins to live, and to listen."""
        began = self._clock()
        with self._database.writing() as connection:
            identity = Identity(name=_new_name(), number=Library(connection).register())
            connection.execute(_ENTER, (identity.name, identity.number))
        with self._database.reading() as connection:
            connection.execute(f'LISTEN "{CHANNEL}"')
        self._identity, self._good = identity, began

    def beat(self) -> bool:
        """A heartbeat, on a connection that listens. Whether it was in time; else all its claims are void.

        Raises:
            QueueBusy, QueueUnwritable: There was none.
        """
        began = self._clock()
        identity = self.identity
        with self._database.reading() as connection:
            connection.execute(f'LISTEN "{CHANNEL}"')  # it may be a new connection
        with self._database.writing() as connection:
            library = Library(connection)
            if not library.beat(identity.number):
                identity = Identity(name=identity.name, number=library.register())
            updated = connection.execute(_BEAT, (identity.number, identity.name)).rowcount
        if not updated:
            self.enter()
            return False
        self._identity, self._good = identity, began
        return True

    def leave(self) -> None:
        """Is gone; jobs that it could not give back are given back by others, in time."""
        if self._identity is not None:
            with self._database.writing() as connection:
                connection.execute(_LEAVE, (self._identity.name, self._identity.name))
                Library(connection).unregister(self._identity.number)

    # --- without waiting ---

    @property
    def descriptor(self) -> int | None:
        """Readable when it was woken, or when the connection is lost; ``None``: there is none."""
        return self._database.descriptor

    def listen(self) -> None:
        """Takes what has arrived; never waits.

        Raises:
            QueueUnwritable: The connection is lost.
        """
        self._database.hear()

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()


class Watch:
    """Sees which other workers have stood still.

    Args:
        limit: For so many seconds.
        clock: Seconds of a clock that nobody sets.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = steady) -> None:
        self._limit = limit
        self._clock = clock
        self._seen: dict[str, tuple[int | None, float]] = {}  # a count, and since when it stands there
        self._looked = -limit

    def look(self, database: PostgresDatabase, me: str) -> list[tuple[str, int | None]]:
        """Name and count of those that are dead; to be called more often than every third of the limit."""
        with database.reading() as connection:
            found: dict[str, int | None] = dict(connection.execute(_ALL).fetchall())
        found.pop(me, None)
        now = self._clock()
        was_away = now - self._looked > self._limit / 2  # it slept, or the server was away, and perhaps they beat then
        self._looked = now
        before = {} if was_away else self._seen
        self._seen = {
            name: before[name] if name in before and before[name][0] == beats else (beats, now)
            for name, beats in found.items()
        }
        return [(name, beats) for name, (beats, since) in self._seen.items() if now - since > self._limit]


def bury(database: PostgresDatabase, worker: str, beats: int | None) -> list[int]:
    """Gives back the jobs of a worker that has died, unless it has said something at last; which ones."""
    with database.writing() as connection:
        row = connection.execute(_SAME, (worker, beats)).fetchone()
        if row is None and beats is not None:
            return []
        jobs = give_back(connection, worker, None)
        connection.execute("DELETE FROM taskrun_worker WHERE name = %s", (worker,))
        if row is not None:
            Library(connection).unregister(row[0])
    return jobs


def _new_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
