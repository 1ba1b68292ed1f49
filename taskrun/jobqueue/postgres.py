"""The queue on a PostgreSQL server, for any number of machines: procrastinate's tables, and ours beside them.

It stores jobs, and puts together the parts that serve them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from taskrun.jobqueue.postgres_address import address_of
from taskrun.jobqueue.postgres_admin import PostgresAdmin
from taskrun.jobqueue.postgres_attendance import LIMIT
from taskrun.jobqueue.postgres_database import PostgresDatabase
from taskrun.jobqueue.postgres_enqueue import checked, insert
from taskrun.jobqueue.postgres_schema import mark_of
from taskrun.jobqueue.values import Retention
from taskrun.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import trio

    from taskrun.jobqueue.values import Allowance, Duplicate, Handle, NewJob, Recurring, Stored


class PostgresQueue:
    """A queue in a database; it may be shared by any number of processes, on any number of machines, and by threads.

    Connects when it is first needed, and again when the connection was lost.

    Args:
        url: Of the database, as libpq takes it.
        limit: Seconds without a heartbeat after which a worker is believed dead; the same for all workers.
        chance: For back-offs.
        retention: How long workers keep settled jobs; ``None``: for ever.
        trouble: Told, in words for people, what a worker gets over by trying again.
    """

    def __init__(
        self,
        url: str,
        *,
        limit: float = LIMIT,
        chance: random.Random | None = None,
        retention: Retention | None = Retention(),  # noqa: B008 - frozen
        trouble: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self._address = address_of(url)
        self._database = PostgresDatabase(self._address)
        self._mark: str | None = None
        self._limit = limit
        self._chance = chance or random.SystemRandom()
        self._retention = retention
        self._trouble = trouble

    def enqueue(
        self, jobs: Sequence[NewJob], *, connection: psycopg.Connection[Any] | None = None
    ) -> list[Stored | Duplicate]:
        """Stores all of them or none; when it returns they are as safe as the server's commits are.

        With a ``connection`` of the application's to the same database they are stored in its transaction; they are
        safe, and workers are woken, when it has committed.

        Raises:
            UsageError: A job is not well-formed, or the connection is none that this can be done with.
            NoSuchJob: One comes after a job that is not there.
            QueueBusy, QueueUnwritable, QueueRefused: The store is locked, full, out of reach, of a newer version.
        """
        ready = checked(jobs)
        if connection is not None:
            return self._enqueue_within(connection, ready)
        with self._database.writing() as own:
            return insert(own, ready)

    def _enqueue_within(
        self, connection: psycopg.Connection[Any], jobs: list[tuple[NewJob, bytes]]
    ) -> list[Stored | Duplicate]:
        if not isinstance(connection, psycopg.Connection):
            raise UsageError(f"a psycopg.Connection is needed, not a {type(connection).__name__}")
        if connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
            raise UsageError("this connection commits each statement by itself: begin a transaction first")
        if self._mark is None:
            self._mark = self._database.mark()  # makes the tables if need be, and commits that
        factories = connection.row_factory, connection.cursor_factory
        connection.row_factory, connection.cursor_factory = tuple_row, psycopg.Cursor  # an application may have others
        try:
            if mark_of(connection) != self._mark:
                raise UsageError(
                    f"the connection is not one to the queue {self._address.shown}: "
                    "only in one database, and with the same search_path, can both be one transaction"
                )
            return insert(connection, jobs)
        except psycopg.Error as error:
            raise self._database.explain(error) from error
        finally:
            connection.row_factory, connection.cursor_factory = factories

    def wake(self) -> None:
        """Does nothing: the server wakes workers when a transaction that stored jobs is committed."""

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
        from taskrun.jobqueue.postgres_serving import Service

        service = Service(
            address=self._address,
            limit=self._limit,
            handle=handle,
            allowance=allowance,
            stop=stop,
            drain=drain,
            recurring=recurring,
            chance=self._chance,
            retention=self._retention,
            trouble=self._trouble,
        )
        await service.run()

    def admin(self) -> PostgresAdmin:
        """Looks at jobs and changes their course."""
        return PostgresAdmin(self._database, self._limit)

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        self._database.close()
