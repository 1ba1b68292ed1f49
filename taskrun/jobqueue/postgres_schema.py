"""Our tables beside procrastinate's, and how those of an older version become those of this. It touches nothing else.

procrastinate's row of a job is what workers take. Ours, under the same id, is what is known of it: procrastinate has no
number of a claim, no attempts that count when a job is taken, no errors and results, and nothing that comes after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from taskrun.jobqueue.postgres_library import Library
from taskrun.jobqueue.values import QueueRefused

if TYPE_CHECKING:
    from psycopg import Connection

_LOCK = 0x7461736B72756E  # "taskrun": of the database's advisory locks, held while tables are made

_FIRST: tuple[LiteralString, ...] = (
    """
    CREATE TABLE taskrun_job (
        id bigint PRIMARY KEY,
        task text NOT NULL CHECK (task <> ''),
        args bytea NOT NULL,
        state text NOT NULL CHECK (
            state IN ('blocked', 'delayed', 'ready', 'running', 'done', 'dead', 'cancelled')),
        priority integer NOT NULL,
        due_at timestamptz NOT NULL,
        attempt bigint NOT NULL DEFAULT 0 CHECK (attempt >= 0),
        max_attempts bigint NOT NULL CHECK (max_attempts >= 1),
        claim bigint NOT NULL DEFAULT 0 CHECK (claim >= attempt),
        worker text,
        cancelling boolean NOT NULL DEFAULT false,
        unique_key text,
        after bigint CHECK (after <> id),
        enqueued_at timestamptz NOT NULL,
        claimed_at timestamptz,
        settled_at timestamptz,
        error text,
        result bytea,
        run text,
        CHECK ((state = 'running') = (worker IS NOT NULL)),
        CHECK ((state IN ('done', 'dead', 'cancelled')) = (settled_at IS NOT NULL)),
        CHECK (state <> 'blocked' OR after IS NOT NULL),
        CHECK (attempt <= max_attempts),
        CHECK (NOT cancelling OR state = 'running')
    )
    """,
    # Each index has the rows of one state alone, so that what is done costs those who take jobs nothing.
    "CREATE INDEX taskrun_job_ready ON taskrun_job (task, priority DESC, id) WHERE state = 'ready'",
    "CREATE INDEX taskrun_job_delayed ON taskrun_job (due_at) WHERE state = 'delayed'",
    "CREATE INDEX taskrun_job_running ON taskrun_job (worker) WHERE state = 'running'",
    "CREATE INDEX taskrun_job_blocked ON taskrun_job (after) WHERE state = 'blocked'",
    "CREATE INDEX taskrun_job_settled ON taskrun_job (state, settled_at) WHERE settled_at IS NOT NULL",
    """
    CREATE UNIQUE INDEX taskrun_job_unique ON taskrun_job (unique_key)
    WHERE unique_key IS NOT NULL AND settled_at IS NULL
    """,
    # `number` is procrastinate's; `beats` counts heartbeats, so that who watches it needs no clock but its own.
    """
    CREATE TABLE taskrun_worker (
        name text PRIMARY KEY,
        number bigint NOT NULL,
        beats bigint NOT NULL,
        beat_at timestamptz NOT NULL
    )
    """,
    "CREATE TABLE taskrun_recurring (task text PRIMARY KEY, moment bigint NOT NULL)",
)

MIGRATIONS = (_FIRST,)
"""What makes version n + 1 of version n; only ever added to."""

VERSION = len(MIGRATIONS)


def prepare(connection: Connection[Any], shown: str) -> None:
    """Makes the tables where there are none, or brings them up to date; in transactions of its own.

    Raises:
        QueueRefused: They are of a newer version, or procrastinate's are of another.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in {"UTF8", "SQL_ASCII"}:
        raise QueueRefused(
            f"the database {shown} has the encoding {encoding}, in which not every error and argument can be written: "
            "the queue needs one with UTF8; nothing was changed"
        )
    version = version_of(connection)
    _check(version, shown)
    if version < VERSION:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))  # two that make them at once
            version = version_of(connection)
            _check(version, shown)
            _migrate(connection, version)
    missing = Library(connection).missing()
    if missing is not None:
        raise QueueRefused(
            f"procrastinate's tables in {shown} are not of the version that is installed here ({missing} is missing): "
            "apply its migrations, or give the queue a database or a schema of its own; nothing was changed"
        )


def version_of(connection: Connection[Any]) -> int:
    """The version of the queue in this database; 0: there is none yet."""
    # Through a table, since only to lock one makes a server forget that it had found nothing by that name before.
    if connection.execute("SELECT 1 FROM pg_class WHERE oid = to_regclass('taskrun_queue')").fetchone() is None:
        return 0
    row = connection.execute("SELECT version FROM taskrun_queue").fetchone()
    return int(row[0]) if row else 0


def mark_of(connection: Connection[Any]) -> str | None:
    """What distinguishes this queue from all others; ``None``: there is none."""
    if not version_of(connection):
        return None
    row = connection.execute("SELECT mark::text FROM taskrun_queue").fetchone()
    return str(row[0]) if row else None


def _check(version: int, shown: str) -> None:
    if version > VERSION:
        raise QueueRefused(
            f"the queue {shown} has version {version}, and this taskrun knows versions up to {VERSION}: "
            "use the taskrun that made it, or a newer one; nothing was changed"
        )


def _migrate(connection: Connection[Any], version: int) -> None:
    library = Library(connection)
    if not library.is_there():
        library.make()
    connection.execute(
        "CREATE TABLE IF NOT EXISTS taskrun_queue "
        "(one boolean PRIMARY KEY CHECK (one), version integer NOT NULL, mark uuid NOT NULL)"
    )
    for script in MIGRATIONS[version:]:
        for statement in script:
            connection.execute(statement)
    connection.execute(
        "INSERT INTO taskrun_queue (one, version, mark) VALUES (true, %s, gen_random_uuid()) "
        "ON CONFLICT (one) DO UPDATE SET version = excluded.version",
        (VERSION,),
    )
