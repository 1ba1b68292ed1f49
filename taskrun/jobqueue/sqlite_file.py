"""One connection to a queue's database: opened when it is needed, closed around forks, used by one thread at a time.

It knows nothing of jobs. Two rules keep SQLite's locks whole, which are the process's and not the connection's. Nobody
``open()``s the database or its ``-wal`` and ``-shm``, not even to look: closing any descriptor of them drops all locks
of this process, and what others then commit is lost. And no connection lives through a fork: the child would believe
that it holds locks which only its parent has. So before ``os.fork`` transactions
are waited for, and what is open is closed.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import threading
import time
import weakref
from typing import TYPE_CHECKING

from taskrun.jobqueue.sqlite_schema import VERSION, check_library, check_version, migrate, version_of
from taskrun.jobqueue.values import QueueBusy, QueueRefused, QueueUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0  # seconds that one waits for others' transactions, which take milliseconds
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.sshfs", "lustre", "gpfs"})
_PRIMARY = 0xFF  # of an extended error code
_WAL_LIMIT = 4 * 1024 * 1024  # bytes of the write-ahead log, from which it is copied into the database
_WAL_LOOK = 100  # transactions between two looks at its size
_WAL_WAIT = 0.2  # seconds that copying waits for writers and readers, and holds up writers
_WAL_PAUSE = 10.0  # seconds after somebody was in the way, such as a reader whose transaction is long

_OTHER_TABLES = re.compile(r"no such (table|column): |already exists$| has no column named ")

_files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
_held_for_fork: list[SqliteFile] = []
_forking = threading.Lock()  # one fork at a time, and no new file amid one


class SqliteFile:
    """A queue's database.

    Args:
        path: Of the file; it is made where there is none.
        durable: Whether a commit survives a power failure (``synchronous=FULL``), or the machine's running on alone.
        patience: Seconds to wait for another's transaction.
        must_stay: Whether it is refused once it is another file than before, and not opened anew: so much of the old
            one is in the user's hands that it could not go on.

    Attributes:
        path: Of the file itself, whatever links lead to it: what lies beside it must be the same for everybody.
    """

    def __init__(self, path: str, *, durable: bool, patience: float = PATIENCE, must_stay: bool = False) -> None:
        self.path = os.path.realpath(path)
        self._durable = durable
        self._patience = patience
        self._must_stay = must_stay
        self._identity: tuple[int, int] | None = None  # of the file that was opened last
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        # Transactions since the last look at the log's size. Who stores a job may be gone after one, and another come.
        self._written = _WAL_LOOK if durable else 0
        self._copy_from = 0.0  # on the monotonic clock: not before
        with _forking:
            _files.add(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for statements that change nothing."""
        with self._lock, self._explained():
            yield self._connection()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, committed at the end and rolled back by any exception.

        It begins IMMEDIATE: one that read first and wrote then would fail at once, and not wait, where another process
        has committed in between.
        """
        with self._lock, self._explained():
            database = self._connection()
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # some errors have rolled back themselves
                    database.execute("ROLLBACK")
                raise
            self._written += 1

    def set_patience(self, seconds: float) -> None:
        """How long statements wait for others' locks from now on."""
        if seconds != self._patience:
            self._patience = seconds
            with self._lock:
                if self._database is not None:
                    _wait_for_locks(self._database, seconds)

    @property
    def may_be_long(self) -> bool:
        """Whether enough was written for ``copy_back`` to look at the log."""
        return self._written >= _WAL_LOOK and time.monotonic() >= self._copy_from

    def copy_back(self) -> None:
        """Copies a write-ahead log that has become large into the database, as often as it is called often enough.

        SQLite would do it at some commit, which then waits for the disk; and, in versions before 3.51.3, might damage
        the database if another process committed in that moment. This way no other can: TRUNCATE holds up who writes.
        It also leaves an empty log, whose size says when the next copy is due.
        """
        if not self.may_be_long:
            return
        self._written = 0
        try:
            size = os.stat(self.path + "-wal").st_size
        except OSError:
            return
        if size >= _WAL_LIMIT:
            with self._lock, self._explained():
                database = self._connection()
                _wait_for_locks(database, _WAL_WAIT)
                try:
                    (was_busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    _wait_for_locks(database, self._patience)
            if was_busy:
                self._copy_from = time.monotonic() + _WAL_PAUSE

    def try_to_copy_back(self) -> None:
        """As ``copy_back``, for those to whom it is no matter if it fails: what they have committed is safe."""
        with contextlib.suppress(QueueBusy, QueueUnwritable, QueueRefused):
            self.copy_back()

    def check(self) -> None:
        """Looks for damage, which takes about a second for a gigabyte.

        Raises:
            QueueRefused: It is damaged.
        """
        with self.reading() as database:
            (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise self._damaged(said)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._database is not None

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _connection(self) -> sqlite3.Connection:
        """The connection to the file that has this name now.

        SQLite would go on in a file that was removed or replaced: what is stored there nobody finds, and what others
        store in the new one is not seen.
        """
        if self._identity is not None and self._identity != _identity_of(self.path):
            if self._must_stay:
                raise QueueRefused(f"the queue {self.path} was removed or replaced while it was in use")
            self._close()
        if self._database is None:
            check_library()
            self._make()
            database = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None, check_same_thread=False)
            try:
                self._set_up(database)
            except BaseException:
                database.close()
                raise
            self._database = database
            self._identity = _identity_of(self.path)
        return self._database

    def _make(self) -> None:
        """A new file is its owner's alone, since jobs may hold secrets; made by its name, without a descriptor."""
        folder = os.path.dirname(self.path)
        try:
            _make_folder(folder)
        except OSError as error:
            raise QueueUnwritable(f"cannot make the folder {folder} of the queue: {error.strerror}") from None
        kind = filesystem_of(folder)
        if kind in _REMOTE:
            raise QueueRefused(
                f"the queue {self.path} is on a network file system ({kind}), whose locks and shared memory SQLite "
                "cannot rely on: put it on a local disk"
            )
        beside = [end for end in ("-wal", "-shm") if os.path.lexists(self.path + end)]
        if beside and not os.path.lexists(self.path):  # in this order, since the file is made first
            raise QueueRefused(
                f"the queue {self.path} is gone, but its {' and '.join(beside)} are not: put it back, or remove them "
                "too when nothing uses them any more"
            )
        with contextlib.suppress(OSError):  # it is there; or no file can be made so here, and SQLite makes or says it
            os.mknod(self.path, stat.S_IFREG | 0o600)
        with contextlib.suppress(OSError):
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise QueueRefused(f"the queue {self.path} is no file, and can be no database")

    def _set_up(self, database: sqlite3.Connection) -> None:
        version = version_of(database)
        check_version(version, self.path)
        self._use_wal(database)
        database.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        database.execute("PRAGMA temp_store = MEMORY")
        database.execute("PRAGMA wal_autocheckpoint = 0")  # see copy_back
        if version < VERSION:
            database.execute("BEGIN IMMEDIATE")
            check_version(version_of(database), self.path)  # another may have been quicker
            migrate(database)
            database.execute("COMMIT")

    def _use_wal(self, database: sqlite3.Connection) -> None:
        """Changing the journal does not wait for others as statements do, so it is tried again."""
        until = time.monotonic() + self._patience
        while True:
            try:
                (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)
            else:
                break
        if mode != "wal":
            raise QueueRefused(f"the queue {self.path} cannot have a write-ahead log here (its journal is {mode})")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns SQLite's errors into ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise explain(error, self.path) from error

    def _damaged(self, said: object) -> QueueRefused:
        return _damage(self.path, said)

    # --- forks ---

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """Waits for the transaction under way, and keeps all others out meanwhile."""
        with self._lock:
            yield

    def hold_for_fork(self) -> None:
        """Waits for the transaction under way, closes, and keeps all others out."""
        self._lock.acquire()
        with contextlib.suppress(sqlite3.Error):  # it would end nothing but the wait for it
            self._close()

    def release_after_fork(self) -> None:
        """Lets others in again."""
        self._lock.release()


def _make_folder(folder: str) -> None:
    """As `os.makedirs`, and its name survives a power failure: SQLite sees to that of the file alone."""
    parent = os.path.dirname(folder)
    if os.path.isdir(folder) or parent == folder:
        return
    _make_folder(parent)
    try:
        os.mkdir(folder, mode=0o700)
    except FileExistsError:  # another was quicker, or it is no folder
        if not os.path.isdir(folder):
            raise
    above = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _wait_for_locks(database: sqlite3.Connection, seconds: float) -> None:
    database.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def explain(error: sqlite3.DatabaseError, path: str) -> Exception:
    """What an error of SQLite's means for the queue; a mistake of ours stays what it is."""
    code = _code(error)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}:
        return QueueBusy(f"the queue {path} is locked by another process ({error})")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _damage(path, error)
    if code == sqlite3.SQLITE_FULL:
        return QueueUnwritable(f"the disk of the queue {path} is full")
    if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return QueueUnwritable(f"the queue {path} cannot be read or written ({error})")
    if _OTHER_TABLES.search(str(error)):
        return QueueRefused(f"the tables of the queue {path} are not as this taskrun knows them: {error}")
    return error


def _damage(path: str, said: object) -> QueueRefused:
    return QueueRefused(
        f"the queue {path} is damaged, or is no database ({said}); nothing was changed: "
        f'restore it from a copy, or save what can be read with `sqlite3 "{path}" .recover`'
    )


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def filesystem_of(folder: str) -> str:
    """The type of the file system, as ``ext4``; empty where the system does not say."""
    try:
        device = os.stat(folder).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                if before.split()[2] == f"{os.major(device)}:{os.minor(device)}":
                    return after.split()[0]
    except (OSError, IndexError):
        pass
    return ""


@contextlib.contextmanager
def at_rest() -> Iterator[None]:
    """Within it this process has no transaction under way: who is stopped amid one holds up all other processes."""
    with _forking, contextlib.ExitStack() as held:
        for file in list(_files):
            held.enter_context(file.idle())
        yield


def _before_fork() -> None:
    _forking.acquire()
    for file in list(_files):
        _held_for_fork.append(file)
        file.hold_for_fork()


def _after_fork() -> None:
    while _held_for_fork:
        _held_for_fork.pop().release_after_fork()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
