"""The tables of a queue in SQLite, and how a file of an older version becomes one of this. It touches nothing else.

No STRICT tables (SQLite 3.37) and no RETURNING (3.35): Pythons that we support come with older libraries, as 3.34 on
RHEL 9. CHECKs say the types instead. The version stands in a table of ours and not in ``user_version``, and all names
begin with ``taskrun_``, since the queue may live in an application's own database.
"""

from __future__ import annotations

import sqlite3

from taskrun.jobqueue.values import QueueRefused

OLDEST_SQLITE = (3, 24)  # of 2018

# A CHECK with IN and more than two values makes a B-tree for each row that is written, which is a fourth of a turn.
# The first files of version 1 have it so; they are slower, and mean the same.
_FIRST = (
    """
    CREATE TABLE taskrun_job (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        task TEXT NOT NULL CHECK (typeof(task) = 'text' AND task <> ''),
        args BLOB NOT NULL CHECK (typeof(args) = 'blob'),
        state TEXT NOT NULL CHECK (
            state = 'ready' OR state = 'running' OR state = 'done' OR state = 'dead' OR state = 'cancelled'
            OR state = 'delayed' OR state = 'blocked'),
        priority INTEGER NOT NULL CHECK (typeof(priority) = 'integer'),
        due_at INTEGER NOT NULL CHECK (typeof(due_at) = 'integer'),
        attempt INTEGER NOT NULL DEFAULT 0 CHECK (typeof(attempt) = 'integer' AND attempt >= 0),
        max_attempts INTEGER NOT NULL CHECK (typeof(max_attempts) = 'integer' AND max_attempts >= 1),
        claim INTEGER NOT NULL DEFAULT 0 CHECK (typeof(claim) = 'integer' AND claim >= attempt),
        worker TEXT CHECK (typeof(worker) IN ('text', 'null')),
        cancelling INTEGER NOT NULL DEFAULT 0 CHECK (cancelling IN (0, 1)),
        unique_key TEXT CHECK (typeof(unique_key) IN ('text', 'null')),
        after INTEGER CHECK (typeof(after) IN ('integer', 'null') AND after <> id),
        enqueued_at INTEGER NOT NULL CHECK (typeof(enqueued_at) = 'integer'),
        claimed_at INTEGER CHECK (typeof(claimed_at) IN ('integer', 'null')),
        settled_at INTEGER CHECK (typeof(settled_at) IN ('integer', 'null')),
        error TEXT,
        result BLOB CHECK (typeof(result) IN ('blob', 'null')),
        CHECK ((state = 'running') = (worker IS NOT NULL)),
        CHECK ((state = 'done' OR state = 'dead' OR state = 'cancelled') = (settled_at IS NOT NULL)),
        CHECK (state <> 'blocked' OR after IS NOT NULL),
        CHECK (attempt <= max_attempts),
        CHECK (cancelling = 0 OR state = 'running')
    )
    """,
    # Each index has the rows of one state alone, so that what is done costs those who take jobs nothing.
    "CREATE INDEX taskrun_job_ready ON taskrun_job (priority DESC, id) WHERE state = 'ready'",
    "CREATE INDEX taskrun_job_delayed ON taskrun_job (due_at) WHERE state = 'delayed'",
    "CREATE INDEX taskrun_job_running ON taskrun_job (worker) WHERE state = 'running'",
    "CREATE INDEX taskrun_job_blocked ON taskrun_job (after) WHERE state = 'blocked'",
    "CREATE INDEX taskrun_job_settled ON taskrun_job (state, settled_at) WHERE settled_at IS NOT NULL",
    """
    CREATE UNIQUE INDEX taskrun_job_unique ON taskrun_job (unique_key)
    WHERE unique_key IS NOT NULL AND settled_at IS NULL
    """,
)

_SECOND = (
    "ALTER TABLE taskrun_job ADD COLUMN run TEXT CHECK (typeof(run) IN ('text', 'null'))",
    # Beside the one of all that is ready: a hundred thousand jobs whose limit is full may stand before the rest.
    "CREATE INDEX taskrun_job_ready_task ON taskrun_job (task, priority DESC, id) WHERE state = 'ready'",
    """
    CREATE TABLE taskrun_recurring (
        task TEXT PRIMARY KEY CHECK (typeof(task) = 'text' AND task <> ''),
        due_at INTEGER NOT NULL CHECK (typeof(due_at) = 'integer')
    )
    """,
)

MIGRATIONS = (_FIRST, _SECOND)
"""What makes version n + 1 of version n; only ever added to."""

VERSION = len(MIGRATIONS)


def version_of(database: sqlite3.Connection | sqlite3.Cursor) -> int:
    """The version of the queue in this database; 0: there is none yet."""
    there = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'taskrun_queue'").fetchone()
    if there is None:
        return 0
    row = database.execute("SELECT version FROM taskrun_queue").fetchone()
    return int(row[0]) if row else 0


def check_version(version: int, path: str) -> None:
    """Refuses what a newer taskrun has made."""
    if version > VERSION:
        raise QueueRefused(
            f"the queue {path} has version {version}, and this taskrun knows versions up to {VERSION}: "
            "use the taskrun that made it, or a newer one; nothing was changed"
        )


def migrate(database: sqlite3.Connection | sqlite3.Cursor) -> None:
    """Brings a database to this version; within the caller's transaction."""
    database.execute(
        "CREATE TABLE IF NOT EXISTS taskrun_queue (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)"
    )
    for script in MIGRATIONS[version_of(database) :]:
        for statement in script:
            database.execute(statement)
    database.execute("INSERT OR REPLACE INTO taskrun_queue (one, version) VALUES (1, ?)", (VERSION,))


def check_library() -> None:
    """Refuses an SQLite that is too old for what the queue asks of it."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise QueueRefused(
            f"the queue needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer; "
            f"this Python has {sqlite3.sqlite_version}"
        )
