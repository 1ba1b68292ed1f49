"""The queue in an SQLite database, for one machine. It stores jobs, and puts together the parts that serve them."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from typing import TYPE_CHECKING

from taskrun.jobqueue import presence
from taskrun.jobqueue.accepting import checked
from taskrun.jobqueue.sqlite_admin import SqliteAdmin
from taskrun.jobqueue.sqlite_enqueue import insert
from taskrun.jobqueue.sqlite_file import SqliteFile, explain
from taskrun.jobqueue.sqlite_schema import VERSION, check_library, check_version, migrate, version_of
from taskrun.jobqueue.values import Retention
from taskrun.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import trio

    from taskrun.jobqueue.values import Allowance, Duplicate, Handle, NewJob, Recurring, Stored

_FOLDER = ".workers"  # beside the database, after its name


class SqliteQueue:
    """A queue in a file; it may be shared by any number of processes, and by threads.

    Opens the file when it is first needed, and again after a fork, before which it is closed.

    Args:
        path: Of the file; an application's own database serves as well, and its journal becomes a write-ahead log.
        clock: Seconds since the epoch.
        chance: For back-offs.
        retention: How long workers keep settled jobs; ``None``: for ever.
        trouble: Told, in words for people, what a worker gets over by trying again.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], float] = time.time,
        chance: random.Random | None = None,
        retention: Retention | None = Retention(),  # noqa: B008 - frozen
        trouble: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self._file = SqliteFile(path, durable=True)
        self._folder = self._file.path + _FOLDER
        self._clock = clock
        self._chance = chance or random.SystemRandom()
        self._retention = retention
        self._trouble = trouble

    def enqueue(
        self, jobs: Sequence[NewJob], *, connection: sqlite3.Connection | None = None
    ) -> list[Stored | Duplicate]:
        """Stores all of them or none; when it returns they survive a power failure.

        With a ``connection`` of the application's on the same database they are stored in its transaction; where it
        has begun none, one is begun. They are safe when it has committed, as safe as its ``synchronous`` makes them.

        Raises:
            UsageError: A job is not well-formed, or the connection is none that this can be done with.
            NoSuchJob: One comes after a job that is not there.
            QueueBusy, QueueUnwritable, QueueRefused: The store is locked, full, damaged.
        """
        ready = checked(jobs)
        if connection is not None:
            return self._enqueue_within(connection, ready)
        with self._file.writing() as database:
            stored = insert(database.cursor(), ready, self._clock())
        self.wake()
        self._file.try_to_copy_back()
        return stored

    def _enqueue_within(
        self, connection: sqlite3.Connection, jobs: list[tuple[NewJob, bytes]]
    ) -> list[Stored | Duplicate]:
        if not isinstance(connection, sqlite3.Connection):
            raise UsageError(f"an sqlite3.Connection is needed, not a {type(connection).__name__}")
        text, connection.text_factory = connection.text_factory, str  # an application may have set another
        try:
            cursor = connection.cursor()
            cursor.row_factory = None  # as here
            self._check_same(cursor)
            with _all_or_none(connection):
                version = version_of(cursor)
                check_version(version, self._file.path)
                if version < VERSION:  # here, since no other connection can write while the application does
                    check_library()
                    migrate(cursor)
                return insert(cursor, jobs, self._clock())
        except sqlite3.DatabaseError as error:
            raise explain(error, self._file.path) from error
        finally:
            connection.text_factory = text

    def _check_same(self, cursor: sqlite3.Cursor) -> None:
        main = next((row[2] for row in cursor.execute("PRAGMA database_list") if row[1] == "main"), "")
        if not main or os.path.realpath(main) != os.path.realpath(self._file.path):
            raise UsageError(
                f"the connection is one to {main or 'a database in memory'}, and the queue is in {self._file.path}: "
                "only in one database can both be one transaction"
            )

    def wake(self) -> None:
        """Tells workers that there may be something; for after the commit of a transaction of the application's."""
        presence.ring(self._folder)

    async def serve(
        self,
        handle: Handle,
        *,
        allowance: Allowance,
        stop: trio.Event,
        drain: bool = False,
        recurring: Sequence[Recurring] = (),
    ) -> None:
        """Takes jobs and settles them, until ``stop`` is set and what runs has ended; see `QueueEngine`."""
        from taskrun.jobqueue.sqlite_serving import Service

        service = Service(
            path=self._file.path,
            folder=self._folder,
            handle=handle,
            allowance=allowance,
            stop=stop,
            drain=drain,
            recurring=recurring,
            clock=self._clock,
            chance=self._chance,
            retention=self._retention,
            trouble=self._trouble,
        )
        await service.run()

    def admin(self) -> SqliteAdmin:
        """Looks at jobs and changes their course."""
        return SqliteAdmin(self._file, self._folder, self._clock)

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        self._file.close()


@contextlib.contextmanager
def _all_or_none(connection: sqlite3.Connection) -> Iterator[None]:
    """Within the application's transaction, or one that is begun for it; an exception undoes this, and nothing else."""
    began = not connection.in_transaction
    if began:
        if connection.isolation_level is None or getattr(connection, "autocommit", -1) is True:
            raise UsageError("this connection commits each statement by itself: execute BEGIN IMMEDIATE first")
        connection.execute("BEGIN IMMEDIATE")
    connection.execute("SAVEPOINT taskrun_enqueue")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # some errors have rolled all of it back
            connection.execute("ROLLBACK TO taskrun_enqueue")
            connection.execute("RELEASE taskrun_enqueue")
            if began:
                connection.rollback()
        raise
    connection.execute("RELEASE taskrun_enqueue")
