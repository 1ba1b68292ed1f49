"""Jobs of recurring tasks on a PostgreSQL server: one for each moment that comes, however many workers look.

As in SQLite the moment of the last one stands in the database, and is looked at and moved on in one transaction with
the job's storing; two workers that see the same moment wait for each other there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskrun.jobqueue.postgres_enqueue import checked, insert, moment_of
from taskrun.jobqueue.ticking import WRONG
from taskrun.jobqueue.values import NewJob

if TYPE_CHECKING:
    from psycopg import Connection

    from taskrun.jobqueue.postgres_database import PostgresDatabase
    from taskrun.jobqueue.ticking import Ticker

_FIRST = "INSERT INTO taskrun_recurring (task, moment) VALUES (%s, %s) ON CONFLICT (task) DO NOTHING"
_LAST = "SELECT moment, extract(epoch FROM now()) * 1000000 FROM taskrun_recurring WHERE task = %s FOR UPDATE"
_REMEMBER = "UPDATE taskrun_recurring SET moment = %s WHERE task = %s"


def tick(database: PostgresDatabase, ticker: Ticker) -> None:
    """Stores the jobs whose moment has come, by the server's clock, and that nobody has stored."""
    with database.reading() as connection:
        news = ticker.news(moment_of(connection))
    if not news:
        return
    with database.writing() as connection:
        for task, moment in sorted(news.items()):  # in one order, so that nobody waits for one who waits for him
            _store(connection, task, moment)
    ticker.remember(news)


def _store(connection: Connection[Any], task: str, moment: int) -> None:
    if connection.execute(_FIRST, (task, moment)).rowcount:
        return  # nothing is stored for moments before it was first seen
    row = connection.execute(_LAST, (task,)).fetchone()
    assert row is not None
    last, now = row
    if last > now + WRONG:
        connection.execute(_REMEMBER, (moment, task))
    elif moment > last:
        connection.execute(_REMEMBER, (moment, task))
        insert(connection, checked([NewJob(task=task, unique=f"recurring {task}")]))
