"""Jobs of recurring tasks: one for each moment that comes, however many workers look. It waits for nothing.

The moment of the last one stands in the database, and is looked at and moved on in one transaction with the job's
storing. So whichever worker is first stores it, and the others find that it is done.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from taskrun.jobqueue.sqlite_enqueue import MICROSECONDS, checked, insert
from taskrun.jobqueue.values import NewJob, Stored

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from taskrun.jobqueue.values import Recurring

# A last moment so far in the future is of a clock that was wrong, and not of summer time or of a few seconds set back:
# then what comes next counts, as if the task were seen for the first time.
WRONG = 3 * 3600 * MICROSECONDS

_LAST = "SELECT due_at FROM taskrun_recurring WHERE task = ?"
_REMEMBER = "INSERT OR REPLACE INTO taskrun_recurring (task, due_at) VALUES (?, ?)"


class Ticker:
    """What one worker knows of recurring tasks.

    Args:
        recurring: The tasks.
        trouble: Told what is wrong with one of them.
    """

    def __init__(self, recurring: Sequence[Recurring], trouble: Callable[[str], None]) -> None:
        self._recurring = list(recurring)
        self._trouble = trouble
        self._seen: dict[str, int] = {}  # the moment that was looked at last

    def news(self, now: float) -> dict[str, int]:
        """The last moment of each task for which it is another one than before; reads no database."""
        found: dict[str, int] = {}
        for each in list(self._recurring):
            try:
                latest = each.latest(now)
                moment = int(latest * MICROSECONDS) if math.isfinite(latest) else None
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                self._trouble(f"when {each.task} recurs cannot be told, and it does not any more: {error!r}")
                self._recurring.remove(each)
                continue
            if moment is not None and moment != self._seen.get(each.task):
                found[each.task] = moment
        return found

    def store(self, database: sqlite3.Connection, news: dict[str, int], now: float) -> int:
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

    def remember(self, news: dict[str, int]) -> None:
        """These have been looked at."""
        self._seen.update(news)
