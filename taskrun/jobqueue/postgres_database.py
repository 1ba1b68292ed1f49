"""One connection to a queue's database: opened when needed, and again when it was lost, used by one thread at a time.

It knows nothing of jobs. A connection is not used by a forked child, which opens its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from psycopg.pq import ConnStatus

from taskrun.jobqueue.postgres_schema import mark_of, prepare
from taskrun.jobqueue.values import QueueBusy, QueueRefused, QueueUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskrun.jobqueue.postgres_address import Address

PATIENCE = 10.0  # seconds that one waits for others' locks, which are held for milliseconds

_AGAIN = (
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.ForeignKeyViolation,  # procrastinate's row of this worker was deleted by others; it is made again
    errors.UniqueViolation,  # within an application's transaction that does not see what others have committed
)
_GONE = (psycopg.OperationalError, psycopg.InterfaceError, errors.IdleInTransactionSessionTimeout)
_MAY_NOT = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction, errors.InvalidSchemaName)
_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted)
_POOLED = (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)  # prepared on another connection
_OTHER_TABLES = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.UndefinedObject,
    errors.DuplicateTable,
    errors.DuplicateObject,
    errors.DuplicateFunction,
)
# A role or a database may have it otherwise for its own, and a job that is stored must not be lost; who writes it into
# the address means it.
_SAFE_COMMITS = """
    SELECT set_config(name, 'on', false) FROM pg_settings
    WHERE name = 'synchronous_commit' AND setting = 'off' AND source <> 'client'
"""
# To close them, or to let go of them, would end them for the process that has forked us.
_of_parents: list[psycopg.Connection[Any]] = []


class PostgresDatabase:
    """A queue's database.

    Args:
        address: Of the server.
        patience: Seconds to wait for another's lock.
        idle: Seconds after which the server ends a transaction in which nothing happens, so that a program which was
            stopped amid one holds up nobody for longer.
    """

    def __init__(self, address: Address, *, patience: float = PATIENCE, idle: float = 30.0) -> None:
        self.shown = address.shown
        self._address = address
        self._settings = {
            "lock_timeout": f"{patience * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{idle * 1000:.0f}",
            "default_transaction_isolation": "read committed",  # who has waited for a lock sees what was done meanwhile
        }
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._newest: psycopg.Connection[Any] | None = None  # also while it is being set up
        self._process = os.getpid()  # whose lock and connection they are
        self._prepared = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for single statements, each its own transaction."""
        with self._own_lock(), self._explained():
            yield self._open()

    @contextlib.contextmanager
    def writing(self) -> Iterator[psycopg.Connection[Any]]:
        """A transaction, committed at the end and rolled back by any exception."""
        with self._own_lock(), self._explained():
            connection = self._open()
            with connection.transaction():
                yield connection

    @property
    def descriptor(self) -> int | None:
        """Of the connection; ``None``: there is none."""
        connection = self._connection
        return None if connection is None or connection.closed else connection.fileno()

    def hear(self) -> None:
        """Takes what has arrived without being asked for; neither waits nor connects.

        Raises:
            QueueUnwritable: The connection is lost.
        """
        with self._own_lock():
            if self._connection is None:
                return
            if not _is_whole(self._connection):
                self._close()
                raise QueueUnwritable(f"the queue {self.shown} has closed the connection")
            while self._connection.pgconn.notifies() is not None:
                pass

    def mark(self) -> str | None:
        """What distinguishes this queue from all others."""
        with self.reading() as connection:
            return mark_of(connection)

    def cut_off(self) -> None:
        """Ends what another thread waits for: a server that hangs would be waited for without end."""
        connection = self._newest
        if connection is not None:
            with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        with self._own_lock():
            self._close()

    def _own_lock(self) -> threading.Lock:
        """A forked child does not wait for threads of its parent's, and lets go of the connection without a word."""
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
            if self._connection is not None:
                _of_parents.append(self._connection)
                self._connection = None
        return self._lock

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is not None and not _is_whole(self._connection):
            self._close()
        if self._connection is None:
            connection = self._newest = self._connected()
            try:
                for name, value in self._settings.items():
                    connection.execute("SELECT set_config(%s, %s, false)", (name, value))
                connection.execute(_SAFE_COMMITS)
                if not self._prepared:
                    prepare(connection, self.shown)
                    self._prepared = True
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _connected(self) -> psycopg.Connection[Any]:
        try:
            return psycopg.Connection.connect(**self._address.parameters, autocommit=True)
        except psycopg.ProgrammingError as error:  # what it says for itself may quote anything of the address
            said = self._without_secrets(str(error))
            raise QueueRefused(f"the address of the queue {self.shown} cannot be used: {said}") from None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns the server's and the driver's errors into ours, and lets go of a connection that is lost."""
        try:
            yield
        except psycopg.Error as error:
            if isinstance(error, _GONE) and not isinstance(error, _AGAIN):
                with contextlib.suppress(psycopg.Error):
                    self._close()
            raise self.explain(error) from None  # its own text is in ours

    def explain(self, error: psycopg.Error) -> Exception:
        """What an error means for the queue; a mistake of ours stays what it is."""
        said = self._without_secrets(str(error))
        if isinstance(error, _AGAIN):
            return QueueBusy(f"the queue {self.shown} is held by another program ({said})")
        if isinstance(error, errors.DiskFull):
            return QueueUnwritable(f"the disk of the queue {self.shown} is full")
        if isinstance(error, _DAMAGED):
            return QueueRefused(f"the queue {self.shown} is damaged ({said}); nothing was changed")
        if isinstance(error, _OTHER_TABLES):
            return QueueRefused(f"the tables of the queue {self.shown} are not as this taskrun knows them: {said}")
        if isinstance(error, _POOLED):
            return QueueRefused(
                f"between here and the queue {self.shown} is a pooler that gives each transaction another connection: "
                "it has to be in its session mode, or not in between"
            )
        if isinstance(error, _MAY_NOT):
            return QueueUnwritable(f"the queue {self.shown} cannot be written: {said}")
        if isinstance(error, _GONE):
            return QueueUnwritable(f"the queue {self.shown} cannot be reached: {said}")
        return error

    def _without_secrets(self, said: str) -> str:
        """The first line: what follows repeats it, or quotes the statement."""
        line = said.strip().partition("\n")[0]
        for name in ("password", "sslpassword"):
            secret = self._address.parameters.get(name)
            if secret:
                line = line.replace(str(secret), "...")
        return line


def _is_whole(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has not closed it, as far as can be known without asking: an idle one outlives no restart."""
    if connection.closed:
        return False
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    while connection.pgconn.status == ConnStatus.OK and waiting.poll(0):  # it says why first, and then closes
        with contextlib.suppress(psycopg.OperationalError):
            connection.pgconn.consume_input()
    return connection.pgconn.status == ConnStatus.OK
