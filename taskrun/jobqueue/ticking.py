"""When jobs of recurring tasks are to be stored, as a worker of any engine knows it. It stores nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskrun.jobqueue.values import Recurring

MICROSECONDS = 1_000_000  # stored moments are whole microseconds since the epoch

# A last moment so far in the future is of a clock that was wrong, and not of summer time or of a few seconds set back:
# then what comes next counts, as if the task were seen for the first time.
WRONG = 3 * 3600 * MICROSECONDS


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

    def remember(self, news: dict[str, int]) -> None:
        """These have been looked at."""
        self._seen.update(news)
