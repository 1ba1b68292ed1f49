"""Jobs of recurring tasks: one for each moment that comes, however many workers look. It waits for nothing.

The moment of the last one stands in the database, and is looked at and moved on in one transaction with the job's
storing. So whichever worker is first stores it, and the others find that it is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.jobqueue.accepting import checked
from taskrun.jobqueue.sqlite_enqueue import insert
from taskrun.jobqueue.ticking import MICROSECONDS, WRONG
from taskrun.jobqueue.values import NewJob, Stored

if TYPE_CHECKING:
    import sqlite3

_LAST = "SELECT due_at FROM taskrun_recurring WHERE task = ?"
_REMEMBER = "INSERT OR REPLACE INTO taskrun_recurring (task, due_at) VALUES (?, ?)"


def store_recurring(database: sqlite3.Connection, news: dict[str, int], now: float) -> int:
    """Stores the jobs whose moment has come and that nobody has stored, in the caller's transaction. How many."""
    count = 0
    for task, moment in news.items():
        row = database.execute(_LAST, (task,)).fetchone()
        if row is None or row[0] > now * MICROSECONDS + WRONG:
            database.execute(_REMEMBER, (task, moment))
        elif moment > row[0]:
            database.execute(_REMEMBER, (task, moment))
            (answer,) = insert(database.cursor(), checked([NewJob(task=task, unique=f"recurring {task}")]), now)
            count += isinstance(answer, Stored)
    return count
